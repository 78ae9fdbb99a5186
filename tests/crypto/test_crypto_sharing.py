"""Packed Shamir: opening, the low-degree proof, correction of wrong shares, independence of t shares."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import wardround.crypto.sharing as room
from wardround.crypto.decoding import open_packed, open_singles, solve
from wardround.crypto.sampling import subseed
from wardround.crypto.sharing import PRIME, Sharing, centred, check, commit, deal, evaluation, field_array, unfold
from wardround.errors import DecodeError, RemoteProtocolError, RoundError

SEED = bytes(range(32))
SHAPES = [
    Sharing(5, 1, 2, 20, 4),
    Sharing(9, 2, 3, 20, 4),
    Sharing(20, 6, 6, 20, 4),
    Sharing(3, 1, 1, 5),
    Sharing(4, 2, 2, 7, 1),
]


def secret_of(sharing: Any, seed: Any = 0) -> Any:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.integers(-300, 300, sharing.length), rng.integers(0, PRIME, sharing.singles)])


def shares_of(sharing: Any, secret: Any, seed: Any = SEED) -> Any:
    dealing = deal(sharing, secret, b"ctx", seed)
    public = (dealing.commitments, dealing.proof)
    return {
        j: check(sharing, j, dealing.openings[j - 1], b"ctx", public).astype(np.int64)
        for j in range(1, sharing.members + 1)
    }


def opened(sharing: Any, shares: Any) -> Any:
    packed = {j: share[: sharing.packed_blocks] for j, share in shares.items()}
    singles = {j: share[sharing.packed_blocks :] for j, share in shares.items()}
    key, wrong = open_packed(sharing, packed, SEED)
    return centred(key), (open_singles(sharing, singles, SEED)[0] if sharing.singles else np.zeros(0, int)), wrong


@pytest.mark.parametrize("sharing", SHAPES, ids=str)
def test_every_large_enough_set_of_members_opens(sharing: Any) -> None:
    secret = secret_of(sharing)
    shares = shares_of(sharing, secret)
    for chosen in itertools.islice(itertools.combinations(shares, sharing.needed), 40):
        key, singles, wrong = opened(sharing, {j: shares[j] for j in chosen})
        assert np.array_equal(key, secret[: sharing.length])
        assert np.array_equal(singles, secret[sharing.length :])
        assert wrong == ()


def test_shares_add_and_open_to_the_sum() -> None:
    sharing = SHAPES[1]
    secrets = [secret_of(sharing, i) for i in range(30)]
    dealt = [shares_of(sharing, s, subseed(SEED, bytes([i]))) for i, s in enumerate(secrets)]
    total = {j: sum(one[j] for one in dealt) % PRIME for j in dealt[0]}
    key, singles, _ = opened(sharing, total)
    assert np.array_equal(key, sum(s[: sharing.length] for s in secrets))
    assert np.array_equal(singles, sum(s[sharing.length :] for s in secrets) % PRIME)


def test_t_plus_one_shares_determine_a_single_and_fewer_packed_shares_do_not_open() -> None:
    sharing = SHAPES[2]
    secret = secret_of(sharing)
    shares = shares_of(sharing, secret)
    few = {j: shares[j][sharing.packed_blocks :] for j in (2, 5, 7, 9, 11, 13, 20)}
    assert len(few) == sharing.threshold + 1
    assert np.array_equal(open_singles(sharing, few, SEED)[0], secret[sharing.length :])
    with pytest.raises(RoundError, match="7 shares, 12 are needed"):
        open_packed(sharing, {j: shares[j][: sharing.packed_blocks] for j in few}, SEED)


@pytest.mark.parametrize("t, ell", [(1, 1), (1, 2), (2, 2)])
def test_any_t_shares_are_independent_of_the_secret(t: Any, ell: Any, monkeypatch: Any) -> None:
    """Over a field of 17 elements every value can be counted: chi-square of t shares for two extreme secrets."""
    monkeypatch.setattr(room, "PRIME", 17)
    room.evaluation.cache_clear()
    drawn = np.random.default_rng(t * 10 + ell)
    runs = 17**t * 40
    sharing = Sharing(t + ell + 1, t, ell, ell * runs)  # one block per run
    for secret in (0, 16):
        points = room._points(sharing, np.full(ell * runs, secret), drawn.integers(0, 17, (runs, t)))
        values = points @ sharing.to_members % 17
        for members in itertools.combinations(range(sharing.members), t):
            cells = np.bincount(values[:, members] @ 17 ** np.arange(t), minlength=17**t)
            chi = ((cells - 40) ** 2 / 40).sum()
            assert chi < cells.size + 4.5 * (2 * cells.size) ** 0.5, (members, secret)
        # the same count over t + ell shares, which do depend on the secret, is far off: most of their cells are empty
        assert len(np.unique(values[:, : t + ell], axis=0)) <= 17**t
    room.evaluation.cache_clear()


@pytest.mark.parametrize("sharing", SHAPES, ids=str)
def test_members_unfold_their_opening_from_a_seed_or_take_it_as_it_is(sharing: Any) -> None:
    dealing = deal(sharing, secret_of(sharing), b"ctx", SEED)
    assert len(set(dealing.seeds)) == len(dealing.seeds) == sharing.threshold
    for j, letter in enumerate(dealing.letters, 1):
        assert len(letter) == sharing.letter_bytes(j) == (32 if j <= sharing.threshold else sharing.share_bytes)
        assert unfold(sharing, j, letter) == dealing.openings[j - 1]
        for wrong in (letter[:-1], letter + b"x", b""):
            with pytest.raises(RemoteProtocolError, match="wrong size"):
                unfold(sharing, j, wrong)
    public = (dealing.commitments, dealing.proof)
    other = bytes(32)  # another seed is another share: the commitment does not open
    with pytest.raises(RemoteProtocolError, match="commitment"):
        check(sharing, 1, unfold(sharing, 1, other), b"ctx", public)


def test_seeds_say_nothing_about_the_secret() -> None:
    """What members 1..t are sent is the same for every secret; everyone else's opening is not."""
    sharing = SHAPES[1]
    one, two = (deal(sharing, secret_of(sharing, i), b"ctx", SEED) for i in range(2))
    assert one.letters[: sharing.threshold] == two.letters[: sharing.threshold]
    assert all(a != b for a, b in zip(one.letters[sharing.threshold :], two.letters[sharing.threshold :], strict=True))


