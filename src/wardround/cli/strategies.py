"""``wardround strategies`` and ``wardround explain``: what exists and what its TOML keys mean."""

from __future__ import annotations

import dataclasses
import inspect
import json
import typing
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from wardround.catalogue import KIND_TEXT
from wardround.cli.runs import read_text
from wardround.config import Experiment, nearest, parse
from wardround.drivers.simulation.strategies import simulated
from wardround.errors import UsageError
from wardround.secagg import explain as planned
from wardround.secagg.parameters import Lattice


def strategies(
    kind: str = typer.Argument("", help="Show only this kind (source, split, partition, model, ...)."),
) -> None:
    """List every strategy that an experiment file can name, by kind."""
    catalogue = simulated()
    if kind and kind not in KIND_TEXT:
        raise UsageError(f"no kind {kind!r}{nearest(kind, KIND_TEXT)}; there are {', '.join(KIND_TEXT)}")
    table = Table("kind", "use =", "what it is", box=None, pad_edge=False)
    for each in [kind] if kind else KIND_TEXT:
        for name in catalogue.names(each):
            found = catalogue.find(each, name)
            table.add_row(each, name, (inspect.getdoc(found) or "").split("\n")[0])
    Console(soft_wrap=False).print(table)


def explain(
    name: str = typer.Argument(..., help="A strategy's name, KIND.NAME, a table such as 'training', or 'secagg'."),
    experiment: Path | None = typer.Option(None, help="For 'secagg': the experiment whose table to explain."),
    clients: int = typer.Option(100, min=1, help="For 'secagg': clients invited to a round."),
    values: int = typer.Option(20_000, min=1, help="For 'secagg': parameters of the model."),
) -> None:
    """Explain a strategy or a table of the experiment file: what it does, its keys and their defaults.

    'secagg' prints what a secure sum costs and promises before anything runs: bits, bytes, security estimate, dropouts.
    """
    if name == "secagg":
        typer.echo(_sums(experiment, clients, values))
        return
    classes = _classes()
    wanted = [key for key in classes if key == name or key.split(".")[-1] == name]
    if not wanted:
        raise UsageError(f"nothing is named {name!r}{nearest(name, [*classes, *(k.split('.')[-1] for k in classes)])}")
    for key in wanted:
        typer.echo(describe(key, classes[key]))


def _sums(experiment: Path | None, clients: int, values: int) -> str:
    """Bits per value, bytes per client, security estimate, tolerated dropouts and collusion."""
    lattice, cohort = Lattice(), 0
    if experiment is not None:
        parsed = parse(read_text(experiment), simulated(), str(experiment))
        if not isinstance(parsed.secagg, Lattice):
            return describe(f"secagg.{parsed.secagg.name}", type(parsed.secagg))
        lattice, cohort = parsed.secagg, parsed.rounds.cohort_size
    return planned.text(planned.explain(lattice, clients, cohort, values, counts=5))


def describe(key: str, cls: type) -> str:
    """The text of ``explain``: docstring, then the TOML table with defaults."""
    kind, _, use = key.rpartition(".")
    table = {f.metadata.get("kind"): f.name for f in dataclasses.fields(Experiment)}.get(kind, use)
    if kind == "codec":
        settings = [f'use = "{use}"', *(f"{f.name} = {default_of(f)}" for f in dataclasses.fields(cls) if f.init)]
        return (
            "\n".join([key, "", inspect.getdoc(cls) or "", "", "[compress]", f"up = [{{{', '.join(settings)}}}]"])
            + "\n"
        )
    lines = [key, "", inspect.getdoc(cls) or "", "", f"[{table}]"]
    if kind:
        lines.append(f'use = "{use}"')
    lines += [f"{f.name} = {default_of(f)}" for f in dataclasses.fields(cls) if f.init]
    return "\n".join(lines) + "\n"


def _classes() -> dict[str, type]:
    catalogue = simulated()
    found: dict[str, type] = {
        f"{kind}.{name}": cls for kind in KIND_TEXT for name, cls in catalogue.kinds[kind].items()
    }
    hints = typing.get_type_hints(Experiment)
    for field in dataclasses.fields(Experiment):
        hint = hints[field.name]
        if "kind" not in field.metadata and dataclasses.is_dataclass(hint):
            found[field.name] = typing.cast("type", hint)
    return found


def default_of(field: dataclasses.Field[Any]) -> str:
    """A key's default as TOML writes it."""
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "...  # required"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
