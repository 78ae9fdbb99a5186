"""Server and client machines: every transition of the tables, and everything that is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from federation_pair import SEED, Pair, make_plan, with_schedule  # type: ignore[import-not-found]

from wardround.errors import DecodeError, LocalProtocolError, RemoteProtocolError, RoundError
from wardround.events import Note, RoundDone
from wardround.federation import client, server
from wardround.federation.algorithms import EMPTY, Scaffold
from wardround.federation.client import Client, ClientState, State
from wardround.federation.messages import Answer, AskErrors, AskMeasures, AskStatistics, AskTraining
from wardround.federation.participation import Participation
from wardround.federation.server import Phase, Server
from wardround.training.models import Autoencoder
from wardround.training.personal import Ditto
from wardround.training.task import Job
from wardround.wire import encode

AUTOENCODER = make_plan(model=Autoencoder((3, 2, 3)))


def at(phase: Phase, *, unsupervised: bool = False, **course: int) -> Any:
    plan = with_schedule(AUTOENCODER if unsupervised else make_plan(), **course)
    return Pair(plan).until(phase)


# --- the server's table -------------------------------------------------------------------------------------------

# each way out of a phase: the federation before it, and who stays silent in the exchange
WAYS: dict[tuple[Phase, str], tuple[Callable[[], Any], bool]] = {
    (Phase.STATISTICS, "enough"): (lambda: at(Phase.STATISTICS), False),
    (Phase.STATISTICS, "short"): (lambda: at(Phase.STATISTICS), True),
    (Phase.TRAINING, "enough"): (lambda: at(Phase.TRAINING, measure_every=5), False),
    (Phase.TRAINING, "short"): (lambda: at(Phase.TRAINING, measure_every=5), True),
    (Phase.TRAINING, "due"): (lambda: at(Phase.TRAINING, measure_every=1), False),
    (Phase.TRAINING, "due errors"): (lambda: at(Phase.TRAINING, measure_every=1, unsupervised=True), False),
    (Phase.ERRORS, "enough"): (lambda: at(Phase.ERRORS, unsupervised=True), False),
    (Phase.ERRORS, "short"): (lambda: at(Phase.ERRORS, unsupervised=True), True),
    (Phase.MEASURES, "enough"): (lambda: at(Phase.MEASURES, measure_every=1), False),
    (Phase.MEASURES, "short"): (lambda: at(Phase.MEASURES, measure_every=1), True),
    (Phase.MEASURES, "over"): (lambda: at(Phase.MEASURES, rounds=1), False),
}


def test_the_table_names_every_way_the_server_can_go() -> None:
    assert set(WAYS) == {(phase, way) for phase, ways in server.TRANSITIONS.items() for way in ways}
    assert set(server.TRANSITIONS) == set(Phase)


@pytest.mark.parametrize(("phase", "way"), list(WAYS), ids=lambda v: getattr(v, "value", v))
def test_the_server_goes_where_the_table_says(phase: Phase, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, all_silent = WAYS[phase, way]
    pair = make()
    taken: list[str] = []
    moved = Server._move

    def noted(self: Server, outcome: str) -> None:
        taken.append(outcome)
        moved(self, outcome)

    monkeypatch.setattr(Server, "_move", noted)
    assert pair.server.phase is phase
    pair.exchange(silent=pair.names if all_silent else ())
    assert taken == [way]
    assert pair.server.phase is server.TRANSITIONS[phase][way]


def test_every_phase_asks_its_own_question() -> None:
    kinds = {
        Phase.STATISTICS: AskStatistics,
        Phase.TRAINING: AskTraining,
        Phase.ERRORS: AskErrors,
        Phase.MEASURES: AskMeasures,
    }
    for phase, kind in kinds.items():
        pair = at(phase, unsupervised=True)
        assert {type(ask) for ask in pair.ask().values()} == {kind}


def test_a_done_server_opens_nothing_more() -> None:
    pair = Pair().run()
    with pytest.raises(LocalProtocolError, match="phase done"):
        pair.ask()


def test_there_is_no_outcome_before_the_end() -> None:
    with pytest.raises(LocalProtocolError, match="no outcome yet"):
        at(Phase.TRAINING).server.outcome()


def test_one_exchange_at_a_time() -> None:
    pair = Pair()
    pair.ask()
    with pytest.raises(LocalProtocolError, match="begin"):
        pair.ask()
    pair.close()
    with pytest.raises(LocalProtocolError, match="without an open exchange"):
        pair.close()
    with pytest.raises(LocalProtocolError, match="without an open exchange"):
        pair.server.repeat()


def test_set_up_is_tried_again_as_often_as_the_plan_allows() -> None:
    pair = Pair(with_schedule(make_plan(), retries=2))
    for _ in range(3):
        (note,) = pair.exchange(silent=pair.names)
        assert isinstance(note, Note)
        assert note.code == "setup.short"
    with pytest.raises(
        RoundError, match=r"set-up failed 3 times, the last time: [01] of .* clients answered set-up, 2 must"
    ):
        pair.exchange()


def test_set_up_without_any_row_is_tried_again() -> None:
    pair = Pair(sizes=(0, 0, 40, 30))
    (note,) = pair.exchange(here=pair.names[:2])
    assert isinstance(note, Note)
    assert note.code == "setup.short"
    pair.exchange()
    assert pair.server.phase is Phase.TRAINING


def test_wake_is_the_deadline_and_the_last_answer_says_done() -> None:
    pair = at(Phase.TRAINING)
    step = pair.server.begin(pair.now, pair.names, patience=7.5)
    assert step.wake == pair.now + 7.5
    asks = {peer: send.message for send in step.send for peer in send.peers}
    done = [pair.deliver(peer, pair.reply(peer, ask)) for peer, ask in asks.items()]
    assert done == [False, False, False, True]
    assert not pair.server.waiting


def test_repeat_asks_only_the_silent_again_with_the_same_bytes() -> None:
    pair = at(Phase.TRAINING)
    asks = pair.ask()
    pair.deliver("gw0", pair.reply("gw0", asks["gw0"]))
    again = pair.server.repeat()
    assert [peer for send in again.send for peer in send.peers] == ["gw1", "gw2", "gw3"]
    assert {encode(send.message) for send in again.send} == {encode(asks["gw1"])}


# --- what the server refuses --------------------------------------------------------------------------------------


def forged(answer: Answer, what: str) -> Answer:
    if what == "exchange":
        return replace(answer, exchange=answer.exchange - 1)
    if what == "long":
        return replace(answer, update=np.append(answer.update, np.float32(0)))
    if what == "counts":
        return replace(answer, counts=answer.counts[:-1])
    if what == "nan":
        return replace(answer, update=np.full_like(answer.update, np.nan))
    if what == "infinite":
        return replace(answer, counts=np.full_like(answer.counts, np.inf))
    heavy = answer.counts.copy()
    heavy[0] = {"heavy": 31.0, "negative": -1.0}[what]
    return replace(answer, counts=heavy)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("exchange", "which is not open"),
        ("long", "are due"),
        ("counts", "are due"),
        ("nan", "finite"),
        ("infinite", "finite"),
        ("heavy", "weight"),
        ("negative", "weight"),
    ],
)
def test_a_wrong_answer_is_refused_and_changes_nothing(what: str, words: str) -> None:
    pair = at(Phase.TRAINING)
    asks = pair.ask()
    right = pair.reply("gw0", asks["gw0"])
    before = pair.server.to_bytes()
    with pytest.raises(RemoteProtocolError, match=words):
        pair.deliver("gw0", forged(right, what))
    assert pair.server.to_bytes() == before
    pair.deliver("gw0", right)  # the peer may still answer as it should


@pytest.mark.parametrize("phase", [Phase.STATISTICS, Phase.TRAINING, Phase.ERRORS, Phase.MEASURES])
def test_wrong_shapes_are_refused_in_every_phase(phase: Phase) -> None:
    pair = at(phase, unsupervised=True)
    asks = pair.ask()
    right = pair.reply("gw0", asks["gw0"])
    for what in ("long", "counts"):
        with pytest.raises(RemoteProtocolError, match="are due"):
            pair.deliver("gw0", forged(right, what))


def test_unknown_uninvited_second_and_late_answers_are_refused() -> None:
    pair = at(Phase.TRAINING)
    asks = pair.ask(here=pair.names[:3])
    answer = pair.reply("gw0", asks["gw0"])
    for stranger in ("nobody", "gw3"):
        with pytest.raises(RemoteProtocolError, match=f"{stranger} was not invited"):
            pair.deliver(stranger, answer)
    pair.deliver("gw0", answer)
    with pytest.raises(RemoteProtocolError, match="gw0 answered already"):
        pair.deliver("gw0", answer)
    late = pair.reply("gw1", asks["gw1"])
    pair.deliver("gw2", pair.reply("gw2", asks["gw2"]))
    (done,) = pair.close()
    assert isinstance(done, RoundDone)
    assert (done.invited, done.answered) == (3, 2)
    before = pair.server.to_bytes()
    with pytest.raises(RemoteProtocolError, match="not open"):
        pair.deliver("gw1", late)
    pair.ask()
    with pytest.raises(RemoteProtocolError, match="not open"):
        pair.deliver("gw1", late)
    pair.close()
    assert before != pair.server.to_bytes()


def test_bytes_that_are_no_state_are_refused() -> None:
    pair = at(Phase.TRAINING)
    data = pair.server.to_bytes()
    for damaged in (b"", data[:-1], data + b"\0", data[:40], encode(AskStatistics(1, "x"))):
        with pytest.raises(DecodeError):
            Server.from_bytes(pair.plan, Participation(), pair.names, SEED, damaged)
    with pytest.raises(DecodeError):
        Client.from_bytes(pair.plan, SEED, data)


# --- the client's table -------------------------------------------------------------------------------------------


def asks_of(pair: Any) -> dict[str, Any]:
    """One message of each kind, as a server of this federation could send them to gw0 next."""
    s = pair.server
    totals, schema, d = s._state.totals, pair.plan.schema.id, s.parameters
    number = s.exchange + 1
    inputs = len(s.prepared.preprocessor.names)
    return {
        "AskStatistics": AskStatistics(number, schema),
        "AskTraining": AskTraining(number, 1, schema, d, EMPTY, EMPTY, totals),
        "AskErrors": AskErrors(number, 1, schema, d, totals),
        "AskMeasures": AskMeasures(number, 1, schema, d, np.ones(1 + inputs), totals),
    }


def client_in(pair: Any, state: State) -> Client:
    """gw0's machine in ``state``."""
    found: Client = pair.clients["gw0"]
    if state is State.TRAINING:
        found.receive(asks_of(pair)["AskTraining"], pair.rows["gw0"], pair.engine())
    return found


