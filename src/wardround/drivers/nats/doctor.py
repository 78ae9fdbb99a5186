"""`wardround doctor`: is everything here that a coordinator or a gateway needs? A remedy for each finding.

Checks are functions from what is examined to findings; one that raises is a finding too, and no check stops the next.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from wardround.auth.trust import MAY_AUTHENTICATE, State
from wardround.drivers.nats.broker import executable
from wardround.drivers.nats.deployment import Federation, fingerprint, load, read, roster, unknown
from wardround.drivers.nats.keys import KeyFolder
from wardround.drivers.nats.link import LinkError, connect, request
from wardround.drivers.parties import signing
from wardround.drivers.parties.identities import enrolled, papers, passphrase
from wardround.drivers.parties.names import COORDINATOR, parts
from wardround.drivers.parties.securing import Securing
from wardround.errors import UsageError, WardroundError

NEEDED_BROKER = (2, 9)
FREE_BYTES = 500_000_000
BUILT = datetime(2026, 11, 1, tzinfo=UTC)
CONNECT_S = 5.0
SOON = timedelta(days=30)  # a certificate that ends so soon is a finding while there is time


@dataclass(frozen=True)
class Finding:
    """``what`` was looked at, what was ``found``, and the ``remedy`` where it is not ``ok``."""

    what: str
    ok: bool
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Patient:
    """The command line of `wardround doctor`; ``name``: of a gateway, empty for the coordinator."""

    file: Path
    name: str
    data: Path | None
    state: Path


@dataclass(frozen=True)
class _Case:
    patient: Patient
    federation: Federation
    keys: KeyFolder


def examine(patient: Patient) -> list[Finding]:
    """Every check, in the order in which faults build on each other."""
    findings = [
        _python(),
        *(_package(name) for name in ("numpy", "nats-py", "nkeys", "cryptography", "prometheus-client")),
    ]
    try:
        federation = read(patient.file)
    except WardroundError as error:
        return [
            *findings,
            Finding("federation file", False, str(error), "correct the file; `wardround explain NAME` lists keys"),
        ]
    findings.append(Finding("federation file", True, f"{patient.file}: {federation.name}"))
    case = _Case(patient, federation, KeyFolder(patient.file.parent / federation.broker.keys))
    for what, check in CHECKS.items():
        try:
            findings += check(case)
        except (WardroundError, OSError, ValueError) as error:
            findings.append(Finding(what, False, str(error), REMEDIES[what]))
    return findings


def _python() -> Finding:
    ok = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Finding("python", ok, platform.python_version(), "use Python 3.11 or 3.12")


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed", "pip install --force-reinstall wardround")


def _program(case: _Case) -> Iterator[Finding]:
    if case.federation.broker.url or case.patient.name:
        return
    text = subprocess.run([executable(), "--version"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    numbers = tuple(int(n) for n in text.rpartition("v")[2].split(".")[:2])
    yield Finding(
        "nats-server", numbers >= NEEDED_BROKER, text, "install nats-server 2.9 or newer: apt-get install nats-server"
    )


def _keys(case: _Case) -> Iterator[Finding]:
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(case.keys.authority.read_bytes())
    now = datetime.now(UTC)
    ends = certificate.not_valid_after_utc
    valid = certificate.not_valid_before_utc <= now <= ends - SOON
    yield Finding(
        "authority", valid, f"valid until {ends:%Y-%m-%d}", "set the clock right, or make new keys: wardround keys"
    )
    for owner in _owners(case):
        case.keys.seed(owner)
        yield Finding("key", True, f"{case.keys.seed_file(owner)} is there and private")
    yield from _membership(case)
    yield from _signing(case)
    if not case.patient.name and not case.federation.broker.url:
        broker = x509.load_pem_x509_certificate(case.keys.certificate.read_bytes())
        valid = now <= broker.not_valid_after_utc - SOON
        remedy = f"delete broker.pem, broker.key and ca.pem in {case.keys.path}, run wardround keys, give gateways the new ca.pem"
        yield Finding("broker certificate", valid, f"valid until {broker.not_valid_after_utc:%Y-%m-%d}", remedy)


def _names(case: _Case) -> tuple[str, ...]:
    return roster(
        case.federation, None if case.federation.broker.gateways else load(case.federation, case.patient.data)
    )


def _parts(case: _Case) -> dict[str, str]:
    """Owner (as in file names) by name of the parts that the patient plays; the coordinator where no name is given."""
    federation, who = case.federation, case.patient.name
    if not who:
        return {COORDINATOR: COORDINATOR}
    names = _names(case)
    found = parts(federation, names, who)
    if not found:
        raise UsageError(unknown(who, federation, names))
    return found


def _owners(case: _Case) -> list[str]:
    return list(_parts(case).values())


def _membership(case: _Case) -> Iterator[Finding]:
    """Enrolled here (a gateway or member), or the registrar's newest export and the key that it names (the coordinator)."""
    if case.patient.name:
        for name, owner in _parts(case).items():
            gateway = enrolled(case.keys.path, name, owner, passphrase())
            yield Finding("membership", True, f"{name} is enrolled, serial {gateway.credential.serial}")
        return
    roster_ = papers(case.keys.path, passphrase()).read().roster
    active = sum(MAY_AUTHENTICATE[State(entry.state)] for entry in roster_.entries)
    yield Finding(
        "membership", active > 0, f"{active} of {len(roster_.entries)} devices may take part", "enrol gateways"
    )


