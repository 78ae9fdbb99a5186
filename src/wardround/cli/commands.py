"""Which file holds which command, so that a process loads what its own command needs and nothing else.

A gateway's detector is meant to be small: `wardround watch` must not pay for the simulator's imports (about 30 MB).
Law: a room mounted alone has exactly the commands that ``ROOMS`` says (tests/cli/test_cli_commands.py).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import typer

from wardround import __version__

ROOMS: dict[str, tuple[str, ...]] = {
    "runs": ("simulate", "resume", "compare", "report", "replay"),
    "tune": ("tune",),
    "strategies": ("strategies", "explain"),
    "deployed": ("keys", "serve", "join", "status", "rounds", "doctor"),
    "registrar": ("init", "token", "enrol", "registry"),
    "watching": ("watch", "devices", "calibrate", "incidents", "models"),
    "data": ("data",),
    "lab": ("lab",),
}


def build(words: Sequence[str] = ()) -> typer.Typer:
    """The command line for ``words`` as typed: with the one room that has their command, or with all (help, a typing error)."""
    app = typer.Typer(
        help="Federated intrusion and anomaly detection for the Internet of Medical Things.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    wanted = [room for room, commands in ROOMS.items() if words and words[0] in commands]
    for room in wanted or ROOMS:
        importlib.import_module(f"wardround.cli.{room}").mount(app)
    return app


def _version(show: bool) -> None:
    if show:
        typer.echo(f"wardround {__version__}")
        raise typer.Exit


def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    """Federated intrusion and anomaly detection for the Internet of Medical Things."""
    del version
