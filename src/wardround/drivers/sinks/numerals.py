"""Numbers as people read them: shares, counts, bytes, durations. A missing or not finite number is a dash."""

from __future__ import annotations

import math

DASH = "–"


def known(value: float | None) -> bool:
    """Whether there is a number to show."""
    return value is not None and math.isfinite(value)


def fixed(value: float | None, digits: int = 3) -> str:
    """With this many decimals: ``0.912``."""
    return f"{value:.{digits}f}" if value is not None and math.isfinite(value) else DASH


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as ``91.2 %``."""
    return f"{100 * value:.{digits}f} %" if value is not None and math.isfinite(value) else DASH


def count(value: float | None) -> str:
    """A whole number with a comma at every thousand."""
    return f"{round(value):,}" if value is not None and math.isfinite(value) else DASH


def size(value: float | None) -> str:
    """Bytes in the decimal units of the SI: ``1.25 MB``."""
    if value is None or not math.isfinite(value):
        return DASH
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def duration(seconds: float | None) -> str:
    """``40 ms``, ``3.2 s``, ``4 min 10 s``, ``2 h 5 min``."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
