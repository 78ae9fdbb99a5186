"""Opening packed Shamir shares when some are wrong: Reed-Solomon decoding over F_65521.

Berlekamp and Welch (US patent 4,633,470, 1986; Gemmell and Sudan 1992): of J shares of a polynomial of degree D - 1 up
to (J - D) // 2 wrong ones are located by one linear system. All M words of a sharing carry errors at the same members,
so one random combination of the words locates them all; a member wrong in any word shows with probability 1 - 1/p, and
the corrected result is checked word by word against every share that was believed.

Laws: with J >= t + ell + 2e shares and at most e wrong ones, ``open_packed`` gives the secret and names the wrong ones;
with more it raises or, beyond the code's distance, may accept a wrong word, as any decoder must.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wardround.arrays import I64
from wardround.crypto.sampling import field_elements, subseed
from wardround.crypto.sharing import PRIME, Sharing, evaluation, product
from wardround.errors import RoundError

_COMBINATIONS = 4


def open_packed(sharing: Sharing, shares: Mapping[int, I64], seed: bytes) -> tuple[I64, tuple[int, ...]]:
    """(secret [length] in 0..p-1, members whose share was wrong) from {member: packed part of a share}.

    ``seed`` draws the random combination: it must not be known to the members beforehand.

    Raises:
        RoundError: too few shares, or more wrong ones than can be corrected.
    """
    secret, wrong = _open(sharing.needed, sharing.secret_points, shares, seed)
    return secret[: sharing.length], wrong


def open_singles(sharing: Sharing, shares: Mapping[int, I64], seed: bytes) -> tuple[I64, tuple[int, ...]]:
    """(single elements [singles], members whose share was wrong) from {member: the last ``singles`` of a share}.

    Raises:
        RoundError: too few shares, or more wrong ones than can be corrected.
    """
    return _open(sharing.threshold + 1, sharing.secret_points[:1], shares, seed)


def _open(need: int, wanted: tuple[int, ...], shares: Mapping[int, I64], seed: bytes) -> tuple[I64, tuple[int, ...]]:
    members = sorted(shares)
    if len(members) < need:
        raise RoundError(f"{len(members)} shares, {need} are needed")
    words = np.stack([shares[j] for j in members], axis=1)
    wrong, good = _agreeing(need, members, words, seed)
    basis = tuple(good[:need])
    columns = words[:, [members.index(j) for j in basis]]
    return product(columns, evaluation(basis, wanted)).reshape(-1), wrong


def _agreeing(need: int, members: list[int], words: I64, seed: bytes) -> tuple[tuple[int, ...], list[int]]:
    """(wrong members, the others), where the others' shares lie on one polynomial in every word."""
    for attempt in range(_COMBINATIONS):  # a combination misses a wrong member with probability 1/p
        wrong = _wrong_members(need, members, words, subseed(seed, bytes([attempt])))
        good = [j for j in members if j not in wrong]
        if _consistent(need, good, words[:, [members.index(j) for j in good]]):
            return wrong, good
    raise RoundError("the shares contradict each other: more are wrong than can be corrected")


def _consistent(need: int, good: list[int], words: I64) -> bool:
    if len(good) <= need:
        return len(good) == need
    rest = product(words[:, :need], evaluation(tuple(good[:need]), tuple(good[need:])))
    return np.array_equal(rest, words[:, need:])


def _wrong_members(need: int, members: list[int], words: I64, seed: bytes) -> tuple[int, ...]:
    weights = field_elements(seed, len(words), PRIME)[None, :]
    word = product(weights, words)[0]
    if len(members) == need:
        return ()
    rest = product(word[None, :need], evaluation(tuple(members[:need]), tuple(members[need:])))[0]
    if np.array_equal(rest, word[need:]):
        return ()
    for errors in range(1, (len(members) - need) // 2 + 1):
        located = _locate(need, members, [int(v) for v in word], errors)
        if located is not None:
            return located
    raise RoundError(
        f"the {len(members)} shares contradict each other: more than {(len(members) - need) // 2} are wrong"
    )


def _locate(need: int, members: list[int], word: list[int], errors: int) -> tuple[int, ...] | None:
    """Solve Q(x) = y E(x) with deg Q < need + errors, E monic of degree ``errors``; the roots of E are the wrong ones."""
    system = []
    for x, y in zip(members, word, strict=True):
        powers = [pow(x, i, PRIME) for i in range(need + errors)]
        system.append(powers + [-y * p % PRIME for p in powers[:errors]] + [y * pow(x, errors, PRIME) % PRIME])
    solution = solve(system)
    if solution is None:
        return None
    locator = [*solution[need + errors :], 1]
    roots = tuple(x for x in members if sum(c * pow(x, i, PRIME) for i, c in enumerate(locator)) % PRIME == 0)
    return roots if len(roots) == errors else None


def solve(system: list[list[int]]) -> list[int] | None:
    """One solution of the linear system (rows: coefficients, then the right side) mod p, or None where there is none."""
    rows = [row[:] for row in system]
    unknowns, pivots, at = len(rows[0]) - 1, [], 0
    for column in range(unknowns):
        pivot = next((r for r in range(at, len(rows)) if rows[r][column]), None)
        if pivot is None:
            continue
        rows[at], rows[pivot] = rows[pivot], rows[at]
        inverse = pow(rows[at][column], -1, PRIME)
        rows[at] = [v * inverse % PRIME for v in rows[at]]
        for r, row in enumerate(rows):
            if r != at and row[column]:
                factor = row[column]
                rows[r] = [(v - factor * w) % PRIME for v, w in zip(row, rows[at], strict=True)]
        pivots.append(column)
        at += 1
    if any(row[-1] for row in rows[at:]):
        return None
    solution = [0] * unknowns
    for row, column in zip(rows, pivots, strict=False):
        solution[column] = row[-1]
    return solution
