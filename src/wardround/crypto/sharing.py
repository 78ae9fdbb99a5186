"""Packed Shamir sharing over F_p, p = 65521, with a hash-only low-degree proof.

A vector is cut into blocks of ``pack`` elements (ell); block m is hidden in a polynomial f_m of degree t + ell - 1 whose
values at ell secret points are the block and at the points 1..t are uniform. Member j (1..C) holds f_m(j) for all m:
2 bytes per block. Franklin and Yung, STOC 1992.

Members 1..t hold uniform values, so each is sent a 32-byte seed from which its whole opening follows (``unfold``), and only
C - t openings travel (docs/design/0806). Everything that is checked and opened is the same.

Proof of low degree (docs/design/0203): the dealer adds R = 8 random mask polynomials b_r, commits
com_j = H(salt_j, f_*(j), b_*(j)), takes gamma = XOF(context, com_1..com_C) in F_p^{R x M} and publishes
z_r = b_r + sum_m gamma_{r,m} f_m. Member j accepts iff com_j opens to its share and z_r(j) = b_r(j) + sum_m gamma f_m(j).
A dealing of too high a degree passes for one challenge with p^-8 = 2^-128; this guards availability only, so no margin
for quantum search of challenges is needed. The idea is that of Ligero's interleaved test (Ames et al., CCS 2017) and of
hash-based verifiable sharing (Atapoor, Baghery, Cozzo, Pedersen, 2023).

``singles`` further elements (the beacon) are shared one per polynomial g of degree t, so that t + 1 shares determine
them; their degree is tested in the same proof by entering x^(ell-1) g(x), which has degree t + ell - 1 only if g has t.

Laws: any t shares (with the proof) are independent of the secret; any t + ell of them give it; shares add:
the sum of dealings is a dealing of the sum. What it does not do: prove that the secret is the key of a ciphertext.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from wardround.arrays import I64, U16
from wardround.crypto.sampling import SEED_BYTES, challenge_elements, field_elements, subseed
from wardround.errors import DecodeError, RemoteProtocolError

PRIME = 65521  # the largest prime below 2^16: a sum of keys fits, a share takes 2 bytes
CHECKS = 8  # R
SALT_BYTES = 32
DIGEST_BYTES = 32
LARGEST = PRIME // 2  # sums of secrets must stay within +-LARGEST
_SALT = b"salt"


@dataclass(frozen=True)
class Sharing:
    """C = ``members``, privacy against ``threshold`` = t of them, ell = ``pack`` secrets per block.

    ``length`` elements are packed, ``singles`` more follow one per polynomial.

    Raises:
        ValueError: too few members to open what is shared.
    """

    members: int
    threshold: int
    pack: int
    length: int
    singles: int = 0

    def __post_init__(self) -> None:
        if min(self.threshold, self.pack, self.length) < 1 or self.needed > self.members or self.members > 255:
            raise ValueError(
                f"sharing among {self.members}: t = {self.threshold} and ell = {self.pack} need {self.needed} members"
            )

    @property
    def needed(self) -> int:
        """Shares that determine the secret: t + ell (the degree is one less)."""
        return self.threshold + self.pack

    @property
    def blocks(self) -> int:
        """M, the number of polynomials."""
        return self.packed_blocks + self.singles

    @property
    def packed_blocks(self) -> int:
        return -(-self.length // self.pack)

    @property
    def share_bytes(self) -> int:
        """One member's opening: salt, M + R field elements."""
        return SALT_BYTES + 2 * (self.blocks + CHECKS)

    def letter_bytes(self, member: int) -> int:
        """What ``member`` is sent: a seed, or its opening."""
        return SEED_BYTES if member <= self.threshold else self.share_bytes

    @property
    def proof_bytes(self) -> int:
        return 2 * CHECKS * self.needed

    @cached_property
    def secret_points(self) -> tuple[int, ...]:
        """Where the block stands: p - 1, p - 2, ... never a member's number."""
        return tuple(PRIME - 1 - u for u in range(self.pack))

    @cached_property
    def defining_points(self) -> tuple[int, ...]:
        """The secret points, then those of the members 1..t, whose values are uniform."""
        return (*self.secret_points, *range(1, self.threshold + 1))

    @cached_property
    def to_members(self) -> I64:
        """[t + ell, C]: values at the defining points -> values at the members' numbers."""
        return evaluation(self.defining_points, tuple(range(1, self.members + 1)))


