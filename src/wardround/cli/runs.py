"""``wardround simulate | resume | compare | report | replay``: runs, from the experiment file to the report."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import typer
from rich.console import Console

from wardround.config import override, parse
from wardround.drivers.simulation.run import Options, resume_run, start_run
from wardround.drivers.simulation.strategies import simulated
from wardround.drivers.sinks.compare import compare as compare_runs
from wardround.drivers.sinks.compare import render, write_comparison
from wardround.drivers.sinks.jsonlog import read
from wardround.drivers.sinks.progress import Progress
from wardround.drivers.sinks.report import write_report
from wardround.drivers.store.rundir import RunDir, find
from wardround.errors import UsageError

RUNS = typer.Option(Path("runs"), "--runs", help="Where run folders are kept.")
DATA = typer.Option(None, "--data", envvar="WARDROUND_DATA", help="Folder with the official data downloads.")
QUIET = typer.Option(False, "--quiet", "-q", help="Print only the result.")


def simulate(
    experiment: Path = typer.Argument(..., help="The experiment, a TOML file (see `wardround strategies`)."),
    data: Path | None = DATA,
    runs: Path = RUNS,
    seed: int | None = typer.Option(None, help="Use this seed instead of the file's."),
    repeat: int = typer.Option(1, min=1, help="Run with this many seeds, counting up, and compare."),
    sets: list[str] = typer.Option([], "--set", metavar="TABLE.KEY=VALUE", help="Change a key, e.g. rounds.count=10."),
    quiet: bool = QUIET,
) -> None:
    """Run a whole federation in one process: load, split, deal, prepare, train, aggregate, evaluate, report.

    Ctrl-C stops cleanly after the exchange in flight; `wardround resume RUN` goes on, also after a crash.
    """
    text = override(read_text(experiment), sets, str(experiment))
    parsed = parse(text, simulated(), str(experiment))
    first = parsed.seed if seed is None else seed
    folders = []
    for number in range(first, first + repeat):
        options = Options(data=data, runs=runs, seed=number, command=_command())
        with Progress(quiet=quiet) as emit:
            run = start_run(text, str(experiment), options, emit)
        folders.append(run.path)
        _say(run)
    if repeat > 1:
        Console().print(render(compare_runs(folders)))


def resume(
    run: str = typer.Argument(..., help="A run's folder, its id or a part of it, or 'last'."),
    data: Path | None = DATA,
    runs: Path = RUNS,
    quiet: bool = QUIET,
) -> None:
    """Go on with a run that was stopped or killed; it ends bit-identical to an undisturbed one."""
    folder = find(runs, run)
    with Progress(quiet=quiet) as emit:
        resume_run(folder, Options(data=data, runs=runs, seed=None, command=_command()), emit)
    _say(folder)


def compare(
    run: list[str] = typer.Argument(..., help="Two or more runs (folders, ids, or parts of ids)."),
    runs: Path = RUNS,
    html: Path | None = typer.Option(None, help="Also write a page with the curves side by side."),
) -> None:
    """Put runs side by side: results, differing settings, mean and spread over seeds."""
    folders = [find(runs, each).path for each in run]
    Console().print(render(compare_runs(folders)))
    if html is not None:
        typer.echo(f"curves: {write_comparison(folders, html)}")


def report(run: str = typer.Argument(..., help="A finished run."), runs: Path = RUNS) -> None:
    """Write a run's report again."""
    typer.echo(str(write_report(find(runs, run).path)))


def replay(run: str = typer.Argument(..., help="A run."), runs: Path = RUNS) -> None:
    """Show a run's log again as it went by."""
    with Progress(quiet=False) as emit:
        for event in read(find(runs, run).log):
            emit(event)


def mount(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    for command in (simulate, resume, compare, report, replay):
        app.command(command.__name__)(command)


def _say(run: RunDir) -> None:
    models = run.json("metrics.json")["models"]
    names = [name for name in ("federated", "centralised", "local") if models[name]]
    parts = [f"{name} {models[name]['overall']['macro_f1']:.3f}" for name in names]
    typer.echo(f"macro-F1 on test rows: {', '.join(parts)}")
    typer.echo(f"report: {run.report}")


def read_text(path: Path) -> str:
    """A text file named on the command line.

    Raises:
        UsageError: it cannot be read, or is not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file (UTF-8): {error}") from error


def _command() -> str:
    return shlex.join(["wardround", *sys.argv[1:]])
