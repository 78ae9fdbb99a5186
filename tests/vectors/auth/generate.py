"""Writes tests/vectors/auth/v1: run it from the repository's root with the project's Python. See README.md beside it."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from wardround.auth.book import Book, RoundToken  # noqa: E402
from wardround.auth.credential import Descriptor, RevocationList, sign  # noqa: E402
from wardround.auth.enrolment import Token  # noqa: E402
from wardround.auth.handshake.initiator import Initiator  # noqa: E402
from wardround.auth.handshake.responder import Responder  # noqa: E402
from wardround.auth.identity import DeviceIdentity, Memory, ServerIdentity  # noqa: E402
from wardround.auth.in_memory import entry  # noqa: E402
from wardround.auth.record import Announcement, Update, receipt, seal_announcement, seal_update  # noqa: E402
from wardround.auth.roster import Roster  # noqa: E402
from wardround.auth.suites import SUITES, Suite  # noqa: E402
from wardround.crypto.sign import COMPOSITE  # noqa: E402
from wardround.wire import encode  # noqa: E402

with_tape = importlib.import_module("replay").with_tape
Pair = tuple[bytes, bytes]
OUT = Path(__file__).parent / "v1"
FEDERATION = b"wardround vectors"
MODEL = bytes(range(32))


def fixed(name: str, size: int) -> bytes:
    return hashlib.shake_256(f"wardround vector {name}".encode()).digest(size)


class Recorder:
    def __init__(self, name: str) -> None:
        self.values: list[bytes] = []
        self._name = name

    def __call__(self, size: int) -> bytes:
        self.values.append(fixed(f"{self._name} {len(self.values)}", size))
        return self.values[-1]


def refusals(lengths: list[int]) -> list[dict[str, Any]]:
    """Edits of one message and the error's code that must follow; everything else of the run stays as recorded."""
    cases: list[dict[str, Any]] = []
    for number, length in enumerate(lengths, 1):
        cases += [
            {"message": number, "edit": "truncate", "by": 1, "code": "protocol.decode"},
            {"message": number, "edit": "extend", "by": 1, "code": "protocol.decode"},
            {"message": number, "edit": "truncate", "by": length, "code": "protocol.decode"},
        ]
        cases += [{"message": number, "edit": "flip", "at": at, "code": "protocol.decode"} for at in (1, 2, 3)]
    cases += [
        {"message": 1, "edit": "flip", "at": at, "code": "protocol.auth"}
        for at in (4, 12, lengths[0] // 2, lengths[0] - 17)
    ]
    cases += [
        {"message": 2, "edit": "flip", "at": at, "code": "protocol.auth"} for at in (4, lengths[1] // 2, lengths[1] - 1)
    ]
    cases += [{"message": 2, "edit": "flip", "at": 12, "code": "protocol.decode"}]
    cases += [
        {"message": 3, "edit": "flip", "at": 12, "code": "protocol.auth"},
        {"message": 3, "edit": "flip", "at": 59, "code": "protocol.auth"},
    ]
    cases += [{"message": 3, "edit": "flip", "at": 4, "code": "protocol.remote"}]
    return cases


def handshake(real: Suite) -> dict[str, Any]:
    device_tape: list[Pair] = []
    server_tape: list[Pair] = []
    seeds = [fixed(f"{real.name} {who}", real.kem.seed_bytes) for who in ("server", "device")]
    psk = fixed(f"{real.name} psk", 32)
    server_suite, device_suite = with_tape(real, server_tape, record=True), with_tape(real, device_tape, record=True)
    server_identity = ServerIdentity(server_suite, FEDERATION, real.kem.key(seeds[0]))
    device = DeviceIdentity(device_suite, FEDERATION, real.kem.key(seeds[1]), psk, server_identity.key.public)
    roster = Roster(
        server_suite, [entry(DeviceIdentity(server_suite, FEDERATION, device.key, psk, device.server_public))]
    )
    server_entropy, device_entropy = Recorder(f"{real.name} server"), Recorder(f"{real.name} device")
    book = Book(server_suite, roster, RoundToken(7, 42, MODEL))
    responder = Responder(server_identity, book, server_entropy)
    initiator = Initiator(device, Memory())
    m1 = initiator.start(0.0, device_entropy).send or b""
    m2 = responder.receive(m1, b"", 0.0, server_entropy).send or b""
    step = initiator.receive(m2)
    m3 = step.send or b""
    session = responder.receive(m3, b"", 0.0, server_entropy).done
    ours = step.done
    assert ours is not None
    assert session is not None
    assert ours.root == session.root
    record = seal_update(ours, MODEL, Update(b"an update"))
    signed = receipt(ours, record)
    announced = seal_announcement(session, Announcement(7, 45, 0, MODEL, bytes(32), 1000))
    roots = {}
    for number in (42, 43, 50, 42 + 4096):
        ours.advance(number)
        roots[str(number)] = ours.root.hex()
    return {
        "suite": real.number,
        "name": real.name,
        "federation": FEDERATION.hex(),
        "server_seed": seeds[0].hex(),
        "device_seed": seeds[1].hex(),
        "psk": psk.hex(),
        "device_id": device.device_id.hex(),
        "token": {"epoch": 7, "round": 42, "model_hash": MODEL.hex()},
        "device_entropy": [v.hex() for v in device_entropy.values],
        "server_entropy": [v.hex() for v in server_entropy.values],
        "device_encapsulations": [[a.hex(), b.hex()] for a, b in device_tape],
        "server_encapsulations": [[a.hex(), b.hex()] for a, b in server_tape],
        "m1": m1.hex(),
        "m2": m2.hex(),
        "m3": m3.hex(),
        "transcript": session.transcript.hex(),
        "exporter": session.exporter.hex(),
        "roots": roots,
        "update": {"data": b"an update".hex(), "record": record.hex(), "receipt": signed.hex()},
        "announcement": {"round": 45, "record": announced.hex()},
        "refused": refusals([len(m1), len(m2), len(m3)]),
    }


def objects() -> dict[str, Any]:
    key = COMPOSITE.key(fixed("issuer", 32))
    public = SUITES[1].kem.key(fixed("server", 64)).public
    descriptor = Descriptor(FEDERATION, 1, public, 0, 9)
    revocations = RevocationList(FEDERATION, 3, tuple(sorted(fixed(f"id {i}", 32) for i in range(3))))
    token = Token(fixed("token id", 8), fixed("token secret", 32), 9, fixed("anchor", 32))
    return {
        "issuer": key.verifier.data.hex(),
        "issuer_seed": key.seed.hex(),
        "descriptor": {
            "signed": sign(key, descriptor).hex(),
            "link": descriptor.link.hex(),
            "body": encode(descriptor).hex(),
        },
        "revocations": {"signed": sign(key, revocations).hex(), "epoch": 3, "ids": [i.hex() for i in revocations.ids]},
        "token": {"text": token.text(), "secret": token.secret.hex(), "stored": token.secret_hash.hex()},
        "refused": [
            {"object": "descriptor", "edit": "flip", "from_end": 1, "code": "protocol.auth"},
            {"object": "descriptor", "edit": "flip", "from_end": 3340, "code": "protocol.auth"},
            {"object": "descriptor", "edit": "truncate", "by": 1, "code": "protocol.decode"},
            {"object": "descriptor", "edit": "extend", "by": 1, "code": "protocol.decode"},
            {"object": "descriptor", "edit": "as", "kind": "revocations", "code": "protocol.auth"},
            {"object": "revocations", "edit": "as", "kind": "descriptor", "code": "protocol.auth"},
        ],
    }


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for one in SUITES.values():
        (OUT / f"handshake-{one.number}.json").write_text(json.dumps(handshake(one), indent=1) + "\n")
    (OUT / "objects.json").write_text(json.dumps(objects(), indent=1) + "\n")
