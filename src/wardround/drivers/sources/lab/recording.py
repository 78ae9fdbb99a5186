"""A ward's capture: some sessions of a day, everyday traffic in all of them, now and then an attack or an oddity.

    draw_ward -> for each session: everyday + what the schedule says -> frames in order of time -> relays of spoofers

Law: ``record`` depends on its plan, the ward's number, the seed and the day alone; one ward never moves another.
What it does not do: write files (files.py), make features (source.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wardround.arrays import F64, I64
from wardround.drivers.sources.ciciomt2024 import CLASSES, FAMILIES, FAMILY_OF
from wardround.drivers.sources.lab.frames import Frames, Payloads
from wardround.drivers.sources.lab.habits import Span, everyday
from wardround.drivers.sources.lab.oddities import ODD_ACTS
from wardround.drivers.sources.lab.offences import ACTS, Incident, relayed
from wardround.drivers.sources.lab.profiles import ODDITIES, OFFENCES, SPEAKS_MQTT
from wardround.drivers.sources.lab.stage import Stage
from wardround.drivers.sources.lab.ward import Device, Ward, draw_ward
from wardround.rng import stream

EPOCH_NS = 1_793_577_600 * 1_000_000_000
"""2 November 2026, midnight UTC: the lab's first day."""
HOUR_S = 3600.0
QUIET_S = 25.0
DURATION_S = (15.0, 110.0)
SLOW = 1.3
"""Above 1: more of the slow attacks, which hide in the device's own traffic."""
OUTSIDERS = 0.2
SPOKEN_TO = ("name server", "clock", "portal", "telehealth")
"""Hosts beyond the router that every ward talks to: an attacker from outside is one of them."""
ATTACKS = tuple(name for name in CLASSES if name != "Benign")
_FAMILIES = tuple(name for name in FAMILIES if name != "Benign")
_PRIOR = np.array([0.22, 0.22, 0.22, 0.24, 0.1])
"""Mean share of each family among a ward's attacks, in the order of ``_FAMILIES``."""


@dataclass(frozen=True)
class Plan:
    """What is recorded.

    Attributes:
        wards: wards that learn, of six kinds in turn.
        unseen: further wards, last in order, that see every attack in turn: to be held back for testing.
        size: scales the number of devices (1: about a dozen in each ward).
        sessions: captures of each ward, spread evenly over a day from an hour of its own.
        minutes: length of each session.
        attack_share: share of the time in which some attack goes on in a ward.
        oddity_share: share of the time in which something harmless looks like one.
        exposure: Dirichlet concentration of attack families over wards; small makes wards differ more.
        held_out: a class or family (``Recon``, ``ARP_Spoofing``) that only the unseen wards suffer; empty: none.
        rest_s: least time between two incidents of a ward.
    """

    wards: int = 8
    unseen: int = 1
    size: float = 1.0
    sessions: int = 4
    minutes: float = 10.0
    attack_share: float = 0.4
    oddity_share: float = 0.15
    exposure: float = 1.0
    held_out: str = ""
    rest_s: float = 0.0

    def __post_init__(self) -> None:
        for key, least in (("wards", 1), ("unseen", 0), ("sessions", 1)):
            if getattr(self, key) < least:
                raise ValueError(f"{key} must be {least} or more, not {getattr(self, key)}")
        if not (self.size > 0 and self.exposure > 0 and self.minutes >= 1):
            raise ValueError("size and exposure must be above 0, minutes 1 or more")
        if self.minutes * 60 * self.sessions > 24 * HOUR_S:
            raise ValueError(f"{self.sessions} sessions of {self.minutes:g} minutes do not fit into a day")
        if self.attack_share < 0 or self.oddity_share < 0 or self.attack_share + self.oddity_share >= 1:
            raise ValueError("attack_share and oddity_share must be 0 or more and add up to less than 1")
        if self.held_out and self.held_out not in (*ATTACKS, *_FAMILIES):
            raise ValueError(f"held_out should be one of {', '.join((*_FAMILIES, *ATTACKS))}, not {self.held_out!r}")


