"""The private broker: a ``nats-server`` child that lives and dies with the coordinator.

The kernel is asked to end the child when its parent dies (PR_SET_PDEATHSIG, Linux), so a kill -9 of the coordinator
leaves no broker behind that would hold the port against the next one.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from wardround.drivers.nats.brokerconfig import Listen, private
from wardround.drivers.nats.keys import KeyFolder
from wardround.drivers.store.rundir import write_atomic
from wardround.errors import UsageError

START_S = 10.0
STOP_S = 5.0
PR_SET_PDEATHSIG = 1


def executable() -> str:
    """The broker's program.

    Raises:
        UsageError: it is not installed.
    """
    found = shutil.which("nats-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/bin")
    if found is None:
        raise UsageError(
            "nats-server is not installed: apt-get install nats-server, or set [broker] url to a broker of yours"
        )
    return found


class PrivateBroker:
    """The child process; ``start`` returns when it takes connections."""

    def __init__(self, listen: Listen, folder: Path) -> None:
        self._listen, self._folder = listen, folder
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The child's process id; 0: none runs."""
        return self._child.pid if self._child else 0

    def start(self, keys: KeyFolder, public: Mapping[str, str], gateways: Sequence[str]) -> None:
        """Write the configuration and start the child.

        Raises:
            UsageError: the program is missing, the port is taken, or it does not come up.
        """
        program = executable()
        self.stop()  # one that died before this restart is still to be reaped
        self._wait_for_port()
        config = self._folder / "nats.conf"
        write_atomic(config, private(self._listen, keys, public, gateways).encode())
        libc = ctypes.CDLL(None)  # loaded here: nothing may be loaded between fork and exec
        parent = os.getpid()

        def follow_parent() -> None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # the parent died before the line above
                os._exit(1)

        with (self._folder / "nats.log").open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own configuration, no shell
                [program, "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=follow_parent,  # noqa: PLW1509 - two system calls: nothing that another thread could hold locked
                start_new_session=True,  # Ctrl-C reaches the coordinator only, which stops the broker last
            )
        self._wait_until_up()

    def reload(self, keys: KeyFolder, public: Mapping[str, str], gateways: Sequence[str]) -> None:
        """Let the running child take in other accounts; who is connected stays connected."""
        write_atomic(self._folder / "nats.conf", private(self._listen, keys, public, gateways).encode())
        if self._child is not None:
            self._child.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End the child; it writes out what it holds."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self._listen.host, self._listen.port), 0.2):
                return True
        except OSError:
            return False

    def _wait_for_port(self) -> None:
        end = time.monotonic() + STOP_S  # a predecessor's broker may still be going down
        while self._answers():
            if time.monotonic() > end:
                raise UsageError(
                    f"something listens on {self._listen.host}:{self._listen.port} already: stop it or change [broker] port",
                )
            time.sleep(0.05)

    def _wait_until_up(self) -> None:
        end = time.monotonic() + START_S
        while not self._answers():
            if not self.alive() or time.monotonic() > end:
                self.stop()
                raise UsageError(f"nats-server does not come up: see {self._folder / 'nats.log'}")
            time.sleep(0.02)
