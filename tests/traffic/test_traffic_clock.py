"""Packet times as a clock: it never goes back inside a stretch, and no batch is lost or read twice."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wardround.traffic.clock import STEP, stretches

SECOND = 10**9


@given(st.lists(st.integers(0, 400), max_size=200), st.one_of(st.none(), st.integers(0, 400)))
def test_stretches_cover_a_batch_and_only_go_forward(seconds: list[int], last: int | None) -> None:
    time = np.array(seconds, np.int64) * SECOND
    now = None if last is None else last * SECOND
    covered = 0
    for where, clock, back in stretches(time, now):
        assert where.start == covered
        assert len(clock) == where.stop - where.start
        covered = where.stop
        if back:
            now = None
            continue
        assert (np.diff(clock) >= 0).all()
        assert now is None or clock[0] >= now
        assert (clock >= time[where]).all()
        assert (clock - time[where] <= STEP).all(), "what is later than a minute is another clock"
        now = int(clock[-1])
    assert covered == len(time)


def test_a_clock_that_jumps_to_and_fro_is_read_as_now_in_the_end() -> None:
    time = np.tile([1000 * SECOND, 0], 500)
    parts = list(stretches(time, None))
    assert len(parts) < 140, "64 steps back, then no more"
    assert sum(where.stop - where.start for where, _, _ in parts) == 1000
    assert (parts[-1][1] == parts[-1][1][0]).all()
