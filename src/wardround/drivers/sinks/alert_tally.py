"""What a watching gateway has counted so far. Nothing here decides anything; Prometheus reads it (alert_prometheus.py)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wardround.detect.alert import Alert
from wardround.detect.detector import Assessment, Detector
from wardround.traffic.windows import Windows

EDGES = np.array([-10.0, -5.0, -2.0, 0.0, 2.0, 5.0, 10.0])


@dataclass
class Tally:
    """Counts of one process; nothing here decides anything."""

    windows: int = 0
    alarms: Counter[str] = field(default_factory=Counter)
    alerts: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    scores: Any = field(default_factory=lambda: np.zeros(len(EDGES) + 1))
    score_sum: float = 0.0
    sent: int = 0
    dropped: int = 0
    open: int = 0
    devices: int = 0
    round: int = 0
    model_added: int = 0

    def count(self, windows: Windows, found: Assessment) -> None:
        """A batch was scored."""
        self.windows += len(windows)
        for finding in found.findings:
            self.alarms[finding.detector] += 1
        scores = found.scores["model"]
        known = scores[np.isfinite(scores)]
        self.scores += np.bincount(np.searchsorted(EDGES, known), minlength=len(EDGES) + 1)
        self.score_sum += float(known.sum())

    def told(self, alert: Alert) -> None:
        """An incident changed."""
        self.alerts[alert.family.name, alert.severity, alert.kind] += 1

    def standing(self, detector: Detector, sent: tuple[int, int]) -> None:
        """What is, at a checkpoint."""
        self.open, self.devices = len(detector.incidents.open), len(detector.inventory.devices)
        self.sent, self.dropped = sent

    def model(self, round_: int, added: int) -> None:
        """Which model is in service."""
        self.round, self.model_added = round_, added
