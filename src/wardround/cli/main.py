"""The command ``wardround``: parse, call, print. Errors are one line on stderr; exit codes: docs/reference/errors.md."""

from __future__ import annotations

import sys

import typer

from wardround.cli.commands import build
from wardround.errors import Stopped, WardroundError

STOPPED = 130
"""Exit code after Ctrl-C or SIGTERM, as shells count it (128 + SIGINT)."""


def main() -> None:
    """Run the command line; every foreseen error becomes one line and its exit code."""
    try:
        build(sys.argv[1:])(standalone_mode=True)
    except WardroundError as error:
        from rich.console import Console  # only a process that fails needs it

        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"error [{error.code}]: {error}", style="red", markup=False
        )
        sys.exit(error.exit_status)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        sys.exit(STOPPED)
    except BrokenPipeError:  # the reader (head, a pager) has gone
        sys.exit(0)
