"""Enrolment on the device and the registrar's half, without a database, and the signed objects."""

from __future__ import annotations

import pytest

from wardround.auth import enrolment
from wardround.auth.credential import (
    FOREVER,
    NO_DESCRIPTOR,
    Anchor,
    Credential,
    Descriptor,
    Issuer,
    RevocationList,
    Signed,
    next_descriptor,
    next_revocations,
    open_signed,
    sign,
    verify,
)
from wardround.auth.enrolment import Enrolment, Issuing, State, Token
from wardround.auth.in_memory import Seeded
from wardround.auth.suites import SUITES
from wardround.crypto import hpke, labels
from wardround.crypto.kem import X_WING
from wardround.crypto.sign import COMPOSITE, ML_DSA_65, ML_DSA_87, SigningKey
from wardround.errors import AuthError, DecodeError, LocalProtocolError, ProtocolError, RemoteProtocolError, UsageError
from wardround.wire import decode, encode

ENTROPY = Seeded("enrolment")
FEDERATION = b"ward seven"


def keys(seed: int = 0, suite: int = 1, federation: bytes = FEDERATION) -> Issuing:
    root, key = ML_DSA_87.key(bytes([seed]) * 32), COMPOSITE.key(bytes([seed]) * 32)
    enrol = bytes([seed]) * 32
    issuer = Issuer(federation, key.verifier.data, X_WING.key(enrol).public, 0, FOREVER)
    return Issuing(Anchor(federation, "Ward Seven", suite, root.verifier.data, sign(root, issuer)), key, enrol)


KEYS = keys()
KEM = SUITES[1].kem
SERVER = KEM.key(bytes(64)).public
DESCRIPTOR = Descriptor(FEDERATION, 1, SERVER, 0, 10)


def credential(public: bytes, member: bytes = b"") -> Credential:
    return Credential(FEDERATION, 1, "icu-1", 1, public, member, 0, FOREVER)


def answered(data: bytes, key: SigningKey | None = None, psk: bytes = bytes(32), **change: object) -> bytes:
    request, _ = enrolment.open_request(KEYS, data)
    issuing = Issuing(KEYS.anchor, key or KEYS.key, KEYS.enrolment_seed)
    granted = credential(request.public, request.member)
    granted = Credential(**granted.__dict__ | change)
    return enrolment.answer(issuing, request, (granted, sign(KEYS.key, DESCRIPTOR), psk), ENTROPY)


def begun(serves: bool = False) -> tuple[Enrolment, bytes]:
    machine = Enrolment(KEYS.anchor, Token.issue(KEYS.anchor, 5, ENTROPY))
    return machine, machine.ask(ENTROPY, serves)


@pytest.mark.parametrize("serves", [False, True])
def test_two_messages_make_a_member(serves: bool) -> None:
    machine, asked = begun(serves)
    assert len(asked) - hpke.OVERHEAD < (8000 if serves else 2600)
    who = machine.receive(answered(asked))
    assert (who.identity.server_public, who.identity.psk) == (SERVER, bytes(32))
    assert who.credential.device_id == who.identity.device_id
    assert bool(who.member) is serves
    assert machine.state is State.ENROLLED
    with pytest.raises(LocalProtocolError, match="that is enrolled cannot take"):
        machine.receive(answered(asked))


def test_an_answer_is_for_one_device_and_one_token() -> None:
    machine, asked = begun()
    other, other_asked = begun()
    answer = answered(asked)
    with pytest.raises(AuthError, match="does not open"):
        other.receive(answer)
    for part in ("to_device", "to_ephemeral", "sealed"):
        parts = decode(answer, enrolment.Answer).__dict__
        for at in (0, len(parts[part]) - 1):
            changed = parts[part][:at] + bytes([parts[part][at] ^ 1]) + parts[part][at + 1 :]
            with pytest.raises(AuthError):
                machine.receive(encode(enrolment.Answer(**parts | {part: changed})))
    for bad in (answer[:-1], answer + b"\0", b"", other_asked):
        with pytest.raises(ProtocolError):
            machine.receive(bad)
    assert machine.state is State.ASKED
    machine.receive(answer)


def test_whoever_lacks_the_device_key_cannot_open_the_answer() -> None:
    """Proof of possession: a credential for a stolen public key helps nobody."""
    machine, asked = begun()
    answer = answered(asked)
    machine._key = KEM.key(b"\7" * 64)
    with pytest.raises(AuthError, match="does not open"):
        machine.receive(answer)


