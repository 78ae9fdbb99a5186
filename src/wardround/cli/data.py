"""``wardround data inspect | sources``: look at data before training on it, and see which data sets can be read.

Printing only: what stands in a file is found by drivers/sources/inspect.py. Tables are laid out for 80 columns.
"""

from __future__ import annotations

import dataclasses
import inspect as python_inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from wardround.cli.strategies import default_of
from wardround.drivers.strategies import full

if TYPE_CHECKING:
    from wardround.drivers.sources.inspect import Inspection
    from wardround.drivers.sources.shortcut import Shortcut

UNMARKED = 5
"""Columns without a mark that are shown all the same, so that one sees how far the marked ones stand out."""
COLORS = {"LEAK": "bold red", "GROUPS": "bold yellow", "": ""}

app = typer.Typer(help="Look at data sets before training on them.", no_args_is_help=True)


@app.command("inspect")
def inspect_command(
    path: Path = typer.Argument(..., help="A data file, or the folder of a data set as downloaded."),
    label: str = typer.Option("", help="The label column, for files of no known data set."),
    every: bool = typer.Option(False, "--all", help="Show every column, not only those that stand out."),
) -> None:
    """Rows, classes, missing and infinite values, duplicates, natural clients, and columns that give the label away."""
    from wardround.drivers.sources.inspect import inspect  # pandas is needed here only

    show(inspect(path, label=label), every=every)


@app.command("sources")
def sources() -> None:
    """List the data sets that an experiment can name, with the keys of their [data] table."""
    console, catalogue = Console(highlight=False), full()
    for name in catalogue.names("source"):
        found = catalogue.kinds["source"][name]
        console.print(f"[bold]{escape(name)}[/]")
        console.print(Text((python_inspect.getdoc(found) or "").split("\n")[0]))
        if not getattr(found, "needs_folder", True):
            console.print("embedded: needs no --data", style="dim")
        keys = [f"{field.name} = {default_of(field)}" for field in dataclasses.fields(found) if field.init]
        console.print(Text("\n".join(f"    {line}" for line in [f'use = "{name}"', *keys])))
        console.print()
    console.print("What a key means: wardround explain NAME", style="dim")


def show(found: Inspection, *, every: bool = False) -> None:
    """Print an inspection, section by section; ``every``: all columns instead of those that stand out."""
    console = Console(highlight=False)
    console.print(Text(found.path, style="bold"), soft_wrap=True)
    files = "1 file" if len(found.files) == 1 else f"{len(found.files)} files"
    console.print(Text(f"{found.dataset} data set, {files}, {found.rows:,} rows, {len(found.columns)} columns"))
    _counted(console, f"Classes (label: {found.label})", found.classes, found.rows, found.benign)
    _columns(console, found, every=every)
    _duplicates(console, found)
    if found.clients:
        _counted(console, "Natural clients", found.clients, found.rows, "")
    else:
        _heading(console, "Natural clients")
        console.print("none told by the files: choose a partition such as dirichlet")
    _shortcuts(console, found, every=every)
    if found.notes:
        _heading(console, "Notes")
        for note in found.notes:
            console.print(Text(f"- {note}"))


def mount(main: typer.Typer) -> None:
    """Add these commands to ``main``."""
    main.add_typer(app, name="data")


def _heading(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold"))


def _counted(console: Console, title: str, counts: Sequence[tuple[str, int]], rows: int, benign: str) -> None:
    """Names with their rows and share; the benign class is told."""
    _heading(console, title)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("name", overflow="fold")
    for head in ("rows", "share"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("")
    for name, count in counts:
        mark = "normal traffic" if benign and name == benign else ""
        table.add_row(Text(name or "(empty)"), f"{count:,}", f"{count / max(rows, 1):.1%}", mark)
    console.print(table)


def _columns(console: Console, found: Inspection, *, every: bool) -> None:
    """Missing, infinite and constant values, in the columns that have them."""
    _heading(console, "Columns")
    shown = [c for c in found.columns if every or c.missing or c.infinite]
    if shown:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("column", overflow="fold")
        for head in ("missing", "infinite", "distinct"):
            table.add_column(head, justify="right", no_wrap=True)
        for c in shown:
            table.add_row(Text(c.name), f"{c.missing:,}", f"{c.infinite:,}", f"{c.distinct:,}")
        console.print(table)
    if not any(c.missing or c.infinite for c in found.columns):
        console.print("no missing and no infinite values")
    constant = ", ".join(found.constant) or "none"
    console.print(Text(f"constant: {constant}"))


def _duplicates(console: Console, found: Inspection) -> None:
    _heading(console, "Duplicates")
    share = found.duplicates / max(found.rows, 1)
    console.print(Text(f"{found.duplicates:,} rows ({share:.1%}) repeat an earlier one, labels aside"))
    console.print(Text(f"{found.conflicting:,} rows share all columns with a row of another class"))


def _shortcuts(console: Console, found: Inspection, *, every: bool) -> None:
    """The columns that predict the label on their own, and a few that do not."""
    _heading(console, "Columns that predict the label on their own")
    if not found.shortcuts:
        console.print("one class only: nothing to predict")
        return
    marked = [s for s in found.shortcuts if s.mark]
    plain = [s for s in found.shortcuts if not s.mark]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("column", overflow="fold")
    table.add_column("mark", no_wrap=True)
    table.add_column("tells", no_wrap=True)
    for head in ("bal. acc.", "chance", "macro-F1"):
        table.add_column(head, justify="right", no_wrap=True)
    for each in [*marked, *(plain if every else plain[:UNMARKED])]:
        skill = each.skill
        score, chance, f1 = f"{skill.balanced_accuracy:.3f}", f"{skill.chance:.3f}", f"{skill.macro_f1:.3f}"
        table.add_row(Text(each.column), Text(each.mark, style=COLORS[each.mark]), skill.target, score, chance, f1)
    console.print(table)
    if not every and len(plain) > UNMARKED:
        console.print(f"{len(plain) - UNMARKED} more columns tell less: --all shows them", style="dim")
    for each in marked:
        if each.groups:
            console.print(Text(f"{each.column} parts: {_parts(each, found)}"))
    console.print(_verdict(found), markup=False)


def _parts(each: Shortcut, found: Inspection) -> str:
    groups = ("{" + ", ".join(found.classes[c][0] for c in group) + "}" for group in each.groups)
    return " | ".join(groups)


def _verdict(found: Inspection) -> str:
    lines = []
    if found.leaks:
        lines.append("LEAK: alone it gives the label away. Drop identifiers and clocks; look why a measurement does.")
    if found.suspects:
        lines.append("GROUPS: parts the classes by nature or by the recording. A person must look.")
    return "\n".join(lines) or "No column is marked. That does not prove the data honest."
