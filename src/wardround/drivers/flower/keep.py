"""The server's folder: checkpoint, sessions, log, result.

    STATE/checkpoint.bin  auth.bin  log.jsonl  model.safetensors  result.json      the first two of mode 0600

Laws: a kill -9 at any moment leaves each file whole. A run that did not end leaves its checkpoint, and the next `flwr run`
with the same experiment goes on from it; a run that ended leaves none, and the next begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wardround.drivers.store.keys import write_private
from wardround.errors import DecodeError, UsageError
from wardround.wire import decode, encode, message


@message(0x4F10)
@dataclass(frozen=True)
class Saved:
    """The server after an exchange: name of the federation's run, what was agreed, the machine, the log's length."""

    run: str
    agreed: str
    machine: bytes = field(repr=False)
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

    @property
    def sessions(self) -> Path:
        return self.path / "auth.bin"

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
        write_private(self.checkpoint, encode(saved))

    def load_sessions(self) -> bytes | None:
        """Layer 1's sessions, which outlive a run."""
        return self.sessions.read_bytes() if self.sessions.exists() else None

    def save_sessions(self, data: bytes) -> None:
        """Replace the sessions; on the disk when this returns."""
        write_private(self.sessions, data)

    def forget(self) -> None:
        """The run is over: the next one begins anew."""
        self.checkpoint.unlink(missing_ok=True)
