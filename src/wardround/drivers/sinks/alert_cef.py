"""The alert as CEF (ArcSight Common Event Format, version 0) and as LEEF 2.0 (IBM QRadar): one line each, for syslog.

Both are texts with separators, and part of what stands in them comes from elsewhere (class names, an operator's ward names):
every separator and every control character in a value is escaped or replaced, so no value can forge a field or a line.
"""

from __future__ import annotations

from wardround import __version__
from wardround.detect.alert import Alert
from wardround.drivers.sinks.alert_eve import stamp

CEF_SEVERITY = {1: 9, 2: 6, 3: 3}


def cef(alert: Alert) -> str:
    """One CEF line."""
    header = ("wardround", "wardround", __version__, str(alert.signature_id), alert.signature, str(_severity(alert)))
    fields = _fields(alert)
    extension = " ".join(f"{key}={_cef_value(value)}" for key, value in fields.items() if value)
    return "CEF:0|" + "|".join(_cef_header(part) for part in header) + "|" + extension


def leef(alert: Alert) -> str:
    """One LEEF line; attributes are parted by tabs."""
    names = {"dvchost": "identHostName", "rt": "devTime", "spt": "srcPort", "dpt": "dstPort", "externalId": "incident"}
    fields = {names.get(key, key): value for key, value in _fields(alert).items() if value}
    fields |= {"sev": str(_severity(alert)), "cat": alert.family.name, "devTimeFormat": "MMM dd yyyy HH:mm:ss.SSS z"}
    header = ("wardround", "wardround", __version__, str(alert.signature_id))
    body = "\t".join(f"{key}={_plain(value)}" for key, value in fields.items())
    return "LEEF:2.0|" + "|".join(_plain(part).replace("|", "/") for part in header) + "|x09|" + body


def _fields(alert: Alert) -> dict[str, str]:
    """CEF's names; LEEF renames some."""
    (source, target), (source_port, target_port) = alert.ends, alert.ports
    i = alert.incident
    techniques = " ".join(t.id for t in alert.family.techniques)
    return {
        "rt": _time(alert.time),
        "src": source,
        "dst": target,
        "spt": str(source_port or ""),
        "dpt": str(target_port or ""),
        "proto": alert.protocol,
        "dvchost": alert.site,
        "cnt": str(i.windows),
        "externalId": f"{alert.site}-{i.id}" if alert.site else i.id,
        "act": alert.kind,
        "start": _time(i.first_seen),
        "end": _time(i.last_seen),
        "cs1Label": "device",
        "cs1": i.subject,
        "cs2Label": "deviceType",
        "cs2": alert.device.kind,
        "cs3Label": "ward",
        "cs3": alert.device.ward,
        "cs4Label": "techniques",
        "cs4": techniques,
        "cs5Label": "model",
        "cs5": f"{alert.identity.version} round {alert.identity.round}" if alert.identity.version else "",
        "cs6Label": "communityId",
        "cs6": alert.community or "",
        "cfp1Label": "score",
        "cfp1": f"{i.score:.6g}",
        "cfp2Label": "pValue",
        "cfp2": f"{i.p_value:.6g}",
        "msg": "; ".join(alert.reasons),
    }


def _severity(alert: Alert) -> int:
    return CEF_SEVERITY[alert.severity]


def _time(nanoseconds: int) -> str:
    """As in Nov 27 2026 13:00:00.000 UTC."""
    iso = stamp(nanoseconds)
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return f"{months[int(iso[5:7]) - 1]} {iso[8:10]} {iso[:4]} {iso[11:23]} UTC"


def _cef_header(text: str) -> str:
    return _plain(text).replace("\\", "\\\\").replace("|", "\\|")


def _cef_value(text: str) -> str:
    return _plain(text).replace("\\", "\\\\").replace("=", "\\=")


def _plain(text: str) -> str:
    """No control characters: they would end a field or a line."""
    return "".join(c if c.isprintable() else " " for c in text)
