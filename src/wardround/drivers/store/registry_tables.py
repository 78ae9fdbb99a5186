"""The registry's tables: what the registrar knows, in SQLite by default or PostgreSQL by URL (SQLAlchemy Core).

``devices.psk`` is the one secret in clear here; by itself it lets nobody in (docs/protocol/handshake.md, "Stolen verifier").
Tokens are stored as hashes. What it does not do: rules; registry.py has them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Engine,
    Float,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from wardround.errors import UsageError

METADATA = MetaData()

FACTS = Table(
    "facts",
    METADATA,
    Column("name", String, primary_key=True),
    Column("number", BigInteger, nullable=False, default=0),
    Column("data", LargeBinary, nullable=False, default=b""),
)

DEVICES = Table(
    "devices",
    METADATA,
    Column("device_id", String(64), primary_key=True),
    Column("serial", BigInteger, nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("public", LargeBinary, nullable=False),
    Column("psk", LargeBinary, nullable=False),
    Column("member", LargeBinary, nullable=False),
    Column("broker", String, nullable=False, default=""),
    Column("state", String, nullable=False),
    Column("good", Float, nullable=False, default=0.0),
    Column("bad", Float, nullable=False, default=0.0),
    Column("epoch_to", BigInteger, nullable=False),
)

TOKENS = Table(
    "tokens",
    METADATA,
    Column("token_id", String(16), primary_key=True),
    Column("secret_hash", String(64), nullable=False),
    Column("name", String, nullable=False),
    Column("epoch_limit", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("request", String(64), nullable=False, default=""),
    Column("reply", LargeBinary, nullable=False, default=b""),
    Column("device_id", String(64), nullable=False, default=""),
    Column("replaces", String(64), nullable=False, default=""),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", String, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    UniqueConstraint("hash"),
)


def connect(url: str, create: bool = False) -> Engine:
    """An engine whose transactions see nobody else's half-done change. ``create``: make a missing SQLite file, mode 0600.

    Raises:
        UsageError: the URL is not one, or no such database can be opened.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":  # SQLAlchemy would take psycopg2
            parsed = parsed.set(drivername="postgresql+psycopg")
        engine = create_engine(parsed)
        _check_file(engine.url, create)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _sqlite_settings)
            event.listen(engine, "begin", _sqlite_begin)
        with engine.connect():
            return engine
    except (ArgumentError, ImportError, OSError, SQLAlchemyError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"the registry's database {_shown(url)} cannot be opened: {first}") from error


def _check_file(url: URL, create: bool) -> None:
    """The pre-shared keys lie in this file: nobody else may read it. Other databases guard themselves."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return
    path = Path(url.database)
    if create:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    if path.stat().st_mode & 0o077:
        raise UsageError(f"{path} can be read by others and holds pre-shared keys: chmod 600 it")


def _sqlite_settings(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN below, not the driver's late one
    cursor = connection.cursor()
    for pragma in ("journal_mode = DELETE", "synchronous = FULL", "busy_timeout = 10000", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _shown(url: str) -> str:
    """The URL without a password."""
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://...@{tail}" if at else url
