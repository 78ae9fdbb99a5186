"""``wardround watch | devices | incidents | calibrate | models``: the detector a hospital runs, and what its operators say to it.

Imports are inside the commands: the other commands must not hold what only these need.
"""

from __future__ import annotations

import getpass
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wardround.errors import UsageError
from wardround.events import ignore

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from wardround.detect.incident import Incident
    from wardround.drivers.live.session import Outcome

SITE = typer.Option(Path("site"), "--site", envvar="WARDROUND_SITE", help="Folder with the site's store.")
POLICY = typer.Option(
    None, "--policy", help="The operator's file: devices, allow-list, maintenance, false-alarm budget."
)
AS_JSON = typer.Option(False, "--json", help="Print JSON.")

incidents = typer.Typer(help="What the detector found, and what you say of it.", no_args_is_help=True)
models = typer.Typer(help="The models this site has, and which one is in service.", no_args_is_help=True)


def watch(
    iface: str = typer.Option("", help="An interface, such as eth0 (needs CAP_NET_RAW)."),
    pcap: Path | None = typer.Option(None, help="A capture file, pcap or pcapng."),
    eve: Path | None = typer.Option(None, help="Suricata's eve.json."),
    zeek: Path | None = typer.Option(None, help="A folder with Zeek's conn.log, or one log."),
    netflow: str = typer.Option("", help="Listen for NetFlow and IPFIX on this UDP address, HOST:PORT or :PORT."),
    follow: bool = typer.Option(False, help="Read a log as it is written, until stopped."),
    features: str = typer.Option(
        "", help="Features to use, such as pkt-v1/5s; without it those of the model in service."
    ),
    site: Path = SITE,
    name: str = typer.Option("", "--name", help="This gateway's name in alerts."),
    alerts: list[str] = typer.Option(
        [],
        "--alerts",
        help="Where alerts go: FORMAT:FILE, FORMAT:- or FORMAT+TRANSPORT://HOST:PORT; more than one may be given.",
    ),
    policy: Path | None = POLICY,
    model: Path | None = typer.Option(None, help="Put this model into service first (model.safetensors)."),
    guard: Path | None = typer.Option(None, help="The same for the guard: a two-class model trained with exposure."),
    http: int = typer.Option(0, help="Port of /health, /status and /metrics on 127.0.0.1; 0: none."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress, no summary."),
) -> None:
    """Watch traffic: score every device's windows, raise incidents, keep windows for the next round's training.

    Stops at a capture's end, or cleanly on SIGTERM and Ctrl-C. Without --alerts they go to SITE/alerts.jsonl in EVE format.
    """
    from wardround.drivers.live.feeding import Choice
    from wardround.drivers.live.session import Session, run

    site.mkdir(parents=True, exist_ok=True, mode=0o700)
    places = alerts or [f"eve:{site / 'alerts.jsonl'}"]
    asked = Session(
        Choice(pcap, iface, eve, zeek, netflow, follow, features), site, name, places, policy, http, model, guard
    )
    if quiet:
        run(asked, ignore)
        return
    from wardround.drivers.sinks.progress import Progress

    with Progress() as emit:
        outcome = run(asked, emit)
    _summary(outcome)


def devices(site: Path = SITE, policy: Path | None = POLICY, as_json: bool = AS_JSON) -> None:
    """List the devices seen, their type, and what each detector stands on for them."""
    from wardround.drivers.live.standing import inventory

    found = inventory(site, policy)
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    table = _table(
        "device", "address", "type", "ward", "windows", "last seen", "model", "guard", "baseline", "norms", "incident"
    )
    for row in found:
        status = row["status"]
        shown = (row["name"], row["address"], row["type"], row["ward"], f"{row['windows']:,}", row["last_seen"])
        _row(table, *shown, status["model"], status["guard"], status["baseline"], status["norms"], row["incident"])
    _console().print(table)


@incidents.command("list")
def incidents_list(
    site: Path = SITE,
    last: int = typer.Option(20, min=1, help="How many."),
    open_only: bool = typer.Option(False, "--open", help="Only those that are open or muted."),
    as_json: bool = AS_JSON,
) -> None:
    """List incidents, newest first."""
    store = _store(site)
    found = store.incidents(last, open_only)
    if as_json:
        typer.echo(json.dumps([store.incident(i.number)[1] for i, _ in found], indent=1, ensure_ascii=False))
        return
    table = _table("id", "state", "severity", "family", "device", "opened", "windows", "verdict")
    for i, verdict in found:
        row = (i.id, i.state, str(i.severity), i.family, i.subject, _time(i.opened), str(i.windows), verdict)
        _row(table, *row)
    _console().print(table)


@incidents.command("show")
def incidents_show(
    number: str = typer.Argument(..., help="The incident's id, such as I3."),
    site: Path = SITE,
    as_json: bool = AS_JSON,
) -> None:
    """Show one incident with its explanation."""
    incident, record, verdict = _store(site).incident(_number(number))
    if as_json:
        typer.echo(json.dumps(record, indent=1, ensure_ascii=False))
        return
    for line in _told(incident, record, verdict):
        typer.echo(line)


@incidents.command("label")
def incidents_label(
    number: str = typer.Argument(..., help="The incident's id, such as I3."),
    verdict: str = typer.Argument(
        ..., help="true (an attack), false (a false alarm) or expected (a change that was planned)."
    ),
    site: Path = SITE,
    attack: str = typer.Option("", "--class", help="With true: the attack's class, as the federation names it."),
    note: str = typer.Option("", help="For the record. No names of patients."),
) -> None:
    """Say what an incident was: it closes, and its windows are labelled for the next round's training."""
    from wardround.drivers.store.site_rows import Verdict

    said = Verdict(verdict, attack, note, getpass.getuser(), time.time_ns())
    store = _store(site)
    store.judge(_number(number), said)
    typer.echo(f"{number} is {verdict}; its windows are labelled for the next round")


def calibrate(
    site: Path = SITE,
    policy: Path | None = POLICY,
    days: float = typer.Option(7.0, min=0.0, help="Use windows of so many days before now; 0: all."),
    capture: bool = typer.Option(
        False, "--from-capture", help="Count days back from the newest window instead of from now."
    ),
) -> None:
    """Learn what is normal here: baselines by device type, thresholds from the site's own windows."""
    from wardround.detect.drift import noisy
    from wardround.drivers.live import policy as operator
    from wardround.drivers.store import knowledge

    store, budget = _store(site), operator.read(policy).budget
    now = time.time_ns()
    newest = max((int(e) for e in store.stored().end[-1:]), default=now) if capture else now
    found = knowledge.calibrate(store, budget, now, int(newest - days * 86_400e9) if days else 0)
    typer.echo(f"{found.benign:,} of {found.windows:,} windows are taken for normal")
    for type_, count in found.types.items():
        typer.echo(f"  {type_}: {count:,} windows")
    for what, value in found.thresholds.items():
        typer.echo(f"  threshold of {what}: {value:.3f}")
    if found.drift:
        worst = ", ".join(f"{name} {value:.2f}" for name, value in list(found.drift.items())[:6])
        typer.echo(f"  drift (PSI; below 0.1 none, from 0.25 large): {worst}")
    for type_, rate in found.alarms.items():
        much = ": above the budget" if noisy(rate, budget.rate) else ""
        typer.echo(f"  alarms until now, {type_ or 'all devices'}: {rate.text} of a budget of {budget.rate:g}{much}")


@models.command("list")
def models_list(site: Path = SITE) -> None:
    """List the shelf."""
    table = _table("version", "slot", "round", "state", "added", "SHA-256", "why")
    for row in _store(site).models():
        shown = (f"v{row.version}", row.slot, str(row.round), row.state, _time(row.added), row.hash[:12], row.reason)
        _row(table, *shown)
    _console().print(table)


@models.command("add")
def models_add(
    file: Path = typer.Argument(..., help="A model, model.safetensors of a run or a federation."),
    site: Path = SITE,
    slot: str = typer.Option("model", help="model, or guard for a two-class model trained with exposure."),
) -> None:
    """Put a model on the shelf, and into service unless it is worse on this site's own windows (exit code 1)."""
    from wardround.drivers.live.session import offered

    if slot not in {"model", "guard"}:
        raise UsageError(f"--slot is model or guard, not {slot!r}")
    version, reason, fit = offered(_store(site), slot, file, time.time_ns())
    typer.echo(f"v{version} {'is in service' if fit else 'is refused'}: {reason}")
    if not fit:
        raise typer.Exit(1)


@models.command("use")
def models_use(version: str = typer.Argument(..., help="Such as v3."), site: Path = SITE) -> None:
    """Put a version of the shelf into service, whatever the comparison said."""
    from wardround.drivers.store import knowledge

    knowledge.use(_store(site), _number(version), "by the operator")
    typer.echo(f"{version} is in service")


@models.command("rollback")
def models_rollback(site: Path = SITE, slot: str = typer.Option("model", help="model or guard.")) -> None:
    """Put the version before the present one into service again."""
    store = _store(site)
    before = store.before(slot)
    if before is None:
        raise UsageError(f"no {slot} was in service here before the present one")
    from wardround.drivers.store import knowledge

    knowledge.use(store, before, "rolled back")
    typer.echo(f"v{before} is in service again")


def mount(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    for command in (watch, devices, calibrate):
        app.command(command.__name__)(command)
    app.add_typer(incidents, name="incidents")
    app.add_typer(models, name="models")


def _store(site: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the store's module is imported late
    from wardround.drivers.sources.site import FILE
    from wardround.drivers.store.site import SiteStore

    if not (site / FILE).is_file():
        raise UsageError(f"{site} holds no site's store: wardround watch --site {site} makes it")
    return SiteStore(site)


def _summary(outcome: Outcome) -> None:
    said = "stopped" if outcome.stopped else "done"
    lost = f", {outcome.dropped:,} lost" if outcome.dropped else ""
    typer.echo(f"{said}: {outcome.packets:,} packets{lost}, {outcome.windows:,} windows of {outcome.devices} devices")
    if outcome.lost:
        typer.echo(f"the capture was not read to its end: {outcome.lost}")
    kinds = ", ".join(f"{count} {family}" for family, count in outcome.incidents.most_common()) or "none"
    rate = f" ({outcome.per_device_day:.2f} per device-day over {outcome.days:.2f} device-days)" if outcome.days else ""
    typer.echo(f"incidents: {kinds}{rate}")


def _told(i: Incident, record: dict[str, object], verdict: str) -> list[str]:
    alert = record["alert"]
    assert isinstance(alert, dict)
    lines = [
        f"{i.id}  {alert['category']}",
        f"device     {i.subject}  severity {alert['severity']}  state {i.state}{f'  verdict {verdict}' if verdict else ''}",
        f"time       first {_time(i.first_seen)}  opened {_time(i.opened)}  last {_time(i.last_seen)}"
        + (f"  closed {_time(i.closed)}" if i.closed else ""),
        f"evidence   {i.windows} windows; " + ", ".join(f"{c.name} {c.count}" for c in i.detectors),
        f"score      {i.score:.2f} by {i.detector}, threshold {i.threshold:.2f}, p-value {i.p_value:.2g}",
    ]
    techniques = alert["metadata"].get("mitre_technique_id", []) + alert["metadata"].get("mitre_ics_technique_id", [])
    lines.append("ATT&CK     " + (", ".join(techniques) or "none: no known attack explains it"))
    if i.peers:
        more = f" and {i.more_peers} more" if i.more_peers else ""
        lines.append("peers      " + ", ".join(i.peers) + more)
    if i.muted_by:
        lines.append(f"muted      {i.muted_by}")
    lines += ["because", *(f"  {r.share:>4.0%}  {r.text}" for r in i.reasons)]
    return lines


def _number(text: str) -> int:
    bare = text[1:] if text[:1] in {"I", "i", "v", "V"} else text
    if not bare.isdecimal():
        raise UsageError(f"{text!r} is no id: incidents are I1, I2 ..., versions of models v1, v2 ...")
    return int(bare)


def _time(nanoseconds: int) -> str:
    return f"{datetime.fromtimestamp(nanoseconds / 1e9, UTC):%Y-%m-%d %H:%M:%S}" if nanoseconds else ""


def _console() -> Console:
    """Wide where nobody's terminal says how wide: a table in a file or a pipe must not be cut."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=240)


def _table(*heads: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in heads:
        table.add_column(head, no_wrap=True)
    return table


def _row(table: Table, *cells: str) -> None:
    """As they are: no markup in what a device calls itself."""
    from rich.text import Text

    table.add_row(*(Text(cell) for cell in cells))
