"""Progress of a run on a terminal: a bar over the rounds with ETA and the last measures, a line per finished stage.

A function of the event stream alone, so ``wardround replay`` shows a log the same way. Where nobody watches (a file,
a pipe) it prints a plain line about every tenth of the rounds instead. It writes to standard error; results belong to
standard output.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from wardround import events
from wardround.drivers.sinks.numerals import count, duration, fixed, known
from wardround.events import Emit, Event

ROUNDS = "federate"  # the stage whose steps are the rounds
PLAIN_LINES = 10


class Progress:
    """``with Progress() as emit``: shows the events given to ``emit``.

    Args:
        quiet: show nothing.
        console: where to write; standard error if None.
        clock: seconds, for the ETA of the plain lines.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quiet = quiet
        self._console = console if console is not None else Console(stderr=True)
        self._clock = clock
        self._bars: _Bars | None = None

    def __enter__(self) -> Emit:
        if self._quiet:
            return events.ignore
        if not self._console.is_terminal:
            return _Plain(self._console, self._clock)
        self._bars = _Bars(self._console)
        return self._bars

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()


class _Plain:
    """Sparse lines for a log file or a pipe."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console, self._clock = console, clock
        self._rounds, self._first, self._began = 0, 0, clock()
        self._f1: float | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, events.RunStarted):
            self._rounds, self._first, self._began = event.rounds, event.resumed_round, self._clock()
        elif isinstance(event, events.Measured):
            self._f1 = event.macro_f1 if event.part == "validation" else self._f1
        elif isinstance(event, events.StageStarted):
            self._print(f"{event.text} ...")
        elif isinstance(event, events.RoundDone) and self._due(event.round):
            left = duration(self._left(event.round))
            self._print(f"round {event.round}/{self._rounds}  {_measures(event, self._f1)}  left {left}")
        line = _line(event)
        if line:
            self._print(line)

    def _due(self, number: int) -> bool:
        every = max(1, self._rounds // PLAIN_LINES)
        return number % every == 0 or number in (self._first + 1, self._rounds)

    def _left(self, number: int) -> float:
        return (self._clock() - self._began) / max(1, number - self._first) * max(0, self._rounds - number)

    def _print(self, line: str) -> None:
        self._console.print(_printable(line), markup=False, highlight=False, soft_wrap=True)


class _Bars:
    """Live bars for a terminal; a finished stage leaves one line above them."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[measures]}", markup=False, style="dim"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._bars.start()
        self._tasks: dict[str, TaskID] = {}
        self._resumed = 0
        self._f1: float | None = None

    def stop(self) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, events.RunStarted):
            self._resumed = event.resumed_round
        elif isinstance(event, events.StageStarted):
            self._start(event)
        elif isinstance(event, events.StageProgress):
            self._set(event.stage, event.done, None, event.total)
        elif isinstance(event, events.Measured):
            self._f1 = event.macro_f1 if event.part == "validation" else self._f1
        elif isinstance(event, events.RoundDone):
            self._set(ROUNDS, event.round, _measures(event, self._f1), None)
        elif isinstance(event, events.RoundFailed):
            self._set(ROUNDS, event.round, None, None)
        elif isinstance(event, events.StageDone):
            self._end(event.stage)
        self._print(event)

    def _start(self, event: events.StageStarted) -> None:
        self._end(event.stage)
        done = self._resumed if event.stage == ROUNDS else 0
        self._tasks[event.stage] = self._bars.add_task(
            event.text, total=event.total or None, completed=done, measures=""
        )

    def _set(self, stage: str, done: int, measures: str | None, total: int | None) -> None:
        task = self._tasks.get(stage)
        if task is None:
            return
        if measures is not None:
            self._bars.update(task, measures=measures)
        self._bars.update(task, completed=done, total=total or None)

    def _end(self, stage: str) -> None:
        task = self._tasks.pop(stage, None)
        if task is not None:
            self._bars.remove_task(task)

    def _print(self, event: Event) -> None:
        line = _line(event)
        if line:
            style = "yellow" if isinstance(event, events.RoundFailed | events.RunStopped) else ""
            self._bars.console.print(Text(_printable(line), style=style), soft_wrap=True)


def _measures(event: events.RoundDone, f1: float | None) -> str:
    parts = [f"answered {event.answered}/{event.invited}", f"loss {fixed(event.loss)}"]
    if known(f1):
        parts.insert(0, f"macro-F1 {fixed(f1)}")
    return "  ".join(parts)


def _printable(line: str) -> str:
    """The line without control characters: names come from data files and must not steer the terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


def _line(event: Event) -> str | None:
    """The line an event leaves behind, whatever the screen."""
    match event:
        case events.RunStarted():
            start = f", going on after round {event.resumed_round}" if event.resumed_round else ""
            sizes = (
                f"{count(event.clients)} clients, {count(event.rounds)} rounds, {count(event.parameters)} parameters"
            )
            return f"run {event.run}: {event.experiment}, seed {event.seed}, {sizes}{start}"
        case events.StageDone():
            return f"{event.stage} done in {duration(event.seconds)}"
        case events.ColumnDropped():
            return f"column {event.column} not used: {event.reason}"
        case events.Note():
            return f"note: {event.text}"
        case events.RoundFailed():
            answered = f"{event.answered}/{event.invited} answered, {event.needed} needed"
            return f"round {event.round} failed: {event.reason} ({answered})"
        case events.RunStopped():
            return f"stopped after round {event.round}; its checkpoint is saved"
        case events.RunDone():
            result = f"test macro-F1 {fixed(event.macro_f1)} after {event.rounds} rounds"
            return f"run {event.run} done: {result}, {duration(event.seconds)}"
        case _:
            return None
