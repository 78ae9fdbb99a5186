"""The attack list of PROTOCOLS.md part B, one test each; the attacker may do everything but break a primitive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import wardround.secagg.client as _client
from wardround.crypto import sharing as _sharing
from wardround.crypto.sampling import field_elements, subseed
from wardround.crypto.sharing import PRIME, field_array
from wardround.errors import AuthError, DecodeError, RemoteProtocolError, RoundError
from wardround.secagg import transcript
from wardround.secagg.messages import (
    BeaconShares,
    Certificate,
    Checked,
    Proposal,
    Refusal,
    RoundStart,
    ShareBatch,
    SumShares,
    Vote,
)
from wardround.wire import encode

client_module: Any = _client  # a hostile client is the honest one with another dealer
room: Any = _sharing


def votes_for(t: Any, clients: Any, members: Any) -> Any:
    """What a hostile server does: have the given members vote for a set of its choice."""
    return {j: t.parties.members[j].receive(Proposal(t.server.identity, tuple(sorted(clients)))) for j in members}


def checked_only(t: Any) -> None:
    """Everything uploaded and judged; the server's own next steps are kept from the members."""
    t.question = lambda _, m: m if isinstance(m, ShareBatch) else None
    t.upload()


def test_split_view_gives_neither_half_a_certificate(table: Any) -> None:
    t = table(8)
    checked_only(t)
    everybody = list(t.parties.clients)
    first = votes_for(t, everybody, [1, 2])
    second = votes_for(t, everybody[1:], [3, 4, 5])
    for votes in (first, second):
        one = next(iter(votes.values()))
        certificate = Certificate(t.server.identity, one.digest, tuple(votes.values()))
        for j in votes:
            with pytest.raises(RemoteProtocolError, match="make a certificate"):
                t.parties.members[j].receive(certificate)
    mixed = Certificate(t.server.identity, first[1].digest, tuple({**first, **second}.values()))
    with pytest.raises(RemoteProtocolError, match="2 valid votes, 4 make a certificate"):
        t.parties.members[1].receive(mixed)


def test_a_hostile_member_voting_twice_certifies_only_one_set(table: Any) -> None:
    """Member 1 is hostile and signs both sets: 1 + 3 honest votes are a certificate, 1 + 1 are not."""
    t = table(8)
    checked_only(t)
    everybody = list(t.parties.clients)
    big, small = votes_for(t, everybody, [2, 3, 4]), votes_for(t, everybody[1:], [5])
    signer = t.parties.members[1]._signer
    forged = [Vote(t.server.identity, 1, v.digest, signer.sign(v.digest)) for v in (big[2], small[5])]
    with pytest.raises(RemoteProtocolError, match="2 valid votes"):
        t.parties.members[5].receive(Certificate(t.server.identity, small[5].digest, (small[5], forged[1])))
    opened = t.parties.members[2].receive(Certificate(t.server.identity, big[2].digest, (*big.values(), forged[0])))
    assert isinstance(opened, SumShares)


def test_votes_copied_into_a_certificate_count_once(table: Any) -> None:
    t = table()
    checked_only(t)
    votes = votes_for(t, t.parties.clients, [1, 2, 3])
    with pytest.raises(RemoteProtocolError, match="3 valid votes"):
        t.parties.members[1].receive(
            Certificate(t.server.identity, votes[1].digest, (*votes.values(), votes[1], votes[2]))
        )


def test_a_member_never_votes_twice(table: Any) -> None:
    t = table(8)
    checked_only(t)
    everybody = tuple(t.parties.clients)
    member = t.parties.members[1]
    first = member.receive(Proposal(t.server.identity, everybody))
    assert member.receive(Proposal(t.server.identity, everybody)) == first  # the same question: the same bytes
    with pytest.raises(RemoteProtocolError, match="not allowed in state voted"):
        member.receive(Proposal(t.server.identity, everybody[1:]))
    described = replace(t.start.descriptor, model=bytes([1]) * 32)
    anew = ShareBatch(RoundStart(described, t.parties.server_signer.sign(transcript.round_id(described))), 0, ())
    with pytest.raises(RemoteProtocolError, match="served"):  # nor by opening the round number anew
        member.receive(anew)