def test_an_answer_of_a_false_registrar_is_refused() -> None:
    machine, asked = begun()
    with pytest.raises(AuthError, match="does not hold"):
        machine.receive(answered(asked, key=COMPOSITE.key(b"\5" * 32)))
    with pytest.raises(AuthError, match="not this device's"):
        machine.receive(answered(asked, public=KEM.key(b"\5" * 64).public))
    with pytest.raises(AuthError, match="not this device's"):
        machine.receive(answered(asked, member=ML_DSA_65.key(bytes(32)).verifier.data))
    with pytest.raises(AuthError, match="not this device's"):
        machine.receive(answered(asked, psk=b"short"))
    with pytest.raises(AuthError, match="belongs to another federation"):
        machine.receive(answered(asked, federation=b"ward eight"))
    machine.receive(answered(asked))


def test_requests_are_checked() -> None:
    machine, asked = begun(serves=True)
    for at in (0, 600, 1119, 1200, len(asked) - 1):
        with pytest.raises(AuthError):
            enrolment.open_request(KEYS, asked[:at] + bytes([asked[at] ^ 1]) + asked[at + 1 :])
    with pytest.raises(AuthError):
        enrolment.open_request(keys(1), asked)
    with pytest.raises(DecodeError):
        enrolment.open_request(KEYS, b"")
    request, _ = enrolment.open_request(KEYS, asked)
    info = labels.ENROL + FEDERATION
    for name in ("token_id", "secret", "public", "ephemeral", "mac"):
        value = getattr(request, name)
        forged = enrolment.Request(**request.__dict__ | {name: value[:-1] + bytes([value[-1] ^ 1])})
        with pytest.raises(AuthError, match="this token is not good"):
            enrolment.open_request(KEYS, hpke.seal(KEYS.anchor.issued_by().enrolment, info, encode(forged)))
    stolen = ML_DSA_65.key(b"\6" * 32).verifier.data
    forged = enrolment.Request(**request.__dict__ | {"member": stolen, "mac": b""})
    forged = enrolment.Request(**forged.__dict__ | {"mac": enrolment._request_mac(FEDERATION, forged)})
    with pytest.raises(AuthError, match="ML-DSA-65 does not hold"):  # a signing key of somebody else
        enrolment.open_request(KEYS, hpke.seal(KEYS.anchor.issued_by().enrolment, info, encode(forged)))
    assert machine.again() == asked


def test_an_enrolment_survives_a_restart() -> None:
    for serves in (False, True):
        machine, asked = begun(serves)
        again = Enrolment.from_bytes(KEYS.anchor, machine.to_bytes())
        assert again.again() == asked
        assert again.receive(answered(asked)).identity.key.seed == machine._key.seed  # type: ignore[union-attr]
    for bad in (machine.to_bytes()[:-1], b"", machine.to_bytes().replace(b"ASKED", b"asked")):
        with pytest.raises(DecodeError):
            Enrolment.from_bytes(KEYS.anchor, bad)
    fresh = Enrolment(KEYS.anchor, machine.token)
    assert Enrolment.from_bytes(KEYS.anchor, fresh.to_bytes()).state is State.IDLE
    with pytest.raises(LocalProtocolError, match="that is idle cannot take"):
        fresh.again()


def test_tokens_as_text() -> None:
    token = Token.issue(KEYS.anchor, 5, ENTROPY)
    text = token.text()
    assert Token.parse(f"  {text}\n") == token
    assert text.startswith("wrt1-")
    assert "=" not in text
    for bad in ("", "wrt1-", text[:-2], text[5:], text + "A", "wrt1-####", text.replace(text[20:22], "!!")):
        with pytest.raises(UsageError, match=r"not an enrolment token|copy it again"):
            Token.parse(bad)
    assert token.secret.hex() not in repr(token)
    with pytest.raises(UsageError, match="another federation"):
        Enrolment(keys(1).anchor, token)


# --- signed objects


