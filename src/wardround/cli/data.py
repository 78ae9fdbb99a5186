"""``wardround data``: look at data before training on it."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from wardround.drivers.sources.inspect import Inspection, inspect

app = typer.Typer(help="Look at data sets before training on them.", no_args_is_help=True)


@app.command("inspect")
def inspect_command(
    path: Path = typer.Argument(..., help="A data file, or the folder of a data set as downloaded."),
    label: str = typer.Option("", help="The label column, for files of no known data set."),
) -> None:
    """Rows, classes, missing and infinite values, duplicates, natural clients, and columns that give the label away."""
    show(inspect(path, label=label))


def show(found: Inspection) -> None:
    """Print an inspection."""
    Console().print(Table(str(found)))
