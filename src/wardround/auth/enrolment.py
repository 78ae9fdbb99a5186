"""Enrolment: a one-time token becomes a credential, in two messages (docs/protocol/handshake.md, "Enrolment").

    E1  device -> registrar   HPKE(enrolment key, ENROL || federation) of {token, pk_D, e_pk, member key and its signature, MAC}
    E2  registrar -> device   ct to pk_D || ct to e_pk || AEAD(HKDF(both secrets, token), {credential, descriptor, psk})

Only who holds pk_D's seed can open E2, so the first handshake under that psk proves possession of the KEM key (a KEM key
cannot sign); a committee member's signing key proves itself by a signature in E1. Laws: a token answers one request; the
same request again gets the same answer, another one under that token is refused; the token is burnt at the device's first
finished handshake. The registrar stores a hash of the token's secret, and a stolen registry is no list of open tokens.

What it does not do: store anything (drivers/store/registry.py does, in one transaction per change).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field, replace
from enum import Enum

from wardround.auth.credential import Anchor, Credential, Descriptor, Issuer, of_federation, sign, verify
from wardround.auth.identity import PSK_BYTES, DeviceIdentity
from wardround.auth.suites import SUITES, Suite
from wardround.crypto import hpke, kdf, labels
from wardround.crypto.aead import CHACHA20_POLY1305
from wardround.crypto.kem import Entropy, KemKey
from wardround.crypto.sign import ML_DSA_65, SigningKey
from wardround.errors import AuthError, DecodeError, LocalProtocolError, UsageError
from wardround.wire import decode, encode, message

PREFIX = "wrt1-"
TOKEN_ID_BYTES = 8
SECRET_BYTES = 32
REFUSED = "this token is not good (any more)"  # unknown, expired, used and withdrawn are one answer


class TokenState(Enum):
    ISSUED = "issued"
    ANSWERED = "answered"
    BURNT = "burnt"
    WITHDRAWN = "withdrawn"


class TokenEvent(Enum):
    REQUEST = "E1 accepted / send E2"
    REPEAT = "the same E1 again / send the same E2"
    FINISH = "first finished handshake"
    WITHDRAW = "operator withdraws, or epoch limit passed"


TOKEN_TRANSITIONS: dict[TokenState, dict[TokenEvent, TokenState]] = {
    TokenState.ISSUED: {TokenEvent.REQUEST: TokenState.ANSWERED, TokenEvent.WITHDRAW: TokenState.WITHDRAWN},
    TokenState.ANSWERED: {
        TokenEvent.REPEAT: TokenState.ANSWERED,
        TokenEvent.FINISH: TokenState.BURNT,
        TokenEvent.WITHDRAW: TokenState.WITHDRAWN,
    },
    TokenState.BURNT: {},
    TokenState.WITHDRAWN: {},
}


class State(Enum):
    """Of the device."""

    IDLE = "idle"
    ASKED = "await E2"
    ENROLLED = "enrolled"


class Event(Enum):
    ASK = "ask / send E1"
    AGAIN = "no answer / send the same E1"
    GRANT = "E2 accepted / identity"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.IDLE: {Event.ASK: State.ASKED},
    State.ASKED: {Event.AGAIN: State.ASKED, Event.GRANT: State.ENROLLED},
    State.ENROLLED: {},
}


@message(0x3301)
@dataclass(frozen=True)
class Token:
    """What an operator carries to one gateway. ``anchor`` is the fingerprint of the federation's anchor."""

    token_id: bytes
    secret: bytes = field(repr=False)
    epoch_limit: int
    anchor: bytes

    def __post_init__(self) -> None:
        sizes = (len(self.token_id), len(self.secret), len(self.anchor))
        if sizes != (TOKEN_ID_BYTES, SECRET_BYTES, 32) or self.epoch_limit < 0:
            raise ValueError("a token's parts have other sizes")

    @classmethod
    def issue(cls, anchor: Anchor, epoch_limit: int, entropy: Entropy) -> Token:
        return cls(entropy(TOKEN_ID_BYTES), entropy(SECRET_BYTES), epoch_limit, anchor.fingerprint)

    @property
    def secret_hash(self) -> bytes:
        """What the registry stores."""
        return kdf.digest("sha256", labels.ENROL_TOKEN, self.secret)

    def text(self) -> str:
        """One line without characters that a shell minds."""
        return PREFIX + base64.urlsafe_b64encode(encode(self)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Token:
        """The token of ``text``.

        Raises:
            UsageError: it is not one, or was copied in part.
        """
        text = text.strip()
        body = text.removeprefix(PREFIX)
        try:
            if body == text:
                raise DecodeError("no prefix")
            token = decode(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True), Token)
        except (binascii.Error, DecodeError, ValueError) as error:
            raise UsageError(f"this is not an enrolment token; one begins with {PREFIX} and is one word") from error
        if token.text() != text:
            raise UsageError("this enrolment token was changed; copy it again")
        return token


