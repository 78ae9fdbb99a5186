"""Known answers: every recorded run gives the same bytes again, and every recorded bad case the same error."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wardround.auth.book import Book, RoundToken
from wardround.auth.credential import Descriptor, RevocationList, verify
from wardround.auth.enrolment import Token
from wardround.auth.handshake.initiator import Initiator
from wardround.auth.handshake.responder import Responder
from wardround.auth.identity import DeviceIdentity, Memory, ServerIdentity
from wardround.auth.in_memory import entry
from wardround.auth.record import Update, open_announcement, receipt, seal_update
from wardround.auth.roster import Roster
from wardround.auth.suites import SUITES
from wardround.crypto.sign import COMPOSITE
from wardround.errors import ProtocolError

VECTORS = Path(__file__).parent.parent / "vectors" / "auth"
sys.path.insert(0, str(VECTORS))
replay = importlib.import_module("replay")
EVERY = pytest.mark.parametrize("number", [1, 2, 3])


@dataclass
class Run:
    """Both ends as the vector describes them, before the first message."""

    vector: dict[str, Any]
    initiator: Initiator
    responder: Responder
    device_entropy: Any
    server_entropy: Any
    at: int = 0  # the message that is being delivered


def load(number: int) -> Run:
    v = json.loads((VECTORS / "v1" / f"handshake-{number}.json").read_text())
    real, federation = SUITES[number], bytes.fromhex(v["federation"])

    def tape(who: str) -> list[tuple[bytes, bytes]]:
        return [(bytes.fromhex(a), bytes.fromhex(b)) for a, b in v[f"{who}_encapsulations"]]

    server_suite = replay.with_tape(real, tape("server"), record=False)
    device_suite = replay.with_tape(real, tape("device"), record=False)
    key, psk = real.kem.key(bytes.fromhex(v["device_seed"])), bytes.fromhex(v["psk"])
    server = ServerIdentity(server_suite, federation, real.kem.key(bytes.fromhex(v["server_seed"])))
    roster = Roster(server_suite, [entry(DeviceIdentity(server_suite, federation, key, psk, server.key.public))])
    token = RoundToken(v["token"]["epoch"], v["token"]["round"], bytes.fromhex(v["token"]["model_hash"]))
    server_entropy = replay.Tape([bytes.fromhex(x) for x in v["server_entropy"]])
    responder = Responder(server, Book(server_suite, roster, token), server_entropy)
    device = DeviceIdentity(device_suite, federation, key, psk, server.key.public)
    device_entropy = replay.Tape([bytes.fromhex(x) for x in v["device_entropy"]])
    return Run(v, Initiator(device, Memory()), responder, device_entropy, server_entropy)


@EVERY
def test_a_recorded_handshake_again(number: int) -> None:
    run = load(number)
    v = run.vector
    m1 = run.initiator.start(0.0, run.device_entropy).send or b""
    assert m1.hex() == v["m1"]
    m2 = run.responder.receive(m1, b"", 0.0, run.server_entropy).send or b""
    assert m2.hex() == v["m2"]
    step = run.initiator.receive(m2)
    assert (step.send or b"").hex() == v["m3"]
    theirs = run.responder.receive(step.send or b"", b"", 0.0, run.server_entropy).done
    ours = step.done
    assert ours is not None
    assert theirs is not None
    for end in (ours, theirs):
        assert (end.transcript.hex(), end.exporter.hex(), end.device_id.hex()) == (
            v["transcript"],
            v["exporter"],
            v["device_id"],
        )
    record = seal_update(ours, run.responder.book.token.model_hash, Update(bytes.fromhex(v["update"]["data"])))
    assert (record.hex(), receipt(ours, record).hex()) == (v["update"]["record"], v["update"]["receipt"])
    assert run.responder.book.accept(theirs.session_id, record).receipt.hex() == v["update"]["receipt"]
    listener = ours.copy()
    heard, _ = open_announcement(listener, run.initiator.memory, bytes.fromhex(v["announcement"]["record"]))
    assert heard.round == v["announcement"]["round"]
    for to, root in v["roots"].items():
        ours.advance(int(to))
        assert ours.root.hex() == root


def deliver(run: Run, sent: list[bytes]) -> None:
    for run.at, data in enumerate(sent, 1):
        if run.at == 2:
            run.initiator.receive(data)
        else:
            run.responder.receive(data, b"", 0.0, run.server_entropy)


def edited(data: bytes, case: dict[str, Any]) -> bytes:
    at = case.get("at", len(data) - case.get("from_end", 1))
    return {
        "truncate": lambda: data[: len(data) - case["by"]],
        "extend": lambda: data + bytes(case["by"]),
        "flip": lambda: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
    }[case["edit"]]()


@EVERY
def test_recorded_refusals(number: int) -> None:
    vector = load(number).vector
    assert len(vector["refused"]) > 25
    for case in vector["refused"]:
        run = load(number)
        run.initiator.start(0.0, run.device_entropy)
        sent = [
            edited(bytes.fromhex(vector[f"m{n}"]), case) if n == case["message"] else bytes.fromhex(vector[f"m{n}"])
            for n in (1, 2, 3)
        ]
        with pytest.raises(ProtocolError) as caught:
            deliver(run, sent)
        assert (run.at, caught.value.code) == (case["message"], case["code"]), case


def test_recorded_objects() -> None:
    v = json.loads((VECTORS / "v1" / "objects.json").read_text())
    verifier = COMPOSITE.load(bytes.fromhex(v["issuer"]))
    assert COMPOSITE.key(bytes.fromhex(v["issuer_seed"])).verifier == verifier
    descriptor = verify(verifier, bytes.fromhex(v["descriptor"]["signed"]), Descriptor)
    assert descriptor.link.hex() == v["descriptor"]["link"]
    listed = verify(verifier, bytes.fromhex(v["revocations"]["signed"]), RevocationList)
    assert [i.hex() for i in listed.ids] == v["revocations"]["ids"]
    token = Token.parse(v["token"]["text"])
    assert (token.secret.hex(), token.secret_hash.hex()) == (v["token"]["secret"], v["token"]["stored"])
    kinds: dict[str, Any] = {"descriptor": Descriptor, "revocations": RevocationList}
    for case in v["refused"]:
        data = bytes.fromhex(v[case["object"]]["signed"])
        data = data if case["edit"] == "as" else edited(data, case)
        with pytest.raises(ProtocolError) as caught:
            verify(verifier, data, kinds[case.get("kind", case["object"])])
        assert caught.value.code == case["code"], case
