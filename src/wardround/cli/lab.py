"""``wardround lab generate``: captures of hospital wards with known attacks, for tests and trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from wardround.drivers.sources.lab.files import NOTE, generate
from wardround.drivers.sources.lab.recording import Plan, quiet
from wardround.errors import UsageError

app = typer.Typer(help="Generated captures of hospital wards with known attacks.", no_args_is_help=True)


@app.callback()
def lab() -> None:
    """Generated captures of hospital wards with known attacks."""


@app.command("generate")
def generate_command(
    folder: Path = typer.Argument(..., help="A new or empty folder for the captures."),
    wards: int = typer.Option(8, help="Wards whose attacks are of their own mix."),
    unseen: int = typer.Option(1, help="Further wards that see every attack in turn: to test on."),
    seed: int = typer.Option(1, help="Everything follows from it."),
    sessions: int = typer.Option(4, help="Captures of each ward, spread over a day."),
    minutes: float = typer.Option(10.0, help="Length of each."),
    size: float = typer.Option(1.0, help="Scales the number of devices (1: about a dozen a ward)."),
    attacks: float = typer.Option(0.4, help="Share of the time in which an attack goes on."),
    oddities: float = typer.Option(0.15, help="Share of the time in which something harmless looks like one."),
    held_out: str = typer.Option("", help="A class or family that only the unseen wards suffer."),
    benign: bool = typer.Option(False, "--benign", help="No attacks and no oddities."),
) -> None:
    """Write WARD.pcap, its per-packet labels and the truth about its incidents, for each ward. Generated, NOT captured."""
    plan = _plan(
        wards=wards, unseen=unseen, sessions=sessions, minutes=minutes, size=size, attack_share=attacks,
        oddity_share=oddities, held_out=held_out,
    )  # fmt: skip
    typer.echo(NOTE)
    for name, packets, incidents in generate(folder, quiet(plan) if benign else plan, seed):
        typer.echo(f"{name:<22} {packets:>9,} packets {incidents:>4} incidents")
    typer.echo(f"captures: {folder}")


def mount(main: typer.Typer) -> None:
    """Add these commands to ``main``."""
    main.add_typer(app, name="lab")


def _plan(**keys: Any) -> Plan:
    try:
        return Plan(**keys)
    except ValueError as error:
        raise UsageError(str(error)) from error
