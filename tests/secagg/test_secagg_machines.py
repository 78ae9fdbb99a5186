"""Smaller parts: ratchet, epoch agreement, fixed point, encryption, partition, certificates, message lengths."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wardround.crypto.packing import unpack
from wardround.crypto.ring import expand, multiply
from wardround.crypto.sampling import centred_binomial, subseed
from wardround.errors import AuthError, DataError, DecodeError, LocalProtocolError, RemoteProtocolError
from wardround.secagg import epoch, fixedpoint, kahe, keys, labels, messages, partition, transcript
from wardround.secagg.decryptor_round import Held
from wardround.secagg.pairwise import Share
from wardround.secagg.parameters import Exact, choose_dithered, choose_exact
from wardround.wire import decode, encode

SEED = bytes(range(32))
DITHERED: Any = choose_dithered(1024, 8, 8)
EXACT: Any = choose_exact(1024, 8, 8)


def test_labels_are_not_prefixes_of_each_other() -> None:
    ours = [v for name, v in vars(labels).items() if name.startswith("SECAGG_")]
    assert len(set(ours)) == len(ours)
    assert not [(a, b) for a in ours for b in ours if a != b and b.startswith(a)]


def test_ratchet_is_a_function_of_the_number_and_never_goes_back() -> None:
    chain = epoch.Ratchet(0, SEED)
    slow, keys_seen = chain, []
    for number in range(6):
        key, slow = slow.take(number, b"id")
        keys_seen.append(key)
    jumped, ahead = chain.take(5, b"id")
    assert jumped == keys_seen[5]
    assert ahead == slow
    assert len(set(keys_seen)) == 6
    assert chain.take(5, b"other")[0] != jumped
    for number in (0, 5, 6 + epoch.SKIP):
        with pytest.raises(LocalProtocolError, match="never goes back"):
            slow.take(number, b"id")
    assert SEED.hex() not in repr(chain)
    assert str(SEED) not in repr(chain)


def agreement() -> Any:
    signers = [keys.Signer(subseed(SEED, bytes([j]))) for j in range(3)]
    client = keys.Signer(subseed(SEED, b"client"))
    secrets = [keys.kem_key(subseed(SEED, b"kem" + bytes([j]))) for j in range(3)]
    offers = tuple(
        messages.EpochOffer(4, j + 1, s.public, signers[j].sign(transcript.offer_digest(4, j + 1, s.public)))
        for j, s in enumerate(secrets)
    )
    agreed, chains = epoch.encapsulate(offers, "gw", client, lambda n: subseed(SEED, b"e")[:n])
    return signers, client, secrets, offers, agreed, chains


def test_both_ends_of_an_epoch_derive_the_same_chain() -> None:
    signers, client, secrets, offers, agreed, chains = agreement()
    assert epoch.check_offers(offers, [s.public for s in signers]) == 4
    for j in range(3):
        assert epoch.accept(offers[j], secrets[j], epoch.contact(agreed, j + 1), client.public) == chains[j]


def test_swapped_foreign_or_forged_epoch_keys_are_refused() -> None:
    signers, client, secrets, offers, agreed, _ = agreement()
    members = [s.public for s in signers]
    with pytest.raises(RemoteProtocolError, match="in order"):
        epoch.check_offers(offers[::-1], members)
    with pytest.raises(RemoteProtocolError, match="in order"):
        epoch.check_offers((*offers[:2], replace(offers[2], epoch=5)), members)
    with pytest.raises(AuthError):
        epoch.check_offers((replace(offers[0], public=offers[1].public), *offers[1:]), members)
    met = epoch.contact(agreed, 1)
    for wrong in (
        epoch.contact(agreed, 2),
        replace(met, client="other"),
        replace(met, signature=bytes(3309)),
        replace(met, digests=met.digests[:1]),
    ):
        with pytest.raises(AuthError):
            epoch.accept(offers[0], secrets[0], wrong, client.public)
    with pytest.raises(AuthError):
        epoch.accept(offers[0], secrets[0], met, signers[0].public)


def test_fixed_point_round_trips_and_cuts_or_refuses() -> None:
    values = np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 9.0], np.float32)
    steps = fixedpoint.to_steps(values, 1.0, 254, 6)
    assert steps.tolist() == [0, 0, 127 * 64, round(190.5 * 64), 254 * 64, 254 * 64]
    assert np.allclose(fixedpoint.from_steps(steps / 64, 1, 1.0, 254), np.clip(values, -1, 1))
    counts = np.array([-3.25, 0, 100.5])
    assert np.array_equal(fixedpoint.from_counts(fixedpoint.to_counts(counts, 20, 2), 1, 20, 2), counts)
    with pytest.raises(DataError, match="not a number"):
        fixedpoint.to_steps(np.array([np.nan], np.float32), 1.0, 255, 6)
    for bad in (2.0**17, -(2.0**17), np.nan, np.inf):
        with pytest.raises(DataError, match="outside"):
            fixedpoint.to_counts(np.array([bad]), 20, 2)


def test_exact_mode_with_several_digits_and_slots() -> None:
    for n, clients, bits in ((1024, 16, 40), (2048, 100, 8), (2048, 8, 1), (1024, 64, 52)):
        mode: Any = choose_exact(n, clients, bits)
        segment = kahe.Segment(mode, n, 77, SEED)
        rng, total, key_sum, wanted = (
            np.random.default_rng(bits),
            kahe.start(segment),
            np.zeros(n, np.int64),
            np.zeros(77, np.uint64),
        )
        for i in range(clients):
            v = rng.integers(0, 1 << bits, 77, dtype=np.uint64) if i else np.full(77, (1 << bits) - 1, np.uint64)
            key = centred_binomial(subseed(SEED, bytes([i])), n).astype(np.int64)
            kahe.add(segment, total, kahe.encrypt(segment, v, key, subseed(SEED, b"e" + bytes([i]))))
            wanted, key_sum = wanted + v, key_sum + key
        found, residual = kahe.decrypt_counts(segment, total, key_sum)
        assert np.array_equal(found, wanted)
        assert residual <= mode.noise_bound
        _, garbage = kahe.decrypt_counts(segment, total, key_sum + 1)
        assert garbage > mode.noise_bound * 0.9


@pytest.mark.parametrize("mode, n", [(DITHERED, 1024), (choose_dithered(2048, 10_000, 10), 2048), (EXACT, 1024)])
def test_a_ciphertext_is_the_formula_in_plain_numbers(mode: Any, n: Any) -> None:
    """floor((a s + e + m 2^z + 2^(r-1)) / 2^r) mod 2^L, one coefficient after the other in wire order."""
    segment = kahe.Segment(mode, n, n + 77, SEED)
    key, rng = centred_binomial(subseed(SEED, b"key"), n).astype(np.int64), np.random.default_rng(5)
    plain: Any = rng.integers(0, 1 << (8 if mode is EXACT else 12), n + 77).astype(np.uint64)
    product = multiply(expand(segment.ring, SEED, -(-segment.coefficients // n)), key)
    wire = [
        int(product[row, i + half * (n // 2)]) for row in range(len(product)) for i in range(n // 2) for half in (0, 1)
    ]
    errors = centred_binomial(subseed(SEED, b"e"), segment.coefficients).tolist()
    message, z = (kahe.encode(mode, plain), mode.r + mode.nu) if isinstance(mode, Exact) else (plain, 0)
    half, width = 1 << mode.r >> 1, mode.k - mode.r
    expected = [
        (a + e + (int(m) << z) + half >> mode.r) % (1 << width) for a, e, m in zip(wire, errors, message, strict=False)
    ]
    found = kahe.encrypt(
        segment, plain if isinstance(mode, Exact) else plain.astype(np.int32), key, subseed(SEED, b"e")
    )
    assert unpack(found, segment.coefficients, width).tolist() == expected


def test_modes_are_not_mixed_up() -> None:
    with pytest.raises(TypeError):
        kahe.decrypt_counts(kahe.Segment(DITHERED, 1024, 3, SEED), np.zeros(3, np.uint64), np.zeros(1024, np.int64))
    with pytest.raises(TypeError):
        kahe.decrypt_steps(kahe.Segment(EXACT, 1024, 3, SEED), np.zeros(3, np.uint64), np.zeros(1024, np.int64), 1)


def test_partitions_cover_everybody_once_and_are_fair() -> None:
    names = [f"c{i}" for i in range(23)]
    together: Counter[str] = Counter()
    for i in range(300):
        parts = partition.deal(names, 5, bytes([i % 256, i // 256]))
        assert sorted(c for part in parts for c in part) == sorted(names)
        assert all(5 <= len(part) < 10 for part in parts)
        together["pair"] += any({"c0", "c1"} <= set(part) for part in parts)
    assert abs(together["pair"] / 300 - 0.22) < 0.09
    assert partition.deal(names, 0, b"") == partition.deal(names, 12, b"x") == (tuple(sorted(names)),)


def test_every_truncation_and_extension_of_every_message_is_refused(table: Any) -> None:
    t = table(5, 0, sizes=(8, 2))
    seen = {type(t.start): t.start, type(t.parties.invitation): t.parties.invitation}
    note = lambda j, m: (seen.setdefault(type(m), m), m)[1]  # noqa: E731
    t.question = t.answer = note
    contribution = t.contribution("gw-00")
    seen[type(contribution)] = contribution
    t.upload()
    t.finish()
    assert {"ShareBatch", "Checked", "Proposal", "Vote", "Certificate", "SumShares"} <= {kind.__name__ for kind in seen}
    for kind, message in seen.items():
        data = encode(message)
        assert encode(decode(data, kind)) == data
        step = max(1, len(data) // 60)
        for cut in [*range(0, len(data), step), len(data) - 1]:
            with pytest.raises(DecodeError):
                decode(data[:cut], kind)
        for tail in (b"\0", data):
            with pytest.raises(DecodeError):
                decode(data + tail, kind)


def test_secrets_stay_out_of_reprs(table: Any) -> None:
    t = table(5)
    member, client = t.parties.members[1], t.parties.clients["gw-00"]
    t.contribution("gw-00")
    for thing in (member, client, client._kept, member._round, keys.Signer(SEED)):
        assert str(SEED) not in repr(thing)
        assert "key=b" not in repr(thing)


def test_shares_stay_out_of_reprs() -> None:
    held = Held("gw-00", b"leaf", np.array([4711, 815], np.uint16))
    assert "4711" not in repr(held)
    assert "hidden" not in repr(Share("gw-00", b"hidden"))
