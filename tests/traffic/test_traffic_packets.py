"""Batches of packets and windows: columns keep their types, taking and joining lose nothing."""

from dataclasses import replace

import numpy as np
import pytest

from wardround.traffic import packets as p
from wardround.traffic import windows as w
from wardround.traffic.table import Column, Schema

SCHEMA = Schema("test", (Column("a"), Column("b")))


def three() -> p.Packets:
    return p.blank(3, time=[1, 2, 3], wire=[60, 70, 80], source=[[0, 1], [0, 2], [0, 3]], vlan=[-1, 5, -1])


def windows(*names: str) -> w.Windows:
    n = len(names)
    return replace(
        w.none(SCHEMA, 2),
        devices=tuple(dict.fromkeys(names)),
        device=np.array([list(dict.fromkeys(names)).index(name) for name in names], np.int32),
        start=np.arange(n),
        end=np.arange(n) + 1,
        x=np.arange(2.0 * n, dtype=np.float32).reshape(n, 2),
        facts=w.facts(n, packets_out=np.arange(n)),
        address=np.zeros((n, 2), np.uint64),
        peer=np.zeros((n, 2), np.uint64),
        port=np.zeros(n, np.uint16),
        own_port=np.zeros(n, np.uint16),
        protocol=np.zeros(n, np.uint8),
        label_counts=np.zeros((n, 2), np.int64),
    )


def test_blank_fills_what_is_not_given() -> None:
    batch = three()
    assert batch.captured.tolist() == [60, 70, 80]
    assert batch.label.tolist() == [-1, -1, -1]
    for name in p.COLUMNS:
        assert getattr(batch, name).dtype == p.DTYPES[name], name


def test_blank_refuses_a_column_of_another_length() -> None:
    with pytest.raises(ValueError, match="column ttl has shape"):
        p.blank(3, ttl=[1, 2])


def test_take_and_concat() -> None:
    batch = three()
    joined = p.concat([p.take(batch, slice(0, 1)), p.take(batch, np.array([False, True, True])), p.empty()])
    for name in p.COLUMNS:
        np.testing.assert_array_equal(getattr(joined, name), getattr(batch, name))
    assert len(p.concat([])) == 0


def test_addresses_as_text() -> None:
    assert p.mac_text(0x0200C0FFEE01) == "02:00:c0:ff:ee:01"
    assert p.address_text(0, p.MAPPED | 0x0A000102) == "10.0.1.2"
    assert p.address_text(0xFE80 << 48, 1) == "fe80::1"


def test_windows_are_joined_by_device_name() -> None:
    joined = w.concat([windows("a", "b", "a"), w.none(SCHEMA, 2), windows("c", "b")])
    assert [joined.name(i) for i in range(5)] == ["a", "b", "a", "c", "b"]
    assert joined.facts.packets_out.tolist() == [0, 1, 2, 0, 1]


def test_windows_of_two_schemas_are_not_joined() -> None:
    with pytest.raises(ValueError, match="cannot be joined"):
        w.concat([windows("a"), w.none(Schema("other", SCHEMA.columns))])