def test_a_seed_whose_stream_is_too_short_is_refused(monkeypatch: Any) -> None:
    def short(seed: bytes, count: int, prime: int) -> Any:
        raise RuntimeError("too few")

    monkeypatch.setattr(room, "field_elements", short)
    with pytest.raises(RemoteProtocolError, match="yields no share"):
        unfold(SHAPES[0], 1, SEED)


@pytest.mark.parametrize("sharing", SHAPES[:3], ids=str)
def test_up_to_e_wrong_shares_are_corrected_and_named(sharing: Any) -> None:
    secret = secret_of(sharing)
    shares = shares_of(sharing, secret)
    most = (sharing.members - sharing.needed) // 2
    for errors in range(most + 1):
        wrong = tuple(range(2, 2 + errors))
        broken = {j: (s + j * (j in wrong) * np.arange(1, s.size + 1)) % PRIME for j, s in shares.items()}
        key, _, named = opened(sharing, broken)
        assert named == wrong
        assert np.array_equal(key, secret[: sharing.length])


def test_one_wrong_word_is_enough_to_be_named() -> None:
    sharing = SHAPES[0]
    shares = shares_of(sharing, secret_of(sharing))
    shares[4] = shares[4].copy()
    shares[4][7] ^= 1
    assert opened(sharing, shares)[2] == (4,)


def test_more_wrong_shares_than_can_be_corrected_are_refused() -> None:
    sharing = SHAPES[0]
    shares = shares_of(sharing, secret_of(sharing))
    for j in (1, 2):
        shares[j] = (shares[j] + 1 + j * np.arange(shares[j].size)) % PRIME
    with pytest.raises(RoundError, match="contradict"):
        opened(sharing, shares)


