"""An experiment as TOML, read and written; unknown keys, wrong types and values out of range name the key's path.

Law: ``parse(dump(experiment)) == experiment``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, overload

from wardround.catalogue import Catalogue
from wardround.config.checks import check, setting
from wardround.config.experiment import Experiment
from wardround.errors import ConfigError, nearest
from wardround.federation import robust as robustness

DEPLOYED = ("broker", "gateway")  # tables that only a deployed federation reads (drivers/nats/deployment.py)

E = TypeVar("E", bound=Experiment)


@overload
def parse(text: str, catalogue: Catalogue, where: str = "experiment") -> Experiment: ...
@overload
def parse(text: str, catalogue: Catalogue, where: str, cls: type[E]) -> E: ...
def parse(text: str, catalogue: Catalogue, where: str = "experiment", cls: type[Experiment] = Experiment) -> Experiment:
    """The experiment in a TOML text; ``where`` names the file in errors; a subclass ``cls`` adds tables of its own.

    The tables of a deployed federation are left aside where an experiment is wanted, so that one file can be simulated first
    and deployed later.

    Raises:
        ConfigError: not TOML, an unknown or missing key, a value of the wrong type or out of range.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from error
    aside = () if cls is not Experiment else DEPLOYED
    experiment: Experiment = _build(cls, {k: v for k, v in table.items() if k not in aside}, catalogue, where)
    if experiment.rule.name == "auto":
        chosen = robustness.choose(experiment.robust, setting(experiment))
        experiment = dataclasses.replace(experiment, rule=chosen)
    check(experiment, where)
    return experiment


def override(text: str, sets: list[str], where: str) -> str:
    """The TOML text with ``TABLE.KEY=VALUE`` (or ``KEY=VALUE``) settings applied; VALUE is TOML, or a bare word.

    Raises:
        ConfigError: the text is not TOML, or a setting has no ``=``.
    """
    if not sets:
        return text
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from error
    for asked in sets:
        path, equals, value = asked.partition("=")
        keys = path.strip().split(".")
        if not equals or len(keys) > 2 or not all(keys):
            raise ConfigError(f"--set {asked!r} should be TABLE.KEY=VALUE")
        inner = table if len(keys) == 1 else table.setdefault(keys[0], {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {asked!r}: {keys[0]} is a key of {where}, not a table")
        inner[keys[-1]] = _bare(value.strip())
    lines = [f"{k} = {_toml(v)}" for k, v in table.items() if not isinstance(v, dict)]
    for name, inner in table.items():
        if isinstance(inner, dict):
            lines += [f"[{name}]", *(f"{k} = {_toml(v)}" for k, v in inner.items())]
    return "\n".join(lines) + "\n"


def _bare(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def dump(experiment: Experiment) -> str:
    """The experiment as TOML with every key written out, defaults too: what a run folder keeps."""
    lines: list[str] = []
    tables: list[tuple[str, Any]] = []
    for spec in dataclasses.fields(experiment):
        value = getattr(experiment, spec.name)
        if dataclasses.is_dataclass(value):
            tables.append((spec.name, value))
        else:
            lines.append(f"{spec.name} = {_toml(value)}")
    for name, value in tables:
        lines += ["", f"[{name}]"]
        if "kind" in _specs(type(experiment))[name].metadata:
            lines.append(f"use = {_toml(value.name)}")
        lines += [f"{spec.name} = {_toml(getattr(value, spec.name))}" for spec in dataclasses.fields(value)]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        keys = [f"{spec.name} = {_toml(getattr(value, spec.name))}" for spec in dataclasses.fields(value)]
        return "{" + ", ".join([f"use = {_toml(value.name)}", *keys]) + "}"  # type: ignore[attr-defined]
    if isinstance(value, Mapping):  # an inline table, as ``override`` meets it
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # TOML's strings, numbers and truth values are written as JSON's are, but for one character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _specs(cls: type) -> dict[str, dataclasses.Field[Any]]:
    return {spec.name: spec for spec in dataclasses.fields(cls) if spec.init}


def _build(cls: type, table: Any, catalogue: Catalogue, path: str) -> Any:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path} should be a table of keys, not {table!r}")
    specs, hints = _specs(cls), typing.get_type_hints(cls)
    for key in table:
        if key not in specs:
            raise ConfigError(f"{path}: unknown key {key!r}{nearest(key, specs)}")
    values = {}
    for name, spec in specs.items():
        default = spec.metadata.get("use")
        if name in table or default:
            value = table.get(name, {"use": default})
            values[name] = _value(spec, hints[name], value, catalogue, f"{path}: {name}")
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{path}: {name} is missing{_hint(spec, catalogue)}")
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _hint(spec: dataclasses.Field[Any], catalogue: Catalogue) -> str:
    kind = spec.metadata.get("kind")
    return f": add a table [{spec.name}] with use = one of {', '.join(catalogue.names(kind))}" if kind else ""


def _value(spec: dataclasses.Field[Any], hint: Any, value: Any, catalogue: Catalogue, path: str) -> Any:
    kind = spec.metadata.get("kind")
    if kind and spec.metadata.get("many"):
        if not isinstance(value, list):
            raise ConfigError(f"{path} should be a list of tables, not {value!r}")
        tables = [
            {"use": item} if isinstance(item, str) else item for item in value
        ]  # a bare name has no keys of its own
        return tuple(_strategy(kind, item, catalogue, f"{path}[{i}]") for i, item in enumerate(tables))
    if kind:
        return _strategy(kind, value, catalogue, path)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type", hint), value, catalogue, path)
    return _plain(hint, value, path)


def _strategy(kind: str, table: Any, catalogue: Catalogue, path: str) -> Any:
    if not isinstance(table, Mapping) or "use" not in table:
        raise ConfigError(f"{path}: needs use = one of {', '.join(catalogue.names(kind))}")
    name = table["use"]
    cls = catalogue.find(kind, str(name))
    if cls is None:
        names = catalogue.names(kind)
        if kind == "attack" and names == ["none"]:
            raise ConfigError(f"{path}: attacks are simulated, never deployed: remove the table [attack]")
        raise ConfigError(
            f"{path}: no {kind} is named {name!r}{nearest(str(name), names)}; there are {', '.join(names)}"
        )
    return _build(cls, {k: v for k, v in table.items() if k != "use"}, catalogue, f"{path} ({name})")


def _plain(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in arguments:
            return value
        words = ", ".join(repr(a) for a in arguments)
        raise ConfigError(f"{path} should be one of {words}, not {value!r}{nearest(str(value), map(str, arguments))}")
    if origin in (Union, types.UnionType):
        inner = [a for a in arguments if a is not type(None)]
        return _plain(inner[0], value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{path} should be a list, not {value!r}")
        return tuple(_plain(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Any or (isinstance(value, hint) and not (hint is int and isinstance(value, bool))):
        return value
    raise ConfigError(f"{path} should be {_WORDS.get(hint, hint)}, not {value!r}")


_WORDS = {int: "a whole number", float: "a number", str: "a text in quotes", bool: "true or false"}
