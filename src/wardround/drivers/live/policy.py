"""The operator's file: devices, allow-list, maintenance windows, budget and rules of incidents, as TOML.

    [detector]        false_alarm_rate, shares
    [incidents]       votes, span, hold_s, quiet_s, reopen_s
    [[device]]        name, type, ward, criticality
    [[allow]]         device, peer, family, until, reason
    [[maintenance]]   device, start, end, reason

Times are TOML date-times; without an offset they are UTC. Unknown keys are refused by name. docs/reference/watch-policy.md
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wardround.detect.detector import DETECTORS, Budget
from wardround.detect.findings import Allow, Maintenance
from wardround.detect.incident import Policy, Rules
from wardround.detect.tags import FAMILIES
from wardround.errors import ConfigError, UsageError, nearest


@dataclass(frozen=True)
class Told:
    """What the operator says of a device."""

    name: str
    type: str = ""
    ward: str = ""
    criticality: int = 0


@dataclass(frozen=True)
class Watching:
    """The whole file."""

    budget: Budget = field(default_factory=Budget)
    policy: Policy = field(default_factory=Policy)
    devices: tuple[Told, ...] = ()


def read(path: Path | None) -> Watching:
    """The policy in a file; the defaults for None.

    Raises:
        UsageError: the file cannot be read.
        ConfigError: it is not a policy; the text names table and key.
    """
    if path is None:
        return Watching()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the policy {path} cannot be read: {error}") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> Watching:
    """The policy in a TOML text.

    Raises:
        ConfigError: it is none.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from error
    known = ("detector", "incidents", "device", "allow", "maintenance")
    _known(tables, known, where)
    detector = _table(tables, "detector", where)
    _known(detector, ("false_alarm_rate", "shares"), f"{where} [detector]")
    rules = _table(tables, "incidents", where)
    _known(rules, [f.name for f in fields(Rules)], f"{where} [incidents]")
    try:
        policy = Policy(
            Rules(**rules),
            tuple(_allow(row, f"{where} [[allow]]") for row in _rows(tables, "allow", where)),
            tuple(_maintenance(row, f"{where} [[maintenance]]") for row in _rows(tables, "maintenance", where)),
        )
        return Watching(_budget(detector), policy, tuple(_device(row, where) for row in _rows(tables, "device", where)))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _budget(table: Mapping[str, Any]) -> Budget:
    usual = Budget()
    shares = table.get("shares")
    if shares is None:
        return Budget(table.get("false_alarm_rate", usual.rate))
    if not isinstance(shares, dict) or set(shares) != set(DETECTORS):
        raise ValueError(f"[detector] shares is a table with {', '.join(DETECTORS)}")
    return Budget(table.get("false_alarm_rate", usual.rate), tuple(float(shares[name]) for name in DETECTORS))


def _allow(row: Mapping[str, Any], where: str) -> Allow:
    _known(row, ("device", "peer", "family", "until", "reason"), where)
    family = row.get("family", "*")
    if family != "*" and family not in FAMILIES:
        raise ValueError(f"[[allow]] family {family!r} is none{nearest(family, list(FAMILIES))}")
    until = _time(row["until"], "until") if "until" in row else 0
    return Allow(_text(row, "device", "*"), _text(row, "peer", "*"), family, until, _text(row, "reason", ""))


def _maintenance(row: Mapping[str, Any], where: str) -> Maintenance:
    _known(row, ("device", "start", "end", "reason"), where)
    if "start" not in row or "end" not in row:
        raise ValueError("[[maintenance]] needs start and end")
    start, end = _time(row["start"], "start"), _time(row["end"], "end")
    if start >= end:
        raise ValueError("[[maintenance]] ends before it starts")
    return Maintenance(start, end, _text(row, "device", "*"), _text(row, "reason", ""))


def _device(row: Mapping[str, Any], where: str) -> Told:
    _known(row, [f.name for f in fields(Told)], f"{where} [[device]]")
    criticality = row.get("criticality", 0)
    if not _text(row, "name", "") or type(criticality) is not int or not 0 <= criticality <= 3:
        raise ValueError("[[device]] needs a name (its MAC or address), and criticality is 1 (most) to 3")
    return Told(row["name"], _text(row, "type", ""), _text(row, "ward", ""), criticality)


def _text(row: Mapping[str, Any], key: str, usual: str) -> str:
    value = row.get(key, usual)
    if not isinstance(value, str):
        raise ValueError(f"{key} is a text, not {value!r}")  # noqa: TRY004 - becomes a ConfigError
    return value


def _time(value: Any, key: str) -> int:
    if not isinstance(value, datetime):
        raise ValueError(f"{key} is a date and time such as 2026-11-27T22:00:00+01:00, not {value!r}")  # noqa: TRY004
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1e9)


def _table(tables: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    found = tables.get(name, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: [{name}] is a table")
    return found


def _rows(tables: Mapping[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    found = tables.get(name, [])
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ConfigError(f"{where}: [[{name}]] is a list of tables")
    return found


def _known(table: Mapping[str, Any], names: Any, where: str) -> None:
    for key in table:
        if key not in names:
            raise ConfigError(f"{where}: unknown key {key!r}{nearest(key, list(names))}; there are {', '.join(names)}")