def test_the_server_asking_twice_gets_the_same_bytes_and_nothing_else(table: Any) -> None:
    t = table(6)
    asked: list[Any] = []
    t.question = noting(asked)
    got: list[Any] = []
    t.answer = noting(got)
    t.upload()
    t.check(t.finish())
    certificate = next(m for j, m in asked if j == 2 and isinstance(m, Certificate))
    sums = next(m for j, m in got if j == 2 and isinstance(m, SumShares))
    assert t.parties.members[2].receive(certificate) == sums
    for earlier in (m for j, m in asked if j == 2 and isinstance(m, Proposal)):
        with pytest.raises(RemoteProtocolError, match="not allowed in state opened"):
            t.parties.members[2].receive(earlier)


def test_set_sizes_are_enforced_by_members_whatever_the_server_says(table: Any) -> None:
    t = table(6)
    checked_only(t)
    names = tuple(t.parties.clients)
    for wrong in (names[:2], (), names + ("gw-99",)):
        with pytest.raises(RemoteProtocolError, match="never opened"):
            t.parties.members[1].receive(Proposal(t.server.identity, wrong))
    for wrong in ((names[0],) * 3, names[::-1]):
        with pytest.raises(RemoteProtocolError, match="ascending"):
            t.parties.members[1].receive(Proposal(t.server.identity, wrong))


def test_a_set_below_one_cohort_is_never_opened(table: Any) -> None:
    t = table(6, 5)
    t.question = lambda _, m: m if isinstance(m, ShareBatch) else None
    t.upload()
    with pytest.raises(RemoteProtocolError, match="5 to 6 are"):
        t.parties.members[1].receive(Proposal(t.server.identity, tuple(t.parties.clients)[:4]))


def test_a_set_with_a_client_whose_share_is_missing_is_declined(table: Any) -> None:
    t = table(6)
    t.question = lambda _, m: m if isinstance(m, ShareBatch) else None
    t.upload(list(t.parties.clients)[:5])
    t.now += 1000
    t.deliver(t.server.expire(t.now).send)
    answer = t.parties.members[1].receive(Proposal(t.server.identity, tuple(t.parties.clients)))
    assert answer.clients == ("gw-05",)


@pytest.mark.parametrize("preset, wrong", [("consortium", {3}), ("standard", {2, 7}), ("standard", {1, 9})])
def test_wrong_sum_shares_are_corrected_and_named(table: Any, preset: Any, wrong: Any) -> None:
    t = table(6, 0, preset)
    t.answer = lambda j, m: spoiled(t, j, m) if j in wrong and isinstance(m, SumShares) else m
    t.upload()
    opened = t.finish()
    t.check(opened)
    assert set(opened.faulty) == wrong
    assert all("wrong share" in reason for reason in opened.faulty.values())


def spoiled(t: Any, j: Any, m: Any, by: Any = 1) -> Any:
    sums = tuple(
        ((field_array(s) + by + np.arange(field_array(s).size)) % PRIME).astype("<u2").tobytes() for s in m.sums
    )
    return replace(
        m, sums=sums, signature=t.parties.members[j]._signer.sign(transcript.sums_digest(t.server._opened, sums))
    )


def test_more_wrong_sum_shares_than_can_be_corrected_fail_the_round(table: Any) -> None:
    t = table(6)
    t.answer = lambda j, m: spoiled(t, j, m, by=j) if j in {1, 2} and isinstance(m, SumShares) else m
    with pytest.raises(RoundError, match="contradict"):
        t.upload()
    assert t.server.result is None


def test_a_member_cannot_steer_the_beacon(table: Any) -> Any:
    """A wrong, validly signed beacon share is out-voted: honest members find it off the polynomial they lie on."""
    t = table(6, 3)

    def spoil(j: Any, m: Any) -> Any:
        if j != 2 or type(m).__name__ != "BeaconShare":
            return m
        share = ((field_array(m.share) + 7) % PRIME).astype("<u2").tobytes()
        return replace(
            m,
            share=share,
            signature=t.parties.members[j]._signer.sign(transcript.beacon_digest(t.server._opened, share)),
        )

    t.answer = spoil
    t.upload()
    opened = t.finish()
    t.check(opened)
    assert opened.faulty == {2: "wrong share of the beacon"}


def test_beacon_shares_that_leave_a_member_off_the_curve_are_refused_by_it(table: Any) -> None:
    """Server and c members invent another beacon and show it to one honest member: it does not sign the partition."""
    t = table(6, 3)
    shown: list[Any] = []
    t.question = lambda _, m: [shown.append(m), None][-1] if isinstance(m, BeaconShares) else m  # type: ignore[func-returns-value]
    t.upload()
    true = shown[0]
    moved = []
    for share in true.shares:  # all members but 4 are made to lie on another polynomial
        raw = share.share if share.member == 4 else ((field_array(share.share) + 5) % PRIME).astype("<u2").tobytes()
        signature = t.parties.members[share.member]._signer.sign(transcript.beacon_digest(set_digest(t), raw))
        moved.append(replace(share, share=raw, signature=signature))
    with pytest.raises(RemoteProtocolError, match="does not lie on the beacon"):
        t.parties.members[4].receive(BeaconShares(true.round, tuple(moved)))
    with pytest.raises(RemoteProtocolError, match="needed"):
        t.parties.members[4].receive(BeaconShares(true.round, true.shares[:2]))
    with pytest.raises(RemoteProtocolError, match="twice"):
        t.parties.members[4].receive(BeaconShares(true.round, (*true.shares, true.shares[0])))


