"""docs/reference/rules.md names every strategy, and its numbers are the ones the code gives."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from wardround.aggregate.optimise import OPTIMISERS, ServerOptimiser
from wardround.aggregate.pre import PRE
from wardround.aggregate.rules import RULES, Rule
from wardround.aggregate.tolerance import clean_majority, majority_bound
from wardround.attacks.adversaries import ATTACKS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "rules.md").read_text()
NAMES = {
    "rule": [rule.name for rule in RULES],
    "optimiser": [optimiser.name for optimiser in OPTIMISERS],
    "attack": [attack.name for attack in ATTACKS],
    "pre": list(PRE),
}


@pytest.mark.parametrize("name", [n for names in NAMES.values() for n in names])
def test_every_name_stands_in_a_table(name: str) -> None:
    assert re.search(rf"^\|[^|]*`{re.escape(name)}`", PAGE, re.MULTILINE), (
        f"{name} is missing in docs/reference/rules.md"
    )


def test_the_table_of_cohorts_holds_the_numbers_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) % \| (.*) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 6
    for size, limit, numbers in rows:
        assert f"{100 * majority_bound(int(size)):.1f}" == limit
        expected = [f"{clean_majority(n, int(size), g):.3f}" for n in (50, 100) for g in (0.1, 0.2, 0.3)]
        assert numbers.split(" | ") == expected


def test_names_are_unique() -> None:
    for names in NAMES.values():
        assert len(names) == len(set(names))


@pytest.mark.parametrize("strategy", [*RULES, *OPTIMISERS], ids=lambda cls: cls.name)
def test_every_key_is_explained_where_the_command_line_looks(strategy: type[Rule] | type[ServerOptimiser]) -> None:
    text = inspect.getdoc(strategy) or ""
    assert text.split("\n")[0].endswith("."), "the first line stands alone in `wardround strategies`"
    for key in dataclasses.fields(strategy):  # type: ignore[arg-type]
        assert re.search(rf"^    [\w, ]*\b{key.name}\b[\w, ]*:", text, re.MULTILINE), f"{key.name} is not explained"
