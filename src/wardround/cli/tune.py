"""``wardround tune``: search an experiment's settings on validation sums."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from wardround.cli.runs import DATA, QUIET, read_text
from wardround.config import override, parse
from wardround.drivers.simulation.strategies import simulated
from wardround.drivers.simulation.tuning import Budget, Wish, usual
from wardround.drivers.simulation.tuning import tune as search
from wardround.drivers.simulation.tuning import vary as read_vary
from wardround.drivers.sinks.progress import Progress


def tune(
    experiment: Path = typer.Argument(..., help="The experiment, a TOML file."),
    vary: list[str] = typer.Option(
        [], "--vary", metavar="TABLE.KEY=LOW..HIGH", help="What to vary, a range or A|B|C; default: the usual settings."
    ),
    trials: int = typer.Option(20, min=1, help="Trials in all, those of an earlier start included."),
    minutes: float = typer.Option(0.0, min=0.0, help="Begin no trial after so many minutes; 0: no limit."),
    folder: Path | None = typer.Option(None, help="Where the study is kept; the same folder goes on with it."),
    sets: list[str] = typer.Option([], "--set", metavar="TABLE.KEY=VALUE", help="Change a key first."),
    data: Path | None = DATA,
    quiet: bool = QUIET,
) -> None:
    """Search an experiment's settings within a budget, on the validation sums that the server may know; test rows steer nothing.

    Ctrl-C loses the trial in flight; the same command goes on.
    """
    text = override(read_text(experiment), sets, str(experiment))
    parsed = parse(text, simulated(), str(experiment))
    what = tuple(read_vary(one) for one in vary) or usual(parsed)
    where = folder or Path("runs") / f"tune-{parsed.name}-s{parsed.seed}"
    wish = Wish(text, str(experiment), what, Budget(trials, minutes), where, data)
    with Progress(quiet=quiet) as emit:
        found = search(wish, emit)
    table = Table("setting", "best value", title=f"{found.trials} trials, {found.pruned} of them stopped early")
    for key, value in found.settings.items():
        table.add_row(key, value)
    Console().print(table)
    typer.echo(f"validation macro-F1 {found.value:.4f}; the file as it stands {found.as_it_stands:.4f}")
    typer.echo(f"the experiment with these settings: {where / 'best.toml'}")


def mount(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("tune")(tune)
