"""No secret in a repr, by what fields are called: every dataclass of every room is looked at, at-rest forms too."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator

import wardround

SECRET = re.compile(r"passphrase|psk|secret|password|chaining_key|exporter|(^|_)seed$|^sessions$")
PUBLIC = {  # named like a secret, and none
    ("wardround.secagg.kahe", "Segment", "seed"),  # of the public polynomials
}


def shown() -> Iterator[tuple[str, str, str]]:
    """(module, class, field) of every bytes or str field that a repr shows."""
    for found in pkgutil.walk_packages(wardround.__path__, "wardround."):
        if found.name.startswith("wardround.drivers.flower") or found.name.endswith("__main__"):
            continue  # Flower is optional, and its apps carry nothing of this layer
        module = importlib.import_module(found.name)
        for one in vars(module).values():
            if isinstance(one, type) and dataclasses.is_dataclass(one) and one.__module__ == found.name:
                for field in dataclasses.fields(one):
                    if field.repr and str(field.type).split(" |")[0] in ("bytes", "str", "tuple[bytes, ...]"):
                        yield found.name, one.__name__, field.name


def test_no_field_that_is_called_a_secret_is_shown() -> None:
    seen = list(shown())
    assert len(seen) > 200
    assert {one for one in seen if SECRET.search(one[2])} == PUBLIC