def _signing(case: _Case) -> Iterator[Finding]:
    """The secure sum's keys: this patient's own, and everybody's public ones."""
    names = _names(case)
    securing = Securing.of(case.federation, fingerprint(case.federation, names), names, case.keys.path)
    if securing is None:
        return
    for name, owner in _parts(case).items():
        signing.signer(case.keys.path, name, owner, passphrase())
    known = securing.committee().roster
    yield Finding("signing keys", True, f"{len(known.clients)} gateways, {len(known.members)} committee members")


def _clock(case: _Case) -> Iterator[Finding]:
    del case
    now = datetime.now(UTC)
    yield Finding(
        "clock", now > BUILT, f"{now:%Y-%m-%d %H:%M:%S} UTC", "the clock stands before this program was made: start NTP"
    )
    if (program := shutil.which("timedatectl")) is None:
        return
    said = subprocess.run(  # noqa: S603 - a fixed program
        [program, "show", "--property=NTPSynchronized", "--value"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if said in {"yes", "no"}:  # no systemd runs in a container: it says nothing there
        yield Finding(
            "clock synchronised", said == "yes", said, "start a time service: systemctl enable --now systemd-timesyncd"
        )


def _disk(case: _Case) -> Iterator[Finding]:
    folder = case.patient.state
    while not folder.exists():
        folder = folder.absolute().parent
    free = shutil.disk_usage(folder).free
    yield Finding(
        "disk",
        free >= FREE_BYTES,
        f"{free / 1e9:.1f} GB free in {folder}",
        "free some space, or name another folder with --state",
    )
    writable = os.access(folder, os.W_OK)
    yield Finding(
        "state folder", writable, str(case.patient.state), f"give this user the folder: chown {os.getuid()} {folder}"
    )


def _broker(case: _Case) -> Iterator[Finding]:
    """Connect as who is asked about. The coordinator's private broker runs only while it serves."""
    where = ", ".join(case.federation.broker.servers)
    owner = _owners(case)[0]
    try:
        asyncio.run(asyncio.wait_for(_visit(case, owner), CONNECT_S))
    except (LinkError, TimeoutError, OSError) as error:
        if not case.patient.name and not case.federation.broker.url:
            port = case.federation.broker.port
            yield Finding(
                "broker",
                not _taken(case.federation.broker.host, port),
                f"none at {where} now: wardround serve starts it",
                f"another program listens on port {port} ({error or 'no answer'}): stop it, or choose another [broker] port",
            )
            return
        yield Finding(
            "broker",
            False,
            f"{where}: {error or 'no answer'}",
            "is `wardround serve` running, the port open outbound, ca.pem its own?",
        )
        return
    yield Finding("broker", True, f"{where} answers, the key is accepted")


def _port(case: _Case) -> Iterator[Finding]:
    """The port of /health and /metrics: free, or this program's own."""
    f, gateway = case.federation, bool(case.patient.name)
    port = f.gateway.http if gateway else f.broker.http
    if not port or not _taken("127.0.0.1", port):
        return
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=2.0) as answer:  # noqa: S310 - a fixed scheme
            ours = "healthy" in json.load(answer)
    except (OSError, ValueError):
        ours = False
    table = "gateway" if gateway else "broker"
    yield Finding(
        "http port",
        ours,
        f"{port} on 127.0.0.1 is taken" + (" by a wardround that runs" if ours else ""),
        f"another program listens there: choose another [{table}] http, or 0 for none",
    )


def _taken(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), 0.5):
            return True
    except OSError:
        return False


async def _visit(case: _Case, owner: str) -> None:
    """Connect, ask one thing that this owner may ask, leave."""

    async def nothing() -> None:
        return

    connection = await connect(case.federation.broker.servers, case.keys, owner, nothing)
    try:
        if owner == COORDINATOR:
            await connection.jetstream().account_info()
        else:
            await request(connection, "last", within=2.0)
    finally:
        await connection.close()


def _data(case: _Case) -> Iterator[Finding]:
    if case.patient.name or not case.federation.broker.gateways:
        began = time.monotonic()
        table = load(case.federation, case.patient.data)
        seconds = time.monotonic() - began
        yield Finding(
            "data source",
            len(table) > 0,
            f"{case.federation.data.name}: {len(table)} rows in {seconds:.1f} s",
            "name the folder with --data",
        )


CHECKS: dict[str, Callable[[_Case], Iterator[Finding]]] = {
    "nats-server": _program,
    "keys": _keys,
    "clock": _clock,
    "disk": _disk,
    "broker": _broker,
    "http port": _port,
    "data source": _data,
}
REMEDIES = {
    "nats-server": "apt-get install nats-server",
    "keys": "make them: wardround keys FEDERATION.toml (coordinator), or copy ca.pem and this gateway's key file",
    "clock": "start NTP",
    "disk": "name another folder with --state",
    "http port": "choose another http port in the file",
    "broker": "see the key and the address in [broker]",
    "data source": "name the data's folder with --data DIR or WARDROUND_DATA",
}
