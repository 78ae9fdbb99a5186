"""The engine an experiment asks for, and threads that do not fight over the cores."""

from __future__ import annotations

import os

from wardround.drivers.site import make, maker

__all__ = ["make", "maker", "workers"]


def workers(asked: int) -> int:
    """Threads for training: as asked, or one per core this process may use."""
    return asked or len(os.sched_getaffinity(0))
