"""The deterministic detectors: charts of volume and spread, and ARP bindings."""

import numpy as np
import pytest
from detect_worlds import SECOND, START, windows_of  # type: ignore[import-not-found]
from hypothesis import given
from hypothesis import strategies as st

from wardround.detect.arp import HOLD_S, MANY, Bindings
from wardround.detect.volume import MEASURES, Volume, rates
from wardround.errors import DecodeError
from wardround.traffic.windows import Claims, Windows

PACKETS_IN = next(i for i, m in enumerate(MEASURES) if m.fact == "packets_in")


def day(n: int, seed: int = 0, device: str = "pump", first: int = START, **more: np.ndarray) -> Windows:
    """``n`` quiet windows of a device that gets about 40 packets in each."""
    rng = np.random.default_rng(seed)
    facts = {"packets_in": rng.poisson(40, n), "packets_out": rng.poisson(30, n), "peers_out": rng.integers(1, 4, n)}
    found: Windows = windows_of(np.zeros((n, 4), np.float32), [device] * n, first, **{**facts, **more})
    return found


def test_quiet_traffic_is_quiet() -> None:
    scores, _ = Volume().observe(day(3000))
    assert (scores > 0).mean() < 0.001


def test_a_flood_alarms_at_once_and_is_named() -> None:
    charts = Volume()
    charts.observe(day(200))
    scores, worst = charts.observe(day(3, packets_in=np.full(3, 20_000), udp_in=np.full(3, 20_000)))
    assert scores[0] > 0
    assert {MEASURES[i].label for i in worst.tolist()} <= {"flood of packets", "flood of UDP packets"}


def test_a_slow_flood_is_added_up() -> None:
    charts = Volume()
    charts.observe(day(200))
    # three deviations above what is usual, for long: no single window is conspicuous
    scores, _ = charts.observe(day(20, packets_in=np.full(20, 600), first=START + 1000 * SECOND))
    assert scores[0] < 0 < scores[-1]


def test_rates_that_are_no_flood_never_alarm_however_quiet_the_device_is() -> None:
    charts = Volume()
    charts.observe(day(500, packets_in=np.ones(500, int), packets_out=np.ones(500, int)))
    scores, _ = charts.observe(day(50, packets_in=np.full(50, 200), packets_out=np.ones(50, int)))
    assert (scores <= 0).all()


def test_an_attack_of_an_hour_does_not_become_the_norm_and_a_lasting_change_does() -> None:
    charts = Volume()
    charts.observe(day(400))
    hour = day(720, packets_in=np.full(720, 5000))
    assert (charts.observe(hour)[0][20:] > 0).all()
    for _ in range(40):
        last = charts.observe(day(500, packets_in=np.full(500, 5000)))[0]
    assert last[-1] < 0


def test_an_expected_change_is_learnt_anew() -> None:
    charts = Volume()
    charts.observe(day(400))
    assert charts.observe(day(5, packets_in=np.full(5, 5000)))[0][-1] > 0
    charts.relearn("pump")
    charts.relearn("nobody")
    assert charts.usual("pump", PACKETS_IN) == Volume().usual("pump", PACKETS_IN)


def test_bursts_that_calibration_saw_are_no_floods_and_more_than_them_is() -> None:
    burst = np.full(3, 20_000)
    normal = day(200, packets_in=np.concatenate([np.full(197, 40), burst]))
    tops = {"pump": np.log2(1 + rates(normal)).max(axis=0)}
    charts = Volume(ceilings=tops)
    charts.observe(day(200))
    assert (charts.observe(day(3, packets_in=burst))[0] <= 0).all()
    assert charts.observe(day(3, packets_in=2 * burst))[0].max() > 0
    other = Volume(ceilings=tops)
    other.observe(day(200, device="other"))
    assert other.observe(day(3, device="other", packets_in=burst))[0].max() > 0


def test_devices_do_not_disturb_each_other_and_their_order_does_not_matter() -> None:
    def both(order: list[int]) -> np.ndarray:
        x = np.zeros((60, 4), np.float32)
        w = windows_of(x, ["a", "b"] * 30, packets_in=np.tile([40, 4000], 30), packets_out=np.full(60, 30))
        del order
        return Volume().observe(w)[0]

    together = both([0, 1])
    alone = Volume().observe(
        day(30, device="a", packets_in=np.full(30, 40), packets_out=np.full(30, 30), peers_out=np.zeros(30, int))
    )[0]
    assert np.allclose(together[::2], alone)
    assert together[1::2].max() > together[::2].max()


