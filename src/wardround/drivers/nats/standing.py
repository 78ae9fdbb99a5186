"""`wardround status` and `wardround rounds`: what the coordinator says of itself, or what it left on the disk."""

from __future__ import annotations

import json
import math
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from wardround.drivers.nats.deployment import read
from wardround.drivers.nats.serving import Saved
from wardround.drivers.sinks.jsonlog import read as read_log
from wardround.errors import UsageError
from wardround.events import RoundDone, RoundFailed
from wardround.federation.secure_state import SecureState
from wardround.federation.server_state import ServerState
from wardround.wire import decode

ANSWER_S = 2.0


def status(file: Path, state: Path) -> dict[str, Any]:
    """The running coordinator's /status, or its checkpoint's with ``running`` false.

    Raises:
        UsageError: neither is there.
    """
    port = read(file).broker.http
    if port:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=ANSWER_S) as answer:  # noqa: S310 - a fixed scheme
                return {"running": True, **json.load(answer)}
        except (urllib.error.URLError, OSError, ValueError):
            pass  # none runs here: the disk knows the rest
    return {"running": False, **_stored(state / "coordinator")}


def _stored(folder: Path) -> dict[str, Any]:
    if not (folder / "state.db").exists():
        raise UsageError(
            f"no coordinator runs, and {folder} holds no state: start one with `wardround serve`, or name --state"
        )
    with sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True) as db:
        row = db.execute("SELECT value FROM state WHERE name = 'coordinator'").fetchone()
    if row is None:
        raise UsageError(f"{folder} holds no run yet")
    saved = decode(bytes(row[0]), Saved)
    desk: ServerState | SecureState = decode(saved.machine, ServerState, SecureState)  # type: ignore[assignment]
    machine = decode(desk.server, ServerState) if isinstance(desk, SecureState) else desk
    return {"run": saved.run, "phase": machine.phase, "exchange": machine.exchange, "round": machine.round}


def text(found: dict[str, Any]) -> str:
    """The status for people."""
    state = "running" if found["running"] else "not running"
    of = f" of {found['rounds']}" if "rounds" in found else ""
    lines = [
        f"run {found['run']}: {state}, phase {found['phase']}, round {found['round']}{of}, exchange {found['exchange']}"
    ]
    if found.get("waiting_for"):
        lines.append(f"  waiting for {', '.join(found['waiting_for'])}")
    for each in found.get("gateways", []):
        seen = (
            "never seen"
            if each["silent_s"] is None
            else f"seen {each['silent_s']:.0f} s ago, answered turn {each['turn']}"
        )
        other = each.get("version") not in {None, found.get("version")}
        version = f", OTHER VERSION {each['version']} (here {found['version']})" if other else ""
        busy = ", busy" if each["busy"] else ""
        lines.append(f"  {'here' if each['here'] else 'AWAY'}  {each['token']}  {each['name']}: {seen}{busy}{version}")
    return "\n".join(lines)


def rounds(state: Path, last: int) -> str:
    """A table of the newest ``last`` rounds.

    Raises:
        DataError: there is no log, or it is damaged.
    """
    done = [e for e in read_log(state / "coordinator" / "log.jsonl") if isinstance(e, RoundDone | RoundFailed)]
    lines = ["round  invited  answered  late  refused      loss  seconds"]
    for e in done[-last:]:
        if isinstance(e, RoundFailed):
            lines.append(f"{e.round:5d}  {e.invited:7d}  {e.answered:8d}  given up: {e.reason}")
        else:
            loss = f"{e.loss:8.4f}" if math.isfinite(e.loss) else "       -"
            lines.append(
                f"{e.round:5d}  {e.invited:7d}  {e.answered:8d}  {e.late:4d}  {e.refused:7d}  {loss}  {e.seconds:7.2f}"
            )
    return "\n".join(lines)
