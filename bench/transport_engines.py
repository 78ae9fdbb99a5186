"""One exchange and one whole plain round of 80 kB on three engines, one after the other in one run: NATS, NVFLARE, Flower.

What each does: transport.py (exchanges, with checkpoints for a round), transport_nvflare.py, transport_flower.py.
Run: python bench/transport_engines.py --venv VENV [--nats 3,10,50] [--nvflare 3,10] [--flower 3,10] [--more] [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import transport_flower  # type: ignore[import-not-found]
import transport_nvflare  # type: ignore[import-not-found]
from transport import PAYLOAD, Place, exchanges  # type: ignore[import-not-found]
from wardround.drivers.simulation.environment import machine

HERE = Path(__file__).parent
PORT = 14900


def nats(gateways: int, count: int, folder: Path) -> dict[str, Any]:
    """Our own transport, TLS and an account per gateway."""
    place = Place(folder, gateways, PORT)
    try:
        return {
            "exchange": asyncio.run(exchanges(place, count, PAYLOAD, None)),
            "round": asyncio.run(exchanges(place, count, PAYLOAD, folder / "disk")),
        }
    finally:
        place.broker.stop()


def nvflare(venv: Path, gateways: int, count: int, folder: Path) -> dict[str, Any]:
    return dict(transport_nvflare.measured(folder, venv, gateways, count))


def flower(gateways: int, count: int, folder: Path) -> dict[str, Any]:
    return dict(transport_flower.measured(gateways, count, folder))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--venv", type=Path, required=True, help="environment with nvflare")
    for name, sizes in (("nats", "3,10,50"), ("nvflare", "3,10"), ("flower", "3,10")):
        options.add_argument(f"--{name}", default=sizes, help="numbers of gateways; empty: left out")
    options.add_argument("--more", action="store_true", help="add these lines to the file of the last run")
    options.add_argument("--quick", action="store_true", help="few repetitions, no result file")
    asked = options.parse_args()
    counts = {"nats": 5, "nvflare": 2, "flower": 1} if asked.quick else {"nats": 60, "nvflare": 8, "flower": 2}
    engines: dict[str, Callable[..., dict[str, Any]]] = {
        "nats": nats,
        "nvflare": partial(nvflare, asked.venv),
        "flower": flower,
    }
    found: dict[str, Any] = {
        "what": "80 kB down and 80 kB up, loopback",
        "engines": {},
        "load_average": os.getloadavg(),
    }
    file = HERE / "results" / "transport_engines.json"
    if asked.more:
        found = json.loads(file.read_text(encoding="utf-8"))
    for name, measure in engines.items():
        rows = found["engines"].setdefault(name, {})
        for size in filter(None, getattr(asked, name).split(",")):
            began = time.perf_counter()
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                try:
                    rows[size] = measure(int(size), counts[name], Path(folder))
                except (RuntimeError, subprocess.SubprocessError) as error:
                    rows[size] = {"failed": str(error)[-500:]}
            rows[size]["load"] = round(os.getloadavg()[0], 1)
            print(name, size, rows[size], f"{time.perf_counter() - began:.0f} s", flush=True)
    found |= {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {
            "nvflare": transport_nvflare.nvflare_version(asked.venv),
            "flower": version("flwr"),
            "nats": version("wardround"),
        },
    }
    if not asked.quick:
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
