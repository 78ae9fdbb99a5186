"""``wardround keys | serve | join | status | rounds | doctor``: a deployed federation, from its keys to its log.

Imports are inside the commands: an idle gateway must not hold what only reports and data files need.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from wardround.cli.registrar import SECRET
from wardround.events import Event, to_record

FILE = typer.Argument(..., help="The federation, a TOML file.")
DATA = typer.Option(
    None, "--data", envvar="WARDROUND_DATA", help="Folder with the data; not needed by the synthetic hospital."
)
STATE = typer.Option(
    Path("federation-state"), "--state", envvar="WARDROUND_STATE", help="Where state, log and result are kept."
)
QUIET = typer.Option(False, "--quiet", "-q", help="Print nothing; the log is in the state folder.")


def keys(
    file: Path = FILE,
    data: Path | None = DATA,
    coordinator: bool = typer.Option(False, help="Make the coordinator's keys only, on its own machine."),
    broker_config: bool = typer.Option(False, help="Print the accounts block for a broker of your own."),
    leaf: list[str] = typer.Option(
        [], help="Print a hospital's leaf node: accounts and remotes of this gateway (repeat)."
    ),
    through: str = typer.Option(
        "", help="With --leaf: where the cluster takes leaf nodes, tls://HOST:PORT, with commas."
    ),
    leaf_users: bool = typer.Option(False, help="Print the users that the cluster's brokers let in as leaf nodes."),
    passphrase: str = SECRET,
) -> None:
    """Make a federation's keys: all parties' at once on one machine (the lab), or only the coordinator's.

    The lab's short cut makes the registrar, enrols every gateway and exports the roster. Nothing is ever replaced.
    """
    from wardround.drivers.nats import provisioning

    for line in provisioning.keys(
        provisioning.Asked(file, data, coordinator, broker_config, tuple(leaf), through, leaf_users, passphrase)
    ):
        typer.echo(line)


def serve(
    file: Path = FILE,
    data: Path | None = DATA,
    state: Path = STATE,
    new: bool = typer.Option(False, "--new", help="Begin a new run; the state of the one before is replaced."),
    quiet: bool = QUIET,
) -> None:
    """Run the coordinator, with a private broker unless the file names one; goes on where it was stopped or killed."""
    from wardround.drivers.nats.serving import Serve, serve

    over = serve(Serve(file, data, state, new), _silent if quiet else _print)
    if not over:
        typer.echo("stopped; start again to go on", err=True)


def join(
    file: Path = FILE,
    name: str = typer.Option(..., "--as", help="This gateway's name."),
    data: Path | None = DATA,
    state: Path = STATE,
    http: int | None = typer.Option(None, help="Port of /health and /metrics, instead of the file's."),
    quiet: bool = QUIET,
) -> None:
    """Run a gateway agent: it trains on its own rows when invited, until it is stopped."""
    from wardround.drivers.nats.joining import Join, join

    join(Join(file, name, data, state, http), _silent if quiet else _print)


def status(
    file: Path = FILE, state: Path = STATE, as_json: bool = typer.Option(False, "--json", help="Print JSON.")
) -> None:
    """Show the run: phase, round, who is there. Reads the coordinator's endpoint, or its state where none runs."""
    from wardround.drivers.nats import standing

    found = standing.status(file, state)
    typer.echo(json.dumps(found, indent=1, ensure_ascii=False) if as_json else standing.text(found))


def rounds(
    state: Path = STATE,
    last: int = typer.Option(20, min=1, help="How many."),
) -> None:
    """List the run's rounds from the coordinator's log."""
    from wardround.drivers.nats import standing

    typer.echo(standing.rounds(state, last))


def doctor(
    file: Path = FILE,
    name: str = typer.Option("", "--as", help="Check as this gateway."),
    data: Path | None = DATA,
    state: Path = STATE,
) -> None:
    """Check versions, broker, keys, clock, disk and data source.

    Each finding that is not well comes with a remedy; exit code 1 says that there is one.
    """
    from wardround.drivers.nats.doctor import Patient, examine

    findings = examine(Patient(file, name, data, state))
    for finding in findings:
        typer.echo(f"{'ok  ' if finding.ok else 'BAD '} {finding.what}: {finding.found}")
        if not finding.ok:
            typer.echo(f"     -> {finding.remedy}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def mount(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    for command in (keys, serve, join, status, rounds, doctor):
        app.command(command.__name__)(command)


def _print(event: Event) -> None:
    sys.stdout.write(json.dumps(to_record(event), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _silent(event: Event) -> None:
    del event
