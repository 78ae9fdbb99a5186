from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from wardround.drivers.store.keys import KeyFile, read_private, read_secret, write_private, write_secret
from wardround.errors import UsageError

SECRET = bytes(range(64))


@pytest.mark.parametrize("passphrase", ["", "correct horse", "grüße 🐎"])
def test_reads_what_was_written(tmp_path: Path, passphrase: str) -> None:
    path = tmp_path / "device.key"
    write_secret(path, "device", SECRET, passphrase)
    assert read_secret(path, "device", passphrase) == SECRET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["device.key"]  # noqa: PTH208
    assert (SECRET in path.read_bytes()) is (passphrase == "")


def test_a_passphrase_is_needed_and_must_be_the_right_one(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    write_secret(path, "device", SECRET, "right")
    with pytest.raises(UsageError, match="protected by a passphrase; none was given"):
        read_secret(path, "device")
    with pytest.raises(UsageError, match="the passphrase does not open"):
        read_secret(path, "device", "wrong")


def test_a_file_of_another_purpose_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    write_secret(path, "device", SECRET, "pass")
    with pytest.raises(UsageError, match="holds device, not issuer"):
        read_secret(path, "issuer", "pass")
    path.write_bytes(path.read_bytes().replace(b"device", b"issuer"))
    with pytest.raises(UsageError, match="does not open"):
        read_secret(path, "issuer", "pass")  # the purpose is bound, not only written


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o777])
def test_a_file_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "device.key"
    write_secret(path, "device", SECRET)
    path.chmod(mode)
    with pytest.raises(UsageError, match=f"has mode {mode:04o}, so others may read it: chmod 600"):
        read_secret(path, "device")


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_secret(tmp_path / "k", "device", SECRET)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


def test_links_folders_and_strange_files_are_refused(tmp_path: Path) -> None:
    real = tmp_path / "real"
    write_secret(real, "device", SECRET)
    link = tmp_path / "link"
    link.symlink_to(real)
    with pytest.raises(UsageError, match="cannot be read"):
        read_secret(link, "device")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_secret(tmp_path / "none", "device")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(UsageError, match="is not a key file"):
        read_secret(tmp_path / "pipe", "device")
    write_private(tmp_path / "junk", b"junk")
    with pytest.raises(UsageError, match="is not a key file, or it is damaged"):
        read_secret(tmp_path / "junk", "device")
    write_private(tmp_path / "cut", real.read_bytes()[:-1])
    with pytest.raises(UsageError, match="damaged"):
        read_secret(tmp_path / "cut", "device")


def test_a_key_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    write_secret(path, "device", SECRET)
    with pytest.raises(UsageError, match="exists already"):
        write_secret(path, "device", b"other")
    assert read_secret(path, "device") == SECRET
    write_secret(path, "device", b"other", replace=True)
    assert read_secret(path, "device") == b"other"


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "device.key"
    write_private(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="cannot be written: No space left"):
        write_private(path, b"new")
    monkeypatch.undo()
    assert read_private(path) == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["device.key"]
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        write_private(tmp_path / "nowhere" / "key", b"x")


def test_no_secret_in_a_repr() -> None:
    assert "\\x01\\x02" not in repr(KeyFile("device", b"", SECRET))