def noting(into: list[Any]) -> Any:
    """A hook that keeps (member, message) and changes nothing."""
    return lambda j, m: [into.append((j, m)), m][-1]  # type: ignore[func-returns-value]


def set_digest(t: Any) -> Any:
    return t.parties.members[1]._round.set_digest


def test_a_relabelled_upload_is_refused_by_every_member_and_the_round_goes_on(table: Any) -> None:
    t = table(6)
    stolen = replace(t.contribution("gw-00"), client="gw-01")
    t.upload([n for n in t.parties.clients if n not in {"gw-00", "gw-01"}])
    t.deliver(t.server.contribution(stolen, 0.0).send)
    opened = t.finish()
    t.check(opened)
    assert opened.refused == {"gw-01": "the sealed share does not belong to this contribution"}
    assert "gw-01" not in opened.cohorts[0].clients


def test_shares_copied_from_another_client_are_refused(table: Any) -> Any:
    t = table(6)
    first = t.contribution("gw-00")

    def copy(c: Any) -> Any:
        return (
            replace(c, sealed=first.sealed, commitments=first.commitments, low_degree=first.low_degree)
            if c.client == "gw-01"
            else c
        )

    t.upload(change=copy)
    opened = t.finish()
    t.check(opened)
    assert set(opened.refused) == {"gw-01"}


@pytest.mark.parametrize("part", ["update", "counts", "low_degree", "commitments"])
def test_a_changed_bit_anywhere_in_an_upload_excludes_that_upload(table: Any, part: Any) -> Any:
    t = table(6)

    def flip(c: Any) -> Any:
        if c.client != "gw-02":
            return c
        value = getattr(c, part)
        first = value[0] if isinstance(value, tuple) else value
        first = bytes([first[0] ^ 1]) + first[1:]
        return replace(c, **{part: (first, *value[1:]) if isinstance(value, tuple) else first})

    t.upload(change=flip)
    opened = t.finish()
    t.check(opened)
    assert set(opened.refused) == {"gw-02"}


def test_replayed_uploads_of_another_round_are_refused(table: Any) -> None:
    t = table(6)
    old = t.contribution("gw-00")
    again = type(t)(t.parties, 0)
    with pytest.raises(RemoteProtocolError, match="another round"):
        again.server.contribution(old, 0.0)
    relabelled_round = replace(old, round=again.server.identity)
    again.upload(list(t.parties.clients)[1:])
    again.deliver(again.server.contribution(relabelled_round, 0.0).send)
    opened = again.finish()
    again.check(opened)
    assert set(opened.refused) == {"gw-00"}


def test_duplicates_count_once_and_a_second_different_upload_is_refused(table: Any) -> None:
    t = table(6)
    c = t.contribution("gw-00")
    t.server.contribution(c, 0.0)
    assert t.server.contribution(c, 0.0).send == ()
    with pytest.raises(RemoteProtocolError, match="second, different"):
        t.server.contribution(replace(c, update=bytes([c.update[0] ^ 1]) + c.update[1:]), 0.0)
    t.upload(list(t.parties.clients)[1:])
    t.check(t.finish())


@pytest.mark.parametrize("part", ["update", "counts", "low_degree", "commitments", "sealed"])
@pytest.mark.parametrize("cut", [-1, 1])
def test_truncated_and_extended_uploads_are_refused_before_they_reach_anyone(table: Any, part: Any, cut: Any) -> None:
    t = table(6)
    c = t.contribution("gw-00")
    value = getattr(c, part)
    changed = (
        (value[:-1] if cut < 0 else value + value[:1])
        if isinstance(value, tuple)
        else (value[:-1] if cut < 0 else value + b"\0")
    )
    with pytest.raises(RemoteProtocolError, match="wrong size"):
        t.server.contribution(replace(c, **{part: changed}), 0.0)
    inside = (value[0][:-1], *value[1:]) if isinstance(value, tuple) else None
    if inside:
        with pytest.raises(RemoteProtocolError, match="wrong size"):
            t.server.contribution(replace(c, **{part: inside}), 0.0)


