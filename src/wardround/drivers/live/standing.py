"""What stands at a site, read beside a running watch: its devices and what each detector knows of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wardround.detect.detector import Detector
from wardround.drivers.live import policy
from wardround.drivers.live.watch import STATE
from wardround.drivers.sources.site import FILE
from wardround.drivers.store import knowledge
from wardround.drivers.store.site import SiteStore
from wardround.errors import DataError, DecodeError, UsageError


def inventory(site: Path, file: Path | None) -> list[dict[str, Any]]:
    """One record per device, most windows first.

    Raises:
        UsageError: there is no store.
        DataError: the detector's state is damaged.
    """
    if not (site / FILE).is_file():
        raise UsageError(f"{site} holds no site's store: wardround watch --site {site} makes it")
    store = SiteStore(site)
    try:
        watching = policy.read(file)
        known = knowledge.load(store, watching.budget)
        saved = store.get(STATE)
        try:
            detector = Detector(known) if saved is None else Detector.from_bytes(saved, known)
        except DecodeError as error:
            raise DataError(f"the detector's state in {site} is damaged: {error}") from error
        for told in watching.devices:
            detector.inventory.tell(told.name, told.type, told.ward, told.criticality)
        found = sorted(detector.inventory.devices.values(), key=lambda d: (-d.windows, d.name))
        return [
            {
                "name": d.name,
                "address": d.address,
                "type": detector.kind(d.name),
                "type_by": "operator" if d.type else "traffic",
                "ward": d.ward,
                "criticality": d.weight,
                "windows": d.windows,
                "first_seen": _time(d.first_seen),
                "last_seen": _time(d.last_seen),
                "status": detector.status(detector.kind(d.name), d.name),
                "incident": f"I{number}" if (number := detector.incidents.number(d.name)) else "",
            }
            for d in found
        ]
    finally:
        store.close()


def _time(nanoseconds: int) -> str:
    return f"{datetime.fromtimestamp(nanoseconds / 1e9, UTC):%Y-%m-%d %H:%M:%S}" if nanoseconds else ""
