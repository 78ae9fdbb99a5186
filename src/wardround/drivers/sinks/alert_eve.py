"""The native alert: one JSON line in the shape of Suricata's EVE, so that what reads EVE reads ours.

Our own facts stand in one object, ``fl_ids``. Field by field: docs/reference/alerts.md, checked against this module.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from wardround.detect.alert import Alert


def eve(alert: Alert) -> dict[str, Any]:
    """The alert as an EVE record."""
    i, source_target, ports = alert.incident, alert.ends, alert.ports
    record: dict[str, Any] = {
        "timestamp": stamp(alert.time),
        "flow_id": flow_id(alert),
        "event_type": "alert",
        "src_ip": source_target[0] or None,
        "src_port": ports[0] or None,
        "dest_ip": source_target[1] or None,
        "dest_port": ports[1] or None,
        "proto": alert.protocol or None,
        "community_id": alert.community,
        "host": alert.site or None,
        "alert": {
            "action": "allowed",
            "gid": 1,
            "signature_id": alert.signature_id,
            "rev": 1,
            "signature": alert.signature,
            "category": alert.family.text,
            "severity": alert.severity,
            "metadata": metadata(alert),
        },
        "fl_ids": {
            "kind": alert.kind,
            "incident_id": f"{alert.site}-{i.id}" if alert.site else i.id,
            "state": i.state,
            "detector": i.detector,
            "detectors": {c.name: c.count for c in i.detectors},
            "score": rounded(i.score),
            "threshold": rounded(i.threshold),
            "p_value": rounded(i.p_value),
            "model_version": alert.identity.version,
            "model_hash": alert.identity.hash,
            "round": alert.identity.round,
            "personalised": alert.identity.personalised,
            "device": {
                "name": i.subject,
                "address": alert.device.address or None,
                "type": alert.device.kind,
                "ward": alert.device.ward or None,
                "criticality": alert.device.weight,
            },
            "peers": list(i.peers),
            "peers_more": i.more_peers,
            "count": i.windows,
            "first_seen": stamp(i.first_seen),
            "last_seen": stamp(i.last_seen),
            "explanation": [
                {
                    "feature": r.feature,
                    "value": rounded(r.value),
                    "typical_range": [rounded(r.low), rounded(r.high)],
                    "unit": r.unit or None,
                    "contribution": rounded(r.share),
                    "text": r.text,
                }
                for r in i.reasons
            ],
            "muted_by": i.muted_by or None,
            "verdict": i.verdict or None,
        },
    }
    return without_nothing(record)


def line(alert: Alert) -> str:
    """One line of JSON, without its end."""
    return json.dumps(eve(alert), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def metadata(alert: Alert) -> dict[str, list[str]]:
    """Attack class and ATT&CK tags, lists as Suricata has them."""
    techniques = alert.family.techniques
    found = {
        "attack_class": [c.name for c in alert.incident.labels] or [alert.family.name],
        "mitre_technique_id": [t.id for t in techniques if t.matrix == "enterprise"],
        "mitre_technique_name": [t.name for t in techniques if t.matrix == "enterprise"],
        "mitre_tactic_name": sorted({t.tactic for t in techniques if t.matrix == "enterprise"}),
        "mitre_ics_technique_id": [t.id for t in techniques if t.matrix == "ics"],
        "mitre_ics_technique_name": [t.name for t in techniques if t.matrix == "ics"],
    }
    return {key: value for key, value in found.items() if value}


def flow_id(alert: Alert) -> int:
    """A stable number for all alerts of one incident, as EVE has one per flow."""
    text = f"{alert.site}|{alert.incident.id}|{alert.incident.subject}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 12  # 52 bits: exact in JavaScript


def stamp(nanoseconds: int) -> str:
    """ISO 8601 in UTC with microseconds, as Suricata writes it."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}+0000"


def rounded(value: float) -> float | None:
    """Six significant digits; None for what is not a number."""
    if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124
        return None
    return float(f"{value:.6g}")


def without_nothing(record: dict[str, Any]) -> dict[str, Any]:
    """The record without keys that hold None, at every depth of objects."""
    found = {}
    for key, value in record.items():
        if isinstance(value, dict):
            found[key] = without_nothing(value)
        elif value is not None:
            found[key] = value
    return found
