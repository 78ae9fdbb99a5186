"""Canonical binary encoding: one message, one accepted sequence of bytes.

A message is a frozen dataclass marked ``@message(tag)``. Its fields are written in order by their annotation:

    bool            1 byte, 0 or 1
    int             8 bytes, big-endian, signed
    float           8 bytes, IEEE 754 binary64, big-endian
    bytes, str      4-byte length, then the bytes (str as UTF-8)
    F32 F64 I64 ... 1 byte rank, 4 bytes per axis, then the elements little-endian in C order
    tuple[T, ...]   4-byte count, then the elements
    T | None        1 byte 0, or 1 and then T

before them stand the magic ``WR``, a format byte and the 2-byte tag. Laws: ``decode(encode(m)) == m``;
``encode(decode(b)) == b`` for every accepted ``b``; any other bytes give ``DecodeError`` and nothing else, and
never allocate more than the input's own length. Left-over bytes are refused.
"""

from __future__ import annotations

import struct
import types
import typing
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, Union

import numpy as np

from wardround.errors import DecodeError

MAGIC = b"WR\x01"
MAX_RANK = 4
_REGISTRY: dict[int, type] = {}
_FIELDS: dict[type, list[tuple[str, Any]]] = {}

M = TypeVar("M")


def message(tag: int) -> Callable[[type[M]], type[M]]:
    """Class decorator: gives a frozen dataclass its wire tag (0..65535, unique in the program)."""

    def mark(cls: type[M]) -> type[M]:
        other = _REGISTRY.get(tag)
        if other is not None and other.__qualname__ != cls.__qualname__:
            raise ValueError(f"wire tag {tag} belongs to {other.__name__} already")
        _REGISTRY[tag] = cls
        cls.__wire_tag__ = tag  # type: ignore[attr-defined]
        return cls

    return mark


def encode(value: object) -> bytes:
    """The bytes of a message.

    Raises:
        TypeError: ``value`` is not a message, or a field's value does not fit its annotation.
    """
    cls = type(value)
    tag = getattr(cls, "__wire_tag__", None)
    if tag is None:
        raise TypeError(f"{cls.__name__} is not a wire message")
    out = [MAGIC, struct.pack(">H", tag)]
    for name, kind in _fields(cls):
        _write(out, kind, getattr(value, name), f"{cls.__name__}.{name}")
    return b"".join(out)


def decode(data: bytes, *accepted: type[M]) -> M:
    """The message in ``data``, which must be one of the types ``accepted``.

    Raises:
        DecodeError: not a message, of another type, truncated, extended or not canonical.
    """
    cursor = _Cursor(data)
    if cursor.take(3) != MAGIC:
        raise DecodeError("these bytes are not a wardround message (wrong magic)")
    (tag,) = struct.unpack(">H", cursor.take(2))
    cls = next((c for c in accepted if _REGISTRY.get(tag) is c), None)
    if cls is None:
        names = ", ".join(c.__name__ for c in accepted)
        raise DecodeError(f"message tag {tag} is not one of the expected ({names})")
    values = {name: _read(cursor, kind, f"{cls.__name__}.{name}") for name, kind in _fields(cls)}
    if cursor.at != len(data):
        raise DecodeError(f"{cls.__name__} is followed by {len(data) - cursor.at} bytes too many")
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:  # a message may check itself in __post_init__
        raise DecodeError(f"{cls.__name__} is not valid: {error}") from error


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise DecodeError(f"the message ends at byte {len(self.data)}, {end} were announced")
        piece = self.data[self.at : end]
        self.at = end
        return piece


def _fields(cls: type) -> list[tuple[str, Any]]:
    if cls not in _FIELDS:
        hints = typing.get_type_hints(cls)
        _FIELDS[cls] = [(field.name, hints[field.name]) for field in fields(cls)]
    return _FIELDS[cls]


def _write(out: list[bytes], kind: Any, value: Any, where: str) -> None:
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        try:
            out.append(scalar[0](value))
        except (struct.error, AttributeError, TypeError) as error:
            raise TypeError(f"{where} = {value!r} is not a {kind.__name__} that fits the wire") from error
        return
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        out.append(b"\x00" if value is None else b"\x01")
        if value is not None:
            _write(out, _some(arguments), value, where)
    elif origin is tuple:
        out.append(struct.pack(">I", len(value)))
        for item in value:
            _write(out, arguments[0], item, where)
    elif origin is np.ndarray:
        _write_array(out, _dtype(arguments), value, where)
    elif hasattr(kind, "__wire_tag__"):
        for name, inner in _fields(kind):
            _write(out, inner, getattr(value, name), f"{where}.{name}")
    else:
        raise TypeError(f"{where}: {kind!r} has no wire form")


