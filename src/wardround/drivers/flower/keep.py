"""The server's folder: checkpoint, log, result.

    STATE/checkpoint.bin  log.jsonl  model.safetensors  result.json

Laws: a kill -9 at any moment leaves each file whole. A run that did not end leaves its checkpoint, and the next `flwr run`
with the same experiment goes on from it; a run that ended leaves none, and the next begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wardround.drivers.store.rundir import write_atomic
from wardround.errors import DecodeError, UsageError
from wardround.wire import decode, encode, message


@message(0x4F10)
@dataclass(frozen=True)
class Saved:
    """The server after an exchange: name of the federation's run, what was agreed, the machine, the log's length."""

    run: str
    agreed: str
    machine: bytes
    log_bytes: int


class Keep:
    """The folder ``path``.

    Raises:
        UsageError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the folder {path} cannot be made: {error}; set state in the run's configuration"
            ) from error

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.bin"

    def load(self, agreed: str) -> Saved | None:
        """The checkpoint of a run that did not end.

        Raises:
            UsageError: it is damaged, or belongs to another experiment.
        """
        if not self.checkpoint.exists():
            return None
        try:
            saved = decode(self.checkpoint.read_bytes(), Saved)
        except (OSError, DecodeError) as error:
            raise UsageError(f"{self.checkpoint} is damaged ({error}): delete it, and the run starts again") from error
        if saved.agreed != agreed:
            raise UsageError(
                f"{self.checkpoint} belongs to another experiment (run {saved.run}): finish it, delete the file, or set state"
            )
        return saved

    def save(self, saved: Saved) -> None:
        """Replace the checkpoint; on the disk when this returns."""
        write_atomic(self.checkpoint, encode(saved))

    def forget(self) -> None:
        """The run is over: the next one begins anew."""
        self.checkpoint.unlink(missing_ok=True)
