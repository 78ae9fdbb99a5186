"""The reasons of a finding, whichever detector found it: gradients, errors, a counter beside its usual range, a record broken."""

from __future__ import annotations

from collections.abc import Mapping

from wardround.detect import explain, norms, volume
from wardround.detect.baseline import Baseline
from wardround.detect.findings import Finding, Reason
from wardround.detect.norms import Norms
from wardround.detect.scorer import Scorer
from wardround.detect.volume import MEASURES, Volume
from wardround.traffic.windows import Windows


class Why:
    """Explains findings of ``scorers`` (by slot), of ``charts`` and of ``records``."""

    def __init__(self, scorers: Mapping[str, Scorer], charts: Volume, records: Norms) -> None:
        self._scorers, self._charts, self._records = scorers, charts, records
        self._gradients = {name: explain.Gradients(s) for name, s in scorers.items() if not s.bundle.model.unsupervised}

    def __call__(self, f: Finding, windows: Windows, baseline: Baseline | None) -> tuple[Reason, ...]:
        """Of a finding in ``windows``; ``baseline``: of the device's type, where there is one."""
        if f.detector == "arp":
            return (Reason(f"devices claiming {f.flow.address}", 2.0, 1.0, 1.0, 1.0),)
        columns, row = windows.schema.columns, windows.x[f.row]
        if f.detector == "norms":
            record = self._records.devices[f.device]
            column = norms.furthest(record, columns, row)
            most = float(record.counts[column])
            return (Reason(columns[column].name, float(row[column]), 0.0, most, 1.0, columns[column].unit),)
        if f.detector == "volume":
            worst = next(i for i, m in enumerate(MEASURES) if m.label == f.label)
            low, high = self._charts.usual(f.device, worst)
            value = float(volume.rates(windows)[f.row, worst])
            return (Reason(MEASURES[worst].text, value, low, high, 1.0),)
        if f.detector == "baseline" and baseline is not None:
            return explain.reasons(baseline.contributions(row), row, columns, baseline.quantiles)
        return self._of_model(f, windows, baseline)

    def _of_model(self, f: Finding, windows: Windows, baseline: Baseline | None) -> tuple[Reason, ...]:
        scorer, columns, row = self._scorers[f.detector], windows.schema.columns, windows.x[f.row]
        usual = explain.usual(baseline, scorer.preprocessor)
        if f.detector in self._gradients:
            typical = explain.reference(baseline, scorer.preprocessor)
            return explain.reasons(self._gradients[f.detector].columns(row, typical), row, columns, usual)
        return explain.reasons(explain.errors(scorer, row), row, columns, usual)
