"""Buckets, the memory of seen M1s and cookies: bounded whatever arrives."""

from __future__ import annotations

from wardround.auth.handshake.gate import Buckets, Gate, Limits, Recent
from wardround.auth.handshake.messages import Hello


def hello(cookie: bytes = bytes(16), body: bytes = b"body") -> Hello:
    return Hello(b"", b"", b"", b"", b"", b"", b"", cookie, body)


def test_buckets_refill_at_their_rate_and_no_further() -> None:
    buckets = Buckets(rate=2.0, burst=3.0, size=10)
    assert [buckets.take(b"a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert buckets.take(b"b", 0.0)
    assert [buckets.take(b"a", 0.5) for _ in range(2)] == [True, False]
    assert [buckets.take(b"a", 100.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    buckets = Buckets(rate=1.0, burst=1.0, size=10)
    assert buckets.take(b"a", 100.0)
    assert not buckets.take(b"a", 50.0)


def test_memories_are_bounded() -> None:
    buckets, recent = Buckets(1.0, 1.0, 8), Recent(8)
    for number in range(100):
        buckets.take(b"%d" % number, 0.0)
        recent.add(b"%d" % number)
    assert (len(buckets), len(recent)) == (8, 8)
    assert b"99" in recent
    assert b"91" not in recent


def test_a_cookie_holds_for_its_source_its_message_and_its_time() -> None:
    gate = Gate(Limits(cookie_seconds=100.0), b"s" * 32)
    cookie = gate.cookie(hello(), b"source", 250.0)
    assert gate.cookie_holds(hello(cookie), b"source", 250.0)
    assert gate.cookie_holds(hello(cookie), b"source", 399.0)
    assert not gate.cookie_holds(hello(cookie), b"source", 400.0)
    assert not gate.cookie_holds(hello(cookie), b"source", 199.0)
    assert not gate.cookie_holds(hello(cookie), b"other", 250.0)
    assert not gate.cookie_holds(hello(cookie, b"other body"), b"source", 250.0)
    assert not Gate(Limits(cookie_seconds=100.0), b"t" * 32).cookie_holds(hello(cookie), b"source", 250.0)
    assert "ssss" not in repr(gate)


def test_source_and_message_do_not_run_into_each_other() -> None:
    gate = Gate(Limits(), b"s" * 32)
    assert gate.cookie(hello(body=b"bc"), b"a", 0.0) != gate.cookie(hello(body=b"c"), b"ab", 0.0)