def test_set_padding_bits_are_refused(table: Any) -> None:
    t = table(6, sizes=(33, 5))
    c = t.contribution("gw-00")
    changed = c.update[:-1] + bytes([c.update[-1] | 0x80])
    with pytest.raises(DecodeError, match="padding"):
        t.server.contribution(replace(c, update=changed), 0.0)


def test_a_client_with_wrong_shares_is_named_and_left_out(table: Any) -> None:
    """A hostile client deals shares of too high a degree to some members, with everything else in order."""
    t = table(6)
    hostile = t.parties.clients["gw-03"]
    t.upload([n for n in t.parties.clients if n != "gw-03"])
    contribution = deal_badly(t, hostile)
    t.deliver(t.server.contribution(contribution, 0.0).send)
    opened = t.finish()
    t.check(opened)
    assert opened.refused == {"gw-03": "shares do not lie on polynomials of low degree"}


def deal_badly(t: Any, client: Any) -> Any:
    def bad(sharing: Any, secret: Any, context: Any, seed: Any) -> Any:
        dealing = room.deal(sharing, secret, context, seed)
        values = field_array(dealing.openings[2][room.SALT_BYTES :])
        values[0] = (values[0] + 1) % PRIME
        opening = dealing.openings[2][: room.SALT_BYTES] + values.astype("<u2").tobytes()
        openings = (*dealing.openings[:2], opening, *dealing.openings[3:])
        commitments = tuple(room.commit(o) for o in openings)
        # the dealer computes the challenge from what it committed to, as an honest one does
        uniform = np.stack([room._uniform(sharing, own) for own in dealing.seeds], axis=1)
        points = room._points(sharing, secret % PRIME, uniform[: sharing.blocks])
        own = field_elements(subseed(seed, b"masks"), room.CHECKS * sharing.pack, PRIME).reshape(room.CHECKS, -1)
        masks = np.concatenate([own, uniform[sharing.blocks :]], axis=1)
        proof = (
            masks + room.product(room.challenge(sharing, context, commitments), room._levelled(sharing, points))
        ) % PRIME
        return room.Dealing(openings, commitments, proof.astype("<u2").tobytes(), dealing.seeds)

    honest, client_module.deal = client_module.deal, bad
    try:
        return t.contribution(client.name)
    finally:
        client_module.deal = honest


def test_a_member_that_refuses_everybody_is_set_aside(table: Any) -> Any:
    t = table(8)

    def slander(j: Any, m: Any) -> Any:
        if j != 5 or not isinstance(m, Checked):
            return m
        named = sorted(t.parties.clients)
        refused = tuple(Refusal(c, "I say so") for c in named)
        signature = t.parties.members[5]._signer.sign(transcript.checked_digest(m.round, m.batch, named))
        return replace(m, refused=refused, signature=signature)

    t.answer = slander
    t.upload()
    opened = t.finish()
    t.check(opened)
    assert "alone refuses 8 of 8" in opened.faulty[5]
    assert len(opened.cohorts[0].clients) == 8


def test_an_answer_that_its_member_did_not_sign_changes_nothing(table: Any) -> Any:
    t = table(6)
    forged: list[Any] = []

    def forge(j: Any, m: Any) -> Any:
        if j == 2 and isinstance(m, Vote) and not forged:
            forged.append(m)
            with pytest.raises(AuthError):
                t.server.answer(replace(m, signature=bytes(3309)), 0.0)
        return m

    t.answer = forge
    t.upload()
    opened = t.finish()
    t.check(opened)
    assert not opened.faulty


@pytest.mark.parametrize(
    "field, value",
    [("suite", 0x0199), ("suite", 0x0119), ("n", 2048), ("minimum", 2), ("clip", 1e9), ("count_bits", 20), ("roster", bytes(32)), ("offers", bytes(32)),
     ("session", b"other"), ("epoch", 7), ("cohort", 2), ("clients", 100_000)],
)  # fmt: skip
def test_a_downgraded_or_foreign_descriptor_is_refused_by_clients_and_members(
    table: Any, field: Any, value: Any
) -> None:
    t = table(6)
    described = replace(t.start.descriptor, **{field: value})
    start = RoundStart(described, t.parties.server_signer.sign(transcript.round_id(described)))
    with pytest.raises(RemoteProtocolError):
        t.contribution("gw-00", start)
    with pytest.raises(RemoteProtocolError):
        t.parties.members[1].receive(ShareBatch(start, 0, ()))


