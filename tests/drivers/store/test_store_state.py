"""The state folder of a process: who owns it, and who may read it."""

from pathlib import Path
from threading import Timer

import pytest

from wardround.drivers.store.state import State
from wardround.errors import UsageError


def test_files_are_private_and_what_is_saved_is_there(tmp_path: Path) -> None:
    state = State(tmp_path / "st")
    state.save("a", b"1")
    state.save("a", b"2")
    assert {path.name for path in (tmp_path / "st").iterdir()} >= {"lock", "state.db", "state.db-wal"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "st").iterdir())
    state.close()
    again = State(tmp_path / "st")
    assert again.load("a") == b"2"
    assert again.load("b") is None
    again.close()


def test_one_process_owns_a_folder_and_another_may_wait_for_it(tmp_path: Path) -> None:
    owner = State(tmp_path)
    with pytest.raises(UsageError, match="another wardround process"):
        State(tmp_path)
    leaving = Timer(0.2, owner.close)
    leaving.start()
    heir = State(tmp_path, wait_s=60.0)
    heir.close()
    leaving.join()


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be written"):
        State(tmp_path / "file")
    (tmp_path / "state.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(UsageError, match="cannot be used"):
        State(tmp_path)