@pytest.mark.parametrize(
    ("state", "happening"), [(s, h) for s, ways in client.TRANSITIONS.items() for h in ways], ids=str
)
def test_the_client_goes_where_the_table_says(state: State, happening: str) -> None:
    # a strategy with two legs where the first is to end
    pair = (
        Pair(make_plan(personal=Ditto())).until(Phase.TRAINING)
        if happening == "leg"
        else at(Phase.TRAINING, unsupervised=True)
    )
    asks = asks_of(pair)
    machine = client_in(pair, state)
    assert machine.doing is state
    if happening in ("trained", "leg"):
        assert machine._asked is not None
        job = machine.receive(machine._asked, pair.rows["gw0"], pair.engine())
        assert isinstance(job, Job)
        following = machine.trained(pair.engine().train([job])[0])
        assert isinstance(following, Job) == (happening == "leg")
    else:
        newer = replace(asks[happening], exchange=asks[happening].exchange + 1)
        answer = machine.receive(newer, pair.rows["gw0"], pair.engine())
        assert isinstance(answer, Job) == (happening == "AskTraining")
    assert machine.doing is client.TRANSITIONS[state][happening]


def test_the_clients_table_knows_every_message() -> None:
    pair = at(Phase.TRAINING, unsupervised=True)
    assert set(client.TRANSITIONS) == set(State)
    for state, ways in client.TRANSITIONS.items():
        assert set(ways) - {"trained", "leg"} == set(asks_of(pair))
        assert ("trained" in ways) == ("leg" in ways) == (state is State.TRAINING)


