"""What docs/protocol/handshake.md says about states and sizes comes from the code: run this file to rewrite it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from wardround.auth import explain
from wardround.auth.handshake import initiator
from wardround.auth.handshake.gate import Limits

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol" / "handshake.md"
PARTS: dict[str, Callable[[], str]] = {
    "suites": explain.suites,
    "sequence": explain.sequence,
    "standings": explain.standings,
    "trust-diagram": lambda: explain.diagram("trust"),
    **{name: (lambda n=name: explain.states(n)) for name in explain.MACHINES},  # type: ignore[misc]
}


def refreshed(text: str) -> str:
    for name, part in PARTS.items():
        pattern = re.compile(rf"(<!-- code: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = pattern.subn(lambda m, p=part: m[1] + p() + "\n" + m[2], text)  # type: ignore[misc]
        assert count == 1, name
    return text


def test_the_document_is_fresh() -> None:
    assert DOCUMENT.read_text() == refreshed(DOCUMENT.read_text())


def test_every_number_of_the_suites_is_the_one_of_the_specification() -> None:
    text = explain.suites()
    for sizes in (
        "2380 | 2276 | 60 | 4716 | 2+2+1",
        "2444 | 2340 | 60 | 4844 | 2+2+1",
        "3244 | 3236 | 60 | 6540 | 3+3+1",
    ):
        assert sizes in text


@pytest.mark.parametrize("name", explain.MACHINES)
def test_every_machine_has_a_diagram_of_all_its_transitions(name: str) -> None:
    text = explain.diagram(name)
    for before, row in explain.MACHINES[name].items():
        for event, after in row.items():
            assert f"{before.name.lower()} --> {after.name.lower()}: {event.value}" in text


@pytest.mark.parametrize("name", explain.MACHINES)
def test_every_state_can_be_reached_and_the_tables_are_whole(name: str) -> None:
    table = explain.MACHINES[name]
    reached, todo = set(), [next(iter(table))]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += table[state].values()
    assert reached == set(table) == set(type(next(iter(table))).__members__.values())


def test_labels_in_the_document_are_those_of_the_code() -> None:
    from wardround.crypto import labels

    known = {v.decode().strip("\x01") for v in vars(labels).values() if isinstance(v, bytes)}
    for quoted in re.findall(r'"(wardround[^"]*)"', DOCUMENT.read_text()):
        assert quoted in known, quoted


def test_the_waiting_times_of_the_document_are_those_of_the_code() -> None:
    text = DOCUMENT.read_text()
    limits = Limits()
    assert f"for {limits.pending_seconds:.0f} s, at most\n{limits.pending:,}" in text
    assert f"replay memory of {limits.remembered:,} M1s" in text
    assert f"once {limits.cookie_above:,} handshakes" in text
    assert limits.pending_seconds == initiator.WAIT_SECONDS


if __name__ == "__main__":
    DOCUMENT.write_text(refreshed(DOCUMENT.read_text()))
