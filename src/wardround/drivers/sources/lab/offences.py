"""The attacks of CICIoMT2024 (Dadkhah et al., Internet of Things 28, 2024), packet by packet, replies included.

Each runs at a rate from below a device's own to saturation, comes in bursts with pauses, and starts with its first
packet. Attackers are hosts of the ward's everyday life (ward.py). Tools' habits (nmap's probes, hping's random
sources, arpspoof's unasked replies) are followed; every packet is written by us.
What it does not do: say when (schedule.py); change the traffic that an ARP spoofer passes on (``relayed`` does, last).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wardround.arrays import F64, I64
from wardround.drivers.sources.lab import frames as fr
from wardround.drivers.sources.lab import payloads as say
from wardround.drivers.sources.lab.frames import ACK, FIN, PSH, RST, SYN, URG, Frames
from wardround.drivers.sources.lab.habits import Span, one_of, values, variants
from wardround.drivers.sources.lab.stage import FIN_CLIENT, FIN_SERVER, RST_CLIENT, RST_SERVER, Stage
from wardround.drivers.sources.lab.ward import OPEN_PORTS, Device, Ward

SWEPT = 60
BURST_S = 4.0
COMMON_PORTS = np.array(
    [21, 22, 23, 25, 53, 80, 104, 110, 135, 139, 143, 161, 389, 443, 445, 502, 515, 554, 631, 993, 1433, 1883, 2575,
     3306, 3389, 5432, 5683, 5900, 8000, 8080, 8443, 8883, 9100, 11112, *range(1024, 2000), *range(5000, 5400)]
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Incident:
    """One attack or oddity: ``actors`` [k] and ``victim`` are host numbers; ``rate``: its events per second."""

    name: str
    span: Span
    rate: float
    actors: I64
    victim: Device


def moments(rng: np.random.Generator, span: Span, rate: float) -> F64:
    """Times in ``span`` that begin at its start: a Poisson process whose rate changes every few seconds."""
    parts = max(1, round((span[1] - span[0]) / BURST_S))
    count = rng.poisson(rate * (span[1] - span[0]) / parts * rng.gamma(1.0, 1.0, parts))
    at = np.repeat(np.arange(parts), count) + rng.random(int(count.sum()))
    return np.sort(np.append(span[0], span[0] + at * (span[1] - span[0]) / parts))


def flood(stage: Stage, ward: Ward, what: Incident) -> None:
    """SYN, TCP, UDP or ICMP packets at one victim; some with sources drawn from the hospital's addresses."""
    rng = stage.rng
    times = moments(rng, what.span, what.rate)
    actor = what.actors[rng.integers(0, len(what.actors), len(times))]
    protocol = what.name.rsplit("-", 1)[-1]
    frames, answer = {"SYN": _syns, "TCP": _pushes, "UDP": _udps, "ICMP": _echoes}[protocol](stage, what, actor, times)
    answered = np.flatnonzero(rng.random(len(times)) < min(1.0, 120 / what.rate) * rng.uniform(0.3, 1.0))
    if protocol == "UDP":  # a host limits its ICMP errors
        answered = answered[::4]
    replies = answer(answered)
    if rng.random() < 0.4:
        fake = (
            rng.integers(0, 1 << 32, len(times))
            if rng.random() < 0.3
            else ward.subnet | rng.integers(2, 254, len(times))
        )
        frames["sip"] = fake
        replies["dip"], replies["dmac"] = fake[answered], ward.hosts["mac"][ward.router]
    stage.add(frames)
    stage.add(replies)


_Reply = Callable[[I64], Frames]


def _syns(stage: Stage, what: Incident, actor: I64, times: F64) -> tuple[Frames, _Reply]:
    rng, victim = stage.rng, what.victim.host
    known = OPEN_PORTS[what.victim.kind]
    port = int(rng.choice(known)) if known and rng.random() < 0.8 else int(rng.choice(COMMON_PORTS))
    sport = rng.integers(1024, 65535, len(times))
    frames = stage.segments(actor, victim, (sport, port), times, SYN)
    if rng.random() < 0.5:
        frames["options"] = fr.BARE
    flags = SYN | ACK if port in known else RST | ACK
    return frames, lambda i: stage.segments(victim, actor[i], (port, sport[i]), times[i] + 4e-4, flags)


def _pushes(stage: Stage, what: Incident, actor: I64, times: F64) -> tuple[Frames, _Reply]:
    rng, victim = stage.rng, what.victim.host
    port, sport = int(rng.choice(COMMON_PORTS)), rng.integers(1024, 65535, len(times))
    flags = int(rng.choice([ACK, PSH | ACK, ACK | FIN, ACK | URG]))
    frames = stage.segments(actor, victim, (sport, port), times, flags)
    _fill(stage, frames, int(rng.choice([0, 20, 120, 900])))
    return frames, lambda i: stage.segments(victim, actor[i], (port, sport[i]), times[i] + 4e-4, RST)