def test_a_result_that_no_job_asked_for_is_our_own_bug() -> None:
    pair = at(Phase.TRAINING, unsupervised=True)
    machine, asks = pair.clients["gw0"], asks_of(pair)
    job = machine.receive(asks["AskTraining"], pair.rows["gw0"], None)
    assert isinstance(job, Job)
    (result,) = pair.engine().train([job])
    newer = replace(asks["AskMeasures"], exchange=asks["AskMeasures"].exchange + 1)
    machine.receive(newer, pair.rows["gw0"], pair.engine())  # the server went on: the job is dropped
    with pytest.raises(LocalProtocolError, match="without a training job"):
        machine.trained(result)


# --- what the client refuses --------------------------------------------------------------------------------------


def test_the_same_ask_gets_the_same_bytes_also_after_a_restart() -> None:
    pair = Pair(make_plan(algorithm=Scaffold())).until(Phase.TRAINING)
    asks = pair.ask()
    first = pair.reply("gw0", asks["gw0"])
    stored = pair.clients["gw0"].to_bytes()
    assert encode(pair.reply("gw0", asks["gw0"])) == encode(first)
    assert pair.clients["gw0"].to_bytes() == stored
    pair.clients["gw0"] = Client.from_bytes(pair.plan, SEED, stored)
    assert encode(pair.reply("gw0", asks["gw0"])) == encode(first)
    assert pair.clients["gw0"].to_bytes() == stored