@message(0x3302)
@dataclass(frozen=True)
class Request:
    """E1 inside its HPKE. ``member`` and ``proof`` are empty for a device that serves on no committee; ``broker`` is its
    public key towards the message broker (text; empty where there is none).
    """

    token_id: bytes
    secret: bytes = field(repr=False)
    public: bytes
    ephemeral: bytes
    member: bytes
    proof: bytes
    broker: str
    mac: bytes


@message(0x3303)
@dataclass(frozen=True)
class Answer:
    """E2."""

    to_device: bytes
    to_ephemeral: bytes
    sealed: bytes


@message(0x3304)
@dataclass(frozen=True)
class Grant:
    """E2 inside its AEAD."""

    credential: bytes
    descriptor: bytes
    psk: bytes = field(repr=False)


@message(0x3310)
@dataclass(frozen=True)
class EnrolmentBytes:
    """An enrolment in progress on the device; secret."""

    state: str
    token: Token
    seed: bytes = field(repr=False)
    ephemeral_seed: bytes = field(repr=False)
    member_seed: bytes = field(repr=False)
    request: bytes


@dataclass(frozen=True)
class Enrolled:
    """What enrolment leaves on a device. ``signed``: credential and descriptor as the registrar signed them, to be kept."""

    identity: DeviceIdentity
    credential: Credential
    descriptor: Descriptor
    member: SigningKey | None
    signed: tuple[bytes, bytes] = (b"", b"")


class Enrolment:
    """The device's end. Store ``to_bytes()`` before sending E1: its key exists nowhere else."""

    def __init__(self, anchor: Anchor, token: Token) -> None:
        if token.anchor != anchor.fingerprint:
            raise UsageError("this token belongs to another federation than the federation file given with it")
        self.anchor, self.token = anchor, token
        self.suite: Suite = SUITES[anchor.suite]
        self.issuer: Issuer = anchor.issued_by()
        self.state = State.IDLE
        self._key: KemKey | None = None
        self._ephemeral: KemKey | None = None
        self._member: SigningKey | None = None
        self._request = b""

    def ask(self, entropy: Entropy, serves: bool = False, broker: str = "") -> bytes:
        """E1. ``serves``: make a signing key too, for a seat on a committee; ``broker``: the public key towards the broker."""
        self.state = self._next(Event.ASK)
        kem = self.suite.kem
        self._key, self._ephemeral = kem.key(entropy(kem.seed_bytes)), kem.key(entropy(kem.seed_bytes))
        self._member = ML_DSA_65.key(entropy(32)) if serves else None
        request = _request(self.anchor.federation, self.token, (self._key, self._ephemeral), self._member, broker)
        info = labels.ENROL + self.anchor.federation
        self._request = hpke.seal(self.issuer.enrolment, info, encode(request))
        return self._request

    def again(self) -> bytes:
        """The same E1, byte for byte; the registrar answers it the same."""
        self.state = self._next(Event.AGAIN)
        return self._request

    def receive(self, data: bytes) -> Enrolled:
        """Take E2.

        Raises:
            DecodeError: not an answer.
            AuthError: not made by the registrar for this device's keys and token; nothing has changed.
        """
        after = self._next(Event.GRANT)
        assert self._key is not None
        assert self._ephemeral is not None
        answer = decode(data, Answer)
        secrets = self._key.decapsulate(answer.to_device) + self._ephemeral.decapsulate(answer.to_ephemeral)
        cipher = CHACHA20_POLY1305.key(_reply_key(self.anchor.federation, secrets, self.token.secret))
        grant = decode(cipher.open(0, answer.sealed, answer.to_device + answer.to_ephemeral), Grant)
        credential = of_federation(verify(self.issuer.verifier, grant.credential, Credential), self.anchor.federation)
        descriptor = of_federation(verify(self.issuer.verifier, grant.descriptor, Descriptor), self.anchor.federation)
        member = self._member.verifier.data if self._member else b""
        if (credential.public, credential.member) != (self._key.public, member) or len(grant.psk) != PSK_BYTES:
            raise AuthError("the credential is not this device's")
        if (credential.suite, descriptor.suite) != (self.suite.number, self.suite.number):
            raise AuthError("the credential is of another suite")
        self.state = after
        identity = DeviceIdentity(self.suite, self.anchor.federation, self._key, grant.psk, descriptor.public)
        return Enrolled(identity, credential, descriptor, self._member, (grant.credential, grant.descriptor))

    def to_bytes(self) -> bytes:
        return encode(
            EnrolmentBytes(
                self.state.name,
                self.token,
                self._key.seed if self._key else b"",
                self._ephemeral.seed if self._ephemeral else b"",
                self._member.seed if self._member else b"",
                self._request,
            )
        )

    @classmethod
    def from_bytes(cls, anchor: Anchor, data: bytes) -> Enrolment:
        """The machine of ``to_bytes``.

        Raises:
            DecodeError: damaged bytes.
        """
        packed = decode(data, EnrolmentBytes)
        if packed.state not in State.__members__:
            raise DecodeError(f"an enrolment is in no known state ({packed.state})")
        machine = cls(anchor, packed.token)
        machine.state, machine._request = State[packed.state], packed.request
        if packed.seed:
            machine._key = machine.suite.kem.key(packed.seed)
            machine._ephemeral = machine.suite.kem.key(packed.ephemeral_seed)
        machine._member = ML_DSA_65.key(packed.member_seed) if packed.member_seed else None
        return machine

    def _next(self, event: Event) -> State:
        after = TRANSITIONS[self.state].get(event)
        if after is None:
            raise LocalProtocolError(f"an enrolment that is {self.state.value} cannot take: {event.value}")
        return after


