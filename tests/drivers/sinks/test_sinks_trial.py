"""What the report says of the detector's trial: incidents, and how often each was told, are two counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from wardround.drivers.sinks.facts import trial_text


def test_one_incident_told_three_times_is_one_incident() -> None:
    told = ["reconnect storm", "reconnect storm", "reconnect storm", "", "Recon-Port_Scan"]
    trial = {
        "found": 1,
        "attacks": [{}],
        "oddities": [{"name": "reconnect storm"}],
        "incidents": [{"explained_by": why} for why in told],
        "false_incidents": 2,
        "device_days": 1.5,
        "calm_windows": 1000,
        "budget": 0.005,
    }
    run: Any = SimpleNamespace(trial=trial)
    text = trial_text(run)
    assert "2 incidents had no attack behind them in 1.50 device-days" in text
    assert "told 3 times in one of the 1 harmless oddities" in text
    assert "1 times where nothing happened" in text
