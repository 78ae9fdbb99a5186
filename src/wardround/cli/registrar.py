"""``wardround init | token | enrol | registry ...``: who may take part, from the federation's keys to a revocation."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from wardround.drivers.store.administering import Office

FOLDER = typer.Option(
    Path("registrar"),
    "--registrar",
    envvar="WARDROUND_REGISTRAR",
    help="The registrar's folder (wardround init makes it).",
)
SECRET = typer.Option(
    "",
    "--passphrase",
    envvar="WARDROUND_PASSPHRASE",
    help="Opens (or, for new ones, protects) key files; better in the environment than on the command line.",
    show_envvar=True,
)
WHICH = typer.Argument(..., help="A gateway's name, its id, or the beginning of its id.")
UNTIL = typer.Option(None, help="Last epoch in which the token is good; by default the next one.")
REASON = typer.Option("", help="For the audit log.")

registry = typer.Typer(help="Administer the registry: the registrar's list of who may take part.", no_args_is_help=True)


def init(
    folder: Path = typer.Argument(..., metavar="DIR", help="Where the federation is made."),
    name: str = typer.Option("", help="The federation's name; by default the folder's."),
    suite: str = typer.Option("x-wing", help="x-wing, ml-kem-768 or ml-kem-1024."),
    url: str = typer.Option("", "--registry", help="A PostgreSQL URL; by default SQLite in DIR/registrar."),
    export: list[str] = typer.Option(
        [], metavar="FILE", help="A file that every change is exported to at once, seen from DIR/registrar."
    ),
    passphrase: str = SECRET,
) -> None:
    """Make a federation: registrar keys and registry, the public anchor, a TOML file. On the registrar's machine."""
    from wardround.auth.suites import named
    from wardround.drivers.store.administering import Office
    from wardround.drivers.store.registrar import Registrar, Wish

    wish = Wish(name or folder.resolve().name, named(suite), url, tuple(export))
    _say(Office(Registrar(folder / "registrar"), passphrase).init(folder, wish))


def token(
    name: str = typer.Argument(..., help="The gateway's name, as the federation file lists it."),
    until: int | None = UNTIL,
    folder: Path = FOLDER,
    passphrase: str = SECRET,
) -> None:
    """Issue a one-time enrolment token for a gateway; it is printed once and stored as a hash."""
    _say(_office(folder, passphrase).token(name, until))


def enrol(
    file: Path = typer.Argument(..., help="The federation, a TOML file; its keys folder holds federation.anchor."),
    name: str = typer.Option(..., "--as", help="This gateway's name."),
    token: str = typer.Option("", help="The registrar's token: make the keys and print the request."),
    answer: str = typer.Option(
        "", metavar="FILE", help="The registrar's answer, - for standard input: end the enrolment."
    ),
    committee: bool = typer.Option(
        False, help="Make an ML-DSA-65 signing key too: the gateway may serve on a committee."
    ),
    registrar: Path | None = typer.Option(
        None, help="The registrar's folder, where it is on this machine: both steps at once."
    ),
    data: Path | None = typer.Option(
        None, "--data", envvar="WARDROUND_DATA", help="Folder with the data, where names come from it."
    ),
    passphrase: str = SECRET,
) -> None:
    """Enrol a gateway, on its own machine: once with --token, once with the --answer; without either the request again."""
    from wardround.drivers.nats.provisioning import Enrol
    from wardround.drivers.nats.provisioning import enrol as enrolled

    given = _read(answer) if answer else ""
    _say(enrolled(Enrol(file, name, data, token, given, committee, registrar, passphrase)))


@registry.command("list")
def list_(folder: Path = FOLDER) -> None:
    """List devices and open tokens."""
    _say(_office(folder).listing())


@registry.command()
def show(which: str = WHICH, folder: Path = FOLDER) -> None:
    """Show one device and its history."""
    _say(_office(folder).show(which))


@registry.command()
def answer(
    request: str = typer.Argument("-", help="File with a gateway's request; - for standard input."),
    folder: Path = FOLDER,
    passphrase: str = SECRET,
) -> None:
    """Answer an enrolment request: the token in it must be good. Prints the answer for the gateway."""
    from wardround.drivers.nats.provisioning import answered

    _say(answered(folder, _read(request), passphrase))


@registry.command()
def publish(
    key: str = typer.Argument(..., help="File with the coordinator's server.pub; - for standard input."),
    first: int | None = typer.Option(None, "--from", help="First epoch of the key; by default the next one."),
    last: int | None = typer.Option(None, "--to", help="Last epoch of the key; by default all that follow."),
    folder: Path = FOLDER,
    passphrase: str = SECRET,
) -> None:
    """Sign the coordinator's key: from now on gateways expect this server."""
    _say(_office(folder, passphrase).publish(_read(key), first, last))


