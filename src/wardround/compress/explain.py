"""What a configuration costs before anything runs: the rows of ``wardround explain compress``.

Sizes are exact where a codec's length does not depend on values; else least, expected and most are given. All include
nothing but the update's bytes: envelopes, signatures and key shares are the transport's and the lattice's to add.
"""

from __future__ import annotations

from dataclasses import dataclass

from wardround.compress.budget import Ring
from wardround.compress.chain import Chain, LinearChain
from wardround.compress.codec import Codec, Size
from wardround.params import Layout


@dataclass(frozen=True)
class Row:
    """One line: who sends what, ``size`` in bytes, ``saved`` against dense float32, ``state_bytes`` a client keeps."""

    what: str
    size: Size
    saved: float
    linear: bool
    biased: bool
    state_bytes: int


HEADER = ("what", "least B", "expected B", "most B", "saved", "linear", "biased", "client keeps B")


def rows(layout: Layout, up: tuple[Codec, ...], down: tuple[Codec, ...], ring: Ring | None = None) -> list[Row]:
    """Dense, uplink, downlink and (with ``ring``) the uplink under the secure sum.

    Raises:
        ValueError: the chains do not fit together, or ``up`` is not linear while there is a ``ring``.
    """
    dense = Size.exactly(4 * layout.size)
    found = [Row(f"dense: {layout.size} values of float32", dense, 0.0, True, False, 0)]
    if ring is None:
        found.append(_row(f"up: {titles(up)}", Chain.of(up), layout))
    else:
        chain = LinearChain.of(up)
        size = Size.exactly(ring.size(max(chain.outputs(layout, turn) for turn in (0, 1))))
        text = f"up: {titles(up)}, in a ring for {ring.clients} clients at {ring.bits} bits"
        found.append(Row(text, size, _saved(size, dense), True, chain.biased, chain.state_bytes(layout.size)))
    found.append(_row(f"down: {titles(down)}", Chain.of(down), layout))
    return found


def cells(row: Row) -> tuple[str, ...]:
    """The row as text, one cell per name in ``HEADER``."""
    sizes = (f"{row.size.least:,}", f"{row.size.expected:,}", f"{row.size.most:,}")
    return (row.what, *sizes, f"{row.saved:.2%}", _word(row.linear), _word(row.biased), f"{row.state_bytes:,}")


def titles(codecs: tuple[Codec, ...]) -> str:
    """``top-k(share=0.01) > int(bits=4, ...)``, or what an empty chain is."""
    return " > ".join(f"{codec.name}{_settings(codec)}" for codec in codecs) or "float32"


def _row(what: str, chain: Chain, layout: Layout) -> Row:
    size, dense = chain.size(layout), Size.exactly(4 * layout.size)
    alike = chain == Chain(chain.linear)
    return Row(what, size, _saved(size, dense), alike, chain.biased, chain.state_bytes(layout.size))


def _saved(size: Size, dense: Size) -> float:
    return 1 - size.expected / dense.expected


def _settings(codec: Codec) -> str:
    keys = getattr(codec, "__match_args__", ())  # a frozen dataclass's fields in order, its class variables left out
    return "(" + ", ".join(f"{key}={getattr(codec, key)}" for key in keys) + ")" if keys else ""


def _word(value: bool) -> str:
    return "yes" if value else "no"
