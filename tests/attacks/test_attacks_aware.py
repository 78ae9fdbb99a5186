"""Rule-aware attacks do at least the damage of the fixed recipes, and the room's main finding holds on a toy round."""

import numpy as np
import pytest

from wardround.aggregate.coordinate import TrimmedMean
from wardround.aggregate.mean import Mean
from wardround.aggregate.rooted import FLTrust
from wardround.aggregate.rule import Context, Rule
from wardround.aggregate.selection import MultiKrum
from wardround.arrays import F32
from wardround.attacks.attack import Target
from wardround.attacks.aware import AwareALIE, AwareIPM, FLTrustAdaptive
from wardround.attacks.omniscient import ALIE, IPM

RULES: list[Rule] = [Mean(), TrimmedMean(pre=("nnm",)), MultiKrum()]


def stream(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def round_of(h: int = 40, f: int = 10, d: int = 60) -> tuple[F32, F32]:
    rng = stream(7)
    rows = (0.5 * rng.normal(size=d) + rng.normal(size=(h + f, d))).astype(np.float32)
    return rows[:h], rows[h:]


def outcome(target: Target, honest: F32, sent: F32) -> F32:
    mean: F32 = np.mean(target.outcomes(honest, sent, stream(3)), axis=0)
    return mean


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_aware_alie_carries_the_result_at_least_as_far_as_plain_alie(rule: Rule) -> None:
    honest, own = round_of()
    target, mean = Target(rule), honest.mean(axis=0)
    far = {}
    for name, attack in (("fixed", ALIE(z=1.0)), ("aware", AwareALIE())):
        far[name] = np.linalg.norm(outcome(target, honest, attack.forge(honest, own, target, stream())) - mean)
    assert far["aware"] >= far["fixed"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_aware_ipm_turns_the_result_at_least_as_far_as_plain_ipm(rule: Rule) -> None:
    honest, own = round_of()
    target, mean = Target(rule), honest.mean(axis=0)
    along = {}
    for name, attack in (("fixed", IPM(epsilon=0.5)), ("aware", AwareIPM())):
        along[name] = float(outcome(target, honest, attack.forge(honest, own, target, stream())) @ mean)
    assert along["aware"] <= along["fixed"]


def test_the_mean_is_driven_backwards_and_mixing_with_trimming_is_not() -> None:
    honest, own = round_of()
    mean = honest.mean(axis=0)
    plain, robust = Target(Mean()), Target(TrimmedMean(hostile=0.2, pre=("nnm",)))
    assert outcome(plain, honest, AwareIPM().forge(honest, own, plain, stream())) @ mean < 0
    assert outcome(robust, honest, AwareIPM().forge(honest, own, robust, stream())) @ mean > 0.3 * mean @ mean


def test_where_most_cohorts_are_spoilt_a_majority_rule_falls_and_a_root_holds() -> None:
    """20 % hostile in cohorts of 5: two thirds of the cohort means are spoilt (docs/reference/rules.md)."""
    honest, own = round_of()
    mean = honest.mean(axis=0)
    root = (mean + 0.3 * stream(9).normal(size=60)).astype(np.float32)
    majority = Target(TrimmedMean(hostile=0.45, pre=("nnm",)), cohort_size=5)
    rooted = Target(FLTrust(), cohort_size=5, context=Context(root=root))
    assert outcome(majority, honest, AwareIPM().forge(honest, own, majority, stream())) @ mean < 0
    assert outcome(rooted, honest, AwareIPM().forge(honest, own, rooted, stream())) @ mean > 0.3 * mean @ mean


def test_the_adaptive_attack_does_more_to_fltrust_than_ipm_and_stays_trusted() -> None:
    honest, own = round_of()
    mean = honest.mean(axis=0).astype(float)
    root = (mean + 0.3 * stream(9).normal(size=60)).astype(np.float32)
    target = Target(FLTrust(), context=Context(root=root))
    quiet = outcome(target, honest, honest[:10])
    sent = FLTrustAdaptive().forge(honest, own, target, stream())
    assert float(sent[0] @ root) > 0
    away = {
        "ipm": np.linalg.norm(outcome(target, honest, AwareIPM().forge(honest, own, target, stream())) - quiet),
        "adaptive": np.linalg.norm(outcome(target, honest, sent) - quiet),
    }
    assert away["adaptive"] > away["ipm"]


def test_cohorts_are_dealt_as_many_times_as_the_target_says() -> None:
    honest, own = round_of(6, 2, 5)
    assert len(Target(Mean(), cohort_size=2, draws=4).outcomes(honest, own, stream())) == 4
    assert len(Target(Mean(), cohort_size=1, draws=4).outcomes(honest, own, stream())) == 1
    for result in Target(Mean(), cohort_size=3).outcomes(honest, own, stream()):
        np.testing.assert_allclose(result, np.concatenate([honest, own]).mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: AwareALIE(sizes=()), lambda: AwareIPM(sizes=(-1.0,)), lambda: FLTrustAdaptive(angles=0)]
)
def test_settings_out_of_range_are_named(make: object) -> None:
    with pytest.raises(ValueError, match=r"sizes|angles"):
        make()  # type: ignore[operator]
