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
from wardround.config import Experiment, looked_for, nearest, override, parse, setting
from wardround.drivers.simulation.strategies import simulated
from wardround.drivers.world import build, plan
from wardround.errors import ConfigError, UsageError
from wardround.federation import forecast, pipeline
from wardround.federation import robust as robustness
from wardround.federation.plan import prepare
from wardround.rng import stream
from wardround.secagg import explain as planned
from wardround.secagg.choice import PairwiseSum, PlainSum
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
    name: str = typer.Argument(
        ..., help="A strategy's name, KIND.NAME, a table such as 'training', or 'secagg', 'rule' or 'compress'."
    ),
    file: Path | None = typer.Argument(
        None, help="For 'secagg', 'rule' and 'compress': the experiment whose tables to explain."
    ),
    experiment: Path | None = typer.Option(None, help="The same as FILE."),
    data: Path | None = typer.Option(
        None, envvar="WARDROUND_DATA", help="For 'compress': the data's folder, from which the model's size follows."
    ),
    clients: int = typer.Option(100, min=1, help="For 'secagg', and 'rule' where the data says how many: clients."),
    values: int = typer.Option(20_000, min=1, help="For 'secagg': parameters of the model."),
) -> None:
    """Explain a strategy or a table of the experiment file: what it does, its keys and their defaults.

    'secagg' prints what a secure sum costs and promises before anything runs: bits, bytes, security estimate, dropouts, and
    which way of sharing was chosen and why. 'compress FILE' prints the bytes of each message of a round, up and down,
    beside dense. 'rule FILE' prints which rule the server uses and whether it holds against the hostile clients that
    [robust] assumes.
    """
    experiment = file or experiment
    if name == "secagg":
        typer.echo(_sums(experiment, clients, values))
        return
    if name == "rule" and experiment is not None:
        typer.echo(_rule(experiment, clients))
        return
    if name == "compress" and experiment is not None:
        typer.echo(forecast.text(messages(parse(read_text(experiment), simulated(), str(experiment)), data)))
        return
    classes = _classes()
    wanted = [key for key in classes if key == name or key.split(".")[-1] == name]
    if not wanted:
        raise UsageError(f"nothing is named {name!r}{nearest(name, [*classes, *(k.split('.')[-1] for k in classes)])}")
    for key in wanted:
        typer.echo(describe(key, classes[key]))


def messages(experiment: Experiment, folder: Path | None) -> list[forecast.Line]:
    """The messages of ``experiment``'s rounds; the statistics come from the whole table, as the federation's sums would.

    Raises:
        UsageError: the data is needed and no folder is named.
        ConfigError: a budget is too small for this model, or no secure sum fits.
    """
    source = experiment.data
    if folder is None and getattr(source, "needs_folder", True):
        raise UsageError(
            f"data source {source.name!r} reads files: name their folder with --data DIR or WARDROUND_DATA"
        )
    table = source.load(folder, stream(experiment.seed, "data"))
    world, agreed = build(experiment, table), plan(experiment, table)
    rows = world.split.train
    counts = pipeline.statistics(agreed, 1, table.x[rows], table.y[rows]).counts
    counts[0] = len(world.shares)
    try:
        prepared = prepare(agreed, counts)
    except ValueError as error:
        raise ConfigError(f"[compress] {error}") from error
    choice, clients = experiment.secagg, max(1, round(experiment.participation.fraction * len(world.shares)))
    lattice = choice.quantiser() if isinstance(choice, PairwiseSum) else choice
    summed = None if isinstance(lattice, PlainSum) else lattice
    return forecast.lines(agreed, prepared, forecast.Sums(summed, clients, experiment.rounds.cohort_size))


def mount(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.command("strategies")(strategies)
    app.command("explain")(explain)


def _rule(file: Path, clients: int) -> str:
    """The rule, what the server sees, and the outlook; without an assumption in the file, for 20 % hostile clients."""
    # the point is to explain a rule that does not hold, so the file is read without being refused for that
    parsed = parse(override(read_text(file), ['robust.on_doubt="warn"'], str(file)), simulated(), str(file))
    robust = parsed.robust if parsed.robust.assumed_hostile else dataclasses.replace(parsed.robust, assumed_hostile=0.2)
    there = int(getattr(parsed.partition, "clients", clients))
    added = looked_for(dataclasses.replace(parsed, robust=robust), there)
    return robustness.text(parsed.rule, robust, setting(parsed, there)) + added


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