@registry.command()
def revoke(which: str = WHICH, reason: str = REASON, folder: Path = FOLDER, passphrase: str = SECRET) -> None:
    """Revoke a device for good: its key never comes back."""
    from wardround.auth.trust import Turn

    _say(_office(folder, passphrase).turn(which, Turn.REVOKE, reason))


@registry.command()
def quarantine(which: str = WHICH, reason: str = REASON, folder: Path = FOLDER, passphrase: str = SECRET) -> None:
    """Quarantine a device until it is released."""
    from wardround.auth.trust import Turn

    _say(_office(folder, passphrase).turn(which, Turn.QUARANTINE, reason))


@registry.command()
def release(which: str = WHICH, reason: str = REASON, folder: Path = FOLDER, passphrase: str = SECRET) -> None:
    """Release a device from quarantine: it is on probation first."""
    from wardround.auth.trust import Turn

    _say(_office(folder, passphrase).turn(which, Turn.RELEASE, reason))


@registry.command()
def rotate(which: str = WHICH, until: int | None = UNTIL, folder: Path = FOLDER, passphrase: str = SECRET) -> None:
    """Issue a token for a device's next key; the old one is revoked after the new one's first handshake."""
    _say(_office(folder, passphrase).rotate(which, until))


@registry.command()
def judge(
    which: str = WHICH,
    source: str = typer.Option(..., help="Which room says so, for example rule.krum or alerts."),
    good: float = typer.Option(0.0, min=0.0, help="Weight of good evidence."),
    bad: float = typer.Option(0.0, min=0.0, help="Weight of bad evidence."),
    folder: Path = FOLDER,
    passphrase: str = SECRET,
) -> None:
    """Take in a verdict: it moves the device's score, and at a threshold its state."""
    from wardround.auth.trust import Verdict

    _say(_office(folder, passphrase).judge(which, Verdict(source, good, bad)))


@registry.command()
def suspects(
    log: str = typer.Argument(..., help="The coordinator's log.jsonl; - for standard input."),
    quarantine: bool = typer.Option(
        False, "--quarantine", help="Quarantine here whom the coordinator has quarantined, unless you decided since."
    ),
    folder: Path = FOLDER,
    passphrase: str = SECRET,
) -> None:
    """List gateways whose trust fell at the coordinator, and why; it suspects, you decide."""
    _say(_office(folder, passphrase).suspects(_read(log), quarantine))


@registry.command()
def finish(
    devices: str = typer.Argument(..., help="The coordinator's authenticated.txt; - for standard input."),
    folder: Path = FOLDER,
    passphrase: str = SECRET,
) -> None:
    """Burn the tokens of devices that authenticated, and revoke the keys that theirs replace."""
    _say(_office(folder, passphrase).finish(_read(devices)))


@registry.command()
def withdraw(
    token_id: str = typer.Argument(..., help="A token's id, as wardround registry list shows it."),
    folder: Path = FOLDER,
    passphrase: str = SECRET,
) -> None:
    """Make a token worthless."""
    _say(_office(folder, passphrase).withdraw(token_id))


@registry.command()
def export(
    to: Path | None = typer.Argument(None, help="Where to write it; by default the standing exports."),
    revocations: bool = typer.Option(False, help="Write the public revocation list instead."),
    folder: Path = FOLDER,
    passphrase: str = SECRET,
) -> None:
    """Write the signed roster and server key for the coordinator: its keys/roster.export."""
    office = _office(folder, passphrase)
    _say(office.revocations(to) if revocations and to is not None else office.export(to))


@registry.command()
def audit(
    expected: str = typer.Option(
        "", "--head", help="A head noted before (NUMBER:HASH): a log cut or rewritten since is found."
    ),
    entries: bool = typer.Option(False, help="Print the entries too."),
    folder: Path = FOLDER,
) -> None:
    """Verify the audit log's chain and signatures, and that every state is what the log says; tells where it breaks."""
    _say(_office(folder).audit(expected, entries))


def mount(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    for command in (init, token, enrol):
        app.command(command.__name__)(command)
    app.add_typer(registry, name="registry")


def _office(folder: Path, passphrase: str = "") -> Office:
    from wardround.drivers.store.administering import Office
    from wardround.drivers.store.registrar import Registrar

    return Office(Registrar(folder), passphrase)


def _read(name: str) -> str:
    from wardround.errors import UsageError

    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} cannot be read: {error}") from error


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)