@dataclass(frozen=True)
class Happening:
    """An attack or oddity as it was recorded. ``label``: its class (``Benign`` for oddities); ``start``, ``end``: ns since
    1970; ``actors`` and ``victim``: MAC addresses (an outsider's is the router's), ``addresses``: IP addresses of both;
    ``rate``: its events per second.
    """

    number: int
    name: str
    label: str
    start: int
    end: int
    rate: float
    actors: tuple[int, ...]
    victim: int
    addresses: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Recording:
    """One ward's packets, in order of time, and the truth about them. ``sessions``: (start, end) in ns since 1970."""

    ward: Ward
    frames: Frames
    payloads: Payloads
    happenings: tuple[Happening, ...]
    sessions: tuple[tuple[int, int], ...]


def record(plan: Plan, number: int, seed: int, day: int = 0) -> Recording:
    """Record a day of ward ``number`` (0 .. wards + unseen - 1): the same devices each day, other traffic.

    Raises:
        ValueError: the plan has no such ward.
    """
    if not 0 <= number < plan.wards + plan.unseen:
        raise ValueError(f"ward {number} of {plan.wards} + {plan.unseen}")
    ward, payloads = draw_ward(number, plan.size, stream(seed, "lab", number)), Payloads()
    rng = stream(seed, "lab", number, "day", day)
    menu = _Menu(plan, number, rng)
    first = rng.uniform(0, 24 / plan.sessions)
    frames: list[Frames] = []
    happenings: list[Happening] = []
    sessions: list[tuple[int, int]] = []
    for session in range(plan.sessions):
        start = (24 * day + (first + session * 24 / plan.sessions) % 24) * HOUR_S
        span = start, start + plan.minutes * 60
        stage = Stage(ward.hosts, payloads, EPOCH_NS, rng)
        everyday(stage, ward, span)
        found = [
            _perform(stage, ward, each, len(happenings) + i) for i, each in enumerate(_schedule(ward, menu, span, rng))
        ]
        frames.append(
            _relays(ward, _within(stage.finish(), span), [each for each in found if each[0].name == "ARP_Spoofing"])
        )
        happenings += [_happening(ward, *each) for each in found]
        sessions.append((EPOCH_NS + int(span[0] * 1e9), EPOCH_NS + int(span[1] * 1e9)))
    return Recording(ward, _ordered(frames), payloads, tuple(happenings), tuple(sorted(sessions)))


class _Menu:
    """Which attack or oddity comes next in a ward; unseen wards go through all attacks in a drawn order."""

    def __init__(self, plan: Plan, number: int, rng: np.random.Generator) -> None:
        self.plan, self.rng = plan, rng
        self.learns = number < plan.wards
        mix = rng.dirichlet(plan.exposure * len(_FAMILIES) * _PRIOR)
        barred = plan.held_out if self.learns else ""
        weights = [
            0.0
            if barred in (name, FAMILY_OF[name])
            else mix[_FAMILIES.index(FAMILY_OF[name])] / len(FAMILIES[FAMILY_OF[name]])
            for name in ATTACKS
        ]
        total = sum(weights)
        self.weights: F64 = np.array(weights) / total if total > 0 else np.zeros(len(ATTACKS))
        self._turn: list[str] = []

    def attack(self) -> str:
        if not self.learns:
            if not self._turn:
                self._turn = [ATTACKS[i] for i in self.rng.permutation(len(ATTACKS))]
            return self._turn.pop()
        if not self.weights.any():
            return self.oddity()
        return ATTACKS[int(self.rng.choice(len(ATTACKS), p=self.weights))]

    def oddity(self) -> str:
        return list(ODDITIES)[int(self.rng.integers(len(ODDITIES)))]