def test_the_cut_into_batches_does_not_matter_and_a_restart_neither() -> None:
    whole = Volume()
    late = START + 600 * 5 * SECOND
    expected = np.concatenate(
        [whole.observe(day(600, 1))[0], whole.observe(day(50, 2, packets_in=np.full(50, 900), first=late))[0]]
    )
    charts = Volume()
    first = charts.observe(day(600, 1))[0]
    charts = Volume.from_bytes(charts.to_bytes())
    second = charts.observe(day(50, 2, packets_in=np.full(50, 900), first=late))[0]
    assert np.array_equal(np.concatenate([first, second]), expected)
    charts.forget(["somebody else"])
    assert charts.numbers == {}


def test_rates_are_per_second_and_distinct_counts_per_window() -> None:
    found = rates(day(1, packets_in=np.array([50]), ports_out=np.array([7])))
    assert found[0, PACKETS_IN] == 10
    assert found[0, next(i for i, m in enumerate(MEASURES) if m.fact == "ports_out")] == 7


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_charts(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Volume.from_bytes(data)
    with pytest.raises(DecodeError):
        Bindings.from_bytes(data)


# --- ARP


def claims(*said: tuple[float, int, int]) -> Claims:
    """(seconds, last byte of the address, MAC) each."""
    time = np.array([START + int(s * SECOND) for s, _, _ in said], np.int64)
    address = np.array([[0, (0xFFFF << 32) | (10 << 24) | a] for _, a, _ in said], np.uint64).reshape(-1, 2)
    return Claims(time, address, np.array([m for _, _, m in said], np.uint64))


def test_a_second_owner_of_a_living_address_is_a_conflict() -> None:
    table = Bindings()
    assert table.observe(claims((0, 1, 0xAA), (5, 2, 0xBB), (60, 1, 0xAA))) == []
    (conflict,) = table.observe(claims((70, 1, 0xEE)))
    assert (conflict.address, conflict.owner, conflict.claimant) == (
        "10.0.0.1",
        "00:00:00:00:00:aa",
        "00:00:00:00:00:ee",
    )
    assert conflict.silent_s == pytest.approx(10)
    # the table keeps the owner: each further claim of the attacker is told, the owner's is none
    assert len(table.observe(claims((71, 1, 0xEE), (72, 1, 0xAA)))) == 1


def test_a_lease_that_moves_after_silence_is_none() -> None:
    table = Bindings()
    table.observe(claims((0, 1, 0xAA)))
    assert table.observe(claims((HOLD_S + 1, 1, 0xEE), (HOLD_S + 2, 1, 0xEE))) == []
    assert len(table.observe(claims((HOLD_S + 3, 1, 0xAA)))) == 1


def test_a_router_pairs_virtual_address_may_move() -> None:
    table = Bindings()
    table.observe(claims((0, 1, 0xAA)))
    assert table.observe(claims((1, 1, 0x00005E000105), (2, 1, 0xAA))) == []


def test_an_owner_who_only_talks_is_there_too() -> None:
    table = Bindings()
    mine = "02:00:00:00:00:01"
    silent = windows_of(np.zeros((1, 4), np.float32), [mine], START + int((HOLD_S + 60) * SECOND))
    table.observe(claims((0, 1, 0x020000000001)))
    table.seen(silent)  # windows_of gives it 10.0.0.1
    (conflict,) = table.observe(claims((HOLD_S + 70, 1, 0xEE)))
    assert conflict.owner == mine
    # and who uses a living owner's address in its packets does not take it
    table.seen(windows_of(np.zeros((1, 4), np.float32), ["02:00:00:00:00:09"], START + int((HOLD_S + 75) * SECOND)))
    assert table.observe(claims((HOLD_S + 80, 1, 0x020000000001))) == []
    table.seen(windows_of(np.zeros((1, 4), np.float32), ["10.0.0.1"]))


def test_who_takes_a_whole_segment_is_counted() -> None:
    table = Bindings()
    table.observe(claims(*((0, i, 0x100 + i) for i in range(1, MANY + 1))))
    found = table.observe(claims(*((1, i, 0xEE) for i in range(1, MANY + 1))))
    assert [c.many for c in found] == list(range(1, MANY + 1))


def test_bindings_survive_a_restart() -> None:
    table = Bindings()
    table.observe(claims((0, 1, 0xAA), (5, 2, 0xBB)))
    again = Bindings.from_bytes(table.to_bytes())
    assert again.table == table.table
    assert len(again.observe(claims((6, 2, 0xEE)))) == 1
    empty = Bindings.from_bytes(Bindings().to_bytes())
    assert empty.observe(claims((0, 1, 0xAA))) == []
