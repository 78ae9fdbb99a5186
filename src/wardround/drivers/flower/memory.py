"""What a client remembers between messages: in Flower's Context.state, and in a file of the site where one is named.

Context.state lives in the SuperNode's memory: it outlives the process that answers one message, but neither a restart of
the SuperNode nor the run. The file outlives both. What is kept is ``federation.client.ClientState``: summed statistics, the
algorithm's memory, the last answer. No key and no secret is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flwr.app import ConfigRecord, RecordDict

from wardround.drivers.store.rundir import write_atomic
from wardround.errors import DecodeError, UsageError
from wardround.wire import decode, encode, message

RECORD = "wardround"


@message(0x4F03)
@dataclass(frozen=True)
class Kept:
    """A client's machine and the federation's run that it belongs to."""

    run: str
    machine: bytes


class Memory:
    """The memory of client ``index``; ``folder`` is "" where the site names none."""

    def __init__(self, state: RecordDict, folder: str, index: int) -> None:
        self._state = state
        self._file = Path(folder) / f"client-{index:05d}.bin" if folder else None

    def load(self, run: str) -> bytes | None:
        """The machine's bytes; None where this run was not met before.

        Raises:
            UsageError: the file cannot be read or is damaged.
        """
        kept = (
            self._from_file() or self._from_context()
        )  # the file first: it is written before Flower takes the context
        return kept.machine if kept is not None and kept.run == run else None

    def save(self, run: str, machine: bytes) -> None:
        """Remember; on the disk when this returns, where a file is named.

        Raises:
            UsageError: the file cannot be written.
        """
        self._state[RECORD] = ConfigRecord({"run": run, "machine": machine})
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(self._file, encode(Kept(run, machine)))
        except OSError as error:
            raise UsageError(f"{self._file} cannot be written: {error}; name another folder as state") from error

    def _from_file(self) -> Kept | None:
        if self._file is None or not self._file.exists():
            return None
        try:
            return decode(self._file.read_bytes(), Kept)
        except (OSError, DecodeError) as error:
            raise UsageError(
                f"{self._file} cannot be used: {error}; move it away, and the client starts anew"
            ) from error

    def _from_context(self) -> Kept | None:
        record = self._state.get(RECORD)
        if not isinstance(record, ConfigRecord):
            return None
        run, machine = record.get("run"), record.get("machine")
        return Kept(run, machine) if isinstance(run, str) and isinstance(machine, bytes) else None