def test_objects_open_under_their_own_label_and_signer_only() -> None:
    signed = sign(KEYS.key, DESCRIPTOR)
    assert verify(KEYS.key.verifier, signed, Descriptor) == DESCRIPTOR
    with pytest.raises(AuthError):
        verify(COMPOSITE.key(b"\1" * 32).verifier, signed, Descriptor)
    with pytest.raises(AuthError):
        verify(KEYS.key.verifier, signed, Credential)
    lie = encode(credential(SERVER))
    wrong = encode(Signed(lie, KEYS.key.sign(labels.SIGN_DESCRIPTOR, lie)))
    with pytest.raises(DecodeError):  # the right label around another object
        open_signed(KEYS.key.verifier, labels.SIGN_DESCRIPTOR, wrong, Descriptor)
    for at in range(0, len(signed), 37):
        with pytest.raises(ProtocolError):
            verify(KEYS.key.verifier, signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :], Descriptor)


def test_an_anchor_vouches_for_its_issuer_only() -> None:
    assert KEYS.anchor.issued_by().verifier == KEYS.key.verifier
    a, b = KEYS.anchor, keys(1).anchor
    mixed = Anchor(a.federation, a.name, a.suite, a.root, b.issuer)
    with pytest.raises(AuthError, match="ML-DSA-87 does not hold"):
        mixed.issued_by()
    moved = Anchor(b"ward eight", a.name, a.suite, a.root, a.issuer)
    with pytest.raises(AuthError, match="this issuer belongs to another federation"):
        moved.issued_by()
    assert a.fingerprint != b.fingerprint


def test_descriptors_follow_each_other() -> None:
    key, verifier = KEYS.key, KEYS.key.verifier
    second = Descriptor(FEDERATION, 1, KEM.key(b"\1" * 64).public, 11, 20, DESCRIPTOR.link)
    assert next_descriptor(verifier, DESCRIPTOR, sign(key, second)) == second
    assert next_descriptor(verifier, second, sign(key, second)) == second
    with pytest.raises(RemoteProtocolError, match="is not later than 11"):
        next_descriptor(verifier, second, sign(key, DESCRIPTOR))
    unlinked = Descriptor(FEDERATION, 1, second.public, 11, 20, NO_DESCRIPTOR)
    with pytest.raises(AuthError, match="does not follow"):
        next_descriptor(verifier, DESCRIPTOR, sign(key, unlinked))
    other = Descriptor(b"ward eight", 1, second.public, 11, 20, DESCRIPTOR.link)
    with pytest.raises(AuthError, match="belongs to another federation"):
        next_descriptor(verifier, DESCRIPTOR, sign(key, other))
    downgraded = Descriptor(FEDERATION, 2, X_WING.key(bytes(32)).public, 11, 20, DESCRIPTOR.link)
    with pytest.raises(AuthError, match="does not follow"):
        next_descriptor(verifier, DESCRIPTOR, sign(key, downgraded))


def test_revocations_only_grow() -> None:
    key, verifier = KEYS.key, KEYS.key.verifier
    a, b = b"\1" * 32, b"\2" * 32
    held = RevocationList(FEDERATION, 3, (a,))
    new = RevocationList(FEDERATION, 4, (a, b))
    assert next_revocations(verifier, held, sign(key, new)) == new
    with pytest.raises(RemoteProtocolError, match="went back from 4 to 3"):
        next_revocations(verifier, new, sign(key, held))
    with pytest.raises(RemoteProtocolError, match="forgets a revoked device"):
        next_revocations(verifier, held, sign(key, RevocationList(FEDERATION, 5, (b,))))
    for ids in ((b, a), (a, a), (b"short",)):
        with pytest.raises(ValueError, match="ascending, each once"):
            RevocationList(FEDERATION, 1, ids)
    with pytest.raises(ValueError, match="not negative"):
        RevocationList(FEDERATION, -1, ())
    thousand = sign(key, RevocationList(FEDERATION, 1, tuple(i.to_bytes(32, "big") for i in range(1000))))
    assert len(thousand) < 40_000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"suite": 9}, "there is no suite 9"),
        ({"public": b"x"}, "a device's key has 1184 bytes, not 1"),
        ({"member": b"x"}, "a member's key has 1952 bytes"),
        ({"epoch_from": 5, "epoch_to": 4}, "are not a range"),
        ({"epoch_to": FOREVER + 1}, "are not a range"),
    ],
)
def test_credentials_check_themselves(change: dict[str, object], said: str) -> None:
    good = credential(SERVER)
    with pytest.raises(ValueError, match=said):
        Credential(**good.__dict__ | change)
    assert good.valid(0)
    assert not Credential(**good.__dict__ | {"epoch_from": 1}).valid(0)