def _read(cursor: _Cursor, kind: Any, where: str) -> Any:
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        return scalar[1](cursor)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _read(cursor, _some(arguments), where) if _read_bool(cursor) else None
    if origin is tuple:
        (count,) = struct.unpack(">I", cursor.take(4))
        if count > len(cursor.data) - cursor.at:  # each element takes at least one byte
            raise DecodeError(f"{where} announces {count} elements, more than the message has bytes")
        return tuple(_read(cursor, arguments[0], where) for _ in range(count))
    if origin is np.ndarray:
        return _read_array(cursor, _dtype(arguments), where)
    try:
        return kind(**{name: _read(cursor, inner, f"{where}.{name}") for name, inner in _fields(kind)})
    except (ValueError, TypeError) as error:
        raise DecodeError(f"{where} is not valid: {error}") from error


def _some(arguments: tuple[Any, ...]) -> Any:
    (inner,) = [a for a in arguments if a is not type(None)]
    return inner


def _dtype(arguments: tuple[Any, ...]) -> np.dtype[Any]:
    element: np.dtype[Any] = np.dtype(typing.get_args(arguments[1])[0])
    return element.newbyteorder("<")


def _write_array(out: list[bytes], dtype: np.dtype[Any], value: Any, where: str) -> None:
    array = np.ascontiguousarray(value)
    if array.dtype != dtype.newbyteorder("=") or not 1 <= array.ndim <= MAX_RANK:
        raise TypeError(f"{where} is a {array.dtype} array of rank {array.ndim}, the wire wants {dtype.name}")
    out.append(struct.pack(f">B{array.ndim}I", array.ndim, *array.shape))
    out.append(array.astype(dtype, copy=False).tobytes())


def _read_array(cursor: _Cursor, dtype: np.dtype[Any], where: str) -> Any:
    rank = cursor.take(1)[0]
    if not 1 <= rank <= MAX_RANK:
        raise DecodeError(f"{where} has rank {rank}, 1 to {MAX_RANK} are allowed")
    shape = struct.unpack(f">{rank}I", cursor.take(4 * rank))
    count = 1
    for axis in shape:
        count *= axis
    raw = cursor.take(count * dtype.itemsize)
    if dtype == np.bool_ and any(b > 1 for b in raw):
        raise DecodeError(f"{where} holds a truth value that is neither 0 nor 1")
    try:
        return np.frombuffer(raw, dtype=dtype).astype(dtype.newbyteorder("="), copy=True).reshape(shape)
    except ValueError as error:  # an empty array may still announce axes beyond what numpy can address
        raise DecodeError(f"{where} announces a shape of {shape}") from error


def _read_bool(cursor: _Cursor) -> bool:
    byte = cursor.take(1)[0]
    if byte > 1:
        raise DecodeError(f"a truth value is 0 or 1, not {byte}")
    return bool(byte)


def _read_bytes(cursor: _Cursor) -> bytes:
    (count,) = struct.unpack(">I", cursor.take(4))
    return cursor.take(count)


def _read_text(cursor: _Cursor) -> str:
    try:
        return _read_bytes(cursor).decode()
    except UnicodeDecodeError as error:
        raise DecodeError("a text is not valid UTF-8") from error


def _write_bytes(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + bytes(value)


def _read_int(cursor: _Cursor) -> int:
    return int(struct.unpack(">q", cursor.take(8))[0])


def _read_float(cursor: _Cursor) -> float:
    return float(struct.unpack(">d", cursor.take(8))[0])


_SCALARS: dict[Any, tuple[Callable[[Any], bytes], Callable[[_Cursor], Any]]] = {
    bool: (lambda v: struct.pack(">B", bool(v)), _read_bool),
    int: (lambda v: struct.pack(">q", v), _read_int),
    float: (lambda v: struct.pack(">d", v), _read_float),
    bytes: (_write_bytes, _read_bytes),
    str: (lambda v: _write_bytes(v.encode()), _read_text),
}
