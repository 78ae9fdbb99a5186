import numpy as np
import pytest

from wardround.federation.participation import Participation, Weather

NAMES = tuple(f"c{i}" for i in range(20))


def test_everybody_is_invited_by_default_and_a_share_on_request() -> None:
    assert Participation().invite(NAMES, 1, 1) == NAMES
    some = Participation(fraction=0.25).invite(NAMES, 1, 1)
    assert len(some) == 5
    assert list(some) == sorted(some, key=NAMES.index)
    assert some != Participation(fraction=0.25).invite(NAMES, 1, 2)


def test_at_least_the_minimum_is_invited() -> None:
    assert len(Participation(fraction=0.05, minimum=4).invite(NAMES, 1, 1)) == 4
    assert Participation(minimum=4).invite(NAMES[:2], 1, 1) == NAMES[:2]


def test_presence_has_the_asked_share_and_length_of_outages() -> None:
    weather = Weather(offline=0.3, outage=5.0)
    on = weather.presence(2000, 60, seed=3)
    assert on.shape == (61, 2000)
    assert abs((~on).mean() - 0.3) < 0.01
    ends = (~on[:-1] & on[1:]).sum() / (~on[:-1]).sum()
    assert ends == pytest.approx(1 / 5, rel=0.05)
    assert np.array_equal(on, weather.presence(2000, 60, seed=3))


def test_fates_have_the_asked_shares() -> None:
    fates = Weather(dropout=0.2, stragglers=0.5, slowdown=20.0).fates(range(4000), 4000, 1, 1)
    assert fates.count("drops") / 4000 == pytest.approx(0.2, abs=0.03)
    assert fates.count("late") / 4000 == pytest.approx(0.4, abs=0.03)
    assert set(Weather().fates(range(50), 50, 1, 1)) == {"answers"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"offline": 1.0}, "offline"),
        ({"dropout": -0.1}, "dropout"),
        ({"outage": 0.5}, "outage"),
        ({"offline": 0.9}, "raise outage"),
    ],
)
def test_impossible_weather_is_refused(values: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Weather(**values)


def test_impossible_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="fraction"):
        Participation(fraction=0.0)
    with pytest.raises(ValueError, match="minimum"):
        Participation(minimum=0)
