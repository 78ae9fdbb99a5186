"""What a coordinator's log says of its gateways' trust: the registrar reads it and decides.

What it does not do: change a standing (the registry), or believe the log more than a suspicion: whoever holds the coordinator
can write what he likes there, so nothing in it enrols, releases or revokes anybody.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from wardround.auth.trust import State
from wardround.errors import UsageError
from wardround.events import TrustMoved

AHEAD_S = 300.0  # a line may be dated so much later than the registrar's clock; later ones would outdate every decision
_LONGEST = 400  # characters of a reason that are kept: they go into the audit log


@dataclass(frozen=True)
class Suspicion:
    """The last that was said of ``peer``: its standing ``after`` ``round``, ``why``, and when (seconds since 1970)."""

    peer: str
    after: str
    round: int
    why: str
    at: float


def trust_moves(log: str, now: float) -> Sequence[Suspicion]:
    """The last word on each gateway in the JSON lines of a coordinator's log, in the order of these last words.

    ``now``: seconds since 1970.

    Raises:
        UsageError: a line is not one of such a log's, or is dated in the future (it is named).
    """
    found: dict[str, Suspicion] = {}
    for number, line in enumerate(log.splitlines(), 1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or "event" not in entry:
                raise ValueError("no event")
            if entry["event"] != TrustMoved.__name__:
                continue
            word = _suspicion(entry)
            if word.at > now + AHEAD_S:
                raise ValueError(f"dated {entry['time']}, later than this machine's clock")
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError, OSError) as error:
            raise UsageError(f"line {number} is not of a coordinator's log.jsonl: {error}") from error
        found.pop(word.peer, None)
        found[word.peer] = word
    return tuple(found.values())


def _suspicion(entry: dict[str, object]) -> Suspicion:
    peer, after, round_, why = entry["peer"], entry["after"], entry["round"], entry["why"]
    if not (isinstance(peer, str) and isinstance(why, str) and isinstance(round_, int) and isinstance(after, str)):
        raise ValueError("a field of another type")
    at = datetime.fromisoformat(str(entry["time"])).timestamp()
    return Suspicion(_plain(peer), State(after).value, round_, _plain(" ".join(why.split())), at)


def _plain(text: str) -> str:
    """Without control characters: it goes to a terminal and into the audit log, and its author is not trusted."""
    return "".join(c if c.isprintable() else "?" for c in text)[:_LONGEST]
