"""`wardround watch`: windows through the detector to alerts, incidents and the site's store, until the feed ends or SIGTERM.

    feed -> Windows -> Detector.observe -> alerts (outputs), windows and incidents (store)
    every CHECKPOINT_S: windows, incidents and the detector's state reach the disk in one transaction

A kill -9 loses at most CHECKPOINT_S of windows; after it the detector goes on from the last checkpoint, so an incident that was
opened in between may be told twice with one number, never lost. Operators' commands (labels, models, calibration) are taken up at
the next checkpoint: the store's settings counter says that something changed.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wardround import __version__
from wardround.detect.alert import Alert, Identity, alert
from wardround.detect.detector import Assessment, Detector
from wardround.detect.incident import Change
from wardround.drivers.live import policy
from wardround.drivers.sinks.alert_eve import eve
from wardround.drivers.sinks.alert_out import Outputs
from wardround.drivers.sinks.alert_tally import Tally
from wardround.drivers.store import knowledge
from wardround.drivers.store.site import SiteStore
from wardround.errors import DecodeError
from wardround.events import Emit, Note
from wardround.traffic.windows import Windows

CHECKPOINT_S = 5.0
PRUNE_S = 3600.0
MOST_PENDING = 20_000
"""Windows that wait for a checkpoint: beyond, it is made at once, so that memory stays bounded."""
STATE = "detector"


@dataclass(frozen=True)
class Asked:
    """What the command line says. ``site``: the gateway's name in alerts; ``live``: by the wall's clock, not the capture's."""

    site: str
    policy: Path | None
    live: bool


@dataclass
class Watcher:
    """One site's watch."""

    asked: Asked
    store: SiteStore
    outputs: Outputs
    emit: Emit
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], int] = time.time_ns
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._pending: list[tuple[Windows, Assessment]] = []
        self._changed: dict[int, Alert] = {}
        self._last = self._pruned = self.clock()
        self._settings = -1
        self._now = 0
        self._judged: dict[int, str] = {}
        self.detector = self._restored()
        self._refresh()
        _give_back()

    def run(self, feed: Iterable[Windows], stop: Callable[[], bool], seen: Callable[[], None]) -> None:
        """Take windows until the feed ends or ``stop`` says so; ``seen`` is called after each batch (progress, counts)."""
        for windows in feed:
            self.take(windows)
            seen()
            if stop():
                break
        self.finish()

    def take(self, windows: Windows) -> None:
        """One batch.

        Raises:
            UsageError: its schema is not the model's.
        """
        self._now = self.wall() if self.asked.live else max(self._now, int(windows.end.max(initial=0)))
        assessment = self.detector.observe(windows)
        changes = [*assessment.changes, *self.detector.tick(self._now)]
        self.tally.count(windows, assessment)
        for change in changes:
            self._tell(change)
        if len(windows):
            self._pending.append((windows, assessment))
        self.outputs.pump()
        waiting = sum(len(w) for w, _ in self._pending)
        if waiting > MOST_PENDING or self.clock() - self._last >= CHECKPOINT_S:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Everything to the disk, then take up what operators changed.

        Raises:
            DataError: the disk did not take it.
        """
        with self.store.batch():
            for windows, assessment in self._pending:
                self.store.adopt(windows.schema)
                types = [self.detector.kind(name) for name in windows.devices]
                score = assessment.scores["model"]
                self.store.add(windows, types, score, assessment.alarm, assessment.incident)
            held = {i.number: i for i in self.detector.incidents.held.values() if i.number}
            self.store.keep((held.get(number, a.incident), eve(a)) for number, a in sorted(self._changed.items()))
            self.store.put(STATE, self.detector.to_bytes())
            if self.clock() - self._pruned >= PRUNE_S:
                self.store.prune(self._now)
                self._pruned = self.clock()
        self._pending.clear()
        self._changed.clear()
        self._last = self.clock()
        if self.store.settings != self._settings:
            self._refresh()
        self.tally.standing(self.detector, self.outputs.counts)

    def finish(self) -> None:
        """The feed is over: at the end of a capture every incident is closed, a live one stays open for the next start."""
        if not self.asked.live:
            quiet = int((self.detector.incidents.policy.rules.quiet_s + 1) * 1e9)
            for change in self.detector.tick(self._now + quiet):
                self._tell(change)
        self.checkpoint()

    # --- inside

    def _restored(self) -> Detector:
        watching = policy.read(self.asked.policy)
        known = knowledge.load(self.store, watching.budget)
        saved = self.store.get(STATE)
        if saved is None:
            return Detector(known, watching.policy)
        try:
            return Detector.from_bytes(saved, known, watching.policy)
        except DecodeError as error:
            self.emit(
                Note("watch.state", f"the detector's state is of another version or damaged ({error}): it begins anew")
            )
            return Detector(known, watching.policy)

    def _refresh(self) -> None:
        """Models, baselines, thresholds, verdicts and the policy file, as they stand now."""
        self._settings = self.store.settings
        watching = policy.read(self.asked.policy)
        self.detector.incidents.policy = watching.policy
        for told in watching.devices:
            self.detector.inventory.tell(told.name, told.type, told.ward, told.criticality)
        self.detector.know(knowledge.load(self.store, watching.budget))
        rows = {row.slot: row for row in self.store.models() if row.state == "active"}
        row = rows.get("model") or rows.get("guard")
        self.identity = Identity(f"v{row.version}", row.hash, row.round) if row is not None else Identity()
        self.tally.model(row.round if row else 0, row.added if row else 0)
        for number, subject, verdict in self.store.verdicts():
            if self._judged.get(number) == verdict:
                continue
            self._judged[number] = verdict
            incident = self.detector.incidents.held.get(subject)
            if incident is not None and incident.number == number:
                for change in self.detector.incidents.label(subject, verdict, self._now or self.wall()):
                    self._tell(change)
            if verdict == "expected":
                self.detector.volume.relearn(subject)

    def _tell(self, change: Change) -> None:
        seen = self.detector.inventory.get(change.incident.subject)
        device = replace(seen, guessed=self.detector.kind(seen.name))
        when = change.incident.closed if change.kind == "closed" else change.incident.last_seen
        told = alert(change, device, when, self.identity, self.asked.site)
        if change.kind != "muted":
            self.outputs.write(told)
        self._changed[change.incident.number] = told
        self.tally.told(told)


def _give_back() -> None:
    """Memory that reading models took and freed goes back to the system, where the C library can (glibc's malloc_trim)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return


def about(watcher: Watcher, stats: Any) -> dict[str, Any]:
    """For /health and /status."""
    return {
        "healthy": True,
        "version": __version__,
        "site": watcher.asked.site,
        "packets": stats.packets,
        "dropped": stats.dropped,
        "windows": watcher.tally.windows,
        "open_incidents": len(watcher.detector.incidents.open),
        "model": watcher.identity.version,
        "devices": len(watcher.detector.inventory.devices),
    }