def test_a_smaller_committee_quorum_or_modulus_is_refused(table: Any) -> None:
    t = table(6)
    d = t.start.descriptor
    small = replace(d.update, k=d.update.k - 1, r=d.update.r - 1)
    for described in (
        replace(d, update=small),
        replace(d, update=None),
        replace(d, committee=replace(d.committee, corrupt=0, quorum=3)),
    ):
        start = RoundStart(described, t.parties.server_signer.sign(transcript.round_id(described)))
        with pytest.raises(RemoteProtocolError, match="refused"):
            t.contribution("gw-00", start)


def test_a_descriptor_the_server_did_not_sign_is_refused(table: Any) -> None:
    t = table(6)
    start = RoundStart(t.start.descriptor, t.parties.members[1]._signer.sign(transcript.round_id(t.start.descriptor)))
    with pytest.raises(AuthError):
        t.contribution("gw-00", start)


def test_different_models_to_different_clients_meet_no_certificate(table: Any) -> None:
    """Half of the clients get another model: another id, so their shares do not open under the first one."""
    t = table(8)
    other = replace(t.start.descriptor, model=bytes([9]) * 32)
    start = RoundStart(other, t.parties.server_signer.sign(transcript.round_id(other)))
    with pytest.raises(RemoteProtocolError, match="another model"):
        t.contribution("gw-00", start)  # a client that trained on the first model sees it at once
    deceived = replace(t.plain("gw-00"), model=other.model)
    contribution = t.parties.clients["gw-00"].contribute(start, deceived, subseed(bytes(32), b"x"))
    t.upload(list(t.parties.clients)[1:])
    t.deliver(t.server.contribution(replace(contribution, round=t.server.identity), 0.0).send)
    opened = t.finish()
    t.check(opened)
    assert set(opened.refused) == {"gw-00"}


def test_keys_are_used_once(table: Any) -> None:
    t = table(6)
    t.contribution("gw-00")
    same_number = replace(t.start.descriptor, codec=b"other")
    start = RoundStart(same_number, t.parties.server_signer.sign(transcript.round_id(same_number)))
    with pytest.raises(RemoteProtocolError, match="was used: its key is gone"):
        t.parties.clients["gw-00"].contribute(start, replace(t.plain("gw-00"), codec=b"other"), bytes(32))
    ahead = replace(t.start.descriptor, number=5000)
    start = RoundStart(ahead, t.parties.server_signer.sign(transcript.round_id(ahead)))
    with pytest.raises(RemoteProtocolError, match="more than 4096 ahead"):
        t.contribution("gw-01", start)
    with pytest.raises(RemoteProtocolError, match="not newer"):
        t.parties.clients["gw-00"].join(t.parties.invitation, bytes)


def test_the_server_never_holds_a_value_of_one_client_in_clear(table: Any) -> None:
    """What reaches the server before the opening, and what it stores, holds no client's vector or key bytes."""
    t = table(6, 3, sizes=(64, 16))
    seen: list[Any] = []
    t.answer = noting(seen)
    t.upload()
    everything = t.server.to_bytes() + b"".join(encode(m) for _, m in seen)
    for name in t.parties.clients:
        plain = t.plain(name)
        for raw in (plain.update.tobytes(), plain.counts.tobytes()):
            assert all(raw[at : at + 16] not in everything for at in range(0, len(raw) - 16, 8))


def test_the_verifier_hook_decides_on_proofs(table: Any) -> None:
    t = table(6)
    c = replace(t.contribution("gw-00"), proof=b"proof")
    with pytest.raises(RemoteProtocolError, match="nobody here can check"):
        t.server.contribution(c, 0.0)
    t.server._verifier = lambda received: received.proof == b"proof"
    t.server.contribution(c, 0.0)
    with pytest.raises(RemoteProtocolError, match="proof does not hold"):
        t.server.contribution(t.contribution("gw-01"), 0.0)


def test_a_key_that_does_not_fit_its_ciphertext_spoils_one_cohort_and_shows(table: Any) -> None:
    t = table(12, 3, sizes=(40, 60))
    honest = client_module.deal
    client_module.deal = lambda sharing, secret, context, seed: honest(sharing, secret + 1, context, seed)
    try:
        bad = t.contribution("gw-00")
    finally:
        client_module.deal = honest
    t.deliver(t.server.contribution(bad, 0.0).send)
    t.upload(list(t.parties.clients)[1:])
    opened = t.finish()
    assert [row.plausible for row in opened.cohorts] == ["gw-00" not in row.clients for row in opened.cohorts]
