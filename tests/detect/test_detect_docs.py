"""The pages on incidents, detectors and the policy say what the code says."""

import re
from pathlib import Path

from wardround.detect.detector import DETECTORS, Budget
from wardround.detect.incident import TRANSITIONS
from wardround.detect.tags import FAMILIES
from wardround.drivers.live.policy import parse

PAGES = Path(__file__).resolve().parents[2] / "docs" / "reference"


def page(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")


def test_the_table_of_states_is_the_machines() -> None:
    part = page("incidents.md").split("<!-- transitions -->")[1].split("<!-- /transitions -->")[0]
    told = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|$", part, re.MULTILINE)
    ours = [(state.value, event, nxt.value) for state, events in TRANSITIONS.items() for event, nxt in events.items()]
    assert sorted(told) == sorted(ours)


def test_families_with_their_techniques_are_told() -> None:
    text = page("incidents.md").split("## Families")[1]
    cells = [[c.strip() for c in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", text, re.MULTILINE)]
    rows = {row[0]: row[1:] for row in cells[2:]}
    assert set(rows) == set(FAMILIES)
    for name, family in FAMILIES.items():
        severity, enterprise, ics = rows[name]
        assert int(severity) == family.severity
        for said, matrix in ((enterprise, "enterprise"), (ics, "ics")):
            assert re.findall(r"T[\d.]+", said) == [t.id for t in family.techniques if t.matrix == matrix]


def test_shares_of_the_budget_are_told() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([\d.]+) \|$", page("detectors.md"), re.MULTILINE)
    assert {name: float(share) for name, share in rows} == dict(zip(DETECTORS, Budget().shares, strict=True))


def test_the_policy_of_the_page_is_one() -> None:
    text = page("watch-policy.md").split("```toml")[1].split("```")[0]
    found = parse(text, "page")
    assert found.budget == Budget()
    assert found.devices[0].criticality == 1
