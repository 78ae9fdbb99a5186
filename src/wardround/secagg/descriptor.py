"""The round descriptor: built by the server, rebuilt and compared by everybody else.

A client or member never takes a number from the server: it derives the descriptor that its own ``[secagg]`` table gives
for the round's free fields and refuses any other. That is the whole protection against downgrade.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wardround.errors import ConfigError, RemoteProtocolError
from wardround.secagg import direct, keys, planner
from wardround.secagg.kahe import Segment
from wardround.secagg.messages import Descriptor, RoundStart
from wardround.secagg.parameters import PRESETS, Lattice
from wardround.secagg.suites import suite
from wardround.secagg.transcript import public_seed, round_id


@dataclass(frozen=True)
class Wish:
    """The free fields of a round: how much is summed, over how many clients, for which model."""

    session: bytes
    epoch: int
    number: int
    clients: int
    cohort: int
    update_values: int
    counts_values: int
    offers: bytes
    roster: bytes
    model: bytes = bytes(32)
    codec: bytes = b""


def describe(config: Lattice, wish: Wish) -> Descriptor:
    """The one descriptor of ``wish`` under ``config``.

    Raises:
        ConfigError: no suite fits, or a rule of size is broken.
    """
    way = planner.choose(config, wish.clients, wish.cohort, wish.update_values, wish.counts_values)
    return Descriptor(
        session=wish.session,
        epoch=wish.epoch,
        number=wish.number,
        suite=way.suite.number if way.suite else direct.SUITE,
        n=way.n,
        update=way.update,
        counts=way.counts,
        update_values=wish.update_values,
        counts_values=wish.counts_values,
        clip=config.clip,
        count_bits=config.count_bits,
        count_fraction=config.count_fraction,
        clients=wish.clients,
        minimum=config.minimum,
        cohort=wish.cohort,
        committee=PRESETS[config.committee],
        offers=wish.offers,
        roster=wish.roster,
        model=wish.model,
        codec=wish.codec,
    )


def check(config: Lattice, start: RoundStart, server_key: bytes, expected: Wish) -> bytes:
    """The round id, after the server's signature and every field were checked.

    ``expected`` holds what the checker knows for itself; its ``clients``, ``cohort``, sizes, ``number``, ``model`` and
    ``codec`` are taken from the descriptor before the comparison (the caller checks those it has an opinion on).

    Raises:
        AuthError: the server did not sign this descriptor.
        RemoteProtocolError: a field differs from what the checker's own configuration gives.
    """
    descriptor = start.descriptor
    identity = round_id(descriptor)
    keys.verify(server_key, identity, start.signature)
    if descriptor.suite != direct.SUITE:
        suite(descriptor.suite)  # refuses what is not on the list before anything is computed from it
    if min(descriptor.update_values, descriptor.counts_values) < 0 or descriptor.number < 0:
        raise RemoteProtocolError("round descriptor: negative sizes")
    free = {
        name: getattr(descriptor, name)
        for name in ("number", "clients", "cohort", "update_values", "counts_values", "model", "codec")
    }
    try:
        own = describe(config, replace(expected, **free))
    except ConfigError as error:
        raise RemoteProtocolError(f"round descriptor refused: {error}") from error
    if own != descriptor:
        wrong = [name for name in Descriptor.__dataclass_fields__ if getattr(own, name) != getattr(descriptor, name)]
        raise RemoteProtocolError(
            f"round descriptor refused: {', '.join(wrong)} differ from this program's configuration"
        )
    return identity


def plain(descriptor: Descriptor) -> direct.Plain | None:
    """What a contribution shares in direct mode; None where keys are shared."""
    if descriptor.suite != direct.SUITE:
        return None
    return direct.Plain(descriptor.update, descriptor.counts, descriptor.update_values, descriptor.counts_values)


def segments(descriptor: Descriptor, identity: bytes) -> tuple[Segment | None, Segment | None]:
    """(update, counts) of a contribution; None where the round has no such segment, and both in direct mode."""
    update, counts = descriptor.update, descriptor.counts
    if plain(descriptor) is not None:
        return None, None
    return (
        None
        if update is None
        else Segment(update, descriptor.n, descriptor.update_values, public_seed(identity, b"update")),
        None
        if counts is None
        else Segment(counts, descriptor.n, descriptor.counts_values, public_seed(identity, b"counts")),
    )
