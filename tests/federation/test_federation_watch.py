"""The convergence watch: each trouble is named once, with a remedy, and a healthy run is left in peace."""

import math
from dataclasses import replace
from typing import Any

from wardround.events import Measured, RoundDone
from wardround.federation.watch import MEASUREMENTS, Watch

DONE = RoundDone(1, 10, 10, 0, 0, 0, 0, 1.0, 0.5, 100, 100, 0.1)
SCORED = Measured(1, "validation", 0.5, 0.5, 0.9, 0.4, 0.4)


def codes(watch: Watch, events: Any) -> list[str]:
    return [note.code for event in events for note in watch.see(event)]


def losses(values: Any) -> Any:
    return [replace(DONE, round=r, loss=value) for r, value in enumerate(values, 1)]


def scores(values: Any) -> Any:
    return [replace(SCORED, round=r, macro_f1=value) for r, value in enumerate(values, 1)]


def test_a_healthy_run_is_left_in_peace() -> None:
    watch = Watch()
    falling = losses(1 / r for r in range(1, 60))
    rising = scores(0.5 + 0.004 * r for r in range(60))
    assert codes(watch, [*falling, *rising]) == []


def test_a_loss_that_stays_high_is_divergence_and_is_named_once_until_it_is_over() -> None:
    watch = Watch()
    assert codes(watch, losses([1.0, 0.5, 1.2, 0.5, 1.2, 1.3])) == []  # now and then is no trouble
    assert codes(watch, losses([1.4, 1.5, 9.0])) == ["watch.diverging"]
    assert codes(watch, losses([0.4])) == []
    assert codes(watch, losses([2.0, 2.0, 2.0])) == ["watch.diverging"]


def test_a_loss_that_is_no_number_is_divergence_at_once() -> None:
    assert codes(Watch(), losses([1.0, math.nan])) == ["watch.diverging"]
    assert codes(Watch(), [replace(DONE, update_norm=math.inf)]) == ["watch.diverging"]


def test_one_class_for_everything_is_a_collapse_unless_the_labels_are_so() -> None:
    assert codes(Watch(), [replace(SCORED, commonest=0.99)]) == ["watch.collapsed"]
    assert codes(Watch(), [replace(SCORED, commonest=0.99, commonest_label=0.985)]) == []
    assert codes(Watch(), [replace(SCORED, part="test", commonest=0.99)]) == []  # the server does not know test rows


def test_no_gain_over_many_measurements_is_a_stall() -> None:
    watch = Watch()
    assert codes(watch, scores([0.6] * MEASUREMENTS)) == []
    assert codes(watch, scores([0.6])) == ["watch.stalled"]


def test_every_note_says_what_to_try() -> None:
    (note,) = Watch().see(replace(SCORED, commonest=1.0))
    assert "try [training] class_weighting" in note.text
    assert "100% of the validation rows" in note.text
