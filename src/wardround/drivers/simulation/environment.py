"""What a result depends on beside its experiment file: versions, machine, data."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wardround import __version__

PACKAGES = ("numpy", "pandas", "torch", "onnx", "cryptography")


def describe(command: str, data: Path | None, data_fingerprint: str) -> dict[str, Any]:
    """The content of environment.json."""
    return {
        "wardround": __version__,
        "command": command,
        "data_folder": str(data.resolve()) if data else None,
        "data_fingerprint": data_fingerprint,
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """Processor, cores and memory; also used by bench/."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
