"""A watch as a process: store, outputs, signals, metrics endpoint, progress; and what is said when it is over."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Self

from wardround import events
from wardround.detect.measures import Days
from wardround.drivers.live import feeding
from wardround.drivers.live.feeding import Choice
from wardround.drivers.live.watch import Asked, Watcher, about
from wardround.drivers.sinks.alert_out import Outputs, output
from wardround.drivers.store import knowledge
from wardround.drivers.store.site import SiteStore
from wardround.errors import DataError, UsageError
from wardround.events import Emit

STAGE = "watch"
EVERY_S = 0.5


@dataclass(frozen=True)
class Session:
    """The command line of `wardround watch`. ``model``, ``guard``: bundles to offer to the shelf first."""

    choice: Choice
    site: Path
    name: str
    alerts: Sequence[str]
    policy: Path | None = None
    http: int = 0
    model: Path | None = None
    guard: Path | None = None


@dataclass
class Outcome:
    """What a watch came to. ``stopped``: by a signal, before the feed's end."""

    windows: int = 0
    devices: int = 0
    packets: int = 0
    dropped: int = 0
    lost: str = ""
    incidents: Counter[str] = field(default_factory=Counter)
    days: float = 0.0
    stopped: bool = False
    seconds: float = 0.0

    @property
    def per_device_day(self) -> float:
        """Incidents per device-day; 0 where nothing was seen."""
        return sum(self.incidents.values()) / self.days if self.days else 0.0


def run(asked: Session, emit: Emit) -> Outcome:
    """Watch until the feed ends or a signal says stop.

    Raises:
        UsageError, ConfigError, DataError: a flag, a file or the source is wrong.
    """
    outputs = Outputs([output(text) for text in asked.alerts])
    with _Stop() as stop:
        store = SiteStore(asked.site, watching=True)
        try:
            _offered(store, asked)
            return _watched(asked, store, outputs, emit, stop)
        finally:
            outputs.close()
            store.close()


def offered(store: SiteStore, slot: str, path: Path, now: int, round_: int = 0) -> tuple[int, str, bool]:
    """Put the bundle in a file on the shelf: its version, the verdict's reason, and whether it went into service.

    Raises:
        UsageError: the file cannot be read, is no bundle, or the model cannot watch here.
    """
    try:
        body = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the model {path} cannot be read: {error}") from error
    try:
        bundle = knowledge.bundle_of(body)
    except DataError as error:
        raise UsageError(f"{path} is not a model: {error}") from error
    version, verdict = knowledge.offer(store, slot, bundle, (round_ or _round(bundle.notes), now), body)
    return version, verdict.reason, verdict.fit


def _round(notes: Any) -> int:
    value = str(notes.get("round", "0"))
    return int(value) if value.isdecimal() else 0


def _offered(store: SiteStore, asked: Session) -> None:
    for slot, path in (("model", asked.model), ("guard", asked.guard)):
        if path is not None:
            _, reason, fit = offered(store, slot, path, time.time_ns())
            if not fit:
                raise UsageError(f"{path} does not go into service here: {reason}")


def _watched(asked: Session, store: SiteStore, outputs: Outputs, emit: Emit, stop: _Stop) -> Outcome:
    watcher = Watcher(Asked(asked.name, asked.policy, asked.choice.live), store, outputs, emit)
    schemas = {bundle.schema for bundle in watcher.detector.knowledge.bundles.values()}
    held = store.schema()
    wanted = next(iter(schemas), "") or ("" if held is None else held.id)
    feed = feeding.opened(asked.choice, wanted, stop)
    health = _health(asked.http, watcher, feed.stats)
    began, days = time.monotonic(), Days()
    emit(events.StageStarted(STAGE, feed.text, feed.total))
    shown = [began]

    def seen() -> None:
        if time.monotonic() - shown[0] >= EVERY_S:
            shown[0] = time.monotonic()
            emit(
                events.StageProgress(
                    STAGE, min(feed.stats.bytes, feed.total) if feed.total else feed.stats.packets, feed.total
                )
            )

    try:
        watcher.run(days.counting(feed.windows), stop, seen)
    finally:
        if health is not None:
            health.close()
    emit(events.StageDone(STAGE, time.monotonic() - began))
    return Outcome(
        watcher.tally.windows,
        len(watcher.detector.inventory.devices),
        feed.stats.packets,
        feed.stats.dropped,
        feed.stats.lost,
        _opened(watcher),
        days.value,
        stop.asked,
        time.monotonic() - began,
    )


def _health(port: int, watcher: Watcher, stats: Any) -> Any:
    """The endpoint at ``port``; a watch without one does not hold what it needs."""
    if not port:
        return None
    from wardround.drivers.sinks.alert_prometheus import Metrics
    from wardround.drivers.sinks.health import Health

    return Health(port, lambda: about(watcher, stats), Metrics(watcher.tally, stats))


def _opened(watcher: Watcher) -> Counter[str]:
    """Incidents opened in this watch, by family."""
    found: Counter[str] = Counter()
    for (family, _, kind), count in watcher.tally.alerts.items():
        if kind == "opened":
            found[family] += count
    return found


class _Stop:
    """SIGTERM and SIGINT ask to stop; a second one has its usual effect."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.asked

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.asked = True
        signal.signal(number, self._before[number])
