"""Metrics of a watching gateway for Prometheus: what was seen, what was told, what stands open, how old the model is.

wardround_watch_windows_total, _packets_total, _packets_dropped_total, _malformed_total
wardround_watch_alarms_total{detector}                windows above a detector's threshold
wardround_watch_alerts_total{family,severity,kind}
wardround_watch_alerts_sent_total, _alerts_dropped_total
wardround_watch_open_incidents, _devices, _model_round, _model_age_seconds
wardround_watch_score_bucket{le}                      the model's scores, as a histogram
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from wardround.drivers.sinks.alert_tally import EDGES, Tally

PREFIX = "wardround_watch"


class Metrics(Collector):
    """Prometheus reads ``tally`` and the feed's ``stats`` whenever it asks."""

    def __init__(self, tally: Tally, stats: Any, now: Callable[[], float] = time.time) -> None:
        self._tally, self._stats, self._now = tally, stats, now

    def collect(self) -> Iterable[Metric]:
        t, s = self._tally, self._stats
        plain = (
            ("windows", "device-windows scored", t.windows),
            ("packets", "packets or flow records read", s.packets),
            ("packets_dropped", "lost before they could be read", s.dropped),
            ("malformed", "without a whole header", s.malformed),
            ("alerts_sent", "alerts delivered to outputs", t.sent),
            ("alerts_dropped", "alerts that an output could not take", t.dropped),
        )
        for name, text, value in plain:
            yield CounterMetricFamily(f"{PREFIX}_{name}", text, value)
        alarms = CounterMetricFamily(f"{PREFIX}_alarms", "windows above a threshold", labels=["detector"])
        for detector, count in sorted(t.alarms.items()):
            alarms.add_metric([detector], count)
        yield alarms
        alerts = CounterMetricFamily(f"{PREFIX}_alerts", "changes of incidents", labels=["family", "severity", "kind"])
        for (family, severity, kind), count in sorted(t.alerts.items()):
            alerts.add_metric([family, str(severity), kind], count)
        yield alerts
        yield GaugeMetricFamily(f"{PREFIX}_open_incidents", "open incidents", t.open)
        yield GaugeMetricFamily(f"{PREFIX}_devices", "devices of the inventory", t.devices)
        yield GaugeMetricFamily(f"{PREFIX}_model_round", "round of the model in service", t.round)
        age = self._now() - t.model_added / 1e9 if t.model_added else 0.0
        yield GaugeMetricFamily(f"{PREFIX}_model_age_seconds", "since the model went on the shelf", age)
        edges = [*(f"{edge:g}" for edge in EDGES), "+Inf"]
        buckets = list(zip(edges, np.cumsum(t.scores).tolist(), strict=True))
        yield HistogramMetricFamily(f"{PREFIX}_score", "the model's attack scores", buckets, t.score_sum)
