"""The alert in the Elastic Common Schema (ECS 8.11): one JSON line."""

from __future__ import annotations

import json
from typing import Any

from wardround import __version__
from wardround.detect.alert import Alert
from wardround.drivers.sinks.alert_eve import eve, flow_id, without_nothing

SEVERITY = {1: 73, 2: 47, 3: 21}
"""Elastic's risk numbers for high, medium, low."""


def ecs(alert: Alert) -> dict[str, Any]:
    """The alert as an ECS document; our own facts stand under ``wardround``."""
    native = eve(alert)
    (source, target), (source_port, target_port) = alert.ends, alert.ports
    techniques = alert.family.techniques
    iso = native["timestamp"].replace("+0000", "Z")
    record: dict[str, Any] = {
        "@timestamp": iso,
        "ecs": {"version": "8.11.0"},
        "message": "; ".join((alert.signature, *alert.reasons)),
        "event": {
            "kind": "alert",
            "category": ["network", "intrusion_detection"],
            "type": ["info", "end"] if alert.kind == "closed" else ["info"],
            "module": "wardround",
            "dataset": "wardround.alert",
            "id": str(flow_id(alert)),
            "action": f"incident-{alert.kind}",
            "severity": SEVERITY[alert.severity],
            "risk_score": SEVERITY[alert.severity],
            "start": native["fl_ids"]["first_seen"].replace("+0000", "Z"),
            "end": native["fl_ids"]["last_seen"].replace("+0000", "Z"),
        },
        "rule": {
            "id": str(alert.signature_id),
            "name": alert.signature,
            "category": alert.family.text,
            "ruleset": "wardround",
            "version": "1",
        },
        "threat": {
            "framework": "MITRE ATT&CK",
            "tactic": {"name": sorted({t.tactic for t in techniques})},
            "technique": {"id": [t.id for t in techniques], "name": [t.name for t in techniques]},
        }
        if techniques
        else None,
        "source": {"ip": source or None, "port": source_port or None} if source else None,
        "destination": {"ip": target or None, "port": target_port or None} if target else None,
        "network": {"transport": alert.protocol.lower() or None, "community_id": alert.community},
        "observer": {
            "vendor": "wardround",
            "product": "wardround",
            "type": "ids",
            "version": __version__,
            "name": alert.site or None,
        },
        "host": {"name": alert.incident.subject, "type": alert.device.kind},
        "wardround": native["fl_ids"],
    }
    return without_nothing(record)


def line(alert: Alert) -> str:
    return json.dumps(ecs(alert), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
