"""Tables and diagrams of this room for docs/protocol/handshake.md, printed from the machines themselves.

Law: every state and transition in the document is one of a ``TRANSITIONS`` table here (tests/auth/test_auth_docs.py fails
where the document is stale). What it does not do: write files.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from wardround.auth import enrolment, session, trust
from wardround.auth.handshake import initiator, messages, responder
from wardround.auth.suites import SUITES

Table = Mapping[Any, Mapping[Any, Any]]
_DATAGRAM = 1232  # payload of the smallest IPv6 packet over UDP

MACHINES: dict[str, Table] = {
    "device": initiator.TRANSITIONS,
    "server": responder.TRANSITIONS,
    "session": session.TRANSITIONS,
    "enrolment": enrolment.TRANSITIONS,
    "token": enrolment.TOKEN_TRANSITIONS,
    "trust": trust.TRANSITIONS,
}


def suites() -> str:
    """Bytes of every message, by suite."""
    rows = []
    for suite in SUITES.values():
        sizes = (messages.hello_bytes(suite), messages.reply_bytes(suite), messages.confirm_bytes())
        datagrams = "+".join(str(-(-size // _DATAGRAM)) for size in sizes)
        algorithms = f"{suite.name}, {suite.hash_name}, {suite.aead.name}"
        rows.append([str(suite.number), algorithms, *map(str, sizes), str(sum(sizes)), datagrams])
    return _markdown(["suite", "KEM, hash, AEAD", "M1", "M2", "M3", "total", "datagrams of 1,232 B"], rows)


def states(name: str) -> str:
    """The transition table of one machine; what a state does not list is refused."""
    rows = [
        [before.value, event.value, after.value]
        for before, row in MACHINES[name].items()
        for event, after in row.items()
    ]
    ends = [state.value for state, row in MACHINES[name].items() if not row]
    closing = f"\n\nFinal: {', '.join(ends)}." if ends else ""
    return _markdown(["in state", "event / what is sent", "next state"], rows) + closing


def standings() -> str:
    """What each trust state may do."""
    rows = [[s.value, "yes" if trust.MAY_AUTHENTICATE[s] else "no", f"{trust.WEIGHT[s]:g}"] for s in trust.State]
    return _markdown(["state", "may authenticate", "weight of its update"], rows)


def diagram(name: str) -> str:
    """A Mermaid state diagram of one machine."""
    table = MACHINES[name]
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{state.value}" as {_key(state)}' for state in table]
    lines.append(f"    [*] --> {_key(next(iter(table)))}")
    for before, row in table.items():
        lines += [f"    {_key(before)} --> {_key(after)}: {event.value}" for event, after in row.items()]
    return "\n".join([*lines, "```"])


def sequence() -> str:
    """A Mermaid sequence diagram of the handshake with the bytes of the default suite."""
    sizes = (messages.hello_bytes(SUITES[2]), messages.reply_bytes(SUITES[2]), messages.confirm_bytes())
    return "\n".join(
        [
            "```mermaid",
            "sequenceDiagram",
            "    participant D as device",
            "    participant S as server",
            f"    D->>S: M1 ({sizes[0]} B) e_pk, ct to pk_S, sealed id, psk MAC, mac1, cookie",
            "    opt under load",
            f"        S->>D: retry ({messages.RETRY_BYTES} B) cookie",
            "        D->>S: the same M1 with the cookie",
            "    end",
            f"    S->>D: M2 ({sizes[1]} B) ct to e_pk, ct to pk_D, sealed epoch, round, revocation epoch, model hash",
            "    Note over D: the server is authenticated",
            f"    D->>S: M3 ({sizes[2]} B) sealed confirmation",
            "    Note over S: the device is authenticated",
            "```",
        ]
    )


def _key(state: Enum) -> str:
    return state.name.lower()


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
