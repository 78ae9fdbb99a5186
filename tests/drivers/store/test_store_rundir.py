"""Run folders: names, whole files after a crash, clear errors."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path
from typing import Any

import pytest

from wardround.drivers.store import rundir
from wardround.drivers.store.rundir import RunDir, create, find, to_json, write_atomic
from wardround.errors import UsageError

FILES = {"environment.json": b"{}\n", "experiment.toml": b'name = "x"\n'}


def test_create_never_takes_an_existing_folder(tmp_path: Path) -> None:
    runs = [create(tmp_path, "demo", 1, FILES) for _ in range(3)]
    assert len({run.id for run in runs}) == 3
    for run in runs:
        assert "-demo-s1" in run.id
        assert {p.name for p in run.path.iterdir()} == set(FILES)


def test_the_file_that_makes_a_folder_a_run_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between two writes of ``create``, the folder is no run rather than one that cannot be resumed."""
    write = RunDir.write

    def killed(self: RunDir, name: str, data: bytes) -> Path:
        if name == "experiment.toml":
            raise KeyboardInterrupt
        return write(self, name, data)

    monkeypatch.setattr(RunDir, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        create(tmp_path, "demo", 1, FILES)
    with pytest.raises(UsageError, match="no run matches"):
        find(tmp_path, "demo")


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be written: .*choose another with --runs"):
        create(tmp_path / "file" / "runs", "demo", 1, FILES)


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_crash_leaves_the_old_or_the_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    path = tmp_path / "metrics.json"
    write_atomic(path, b"old")

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    if moment == "write":
        monkeypatch.setattr(Path, "open", crash)
    elif moment == "fsync":
        monkeypatch.setattr(os, "fsync", crash)
    else:
        monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new and longer")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    write_atomic(path, b"new")  # what the crash left behind is no obstacle
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]
    assert path.read_bytes() == b"new"


def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create(tmp_path, "demo", 1, FILES)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"No space left on device; make room, then go on with: wardround resume"):
        run.write("stages/local.json", b"{}")


def test_json_is_canonical_and_has_no_nan() -> None:
    assert to_json({"b": 1, "a": [0.1, None, "ä"]}) == to_json({"a": [0.1, None, "ä"], "b": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json({"a": math.nan})


def test_reading_what_is_not_there_or_damaged(tmp_path: Path) -> None:
    run = create(tmp_path, "demo", 1, FILES)
    assert run.stage("federated") is None
    with pytest.raises(UsageError, match=r"is .* the folder of a run"):
        run.json("metrics.json")
    run.write_json("stages/federated.json", {"a": 1})
    assert run.stage("federated") == {"a": 1}
    run.write("metrics.json", b'{"a": ')
    with pytest.raises(UsageError, match="delete it and resume the run"):
        run.json("metrics.json")
    run.write("environment.json", b"\xff")
    with pytest.raises(UsageError, match="cannot be read"):
        run.json("environment.json")


def test_find_by_folder_id_part_and_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (create(tmp_path, name, 1, FILES) for name in ("alpha", "beta"))
    (tmp_path / "no-run").mkdir()
    assert find(tmp_path, str(one.path)).path == one.path
    assert find(tmp_path, one.id) == one
    assert find(tmp_path, "beta") == two
    assert find(tmp_path, "last").id == max(one.id, two.id)
    with pytest.raises(UsageError, match="more than one run matches '-s1'"):
        find(tmp_path, "-s1")
    with pytest.raises(UsageError, match=r"no run matches 'gamma' in .*alpha"):
        find(tmp_path, "gamma")
    with pytest.raises(UsageError, match=r"no run matches 'last' in .*: none"):
        find(tmp_path / "empty", "last")


def test_an_id_that_is_part_of_another_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = create(tmp_path, "demo", 1, FILES)
    (tmp_path / f"{first.id}-2").mkdir()
    (tmp_path / f"{first.id}-2" / "experiment.toml").write_text("")
    assert find(tmp_path, first.id) == first


def test_every_name_in_the_docstring_is_one_the_code_uses() -> None:
    for name in ("experiment.toml", "environment.json", "log.jsonl", "checkpoint.bin", "metrics.json", "report.html"):
        assert name in (rundir.__doc__ or "")