@dataclass(frozen=True)
class Issuing:
    """The registrar's keys for one federation."""

    anchor: Anchor
    key: SigningKey
    enrolment_seed: bytes = field(repr=False)


def open_request(issuing: Issuing, data: bytes) -> tuple[Request, bytes]:
    """E1 opened: the request and its digest, by which a repetition is recognised. The token is not looked up yet.

    Raises:
        DecodeError: not a request.
        AuthError: not sealed for this registrar, or its MAC or proof does not hold.
    """
    federation = issuing.anchor.federation
    plain = hpke.open_sealed(issuing.enrolment_seed, labels.ENROL + federation, data)
    request = decode(plain, Request)
    if not kdf.equal(request.mac, _request_mac(federation, request)):
        raise AuthError(REFUSED)
    if request.member:
        proved = request.token_id + request.public + request.ephemeral
        ML_DSA_65.load(request.member).verify(labels.ENROL_MEMBER, proved, request.proof)
    return request, kdf.digest("sha256", plain)


def answer(issuing: Issuing, request: Request, grant: tuple[Credential, bytes, bytes], entropy: Entropy) -> bytes:
    """E2 for ``(credential, signed descriptor, psk)``; to be stored with the token and repeated byte for byte.

    Raises:
        DecodeError: the request's keys are not keys of the federation's suite.
    """
    credential, descriptor, psk = grant
    kem = SUITES[issuing.anchor.suite].kem
    first, to_device = kem.load(request.public).encapsulate(entropy)
    second, to_ephemeral = kem.load(request.ephemeral).encapsulate(entropy)
    cipher = CHACHA20_POLY1305.key(_reply_key(issuing.anchor.federation, first + second, request.secret))
    plain = encode(Grant(sign(issuing.key, credential), descriptor, psk))
    # nonce 0: the key comes from two fresh encapsulations and seals this one message
    return encode(Answer(to_device, to_ephemeral, cipher.seal(0, plain, to_device + to_ephemeral)))


def _request(
    federation: bytes, token: Token, keys: tuple[KemKey, KemKey], member: SigningKey | None, broker: str
) -> Request:
    public, ephemeral = keys[0].public, keys[1].public
    proof = member.sign(labels.ENROL_MEMBER, token.token_id + public + ephemeral) if member else b""
    verifier = member.verifier.data if member else b""
    bare = Request(token.token_id, token.secret, public, ephemeral, verifier, proof, broker, b"")
    return replace(bare, mac=_request_mac(federation, bare))


def _request_mac(federation: bytes, request: Request) -> bytes:
    key = kdf.mac("sha256", request.secret, labels.ENROL_MAC, federation)
    parts = (
        request.token_id,
        request.public,
        request.ephemeral,
        request.member,
        request.proof,
        request.broker.encode(),
    )
    return kdf.mac("sha256", key, *(len(part).to_bytes(4, "big") + part for part in parts))


def _reply_key(federation: bytes, secrets: bytes, token_secret: bytes) -> bytes:
    return kdf.hkdf("sha256", b"", secrets + token_secret, labels.ENROL_REPLY + federation, 32)