def test_an_unfinished_job_is_trained_again_to_the_same_bytes_after_a_restart() -> None:
    pair = at(Phase.TRAINING)
    asks = pair.ask()
    job = pair.clients["gw0"].receive(asks["gw0"], pair.rows["gw0"], None)
    assert isinstance(job, Job)
    reborn = Client.from_bytes(pair.plan, SEED, pair.clients["gw0"].to_bytes())
    whole = pair.clients["gw0"].trained(pair.engine().train([job])[0])
    pair.clients["gw0"] = reborn
    assert encode(pair.reply("gw0", asks["gw0"])) == encode(whole)


def test_the_client_refuses_another_schema_and_what_is_over() -> None:
    pair = at(Phase.TRAINING)
    asks = pair.ask()
    old = pair.reply("gw0", asks["gw0"])
    pair.deliver("gw0", old)
    machine = pair.clients["gw0"]
    before = machine.to_bytes()
    with pytest.raises(RemoteProtocolError, match="schema"):
        machine.receive(replace(asks["gw0"], schema="0" * 64), pair.rows["gw0"], None)
    with pytest.raises(RemoteProtocolError, match="exchange 1 is over"):
        machine.receive(replace(asks["gw0"], exchange=1), pair.rows["gw0"], None)
    assert machine.to_bytes() == before


def test_a_client_at_work_refuses_older_messages() -> None:
    pair = at(Phase.TRAINING, unsupervised=True)
    machine, asks = Client(pair.plan, SEED, ClientState(0)), asks_of(pair)
    newest = replace(asks["AskTraining"], exchange=9)
    machine.receive(newest, pair.rows["gw0"], None)
    with pytest.raises(RemoteProtocolError, match="exchange 8 is over; 9 is being worked on"):
        machine.receive(replace(asks["AskMeasures"], exchange=8), pair.rows["gw0"], pair.engine())


def test_a_client_that_was_never_told_the_statistics_says_so() -> None:
    pair = at(Phase.TRAINING, unsupervised=True)
    asks = asks_of(pair)
    for kind in ("AskTraining", "AskErrors", "AskMeasures"):
        machine = Client(pair.plan, SEED, ClientState(0))
        with pytest.raises(RemoteProtocolError, match="statistics yet"):
            machine.receive(replace(asks[kind], preparation=None), pair.rows["gw0"], pair.engine())


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("AskTraining", {"parameters": np.zeros(3, dtype=np.float32)}, "parameters"),
        ("AskTraining", {"broadcast": np.zeros(3, dtype=np.float32)}, "broadcast"),
        ("AskTraining", {"reach": np.ones(2, dtype=np.float32)}, "reach"),
        ("AskErrors", {"parameters": np.zeros(3, dtype=np.float32)}, "parameters"),
        ("AskMeasures", {"errors": np.ones(2)}, "errors"),
        ("AskMeasures", {"preparation": np.ones(5)}, "statistics do not fit"),
        ("AskTraining", {"preparation": np.full(19, np.nan)}, "statistics do not fit"),
    ],
)
def test_vectors_that_do_not_fit_are_the_servers_fault(kind: str, change: dict[str, Any], words: str) -> None:
    pair = at(Phase.TRAINING, unsupervised=True)
    machine = Client(pair.plan, SEED, ClientState(0))
    before = machine.to_bytes()
    with pytest.raises(RemoteProtocolError, match=words):
        machine.receive(replace(asks_of(pair)[kind], **change), pair.rows["gw0"], pair.engine())
    assert machine.to_bytes() == before
    assert machine.doing is State.IDLE


def test_parameters_that_are_not_finite_are_refused() -> None:
    pair = at(Phase.TRAINING, unsupervised=True)
    asks = asks_of(pair)
    bad = asks["AskTraining"].parameters.copy()
    bad[0] = np.inf
    with pytest.raises(RemoteProtocolError, match="finite"):
        pair.clients["gw0"].receive(replace(asks["AskTraining"], parameters=bad), pair.rows["gw0"], None)


def test_measuring_needs_an_engine() -> None:
    pair = at(Phase.TRAINING, unsupervised=True)
    with pytest.raises(LocalProtocolError, match="engine"):
        pair.clients["gw0"].receive(asks_of(pair)["AskMeasures"], pair.rows["gw0"], None)