def test_a_dealing_of_too_high_a_degree_fails_the_proof(monkeypatch: Any) -> Any:
    """Packed polynomials of degree t + ell, and single ones of degree t + 1, are both found by every member."""
    for sharing, block in ((SHAPES[0], 0), (SHAPES[0], SHAPES[0].packed_blocks)):
        honest = room.product

        def raised(a: Any, b: Any, block: Any = block, sharing: Any = sharing, honest: Any = honest) -> Any:
            out = honest(a, b)
            if b is sharing.to_members:  # the shares themselves: add c x^degree to one polynomial
                degree = sharing.needed if block == 0 else sharing.threshold + 1
                out[block] = (out[block] + [9 * pow(j, degree, PRIME) for j in range(1, sharing.members + 1)]) % PRIME
            return out

        monkeypatch.setattr(room, "product", raised)
        dealing = deal(sharing, secret_of(sharing), b"ctx", SEED)
        monkeypatch.setattr(room, "product", honest)
        for j in range(1, sharing.members + 1):
            with pytest.raises(RemoteProtocolError, match="low degree"):
                check(sharing, j, dealing.openings[j - 1], b"ctx", (dealing.commitments, dealing.proof))


def test_each_wrong_piece_of_a_share_has_its_own_refusal() -> None:
    sharing = SHAPES[0]
    dealing = deal(sharing, secret_of(sharing), b"ctx", SEED)
    opening, public = dealing.openings[1], (dealing.commitments, dealing.proof)
    with pytest.raises(RemoteProtocolError, match="does not open"):
        check(sharing, 2, bytes([opening[0] ^ 1]) + opening[1:], b"ctx", public)
    with pytest.raises(RemoteProtocolError, match="does not open"):
        check(sharing, 3, opening, b"ctx", public)
    with pytest.raises(RemoteProtocolError, match="low degree"):
        check(sharing, 2, opening, b"another context", public)
    with pytest.raises(RemoteProtocolError, match="wrong size"):
        check(sharing, 2, opening[:-1], b"ctx", public)
    with pytest.raises(RemoteProtocolError, match="wrong size"):
        check(sharing, 2, opening, b"ctx", (dealing.commitments, dealing.proof[:-2]))
    high = opening[:-2] + b"\xff\xff"
    with pytest.raises(DecodeError, match="not below"):
        check(
            sharing, 2, high, b"ctx", ((dealing.commitments[0], commit(high), *dealing.commitments[2:]), dealing.proof)
        )


def test_field_elements_have_one_encoding() -> None:
    assert field_array(b"\x01\x00\xf0\xff").tolist() == [1, 65520]
    for bad in (b"\x01", b"\xf1\xff"):
        with pytest.raises(DecodeError):
            field_array(bad)


def test_secrets_of_another_length_and_impossible_committees_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        deal(SHAPES[0], np.zeros(3, np.int64), b"", SEED)
    for arguments in ((3, 2, 2, 5), (3, 0, 1, 5), (300, 1, 1, 5)):
        with pytest.raises(ValueError, match="members"):
            Sharing(*arguments)


def test_evaluation_and_elimination_agree_with_polynomials() -> None:
    def f(x: int) -> int:
        return (3 + 5 * x + 7 * x * x) % PRIME

    assert (np.array([f(1), f(2), f(9)]) @ evaluation((1, 2, 9), (4, 100)) % PRIME).tolist() == [f(4), f(100)]
    assert solve([[1, 1, 5], [1, 2, 7]]) == [3, 2]
    assert solve([[1, 1, 5], [2, 2, 7]]) is None
    assert solve([[0, 0, 0], [0, 4, 8]]) == [0, 2]


def test_what_a_dealer_makes_shows_none_of_it() -> None:
    dealing = deal(SHAPES[0], secret_of(SHAPES[0]), b"ctx", SEED)
    shown = repr(dealing)
    assert "proof" in shown
    for letter in (*dealing.seeds, *dealing.openings):
        assert repr(letter)[2:-1] not in shown
