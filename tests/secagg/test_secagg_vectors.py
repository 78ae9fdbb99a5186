"""Known-answer vectors: every deterministic step gives the committed bytes, every refused case its error."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import wardround.errors
from wardround.crypto.packing import unpack
from wardround.crypto.sharing import Sharing, check, field_array
from wardround.secagg.epoch import Ratchet
from wardround.secagg.messages import Descriptor
from wardround.secagg.suites import suite
from wardround.wire import decode

FOLDER = Path(__file__).parents[1] / "vectors" / "secagg"
KNOWN = json.loads((FOLDER / "secagg_1.json").read_text())


def generator() -> Any:
    spec: Any = importlib.util.spec_from_file_location("make_secagg_vectors", FOLDER / "make_secagg_vectors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_accepted_case_gives_the_committed_result() -> None:
    fresh = generator().accepted()
    assert set(fresh) == set(KNOWN["accepted"])
    for name, value in fresh.items():
        assert value == KNOWN["accepted"][name], name


OPERATIONS: dict[str, Any] = {
    "unpack": lambda c: unpack(bytes.fromhex(c["data"]), c["count"], c["width"]),
    "check": lambda c: check(
        Sharing(5, 1, 2, 10, 2),
        c["member"],
        bytes.fromhex(c["opening"]),
        b"context",
        (tuple(map(bytes.fromhex, c["commitments"])), bytes.fromhex(c["low_degree"])),
    ),
    "field": lambda c: field_array(bytes.fromhex(c["data"])),
    "ratchet": lambda c: Ratchet(c["position"], bytes(32)).take(c["number"], b"id"),
    "suite": lambda c: suite(c["number"]),
    "descriptor": lambda c: decode(bytes.fromhex(c["data"]), Descriptor),
}


@pytest.mark.parametrize("case", KNOWN["refused"], ids=lambda c: c["operation"])
def test_every_refused_case_is_refused_with_its_error(case: Any) -> None:
    with pytest.raises(getattr(wardround.errors, case["error"])):
        OPERATIONS[case["operation"]](case)


def test_the_accepted_forms_of_the_refused_cases_pass() -> None:
    good = KNOWN["accepted"]
    case = next(c for c in KNOWN["refused"] if c["operation"] == "check")
    assert OPERATIONS["check"]({**case, "member": 2, "opening": good["openings"][1]}).size == 7
    assert OPERATIONS["unpack"]({"data": good["packed_15"], "count": 40, "width": 15})[1] == 800
    assert OPERATIONS["descriptor"]({"data": good["descriptor"]}).number == 2
