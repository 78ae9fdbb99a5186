"""Packet times as a clock that only goes forward, whatever a capture says.

Packets come a little out of order (several receive queues) or with a clock that was set back. Small steps back
are read as "now"; a step back of more than ``STEP`` is a new start: everything open is closed and time begins again.
Laws: the times of a stretch never decrease; stretches in order are the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wardround.arrays import I64

SECOND = 1_000_000_000
STEP = 60 * SECOND
_MOST_STEPS = 64


def stretches(time: I64, last: int | None) -> Iterator[tuple[slice, I64, bool]]:
    """Parts of a batch with times ``time`` [n] after a clock that stood at ``last``.

    Yields (slice, times that never decrease, whether the clock was set back before it). A batch with more than 64
    steps back is hostile or garbage: the rest of it is read as "now".
    """
    start, now = 0, last
    for _ in range(_MOST_STEPS):
        if start >= len(time):
            return
        part = time[start:]
        high = np.maximum.accumulate(part)
        if now is not None and part[0] < now:
            if part[0] < now - STEP:
                yield slice(start, start), high[:0], True
                now = None
            else:
                high = np.maximum(high, now)
        back = np.flatnonzero(part < high - STEP)
        end = int(back[0]) if len(back) else len(part)
        if end:
            yield slice(start, start + end), high[:end], False
            now = int(high[end - 1])
        start += end
    if start < len(time):
        yield slice(start, len(time)), np.full(len(time) - start, now, np.int64), False
