"""A process that was told to stop stops: a bound on its end that no library's wait can move."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Self

LATE = 75  # exit status of an end by force: EX_TEMPFAIL, "start me again"


class Ending:
    """From ``begin`` on this process ends within ``seconds`` or is ended; leaving the block calls that off.

    It is safe to end so: what an agent has answered was written and synced before (state.py), so this is a kill -9 of our own,
    and the suites of kill -9 cover it. What it does not do: end by force while nobody has asked for the end.
    """

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, os._exit, (LATE,))
        self._timer.daemon = True

    def begin(self) -> None:
        """Start the clock; again: nothing."""
        if self._timer.ident is None:
            self._timer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
