from __future__ import annotations

import io

import pytest
from rich.console import Console

from wardround import events
from wardround.drivers.sinks.progress import Progress
from wardround.events import Event


def done(number: int) -> Event:
    return events.RoundDone(number, 10, 8, 1, 1, 0, 0, 0.5, 1.0, 100, 100, 0.1)


def run(rounds: int, resumed: int = 0) -> list[Event]:
    stream: list[Event] = [
        events.ColumnDropped("SrcMac", "an identifier"),
        events.Note("data", "[bold]not markup[/bold] \x1b[2J"),
        events.RunStarted("r1", "demo", 7, 10, rounds, 5000, resumed),
        events.StageStarted("federate", "federated training", rounds),
    ]
    for number in range(resumed + 1, rounds + 1):
        stream += [done(number), events.Measured(number, "validation", 0.75, 0.7, 0.9), events.CheckpointSaved(number)]
    return [
        *stream,
        events.RoundFailed(rounds, 10, 1, 5, "too few clients"),
        events.StageDone("federate", 2.5),
        events.StageStarted("centralised", "centralised model", 4),
        events.StageProgress("centralised", 2, 4),
        events.StageProgress("unheard of", 2, 4),
        events.StageDone("centralised", 1.0),
        events.RunDone("r1", rounds, 0.8, 4.0),
    ]


def shown(stream: list[Event], *, terminal: bool, quiet: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=140, color_system=None)
    ticks = iter(range(100_000))
    with Progress(quiet=quiet, console=console, clock=lambda: float(next(ticks))) as emit:
        for event in stream:
            emit(event)
    return file.getvalue()


def test_plain_output_is_a_line_about_every_tenth_of_the_rounds() -> None:
    lines = [
        line for line in shown(run(100), terminal=False).splitlines() if line.startswith("round ") and "/100" in line
    ]
    assert [int(line.split()[1].split("/")[0]) for line in lines] == [1, *range(10, 101, 10)]
    assert "macro-F1 0.750  answered 8/10  loss 0.500  left " in lines[1]


def test_plain_eta_counts_only_rounds_of_this_session() -> None:
    text = shown(run(100, resumed=90), terminal=False)
    # One tick of the clock at the start and one per line: round 91 took 1 s, 9 are left.
    assert "round 91/100  answered 8/10  loss 0.500  left 9.0 s" in text
    assert "going on after round 90" in text


@pytest.mark.parametrize("terminal", [False, True])
def test_what_the_reader_must_know_is_shown_on_any_screen(terminal: bool) -> None:
    text = shown(run(5), terminal=terminal)
    assert "column SrcMac not used: an identifier" in text
    assert "note: [bold]not markup[/bold]" in text
    assert "round 5 failed: too few clients (1/10 answered, 5 needed)" in text
    assert "test macro-F1 0.800" in text
    assert "\x1b[2J" not in text


def test_a_terminal_gets_a_bar_with_rounds_and_measures() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=160, color_system=None)
    with Progress(console=console) as emit:
        for event in [*run(5)[:4], done(1), events.Measured(1, "validation", 0.625, 0.7, 0.9), done(2)]:
            emit(event)
    text = file.getvalue()
    assert "federated training" in text
    assert "2/5" in text
    assert "macro-F1 0.625  answered 8/10  loss 0.500" in text


def interrupted(console: Console) -> None:
    with Progress(console=console) as emit:
        emit(events.StageStarted("load", "loading", 0))
        raise KeyError


def test_the_cursor_is_given_back_after_an_error() -> None:
    file = io.StringIO()
    with pytest.raises(KeyError):
        interrupted(Console(file=file, force_terminal=True))
    assert file.getvalue().rfind("\x1b[?25h") > file.getvalue().rfind("\x1b[?25l") >= 0


def test_quiet_shows_nothing() -> None:
    assert shown(run(20), terminal=True, quiet=True) == ""
    assert shown(run(20), terminal=False, quiet=True) == ""
