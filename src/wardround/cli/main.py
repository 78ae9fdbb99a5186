"""The command ``wardround``: parse, call, print. Errors are one line on stderr; exit codes: docs/reference/errors.md."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from wardround import __version__
from wardround.cli import data, deployed, lab, registrar, runs, strategies, tune, watching
from wardround.drivers.simulation.run import Stopped
from wardround.errors import WardroundError

STOPPED = 130
"""Exit code after Ctrl-C or SIGTERM, as shells count it (128 + SIGINT)."""

app = typer.Typer(
    help="Federated intrusion and anomaly detection for the Internet of Medical Things.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("simulate")(runs.simulate)
app.command("resume")(runs.resume)
app.command("compare")(runs.compare)
app.command("report")(runs.report)
app.command("replay")(runs.replay)
app.command("tune")(tune.tune)
app.command("strategies")(strategies.strategies)
app.command("explain")(strategies.explain)
deployed.mount(app)
registrar.mount(app)
watching.mount(app)
app.add_typer(data.app, name="data")
app.add_typer(lab.app, name="lab")


def _version(show: bool) -> None:
    if show:
        typer.echo(f"wardround {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    """Federated intrusion and anomaly detection for the Internet of Medical Things."""
    del version


def main() -> None:
    """Run the command line; every foreseen error becomes one line and its exit code."""
    try:
        app(standalone_mode=True)
    except WardroundError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"error [{error.code}]: {error}", style="red", markup=False
        )
        sys.exit(error.exit_status)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        sys.exit(STOPPED)
    except BrokenPipeError:  # the reader (head, a pager) has gone
        sys.exit(0)
