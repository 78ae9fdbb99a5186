from collections.abc import Sequence

import numpy as np
import pytest
from detect_worlds import START, windows_of  # type: ignore[import-not-found]
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.arrays import F32
from wardround.detect import norms
from wardround.detect.detector import Detector, Knowledge
from wardround.detect.norms import LEAST, PLAIN, SETTLED, SILENT, Norms, counted, excess, learn, named, room, weight
from wardround.detect.tags import FAMILIES
from wardround.detect.volume import rates
from wardround.errors import DecodeError
from wardround.traffic.pkt import COLUMNS
from wardround.traffic.table import Column, Schema
from wardround.traffic.windows import Windows

COUNTS = Schema("counts-v1", (Column("syn in", unit="packets"), Column("tcp share in", "flag"), Column("peers out")))


def of(rows: Sequence[Sequence[float]], device: str = "pump") -> Windows:
    x: F32 = np.array(rows, dtype=np.float32).reshape(-1, 3)
    w = windows_of(x, [device] * len(x))
    return Windows(**{**w.__dict__, "schema": COUNTS})


def record(rows: Sequence[Sequence[float]], device: str = "pump") -> Norms:
    w = of(rows, device)
    return learn(w.schema, [device] * len(w), ["controller"] * len(w), rates(w), w.x)


CALM = [[i % 3, 0.5, 4.0] for i in range(SETTLED)]


def test_what_a_device_never_did_alarms_and_what_it_did_does_not() -> None:
    known = record(CALM)
    found = excess(known, of([[2, 1.0, 4], [40, 0.5, 4], [0, 0.5, 60], [np.nan, np.nan, 4]]))
    assert (found.score[[0, 3]] < 0).all()
    assert (found.score[[1, 2]] > PLAIN).all()
    assert found.column[1:3].tolist() == [0, 2]  # a share is no count


def test_a_single_packet_where_none_is_usual_is_no_alarm() -> None:
    known = record([[0, 0.5, 4.0]] * SETTLED)
    scores = excess(known, of([[1, 0.5, 4], [3, 0.5, 4], [9, 0.5, 4]])).score
    assert scores[0] < 0 < scores[1] < PLAIN < scores[2]
    assert [weight(float(s), 3) for s in scores[1:]] == [1, 3]


def test_short_records_and_strangers_are_silent_and_few_windows_grant_more_room() -> None:
    assert (excess(record(CALM[: LEAST - 1]), of([[900, 0.5, 4]])).score == SILENT).all()
    assert (excess(record(CALM), of([[900, 0.5, 4]], "stranger")).score == SILENT).all()
    assert (excess(norms.NONE, of([[900, 0.5, 4]])).score == SILENT).all()
    assert room(LEAST) > room(300) > room(SETTLED) == room(10 * SETTLED) == norms.ROOM


def test_another_schema_s_record_is_not_asked() -> None:
    known = record(CALM)
    other = Norms("other", known.devices)
    assert (excess(other, of([[900, 0.5, 4]])).score == SILENT).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 500), min_size=LEAST, max_size=60), st.integers(0, 500), st.integers(1, 30))
def test_nothing_within_the_record_alarms_and_more_normal_windows_never_make_an_alarm(
    calm: list[int], value: int, more: int
) -> None:
    rows = [[float(c), 0.5, 1.0] for c in calm]
    before = float(excess(record(rows), of([[value, 0.5, 1.0]])).score[0])
    after = float(excess(record([*rows, *rows[:more]]), of([[value, 0.5, 1.0]])).score[0])
    if value <= max(calm):
        assert before <= 0
    assert not (before <= 0 < after and value <= max(calm))


def test_records_survive_bytes_and_damage_is_refused() -> None:
    known = record(CALM)
    again = Norms.from_bytes(known.to_bytes())
    assert again.to_bytes() == known.to_bytes()
    assert again.devices["pump"].windows == SETTLED
    assert Norms.from_bytes(norms.NONE.to_bytes()).devices == {}
    data = bytearray(known.to_bytes())
    for at in range(0, len(data), 3):
        try:
            Norms.from_bytes(bytes(data[:at]))
        except DecodeError:
            continue


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_record(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Norms.from_bytes(data)


def test_every_column_has_a_name_a_family_and_a_side() -> None:
    for number in counted(COLUMNS):
        for score in (0.1, 0.9, 5.0):
            for way in (True, False):
                label, known, _ = named(COLUMNS[number].name, score, way)
                assert known in FAMILIES
                assert bool(label) == (known != "anomaly")
    assert named("rst out", 5.0, True)[2] is False  # it answers what was received
    assert named("syn out", 5.0, False)[2] is True
    assert named("mqtt unframed", 0.6, True)[1] == "malformed"


def test_the_detector_explains_by_the_count_and_its_record() -> None:
    detector = Detector(Knowledge(norms=record(CALM)))
    found = detector.observe(of([[80, 0.5, 4]]))
    (change,) = found.changes
    assert (change.kind, change.incident.family, change.incident.detector) == ("opened", "flood", "norms")
    assert [r.text for r in change.incident.reasons] == ["syn in 80 packets, usually 0-2 packets"]
    assert change.incident.p_value == pytest.approx(1 / (SETTLED + 1))
    assert change.incident.opened == START + 5_000_000_000
