"""All sources there are, by name: the keys of ``[data] use``. Not in the package itself, whose readers a small process uses."""

from __future__ import annotations

from wardround.drivers.sources.capture import Capture
from wardround.drivers.sources.ciciomt2024 import CicIomt2024
from wardround.drivers.sources.edge_iiotset import EdgeIiotset
from wardround.drivers.sources.hospital import Hospital
from wardround.drivers.sources.iot23 import Iot23
from wardround.drivers.sources.lab.source import Lab
from wardround.drivers.sources.nbaiot import NBaIot
from wardround.drivers.sources.site import SiteWindows
from wardround.drivers.sources.ton_iot import TonIot
from wardround.drivers.sources.wustl_ehms import WustlEhms
from wardround.drivers.sources.xiomt import XIomt

SOURCES: dict[str, type] = {
    source.name: source
    for source in (
        Lab,
        Hospital,
        CicIomt2024,
        WustlEhms,
        Iot23,
        TonIot,
        NBaIot,
        XIomt,
        EdgeIiotset,
        SiteWindows,
        Capture,
    )
}