@dataclass(frozen=True, eq=False)
class Dealing:
    """What the dealer makes: ``openings`` are secret, one per member, and so are the ``seeds`` of the first t of them;
    commitments and proof are public.
    """

    openings: tuple[bytes, ...] = field(repr=False)
    commitments: tuple[bytes, ...]
    proof: bytes
    seeds: tuple[bytes, ...] = field(repr=False)

    @property
    def letters(self) -> tuple[bytes, ...]:
        """What each member is sent, sealed: members 1..t a seed, the others their opening."""
        return self.seeds + self.openings[len(self.seeds) :]


def deal(sharing: Sharing, secret: I64, context: bytes, seed: bytes) -> Dealing:
    """Share ``secret`` [length + singles] (integers, any sign) under ``context``; ``seed`` (32 bytes) is used once.

    Raises:
        ValueError: the secret has another length.
    """
    if secret.shape != (sharing.length + sharing.singles,):
        raise ValueError(
            f"the secret has shape {secret.shape}, the sharing wants ({sharing.length + sharing.singles},)"
        )
    t, pack, blocks = sharing.threshold, sharing.pack, sharing.blocks
    seeds = tuple(subseed(seed, b"member" + bytes([j])) for j in range(1, t + 1))
    uniform = np.stack([_uniform(sharing, own) for own in seeds], axis=1)  # [M + R, t]
    masks = np.empty((CHECKS, sharing.needed), np.int64)
    masks[:, :pack] = field_elements(subseed(seed, b"masks"), CHECKS * pack, PRIME).reshape(CHECKS, pack)
    masks[:, pack:] = uniform[blocks:]
    points = _points(sharing, secret % PRIME, uniform[:blocks])
    values = product(np.concatenate([points, masks]), sharing.to_members).astype("<u2")
    openings = _openings(values, seeds, subseed(seed, b"salts"))
    commitments = tuple(commit(opening) for opening in openings)
    proof = (masks + product(challenge(sharing, context, commitments), _levelled(sharing, points))) % PRIME
    return Dealing(openings, commitments, proof.astype("<u2").tobytes(), seeds)


def unfold(sharing: Sharing, member: int, letter: bytes) -> bytes:
    """The opening of ``member`` in what it was sent.

    Raises:
        RemoteProtocolError: of the wrong size, or a seed whose stream yields too few elements (a chance of 2^-60).
    """
    if len(letter) != sharing.letter_bytes(member):
        raise RemoteProtocolError("share of the wrong size")
    if member > sharing.threshold:
        return letter
    try:
        return subseed(letter, _SALT) + _uniform(sharing, letter).astype("<u2").tobytes()
    except RuntimeError as error:
        raise RemoteProtocolError("a seed that yields no share") from error


def commit(opening: bytes) -> bytes:
    """com_j: the hash of salt and share. The salt's 256 bits hide, SHA3-256 binds."""
    return hashlib.sha3_256(b"wardround share" + opening).digest()


def challenge(sharing: Sharing, context: bytes, commitments: tuple[bytes, ...]) -> I64:
    """Gamma [R, M], fixed by everything the dealer has committed to."""
    material = b"wardround low degree" + hashlib.sha3_256(context).digest() + b"".join(commitments)
    return challenge_elements(material, CHECKS * sharing.blocks, PRIME).reshape(CHECKS, sharing.blocks)


def check(
    sharing: Sharing, member: int, opening: bytes, context: bytes, public: tuple[tuple[bytes, ...], bytes]
) -> U16:
    """Member ``member`` (1..C) checks its opening against ``public`` = (commitments, proof): its share [M].

    Raises:
        RemoteProtocolError: the opening, the commitment or the low-degree proof is wrong; the text says which.
    """
    commitments, proof = public
    if len(commitments) != sharing.members or len(opening) != sharing.share_bytes:
        raise RemoteProtocolError("share of the wrong size")
    if commit(opening) != commitments[member - 1]:
        raise RemoteProtocolError("share does not open its commitment")
    values = field_array(opening[SALT_BYTES:])
    z = field_array(proof)
    if z.size != CHECKS * sharing.needed:
        raise RemoteProtocolError("low-degree proof of the wrong size")
    share, mask = values[: sharing.blocks], values[sharing.blocks :]
    levelled = share.copy()
    levelled[sharing.packed_blocks :] *= pow(member, sharing.pack - 1, PRIME)
    levelled %= PRIME
    right = (mask + product(challenge(sharing, context, commitments), levelled[:, None])[:, 0]) % PRIME
    left = product(z.reshape(CHECKS, sharing.needed), sharing.to_members[:, member - 1 : member])[:, 0]
    if not np.array_equal(left, right):
        raise RemoteProtocolError("shares do not lie on polynomials of low degree")
    return share.astype(np.uint16)


