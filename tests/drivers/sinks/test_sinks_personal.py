"""The report's section on what each client gets: numbers as measured, missing ones as dashes."""

from __future__ import annotations

from typing import Any

from wardround.drivers.sinks import facts, facts_personal, figures_personal
from wardround.drivers.sinks.runfiles import RunFiles


def numbers(own: float, all_: float) -> dict[str, Any]:
    return {"accuracy": own, "macro_f1_present": own, "everybody_macro_f1": all_, "unseen_recall": None}


def run(**personal: Any) -> RunFiles:
    spread = {"mean": 0.75, "std": 0.1, "worst_tenth": 0.5}
    part = {
        "use": "ditto",
        "prior": "client",
        "clients": [
            {"name": f"c{i}", "common": numbers(0.5 + i / 10, 0.8), "own": numbers(0.9, 0.4)} for i in range(3)
        ],
        "common": {"accuracy": spread},
        "own": {"accuracy": {**spread, "mean": 0.9}},
        "late": [],
        **personal,
    }
    return RunFiles(id="x", metrics={"personal": part}, timing={}, environment={}, experiment="", log=(), trial={})


def test_the_table_says_what_was_measured_and_nothing_else() -> None:
    table = dict(facts_personal.table(run()))
    assert table["accuracy on the client's own test rows"] == ["0.750", "0.500", "0.900", "0.500"]
    assert table["recall of classes it never had"] == ["–"] * 4


def test_strategies_are_named() -> None:
    assert "personal models ditto and prior correction client" in facts_personal.strategies(run())
    assert "No client has a model of its own" in facts_personal.strategies(run(use="none", prior="none"))


def test_a_run_that_measured_nothing_has_no_section() -> None:
    assert not facts_personal.has(run(clients=[]))
    assert facts_personal.has(run())


def test_late_clients_have_a_row_per_amount_of_rows() -> None:
    point = {"rows": 30, "own": {"macro_f1_present": {"mean": 0.8}, "everybody_macro_f1": {"mean": 0.6}}}
    assert facts_personal.late(run(late=[point])) == [("30", ["0.800", "0.600", "–"])]


def test_the_picture_has_a_line_and_two_points_per_client() -> None:
    (axes,) = figures_personal.trade(run()).axes
    assert len(axes.lines) == 3 + 2


def test_spent_privacy_stands_among_the_costs_and_nowhere_without_a_budget() -> None:
    private = run()
    private.metrics["privacy"] = {"epsilon": 1.5, "budget": 2.0, "delta": 1e-5, "mechanism": "gaussian"}  # type: ignore[index]
    assert dict(facts.costs(private))["differential privacy of updates, spent"] == (
        "epsilon 1.500 of 2.000 at delta 1e-05, gaussian noise"
    )
    assert not any("privacy" in name for name, _ in facts.costs(run()))