def _udps(stage: Stage, what: Incident, actor: I64, times: F64) -> tuple[Frames, _Reply]:
    rng, victim, n = stage.rng, what.victim.host, len(times)
    port = rng.integers(1, 65535, n) if rng.random() < 0.5 else np.full(n, rng.choice([53, 123, 1900, 5683, 24105]))
    frames = stage.datagrams(actor, victim, (rng.integers(1024, 65535, n), port), times, 0)
    _fill(stage, frames, int(rng.choice([1, 30, 120, 500, 1200])))
    text = stage.payloads.add(rng.bytes(28))
    return frames, lambda i: stage.pings(victim, actor[i], (3 << 8 | 3, 0), times[i] + 4e-4, text)


def _echoes(stage: Stage, what: Incident, actor: I64, times: F64) -> tuple[Frames, _Reply]:
    rng, victim = stage.rng, what.victim.host
    text = stage.payloads.add(rng.bytes(int(rng.choice([0, 56, 120, 1000])))), int(rng.integers(1, 65535))
    frames = stage.pings(actor, victim, (8 << 8, text[1]), times, text[0])
    return frames, lambda i: stage.pings(victim, actor[i], (0, text[1]), times[i] + 4e-4, text[0])


def _fill(stage: Stage, frames: Frames, size: int) -> None:
    """Payloads of about ``size`` random bytes."""
    texts = variants(stage, lambda i: stage.rng.bytes(size + (i * size) // 8), 4)
    frames["payload"] = one_of(stage, texts, len(frames))
    frames["size"] = stage.payloads.sizes()[frames["payload"]]


def connect_flood(stage: Stage, ward: Ward, what: Incident) -> None:
    """MQTT sessions that are opened and dropped."""
    rng, add = stage.rng, stage.payloads.add
    times = moments(rng, what.span, what.rate)
    n = len(times)
    stay = np.exp(rng.normal(rng.uniform(-2.5, 1.0), 0.5, n))
    ending = rng.choice([FIN_CLIENT, RST_CLIENT, FIN_SERVER], n, p=[0.5, 0.3, 0.2])
    link = stage.connect(_some(rng, what.actors, n), ward.broker.host, 1883, times, times + 0.1 + stay, ending=ending)
    texts = variants(stage, lambda i: say.mqtt_connect(f"c{rng.integers(10**6)}{'x' * i}"))
    stage.say(link, times + 0.03, True, one_of(stage, texts, n))
    told = rng.random(n) < min(1.0, 40 / what.rate)
    stage.say(link[told], times[told] + 0.05, False, add(say.CONNACK))


def publish_flood(stage: Stage, ward: Ward, what: Incident) -> None:
    """A few MQTT sessions that publish without pause."""
    rng, add = stage.rng, stage.payloads.add
    start, end = what.span
    actors = np.repeat(what.actors, rng.integers(1, 4))
    link = stage.connect(actors, ward.broker.host, 1883, np.full(len(actors), start), end + 1, ending=FIN_CLIENT)
    stage.say(link, np.full(len(link), start + 0.05), True, add(say.mqtt_connect("meter-7")))
    stage.say(link, np.full(len(link), start + 0.07), False, add(say.CONNACK))
    times = moments(rng, (start + 0.1, end), what.rate)
    size, qos = int(rng.choice([20, 60, 180, 640])), int(rng.random() < 0.5)
    texts = variants(stage, lambda i: say.mqtt_publish(f"ward/{i}/vital", values(stage, size + 10 * i), qos, i + 1))
    which = rng.integers(0, len(link), len(times))
    stage.say(link[which], times, True, one_of(stage, texts, len(times)))
    if qos:
        told = rng.random(len(times)) < min(1.0, 120 / what.rate)
        stage.say(link[which[told]], times[told] + 0.004, False, add(say.mqtt_puback()))


def malformed(stage: Stage, ward: Ward, what: Incident) -> None:
    """MQTT packets that the broker must refuse, among some good ones; it closes the connection."""
    rng, add = stage.rng, stage.payloads.add
    times = moments(rng, what.span, what.rate)
    n = len(times)
    client, end = _some(rng, what.actors, n), times + rng.uniform(0.2, 1.5, n)
    ending = rng.choice([FIN_SERVER, RST_SERVER, RST_CLIENT], n)
    link = stage.connect(client, ward.broker.host, 1883, times, end, ending=ending)
    greets = rng.random(n) < 0.6
    stage.say(link[greets], times[greets] + 0.03, True, add(say.mqtt_connect("meter-9")))
    stage.say(link[greets], times[greets] + 0.05, False, add(say.CONNACK))
    good = variants(stage, lambda i: say.mqtt_publish("ward/3/vital", values(stage, 40 + 30 * i)), 3)
    bad = variants(stage, lambda i: say.mqtt_broken(i, rng.bytes(120)), 12)
    also = greets & (rng.random(n) < 0.5)
    stage.say(link[also], times[also] + 0.08, True, one_of(stage, good, int(also.sum())))
    stage.say(link, times + 0.12, True, one_of(stage, bad, n))


def ping_sweep(stage: Stage, ward: Ward, what: Incident) -> None:
    """ARP requests and echoes over the subnet; who lives answers."""
    rng = stage.rng
    times = moments(rng, what.span, what.rate)
    actor = int(what.actors[0])
    near = actor < ward.router
    last = (np.arange(len(times)) if rng.random() < 0.5 else rng.permutation(len(times))) % 253 + 2
    target = ward.subnet | last
    living = {int(ip): i for i, ip in enumerate(ward.hosts["ip"][: ward.router])}
    who = np.array([living.get(int(ip), -1) for ip in target])
    alive = (who >= 0) & (who != actor)
    asker = actor if near else ward.router
    asked = stage.arps(asker, asker, 1, times)
    asked["dip"] = target
    stage.add(asked)
    stage.add(stage.arps(who[alive], asker, 2, times[alive] + 0.001))
    text = stage.payloads.add(rng.bytes(int(rng.choice([0, 32, 56]))))
    stage.add(stage.pings(actor, who[alive], (8 << 8, 9), times[alive] + 0.002, text))
    stage.add(stage.pings(who[alive], actor, (0, 9), times[alive] + 0.004, text))


def port_scan(stage: Stage, ward: Ward, what: Incident) -> None:
    """SYNs to many ports of one to three hosts."""
    rng = stage.rng
    times = moments(rng, what.span, what.rate)
    ports = rng.permutation(COMMON_PORTS)[np.arange(len(times)) % len(COMMON_PORTS)]
    others = [d for d in ward.devices if d.host != what.victim.host and d.host not in what.actors]
    victims = [what.victim, *rng.permutation(np.array(others, dtype=object))[: int(rng.integers(0, 3))]]
    which = rng.integers(0, len(victims), len(times))
    for number, victim in enumerate(victims):
        probe(stage, int(what.actors[0]), victim, times[which == number], ports[which == number])


def probe(stage: Stage, actor: int, victim: Device, times: F64, ports: I64) -> None:
    """SYNs and what comes back: SYN-ACK and its reset, reset, or silence."""
    rng = stage.rng
    sport = int(rng.integers(32768, 61000))
    frames = stage.segments(actor, victim.host, (sport, ports), times, SYN)
    frames["options"] = rng.choice([fr.MSS, fr.LINUX_SYN])
    stage.add(frames)
    is_open = np.isin(ports, OPEN_PORTS[victim.kind])
    answers = is_open | (rng.random(len(ports)) < rng.choice([0.0, 0.5, 1.0]))
    flags = np.where(is_open, SYN | ACK, RST | ACK)[answers]
    stage.add(stage.segments(victim.host, actor, (ports[answers], sport), times[answers] + 3e-4, flags))
    stage.add(stage.segments(actor, victim.host, (sport, ports[is_open]), times[is_open] + 8e-4, RST))


def os_scan(stage: Stage, _: Ward, what: Incident) -> None:
    """The probes of nmap -O: odd flags to an open and a closed port, echoes, a datagram to a closed port; some SYNs."""
    rng, actor, victim = stage.rng, int(what.actors[0]), what.victim
    times = moments(rng, what.span, what.rate)
    part = rng.choice(4, len(times), p=[0.4, 0.3, 0.15, 0.15])
    known = OPEN_PORTS[victim.kind] or (1,)
    probe(stage, actor, victim, times[part == 0], rng.choice(COMMON_PORTS, int((part == 0).sum())))
    odd = times[part == 1]
    flags = rng.choice([0, SYN | FIN | URG | PSH, ACK, SYN, FIN | PSH | URG], len(odd))
    port, sport = np.where(rng.random(len(odd)) < 0.5, known[0], 34567), rng.integers(32768, 61000, len(odd))
    stage.add(stage.segments(actor, victim.host, (sport, port), odd, flags))
    back = rng.random(len(odd)) < 0.7
    stage.add(stage.segments(victim.host, actor, (port[back], sport[back]), odd[back] + 4e-4, RST | ACK))
    text = stage.payloads.add(rng.bytes(120))
    for kind, after in ((8 << 8, 0.0), (0, 0.001)):
        ends = (actor, victim.host) if kind else (victim.host, actor)
        stage.add(stage.pings(*ends, (kind, 11), times[part == 2] + after, text))
    closed = times[part == 3]
    stage.add(stage.datagrams(actor, victim.host, (40125, 40999), closed, stage.payloads.add(b"C" * 300)))
    told = stage.payloads.add(rng.bytes(28))
    stage.add(stage.pings(victim.host, actor, (3 << 8 | 3, 0), closed + 0.001, told))


def vulnerability_scan(stage: Stage, ward: Ward, what: Incident) -> None:
    """Requests for paths and banners that should not be there; mostly refused."""
    rng, actor = stage.rng, int(what.actors[0])
    targets = [(d, p) for d in ward.devices for p in OPEN_PORTS[d.kind] if d.host != actor]
    own = [pair for pair in targets if pair[0].host == what.victim.host] or targets
    times = moments(rng, what.span, what.rate)
    which = rng.integers(0, len(own), len(times))
    host, port = np.array([d.host for d, _ in own])[which], np.array([p for _, p in own])[which]
    n = len(times)
    link = stage.connect(
        actor, host, port, times, times + rng.uniform(0.1, 0.8, n), ending=rng.choice([FIN_CLIENT, FIN_SERVER], n)
    )
    paths = ("/admin", "/cgi-bin/test", "/.git/config", "/login.php?id=1'", "/api/v1/users", "/../../etc/passwd")
    asked = variants(stage, lambda i: say.http_request("GET", paths[i], "device", "Mozilla/5.0"))
    told = variants(stage, lambda i: say.http_answer("404 Not Found", b"<h1>404</h1>" * (1 + 4 * i), "text/html"), 3)
    stage.say(link, times + 0.03, True, one_of(stage, asked, n))
    answers = rng.random(n) < 0.8
    stage.say(link[answers], times[answers] + 0.06, False, one_of(stage, told, int(answers.sum())))
    knocks = moments(rng, what.span, what.rate / 2)
    probe(stage, actor, what.victim, knocks, rng.choice(COMMON_PORTS, len(knocks)))


def arp_spoofing(stage: Stage, ward: Ward, what: Incident) -> None:
    """Unasked replies: the attacker is the router to the victim, and the victim to the router."""
    actor, victim = int(what.actors[0]), what.victim.host
    times = moments(stage.rng, what.span, what.rate)
    for asked, claimed in ((victim, ward.router), (ward.router, victim)):
        frames = stage.arps(actor, asked, 2, times + stage.rng.uniform(0, 0.01))
        frames["sip"] = ward.hosts["ip"][claimed]
        stage.add(frames)


def relayed(ward: Ward, frames: Frames, what: Incident, marks: tuple[int, int], epoch_ns: int) -> Frames:
    """``frames`` with the victim's traffic through the router taken over by the spoofer: in, and out 0.3 ms later."""
    mac, actor = ward.hosts["mac"], int(what.actors[0])
    victim, router = mac[what.victim.host], mac[ward.router]
    start, end = (epoch_ns + int((t + 0.5 * i) * 1e9) for i, t in enumerate(what.span))
    during = (frames["time"] > start + 500_000_000) & (frames["time"] < end) & (frames["kind"] != fr.ARP)
    during &= frames["label"] == 0
    out = during & (frames["smac"] == victim) & (frames["dmac"] == router)
    back = during & (frames["smac"] == router) & (frames["dmac"] == victim)
    taken = out | back
    copies = frames[taken].copy()
    copies["smac"], copies["ttl"], copies["time"] = mac[actor], copies["ttl"] - 1, copies["time"] + 300_000
    frames["dmac"] = np.where(taken, mac[actor], frames["dmac"])
    for part, which in ((frames, taken), (copies, slice(None))):
        part["label"][which], part["incident"][which] = marks
    return np.concatenate([frames, copies])


def _some(rng: np.random.Generator, actors: I64, n: int) -> I64:
    return actors[rng.integers(0, len(actors), n)]


ACTS: dict[str, Callable[[Stage, Ward, Incident], None]] = {
    **{f"TCP_IP-{way}-{kind}": flood for way in ("DDoS", "DoS") for kind in ("ICMP", "SYN", "TCP", "UDP")},
    "Recon-OS_Scan": os_scan,
    "Recon-Ping_Sweep": ping_sweep,
    "Recon-Port_Scan": port_scan,
    "Recon-VulScan": vulnerability_scan,
    **{f"MQTT-{way}-Connect_Flood": connect_flood for way in ("DDoS", "DoS")},
    **{f"MQTT-{way}-Publish_Flood": publish_flood for way in ("DDoS", "DoS")},
    "MQTT-Malformed_Data": malformed,
    "ARP_Spoofing": arp_spoofing,
}