def field_array(data: bytes) -> I64:
    """Field elements from their one encoding, 2 bytes little-endian each.

    Raises:
        DecodeError: an odd length or a value of p or more.
    """
    if len(data) % 2:
        raise DecodeError("field elements have two bytes each")
    values = np.frombuffer(data, "<u2").astype(np.int64)
    if values.size and int(values.max()) >= PRIME:
        raise DecodeError(f"a field element is not below {PRIME}")
    return values


def centred(values: I64) -> I64:
    """Field elements as the integers of least size: a sum of keys is far within +-p/2."""
    return np.where(values > LARGEST, values - PRIME, values)


def product(a: I64, b: I64) -> I64:
    """A @ b mod p. Float64 is exact here: entries below 2^16, fewer than 2^20 terms, so every sum stays below 2^52."""
    if a.shape[1] >= 1 << 20:
        raise ValueError("matrix product too long to be exact")
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64) % PRIME


@lru_cache(maxsize=256)
def evaluation(known: tuple[int, ...], wanted: tuple[int, ...]) -> I64:
    """[len(known), len(wanted)] matrix W with f(wanted) = f(known) @ W for every f of degree below len(known)."""
    matrix = np.zeros((len(known), len(wanted)), np.int64)
    for i, x in enumerate(known):
        others = [v for v in known if v != x]
        below = 1
        for v in others:
            below = below * (x - v) % PRIME
        inverse = pow(below, -1, PRIME)
        for j, y in enumerate(wanted):
            above = inverse
            for v in others:
                above = above * (y - v) % PRIME
            matrix[i, j] = above
    matrix.setflags(write=False)
    return matrix


def _points(sharing: Sharing, secret: I64, uniform: I64) -> I64:
    """[M, t + ell]: every polynomial by its values at the defining points; ``uniform`` [M, t] is the randomness."""
    packed, pack, need = sharing.packed_blocks, sharing.pack, sharing.needed
    points = np.zeros((sharing.blocks, need), np.int64)
    padded = np.zeros(packed * pack, np.int64)
    padded[: sharing.length] = secret[: sharing.length]
    points[:packed, :pack] = padded.reshape(packed, pack)
    points[:, pack:] = uniform
    if sharing.singles:
        points[packed:, 0] = secret[sharing.length :]
        at = (sharing.defining_points[0], *sharing.defining_points[pack:])  # t + 1 values fix a polynomial of degree t
        known = points[packed:][:, [0, *range(pack, need)]]
        points[packed:, :pack] = product(known, evaluation(at, sharing.secret_points))
    return points


def _levelled(sharing: Sharing, points: I64) -> I64:
    """The polynomials as they enter the proof: those of degree t multiplied by x^(ell-1)."""
    levelled = points.copy()
    powers = np.array([pow(x, sharing.pack - 1, PRIME) for x in sharing.defining_points], np.int64)
    levelled[sharing.packed_blocks :] = levelled[sharing.packed_blocks :] * powers % PRIME
    return levelled


def _uniform(sharing: Sharing, seed: bytes) -> I64:
    """[M + R]: the values of a member that has ``seed``."""
    return field_elements(subseed(seed, b"share"), sharing.blocks + CHECKS, PRIME)


def _openings(values: np.ndarray, seeds: tuple[bytes, ...], seed: bytes) -> tuple[bytes, ...]:
    columns = np.ascontiguousarray(values.T)
    salts = [subseed(own, _SALT) for own in seeds]
    salts += [subseed(seed, bytes([j])) for j in range(len(seeds), len(columns))]
    return tuple(salt + column.tobytes() for salt, column in zip(salts, columns, strict=True))
