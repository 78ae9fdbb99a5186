"""Reading rows of the registry: facts by name, devices by what an operator types, rows as values.

What it does not do: change anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, Row, select
from sqlalchemy.exc import SQLAlchemyError

from wardround.auth.credential import Anchor
from wardround.auth.enrolment import TokenState
from wardround.auth.trust import Standing, State
from wardround.drivers.store.registry_tables import DEVICES, FACTS, TOKENS
from wardround.errors import UsageError
from wardround.wire import decode

ANCHOR, DESCRIPTOR, VERSION, REVOCATIONS = "anchor", "descriptor", "version", "revocation epoch"
NONE_HERE = "this database holds no registry; wardround init makes one"


@dataclass(frozen=True)
class Act:
    """Who changes something, and when (seconds since 1970)."""

    actor: str
    now: float


@dataclass(frozen=True)
class Device:
    """One row for people and exports."""

    device_id: str
    serial: int
    name: str
    state: State
    member: bool
    epoch_to: int
    standing: Standing
    public: bytes = field(repr=False)
    psk: bytes = field(repr=False)
    broker: str = ""


def fact(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(FACTS).where(FACTS.c.name == name)).first()


def number(connection: Connection, name: str) -> int:
    stored = fact(connection, name)
    return int(stored.number) if stored else 0


def name_taken(connection: Connection, name: str) -> bool:
    live = (DEVICES.c.name == name) & (DEVICES.c.state != State.REVOKED.value)
    waiting = (TOKENS.c.name == name) & (TOKENS.c.state == TokenState.ISSUED.value)
    return any(connection.execute(select(t).where(w)).first() for t, w in ((DEVICES, live), (TOKENS, waiting)))


def find(connection: Connection, which: str) -> Row[Any]:
    named = (DEVICES.c.name == which) & (DEVICES.c.state != State.REVOKED.value)
    rows = connection.execute(select(DEVICES).where(named)).all()
    if not rows and len(which) >= 4:
        rows = connection.execute(select(DEVICES).where(DEVICES.c.device_id.startswith(which, autoescape=True))).all()
    if len(rows) != 1:
        count, verb = ("no device", "matches") if not rows else (f"{len(rows)} devices", "match")
        raise UsageError(f"{count} {verb} {which!r}; wardround registry list shows names and ids")
    return rows[0]


def standing_of(row: Row[Any]) -> Standing:
    return Standing(row.state, row.good, row.bad)


def device_of(row: Row[Any]) -> Device:
    return Device(
        row.device_id,
        row.serial,
        row.name,
        State(row.state),
        bool(row.member),
        row.epoch_to,
        standing_of(row),
        bytes(row.public),
        bytes(row.psk),
        row.broker,
    )


def anchor_of(engine: Engine) -> Anchor:
    """The anchor a registry was made with.

    Raises:
        UsageError: the database holds none.
    """
    try:
        with engine.begin() as connection:
            stored = fact(connection, ANCHOR)
    except SQLAlchemyError as error:
        raise UsageError(NONE_HERE) from error
    if stored is None:
        raise UsageError(NONE_HERE)
    return decode(stored.data, Anchor)