def _schedule(ward: Ward, menu: _Menu, span: Span, rng: np.random.Generator) -> list[Incident]:
    """Incidents one after another with quiet between them, so that the shares of the plan come out."""
    plan = menu.plan
    unusual = plan.attack_share + plan.oddity_share
    found: list[Incident] = []
    at = span[0] + QUIET_S
    while unusual > 0:
        length = float(np.clip(np.exp(rng.normal(3.6, 0.5)), *DURATION_S))
        at += max(plan.rest_s, float(rng.gamma(2.0, length * (1 - unusual) / unusual / 2)))
        if at + length > span[1] - 5:
            break
        name = menu.attack() if rng.random() < plan.attack_share / unusual else menu.oddity()
        found.append(_cast(ward, name, (at, at + length), rng))
        at += length
    return found


def _cast(ward: Ward, name: str, span: Span, rng: np.random.Generator) -> Incident:
    """Who does it, to whom, how fast."""
    what = OFFENCES.get(name) or ODDITIES[name]
    rate = what.low * (what.high / what.low) ** (rng.random() ** SLOW)
    victim = _victim(ward, name, rng)
    able: I64 = np.array([d.host for d in ward.devices if d.host != victim.host])
    if name in ("reconnect storm", "telemetry backlog"):
        able = np.array([d.host for d in ward.of(*SPEAKS_MQTT) if d.kind != "broker"] or able[:1].tolist())
    count = min(len(able), int(rng.integers(what.sources[0], what.sources[1] + 1)))
    if name == "reconnect storm":
        count = len(able)
    actors = rng.permutation(able)[:count]
    if name in OFFENCES and name not in ("ARP_Spoofing", "Recon-Ping_Sweep") and rng.random() < OUTSIDERS:
        actors[0] = ward.outside(str(rng.choice(SPOKEN_TO)))
    return Incident(name, span, float(rate), actors, victim)


def _victim(ward: Ward, name: str, rng: np.random.Generator) -> Device:
    if name.startswith("MQTT") or name in ("reconnect storm", "telemetry backlog"):
        return ward.broker
    kinds = {
        "image migration": ("imaging", "image server"),
        "Recon-VulScan": ("broker", "infusion pump", "patient monitor", "image server", "imaging"),
        "Recon-Port_Scan": (),
    }.get(name, ())
    able = ward.of(*kinds) or ward.devices
    return able[int(rng.integers(len(able)))]


def _perform(stage: Stage, ward: Ward, what: Incident, number: int) -> tuple[Incident, int]:
    stage.label, stage.incident = (CLASSES.index(what.name) if what.name in OFFENCES else 0), number
    act = ACTS.get(what.name) or ODD_ACTS[what.name]
    act(stage, ward, what)
    stage.label, stage.incident = 0, -1
    return what, number


def _relays(ward: Ward, frames: Frames, spoofers: list[tuple[Incident, int]]) -> Frames:
    for what, number in spoofers:
        frames = relayed(ward, frames, what, (CLASSES.index(what.name), number), EPOCH_NS)
    return frames


def _within(frames: Frames, span: Span) -> Frames:
    start, end = (EPOCH_NS + int(t * 1e9) for t in span)
    return frames[(frames["time"] >= start) & (frames["time"] < end)]


def _ordered(frames: list[Frames]) -> Frames:
    joined: Frames = np.concatenate(frames)
    ordered: Frames = joined[np.argsort(joined["time"], kind="stable")]
    return ordered


def _happening(ward: Ward, what: Incident, number: int) -> Happening:
    mac = ward.hosts["mac"]
    return Happening(
        number=number,
        name=what.name,
        label=what.name if what.name in OFFENCES else "Benign",
        start=EPOCH_NS + int(what.span[0] * 1e9),
        end=EPOCH_NS + int(what.span[1] * 1e9),
        rate=what.rate,
        actors=tuple(int(mac[a]) for a in what.actors),
        victim=int(mac[what.victim.host]),
        addresses=tuple(int(ward.hosts["ip"][host]) for host in (*what.actors, what.victim.host)),
    )


def quiet(plan: Plan) -> Plan:
    """The same wards without attacks and oddities."""
    return replace(plan, attack_share=0.0, oddity_share=0.0)
