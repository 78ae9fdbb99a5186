"""Asynchronous rounds with real processes: one gateway stands still for a while, the others go on, it comes in again."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from test_e2e_nats import NAMES, Hospital  # type: ignore[import-not-found]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("nats-server", path=f"{os.environ['PATH']}:/usr/sbin") is None, reason="needs Debian's nats-server"
    ),
]


def test_a_gateway_that_stands_still_holds_nobody_up(tmp_path: Path) -> None:
    place = Hospital(tmp_path, 60, heartbeat=0.5)
    file = tmp_path / "federation.toml"
    file.write_text(f"{file.read_text()}\n[asynchronous]\nbuffer = 2\n")
    try:
        for who in ("serve", *NAMES):
            place.start(who)

        def rounds() -> int:
            return sum(e["event"] == "RoundDone" for e in place.events())

        end = time.monotonic() + 240
        while rounds() < 2 and time.monotonic() < end:
            time.sleep(0.05)
        place.running[NAMES[0]].send_signal(signal.SIGSTOP)
        before = rounds()
        while rounds() < before + 10 and time.monotonic() < end:
            time.sleep(0.05)
        place.running[NAMES[0]].send_signal(signal.SIGCONT)
        assert place.wait() == 0, (tmp_path / "serve.out").read_text()[-2000:]
        told = [e for e in place.events() if e["event"] in ("RoundDone", "RoundFailed")]
        assert [e["round"] for e in told] == list(range(1, 61))
        failed = [e for e in told if e["event"] == "RoundFailed"]
        # It may be chosen before the broker sees that it stands still, and again at the end of its rest: those buffers wait
        # for it until their deadline, are given up, and said. Once it is seen to be away no round is lost to it (a bug that
        # lost every second one; tests/federation has the machine's side without a clock).
        assert len(failed) <= 5, [e["round"] for e in failed]
        assert all(e["answered"] == 2 for e in told if e not in failed)
        ages = [e["text"] for e in place.events() if e.get("code") == "buffer.combined"]
        assert len(ages) == 60
        assert any(text.endswith("1]") for text in ages), (
            "three gateways and a buffer of two: one is always a model behind"
        )
    finally:
        place.close()
