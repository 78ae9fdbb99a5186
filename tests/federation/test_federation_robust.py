"""Which rule the server uses for what it sees, whether it holds, and what is said where it does not."""

import pytest

from wardround.aggregate.coordinate import Median, TrimmedMean
from wardround.aggregate.mean import Mean, NormClipping
from wardround.aggregate.rooted import FLTrust
from wardround.aggregate.tolerance import fitted, outlook, tolerated_share
from wardround.config import check_robust, dump, looked_for, override, parse, watching
from wardround.drivers.strategies import full
from wardround.errors import ConfigError
from wardround.federation.robust import Robust, Setting, advise, choose, text

FIFTY = Setting(clients=50, cohort=1, rooted=False)
FILE = """
name = "asked"
[data]
use = "hospital"
[partition]
use = "dirichlet"
clients = 50
[rounds]
cohort_size = 5
"""


def cohorts(size: int, *, rooted: bool = False, comparable: bool = True) -> Setting:
    return Setting(50, size, rooted, comparable)


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        (cohorts(0), "mean"),
        (cohorts(1), "trimmed-mean"),
        (cohorts(2), "trimmed-mean"),
        (cohorts(2, rooted=True), "rooted-mean"),
        (cohorts(3), "norm-clipping"),
        (cohorts(3, rooted=True), "fltrust"),
        (cohorts(5, rooted=True, comparable=False), "trimmed-mean"),
    ],
)
def test_the_default_is_chosen_by_what_the_server_sees(setting: Setting, name: str) -> None:
    assert choose(Robust(), setting).name == name


def test_the_default_is_set_for_the_rows_that_hostile_clients_spoil() -> None:
    pairs = choose(Robust(assumed_hostile=0.2), cohorts(2))
    assert pairs.pre == ("nnm",)
    assert outlook(pairs, 50, 2, 0.2).probability >= 0.95
    assert pairs.hostile > 0.2, "a pair is spoilt by one of two"
    assert advise(pairs, Robust(assumed_hostile=0.2), cohorts(2)).holds


def test_a_majority_rule_over_cohorts_of_five_is_said_not_to_hold() -> None:
    robust = Robust(assumed_hostile=0.2)
    advice = advise(Median(), robust, cohorts(5))
    assert not advice.holds
    assert advice.outlook.probability < 0.01
    words = text(Median(), robust, cohorts(5))
    assert "6.9 of 10 rows" in words
    assert "at most 8% hostile" in words
    assert "cohorts of 2" in words
    assert "root" in words


@pytest.mark.parametrize("share", [0.02, 0.08, 0.1, 0.2])
def test_what_is_said_to_hold_does_hold(share: float) -> None:
    most = tolerated_share(Median(), 50, 5, 0.95)
    assert (outlook(Median(), 50, 5, share).probability >= 0.95) == (share <= most)
    for size in (1, 2, 5):
        rule = fitted(TrimmedMean(pre=("nnm",)), 50, size, share)
        best = max(
            (TrimmedMean(hostile=h / 100) for h in range(50)), key=lambda r: outlook(r, 50, size, share).probability
        )
        reached = outlook(rule, 50, size, share).probability
        assert reached >= min(0.95, outlook(best, 50, size, share).probability) - 1e-9


def test_rules_that_are_not_set_for_a_number_stay_as_they_are() -> None:
    assert fitted(Median(), 50, 2, 0.3) == Median()
    assert fitted(Mean(), 50, 2, 0.3).name == "mean"


def test_a_rooted_rule_needs_its_root_set_and_one_clean_row() -> None:
    robust = Robust(assumed_hostile=0.2)
    assert advise(FLTrust(), robust, cohorts(5, rooted=True)).holds
    assert not advise(FLTrust(), robust, cohorts(5)).holds
    assert not advise(FLTrust(), Robust(assumed_hostile=0.6), cohorts(10, rooted=True)).holds


def test_norm_clipping_is_bounded_and_says_by_how_much() -> None:
    advice = advise(NormClipping(), Robust(assumed_hostile=0.2), cohorts(5))
    assert not advice.holds
    assert advice.bounded
    assert "69% of the norm limit" in text(NormClipping(), Robust(assumed_hostile=0.2), cohorts(5))


def test_a_file_whose_rule_does_not_hold_is_refused_with_numbers_and_what_would() -> None:
    wrong = FILE + '[rule]\nuse = "median"\n[robust]\nassumed_hostile = 0.2\n'
    with pytest.raises(ConfigError, match=r"(?s)survives 4.*0\.004.*would hold: cohorts of 2"):
        parse(wrong, full())
    warned = parse(wrong + 'on_doubt = "warn"\n', full())
    assert "does not hold" in check_robust(warned, "file")


def test_where_nobody_is_assumed_hostile_nothing_is_checked() -> None:
    assert check_robust(parse(FILE + '[rule]\nuse = "median"\n', full()), "file") == ""


def test_the_run_folder_names_the_rule_that_auto_stood_for() -> None:
    text = override(FILE, ["robust.assumed_hostile=0.1", "root.size=200"], "file")
    chosen = parse(text, full())
    assert chosen.rule.name == "fltrust"
    assert parse(dump(chosen), full()) == chosen


@pytest.mark.parametrize("wrong", [{"assumed_hostile": 1.0}, {"least_probability": 1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Robust(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sets", "looks"),
    [
        ([], True),
        (["rounds.cohort_size=1"], True),
        (["rounds.cohort_size=0", 'rule.use="mean"'], False),  # one sum of all: nothing to compare
        (["robust.assumed_hostile=0.0"], False),
        (["trust.unasked=false"], False),
        (["trust.unasked=false", "trust.watch=true"], True),
        (["partition.clients=2001"], False),
        (['algorithm.use="qffl"'], False),
    ],
)
def test_assumed_liars_in_cohorts_are_looked_for_unasked(sets: list[str], looks: bool) -> None:
    base = [
        "robust.assumed_hostile=0.2",
        'robust.on_doubt="warn"',
        "root.size=200",
        "rounds.cohort_size=5",
        'secagg.use="plain"',
    ]
    asked = parse(override(FILE, [*base, *sets], "file"), full(), "file")
    clients = int(getattr(asked.partition, "clients", 0))
    assert watching(asked, clients).watch == looks
    assert ("group testing" in looked_for(asked, clients)) == looks
