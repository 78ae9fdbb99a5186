"""Harmless things that look like attacks: the hard negatives. All their packets are labelled Benign.

Each copies the look of one attack: a reconnect storm that of a connect flood, the authorised scanner that of a scan,
an address failover that of ARP spoofing, a bulk export that of a TCP flood.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wardround.drivers.sources.lab import payloads as say
from wardround.drivers.sources.lab.frames import SYN
from wardround.drivers.sources.lab.habits import lookup, one_of, studies, values, variants
from wardround.drivers.sources.lab.offences import (
    COMMON_PORTS,
    Incident,
    connect_flood,
    moments,
    ping_sweep,
    probe,
    publish_flood,
    vulnerability_scan,
)
from wardround.drivers.sources.lab.stage import FIN_CLIENT, Stage
from wardround.drivers.sources.lab.ward import Ward


def reconnect_storm(stage: Stage, ward: Ward, what: Incident) -> None:
    """An access point was away: its devices ask for addresses and names and open their sessions again, some twice."""
    rng = stage.rng
    connect_flood(stage, ward, what)
    times = moments(rng, what.span, what.rate / 2)
    for host in what.actors.tolist():
        mine = times[rng.random(len(times)) < 1 / len(what.actors)]
        lookup(stage, ward, host, mine)
        stage.add(stage.arps(host, host, 1, mine[::2]))
        stage.add(stage.arps(host, ward.broker.host, 1, mine))
        stage.add(stage.arps(ward.broker.host, host, 2, mine + 0.001))
        ip, mac = int(ward.hosts["ip"][host]), int(ward.hosts["mac"][host])
        stage.add(stage.datagrams(host, ward.router, (68, 67), mine[::3], stage.payloads.add(say.dhcp(False, mac, ip))))


def backlog(stage: Stage, ward: Ward, what: Incident) -> None:
    """Wearables that were out of reach send what they kept."""
    publish_flood(stage, ward, what)


def rollout(stage: Stage, ward: Ward, what: Incident) -> None:
    """Devices fetch new firmware."""
    rng, server = stage.rng, ward.outside("updates")
    times = moments(rng, what.span, what.rate)
    n = len(times)
    client = what.actors[rng.integers(0, len(what.actors), n)]
    link = stage.connect(client, server, 80, times, times + 2.0, ending=FIN_CLIENT)
    asked = stage.payloads.add(say.http_request("GET", "/firmware/2.1/part", "updates", "updater/1"))
    texts = variants(
        stage, lambda i: say.http_answer("206 Partial Content", rng.bytes(20_000 + 9_000 * i), "application/x"), 3
    )
    stage.say(link, times + 0.05, True, asked)
    stage.say(link, times + 0.1, False, one_of(stage, texts, n))


def migration(stage: Stage, ward: Ward, what: Incident) -> None:
    """The archive is moved: study after study."""
    client = what.victim.host
    servers = [d.host for d in ward.of("image server") if d.host != client] or [ward.outside("pacs")]
    studies(stage, client, servers[0], moments(stage.rng, what.span, what.rate / 5), 90_000)


def scanner(stage: Stage, ward: Ward, what: Incident) -> None:
    """The hospital's own scanner at its work."""
    rng = stage.rng
    own = Incident(what.name, what.span, what.rate, np.array([ward.outside("scanner")]), what.victim)
    times = moments(rng, what.span, what.rate)
    kind = int(rng.integers(0, 3))
    if kind == 0:
        probe(stage, int(own.actors[0]), what.victim, times, rng.choice(COMMON_PORTS, len(times)))
    elif kind == 1:
        vulnerability_scan(stage, ward, Incident(own.name, own.span, min(own.rate, 6), own.actors, own.victim))
    else:
        ping_sweep(stage, ward, Incident(own.name, own.span, min(own.rate, 30), own.actors, own.victim))


def failover(stage: Stage, ward: Ward, what: Incident) -> None:
    """A spare takes an address over and says so, several times, to all and to some."""
    rng, actor = stage.rng, int(what.actors[0])
    times = moments(rng, what.span, what.rate)
    target = rng.integers(0, len(ward.devices), len(times))
    claims = stage.arps(actor, target, rng.choice([1, 2], len(times)), times)
    claims["sip"] = ward.hosts["ip"][what.victim.host]
    stage.add(claims)


def clock_storm(stage: Stage, ward: Ward, what: Incident) -> None:
    """Clocks that were wrong ask again and again."""
    rng, clock = stage.rng, ward.outside("clock")
    times = moments(rng, what.span, what.rate)
    client = what.actors[rng.integers(0, len(what.actors), len(times))]
    stage.add(
        stage.datagrams(client, clock, (rng.choice([123, 40123]), 123), times, stage.payloads.add(say.ntp(False, 2)))
    )
    told = rng.random(len(times)) < 0.8
    stage.add(
        stage.datagrams(clock, client[told], (123, 123), times[told] + 0.01, stage.payloads.add(say.ntp(True, 2)))
    )


def watching(stage: Stage, ward: Ward, what: Incident) -> None:
    """An engineer pings a device."""
    rng, asker = stage.rng, ward.outside("laboratory")
    times = moments(rng, what.span, what.rate)
    text = stage.payloads.add(rng.bytes(int(rng.choice([56, 120, 1000]))))
    stage.add(stage.pings(asker, what.victim.host, (8 << 8, 3), times, text))
    stage.add(stage.pings(what.victim.host, asker, (0, 3), times + 0.001, text))


def half_open(stage: Stage, ward: Ward, what: Incident) -> None:
    """A server is down; its clients keep asking."""
    rng, n = stage.rng, 0
    times = moments(rng, what.span, what.rate)
    n = len(times)
    client = what.actors[rng.integers(0, len(what.actors), n)]
    server = ward.outside("emr") if rng.random() < 0.5 else what.victim.host
    stage.add(stage.segments(client, server, (rng.integers(32768, 61000, n), 443), times, SYN))


def export(stage: Stage, ward: Ward, what: Incident) -> None:
    """One long transfer of small segments out of the ward."""
    rng = stage.rng
    times = moments(rng, what.span, what.rate)
    link = stage.connect(what.victim.host, ward.outside("laboratory"), 8443, [what.span[0] - 1], [what.span[1] + 1])
    texts = variants(stage, lambda i: values(stage, 60 + 150 * i))
    stage.say(link[0], times, True, one_of(stage, texts, len(times)))


ODD_ACTS: dict[str, Callable[[Stage, Ward, Incident], None]] = {
    "reconnect storm": reconnect_storm,
    "telemetry backlog": backlog,
    "firmware rollout": rollout,
    "image migration": migration,
    "authorised scanner": scanner,
    "address failover": failover,
    "clock-sync storm": clock_storm,
    "link monitoring": watching,
    "half-open clients": half_open,
    "bulk export": export,
}
