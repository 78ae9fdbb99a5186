import dataclasses
import json
import typing
from typing import Any

import pytest

from wardround import events
from wardround.errors import DataError


def _sample(kind: type[events.Event]) -> events.Event:
    hints = typing.get_type_hints(kind)
    values: dict[Any, Any] = {int: 3, float: 0.5, str: "x"}
    values |= {tuple[int, ...]: (3, 4), tuple[float, ...]: (0.5, 1.5), tuple[str, ...]: ("x", "y")}
    fields: dict[str, Any] = {f.name: values[hints[f.name]] for f in dataclasses.fields(kind)}
    return kind(**fields)


@pytest.mark.parametrize("kind", list(events.KINDS.values()))
def test_every_event_survives_json(kind: type[events.Event]) -> None:
    event = _sample(kind)
    assert events.from_record(json.loads(json.dumps(events.to_record(event)))) == event


def test_unknown_kind_and_fields_are_refused() -> None:
    with pytest.raises(DataError, match="unknown event kind 'Nope'"):
        events.from_record({"event": "Nope"})
    with pytest.raises(DataError, match="Note"):
        events.from_record({"event": "Note", "code": "x", "text": "y", "more": 1})
