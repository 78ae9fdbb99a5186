from __future__ import annotations

import dataclasses
import inspect
import typing
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest

from wardround import config
from wardround.catalogue import CORE, GROUP, KIND_TEXT, Catalogue, with_entry_points
from wardround.drivers.strategies import full
from wardround.errors import UsageError

ALL = [(kind, name, cls) for kind in KIND_TEXT for name, cls in full().kinds[kind].items()]


@dataclass(frozen=True)
class Mine:
    """A rule of one's own."""

    name: ClassVar[str] = "mine"
    strength: float = 1.0


@dataclass
class Soft:
    """Not frozen."""


def point(name: str, target: str) -> EntryPoint:
    return EntryPoint(name, target, GROUP)


@pytest.mark.parametrize(("kind", "name", "cls"), ALL, ids=[f"{k}.{n}" for k, n, _ in ALL])
def test_every_strategy_is_frozen_documented_and_named(kind: str, name: str, cls: Any) -> None:
    assert cls.__dataclass_params__.frozen
    assert cls.name == name
    text = inspect.getdoc(cls) or ""
    first = text.split("\n")[0]  # what `wardround strategies` prints: a whole sentence
    assert len(first) > 20
    assert first.endswith("."), first
    inherited = " ".join(inspect.getdoc(base) or "" for base in cls.__mro__[:-1])
    for field in dataclasses.fields(cls):
        assert field.name in inherited, f"{kind}.{name}: key {field.name} is not explained"
    assert typing.get_type_hints(cls)


@pytest.mark.parametrize(("kind", "name", "cls"), ALL, ids=[f"{k}.{n}" for k, n, _ in ALL])
def test_every_strategy_with_defaults_can_be_written_and_read(kind: str, name: str, cls: Any) -> None:
    if any(
        f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING for f in dataclasses.fields(cls)
    ):
        pytest.skip("has a key without default")
    tables = {"source": "data", "optimiser": "server"}
    words = {"data": "hospital", "partition": "iid"} | {tables.get(kind, kind): name}
    if kind == "codec":
        words.pop("codec")
    text = 'name = "x"\n' + "".join(f'[{table}]\nuse = "{use}"\n' for table, use in words.items())
    if kind == "codec":  # a list, not a table; error feedback only goes around what shrinks
        after = ', "top-k"' if name == "error-feedback" else ""
        text += f'[secagg]\nuse = "plain"\n[compress]\nup = ["{name}"{after}]\n'
    if kind == "rule":  # most rules compare cohorts
        text += '[rounds]\ncohort_size = 3\n[secagg]\nuse = "plain"\n'
        text += "[root]\nsize = 20\n"
    experiment = config.parse(text, full())
    assert config.parse(config.dump(experiment), full()) == experiment


def test_third_parties_join_by_entry_point() -> None:
    found = with_entry_points(CORE, [point("rule.mine", f"{__name__}:Mine")])
    assert found.find("rule", "mine") is Mine
    assert CORE.find("rule", "mine") is None
    assert "mine" in found.names("rule")


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("mine", "Mine", "should be KIND.NAME"),
        ("rool.mine", "Mine", "should be KIND.NAME"),
        ("rule.mine", "Absent", "does not load"),
        ("rule.soft", "Soft", "not a frozen dataclass"),
        ("rule.mean", "Mine", "two strategies of kind rule are named 'mean'"),
    ],
)
def test_a_broken_entry_point_is_named(name: str, target: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        with_entry_points(CORE, [point(name, f"{__name__}:{target}")])


def test_what_is_not_there_is_none() -> None:
    assert Catalogue({}).find("rule", "mean") is None
    assert Catalogue({}).names("rule") == []
