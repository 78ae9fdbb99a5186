"""A run's folder: everything one needs to read, replay, resume or reuse a run.

    runs/ID/
      experiment.toml    every key written out, defaults too
      environment.json   versions, machine, data fingerprint, command
      log.jsonl          the event stream, one JSON object per line (replayable)
      checkpoint.bin     the federation's machines after the last finished round
      stages/*.json      results of finished stages
      metrics.json       the measures; equal to the bit for equal seeds     timing.json  what took how long
      model/             the bundle: model.safetensors, model.onnx          report.html  for people

Law: a kill -9 at any moment leaves each file whole, old or new: writes go to a temporary file, are synced, then
renamed. The log alone is appended; a resumed run cuts it back to the length its checkpoint names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wardround.errors import UsageError

MADE_AGAIN = ("stages/federated.json", "stages/centralised.json", "stages/local.json", "metrics.json")


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` so that a crash leaves the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must reach the disk
    finally:
        os.close(folder)


def to_json(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no NaN (a missing measure is null)."""
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class RunDir:
    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.bin"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def text(self, name: str) -> str:
        """A file's text.

        Raises:
            UsageError: it is not there or cannot be read.
        """
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{self.path / name} cannot be read: {error}; is {self.path} the folder of a run?"
            ) from error

    def json(self, name: str) -> Any:
        """A file's JSON.

        Raises:
            UsageError: it is not there or is not JSON.
        """
        text = self.text(name)
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            again = "delete it and resume the run" if name in MADE_AGAIN else "start the run again"
            raise UsageError(f"{self.path / name} is damaged ({error}); {again}") from error

    def write(self, name: str, data: bytes) -> Path:
        """Replace a file.

        Raises:
            UsageError: it cannot be written: the disk is full, or not ours to write.
        """
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {os.strerror(error.errno or 0)}; "
                f"make room, then go on with: wardround resume {self.path}"
            ) from error
        return path

    def write_json(self, name: str, value: Any) -> Path:
        return self.write(name, to_json(value))

    def stage(self, name: str) -> Any | None:
        """The result of a finished stage, or None."""
        return self.json(f"stages/{name}.json") if (self.path / "stages" / f"{name}.json").exists() else None


def create(base: Path, name: str, seed: int, files: Mapping[str, bytes]) -> RunDir:
    """A new run folder ``base/TIME-NAME-sSEED`` holding ``files``.

    Raises:
        UsageError: ``base`` cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for count in range(1, 1000):
        path = base / f"{stamp}-{name}-s{seed}{f'-{count}' if count > 1 else ''}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(
                f"the folder for runs, {base}, cannot be written: {error}; choose another with --runs"
            ) from error
        run = RunDir(path)
        for file, data in files.items():
            run.write(file, data)
        return run
    raise UsageError(f"{base} holds a thousand runs of {stamp} already")


def find(base: Path, run: str) -> RunDir:
    """The run whose folder is ``run``, or whose id (or the unique start or part of one) under ``base`` is.

    Raises:
        UsageError: there is none, or more than one.
    """
    direct = Path(run)
    if (direct / "experiment.toml").is_file():
        return RunDir(direct.resolve())
    known = sorted(p for p in base.glob("*") if (p / "experiment.toml").is_file()) if base.is_dir() else []
    if run == "last" and known:
        return RunDir(known[-1])
    exact = [p for p in known if p.name == run]
    matches = exact or [p for p in known if run in p.name]
    if len(matches) == 1:
        return RunDir(matches[0])
    names = ", ".join(p.name for p in (matches or known)[:8]) or "none"
    raise UsageError(f"{'more than one run matches' if matches else 'no run matches'} {run!r} in {base}: {names}")
