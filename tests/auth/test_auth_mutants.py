"""Do the tests notice a broken implementation? Each mutant drops one check or one secret and must be killed.

A mutant lives in a forked child: its module's source is changed, executed again, and put in the place of the old names in
every loaded module; then the ordinary tests named beside it run. Exit 1: a test failed, the mutant is dead. Exit 0: it
survived. The parent never sees mutated code.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "laws")]
handshake = importlib.import_module("test_auth_handshake")
record = importlib.import_module("test_auth_record")
session = importlib.import_module("test_auth_session")

INITIATOR, RESPONDER = "wardround.auth.handshake.initiator", "wardround.auth.handshake.responder"
BOOK, SESSION, RECORD = "wardround.auth.book", "wardround.auth.session", "wardround.auth.record"
IDENTITY, SYMMETRIC = "wardround.auth.identity", "wardround.auth.handshake.symmetric"
Change = tuple[str, str, str]  # module, old text, new text


def dolev_yao() -> None:
    machine = importlib.import_module("test_auth_dolev_yao").DolevYao
    few = settings(
        max_examples=40,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
    )
    run_state_machine_as_test(machine, settings=settings(few, suppress_health_check=list(HealthCheck)))


def fields_are_checked() -> None:
    handshake.test_every_field_of_every_message_corrupted(handshake.SUITES[1])


MUTANTS: dict[str, tuple[list[Change], Callable[[], None]]] = {
    "no device key in M2": (
        [
            (INITIATOR, "state.mix_key(key.decapsulate(reply.to_device))", "state.mix_key(bytes(32))"),
            (
                RESPONDER,
                "state.mix_hash(to_device)\n        state.mix_key(secret)",
                "state.mix_hash(to_device)\n        state.mix_key(bytes(32))",
            ),
        ],
        dolev_yao,
    ),
    "no server key in M1": (
        [
            (
                INITIATOR,
                "state.mix_hash(ciphertext)\n        state.mix_key(secret)",
                "state.mix_hash(ciphertext)\n        state.mix_key(bytes(32))",
            ),
            (RESPONDER, "state.mix_key(key.decapsulate(hello.ciphertext))", "state.mix_key(bytes(32))"),
        ],
        dolev_yao,
    ),
    "no psk in M2": (
        [
            (INITIATOR, "state.mix_key_and_hash(self.identity.psk)", "state.mix_key_and_hash(bytes(32))"),
            (RESPONDER, "state.mix_key_and_hash(entry.psk)", "state.mix_key_and_hash(bytes(32))"),
        ],
        handshake.test_the_psk_is_part_of_m2,
    ),
    "psk MAC ignored": ([(RESPONDER, "not holds or ", "")], handshake.test_the_four_refusals_cannot_be_told_apart),
    "standing ignored in M1": (
        [(RESPONDER, " or not allowed:", ":")],
        handshake.test_the_four_refusals_cannot_be_told_apart,
    ),
    "standing ignored in M3": (
        [(RESPONDER, "if not self.book.roster.may_authenticate(half.device_id):", "if False:")],
        handshake.test_a_device_cut_in_the_middle,
    ),
    "M1 replays answered": ([(RESPONDER, "if digest in self._gate.seen:", "if False:")], handshake.test_replays_are_refused),
    "M3 replayable": (
        [(RESPONDER, "            raise\n        self._pending.pop(confirm.server_sid)", "            raise")],
        handshake.test_replays_are_refused,
    ),
    "M3 confirmation not compared and not sealed": (
        [(RESPONDER, "if not kdf.equal(state.open(confirm.sealed), want):", "if False:")],
        fields_are_checked,
    ),
    "mac1 ignored": (
        [(RESPONDER, "if not kdf.equal(hello.mac1, messages.mac1(self.identity.mac1_key, hello.macked)):", "if False:")],
        fields_are_checked,
    ),
    "state committed before M2 is accepted": (
        [(INITIATOR, "self._symmetric.copy(), self.identity.key", "self._symmetric, self.identity.key")],
        handshake.test_a_junk_datagram_does_not_burn_a_handshake,
    ),
    "state committed before M3 is accepted": (
        [(RESPONDER, "state = half.symmetric.copy()", "state = half.symmetric")],
        handshake.test_a_junk_datagram_does_not_burn_a_handshake,
    ),
    "half-open handshakes unbounded": (
        [(RESPONDER, "while len(self._pending) >= self.limits.pending:", "while False:")],
        handshake.test_half_open_handshakes_are_bounded_and_expire,
    ),
    "half-open handshakes never expire": (
        [(RESPONDER, "oldest = now - self.limits.pending_seconds", "oldest = -1.0")],
        handshake.test_half_open_handshakes_are_bounded_and_expire,
    ),
    "a cookie for everybody": (
        [("wardround.auth.handshake.gate", "source, hello.body)", "hello.body)")],
        handshake.test_under_load_a_cookie_is_asked_for,
    ),
    "no floor": (
        [(IDENTITY, "if now < seen:", "if False:")],
        handshake.test_a_server_that_goes_back_is_refused,
    ),
    "no revocation floor": (
        [(IDENTITY, "if params.revocation_epoch < self.revocation_epoch:", "if False:")],
        handshake.test_a_revocation_epoch_that_falls_is_refused,
    ),
    "ephemeral from the random generator alone": (
        [(INITIATOR, 'identity.key.seed + attempt.to_bytes(8, "big") + entropy(64)', "entropy(64)")],
        handshake.test_a_broken_random_generator_alone_does_not_repeat_an_ephemeral_key,
    ),
    "no channel binding": (
        [(SYMMETRIC, "        if binding:\n            state.mix_hash(binding)\n", "")],
        handshake.test_channel_binding_is_part_of_the_transcript,
    ),
    "ratchet stands still": (
        [(SESSION, 'return kdf.mac(hash_name, root, labels.RATCHET, number.to_bytes(8, "big"))', "return root")],
        session.test_the_ratchet_is_a_function_of_the_round,
    ),
    "no skip limit": (
        [(SESSION, " or to - self.round > MAX_SKIP", "")],
        session.test_4096_missed_rounds_and_not_one_more,
    ),
    "KEM ratchet adds nothing": (
        [(SESSION, "material = secret + ", 'material = b"" + '), (SESSION, "kdf.digest(name, ciphertext, offered)", 'b""')],
        session.test_a_kem_ratchet_heals_both_ends,
    ),
    "new root used unconfirmed": (
        [(SESSION, "if confirmed:", "if True:")],
        session.test_a_lost_answer_costs_a_repetition_and_nothing_else,
    ),
    "model not bound": (
        [(RECORD, "bound = model_hash + session", "bound = session")],
        record.test_bound_to_model_round_session_device_federation_and_epoch,
    ),
    "federation not bound": (
        [(RECORD, "header + session.federation", "header")],
        record.test_bound_to_model_round_session_device_federation_and_epoch,
    ),
    "transcript not bound": (
        [(RECORD, "session.device_id + session.transcript\n    key", "session.device_id\n    key"),
         (SESSION, "kdf.mac(suite.hash_name, split.root, labels.ROUND0", "kdf.mac(suite.hash_name, bytes(32), labels.ROUND0")],
        record.test_bound_to_model_round_session_device_federation_and_epoch,
    ),
    "frames in any order": (
        [(RECORD, "if frame[: _HEADER.size] != header:", "if False:"), (RECORD, "cipher.open(seq, frame", "cipher.open(0, frame"),
         (RECORD, "cipher.seal(seq, piece", "cipher.seal(0, piece"),
         (RECORD, "session.epoch, session.round, seq, total)", "session.epoch, session.round, 0, 0)"),
         (RECORD, "_LAST if seq == total - 1 else 0", "0")],
        record.test_frames_cut_reordered_doubled_or_mixed,
    ),
    "a second payload under one key": (
        [(RECORD, "if session.sealed_round == session.round and not", "if False and not")],
        record.test_one_payload_per_round,
    ),
    "an announcement replayed": (
        [(RECORD, "if number <= session.opened_round:", "if False:")],
        record.test_announcements_move_the_device_and_never_back,
    ),
    "a second record counted": (
        [(BOOK, "if counted is not None and", "if False and")],
        record.test_a_second_record_of_a_round_is_refused_also_after_a_new_handshake_and_a_restart,
    ),
    "standing ignored at a record": (
        [(BOOK, "not self.roster.may_authenticate(session.device_id)", "False")],
        lambda: record.test_revocation_cuts_a_live_session_in_the_middle_of_a_round(record.Trust.REVOKED),
    ),
    "probation without a fresh handshake": (
        [(BOOK, "session.first_round != self.token.round", "False")],
        record.test_probation_halves_the_weight_and_asks_for_a_handshake_every_round,
    ),
    "the token may go back": (
        [(BOOK, "if now < was or (now == was and token != self.token):", "if False:")],
        record.test_the_token_never_goes_back_and_a_new_epoch_ends_all_sessions,
    ),
}  # fmt: skip


# Python 3.12 warns of a fork beside pytest-xdist's threads; the child only runs tests and leaves by os._exit
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def mutate(changes: list[Change]) -> None:
    """Executes changed sources in place of the loaded modules; only ever in a child."""
    for name in {module for module, _, _ in changes}:
        module = sys.modules[name]
        source = Path(str(module.__file__)).read_text()
        for where, old, new in changes:
            if where == name:
                assert old in source, f"the mutant's text is not in {name}: {old}"
                source = source.replace(old, new)
        before = dict(module.__dict__)
        exec(compile(source, str(module.__file__), "exec"), module.__dict__)  # noqa: S102
        for other in [m for n, m in sys.modules.items() if n.startswith(("wardround", "test_auth"))]:
            for key, value in list(other.__dict__.items()):
                if other is not module and key in before and value is before[key]:
                    setattr(other, key, module.__dict__[key])


def killed(changes: list[Change], killer: Callable[[], Any]) -> bool:
    child = os.fork()
    if child == 0:
        status = 2
        try:
            mutate(changes)
            status = 0
            killer()
        except BaseException:  # noqa: BLE001 - pytest's Failed is one too
            status = 1 if status == 0 else 2
        os._exit(status)
    _, code = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(code) != 2, "the mutant could not be made: its text is no longer in the source"
    return os.waitstatus_to_exitcode(code) == 1


def test_the_check_itself_lets_correct_code_live() -> None:
    for killer in {killer for _, killer in MUTANTS.values()} - {dolev_yao}:
        assert not killed([], killer), killer


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_die(name: str) -> None:
    assert killed(*MUTANTS[name]), f"the tests do not notice: {name}"
