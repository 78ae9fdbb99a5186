"""A database for the registry's tests: SQLite, and PostgreSQL where a server program is installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

POSTGRES = shutil.which("postgres")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL of this test run's own, on a free port of this machine, under an unprivileged user."""
    if POSTGRES is None:
        pytest.skip("no PostgreSQL server program is installed")
    pytest.importorskip("psycopg", reason="no PostgreSQL driver (psycopg) is installed")
    folder = Path(tempfile.mkdtemp(prefix="wardround-pg-"))
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    binaries = Path(POSTGRES).resolve().parent
    run = {"user": user, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    made = [str(binaries / "initdb"), "-D", str(folder / "db"), "-U", "ward", "-A", "trust", "--no-sync"]
    subprocess.run(made, check=True, **run)  # type: ignore[call-overload]
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-c", "fsync=off"]
    server = subprocess.Popen([str(binaries / "postgres"), "-D", str(folder / "db"), *options], **run)  # type: ignore[call-overload]
    try:
        _wait(port)
        yield f"postgresql+psycopg://ward@127.0.0.1:{port}/"
    finally:
        server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        server.wait(20)
        shutil.rmtree(folder)


def _wait(port: int) -> None:
    import time

    for _ in range(200):
        engine = create_engine(f"postgresql+psycopg://ward@127.0.0.1:{port}/postgres")
        try:
            with engine.connect():
                return
        except Exception:  # noqa: BLE001 - whatever the driver raises while the server starts
            time.sleep(0.05)
        finally:
            engine.dispose()
    raise AssertionError("PostgreSQL did not start")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.db"
    base: str = request.getfixturevalue("postgres")
    name = f"r{abs(hash(str(tmp_path)))}"
    engine = create_engine(base + "postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return base + name
