"""The federation over the in-process Grid: golden model, lost and damaged messages, resume, refusals."""

from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

pytest.importorskip("flwr", reason='needs pip install "wardround[flower]"')  # before what needs it

from flower_federation import Lab, far  # type: ignore[import-not-found]
from flwr.app import ConfigRecord, Error, Message, RecordDict  # noqa: E402

from wardround import events as e  # noqa: E402
from wardround.drivers.flower import frames  # noqa: E402
from wardround.drivers.flower.exchange import SKEW_S  # noqa: E402
from wardround.drivers.flower.keep import Keep  # noqa: E402
from wardround.errors import ConfigError, RoundError, UsageError  # noqa: E402
from wardround.federation.messages import AskMeasures, AskTraining  # noqa: E402
from wardround.training.stacked import StackedEngine  # noqa: E402
from wardround.wire import decode  # noqa: E402


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """algorithm -> the model of a run that nobody kills."""
    return cache(lambda algorithm: Lab(tmp_path_factory.mktemp("whole"), f"algorithm.use={algorithm}").run())


T = TypeVar("T")


class Killed(BaseException):
    """The run ends as a kill ends it: nothing more is written."""


def notes(lab: Any, code: str) -> list[str]:
    return [event.text for event in lab.events() if isinstance(event, e.Note) and event.code == code]


def asked(message: Message, kind: type[T]) -> T:
    return decode(frames.read_request(message.content).body, kind)


def training(message: Message) -> AskTraining:
    return asked(message, AskTraining)


@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold"])
def test_the_same_model_as_the_simulation(tmp_path: Path, algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To 1e-6: the simulation trains a stack of clients at once, which rounds otherwise; to the bit where it does not."""
    lab = Lab(tmp_path, f"algorithm.use={algorithm}")
    model = lab.run()
    assert any(np.abs(model[name]).max() > 0.1 for name in model)
    assert far(model, lab.simulated(tmp_path)) < 1e-6
    monkeypatch.setattr(StackedEngine, "chunk", 1)
    assert far(model, lab.simulated(tmp_path)) == 0.0
    rounds = [event for event in lab.events() if isinstance(event, e.RoundDone)]
    assert [(r.round, r.invited, r.answered) for r in rounds] == [(n, 4, 4) for n in (1, 2, 3, 4)]
    assert all(r.bytes_up > 0 and r.bytes_down > 0 for r in rounds)


CODECS = (
    "compress.up=[{use='error-feedback'}, {use='sparse-ternary', share=0.05}]",
    "compress.down=[{use='top-k', share=0.1}, {use='int'}]",
)


def test_with_codecs_the_model_is_the_simulation_s_killed_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coded answers and differences of models as Flower messages; a killed run goes on with feedback and versions."""
    monkeypatch.setattr(StackedEngine, "chunk", 1)
    (tmp_path / "whole").mkdir()
    lab = Lab(tmp_path / "whole", *CODECS)
    whole = lab.run()
    assert far(whole, lab.simulated(tmp_path / "whole")) == 0.0
    rounds = [event for event in lab.events() if isinstance(event, e.RoundDone)]
    assert all(r.bytes_up < 4 * 120 for r in rounds)
    assert all(r.bytes_down < rounds[0].bytes_down / 3 for r in rounds[1:])
    count = 0

    def happens(message: Message, deliver: Any) -> Message | None:
        nonlocal count
        count += 1
        if count == 19:
            raise Killed
        return deliver(message)  # type: ignore[no-any-return]

    lab = Lab(tmp_path, *CODECS, nodes=[{"partition-id": n, "state": str(tmp_path / f"site{n}")} for n in range(4)])
    with pytest.raises(Killed):
        lab.run(lab.weather(happens))
    assert far(lab.run(lab.grid(run_id=2)), whole) == 0.0


def test_a_node_that_lost_its_announced_model_gets_a_snapshot(tmp_path: Path) -> None:
    def happens(message: Message, deliver: Any) -> Message | None:
        first = message.metadata.message_type == "train" and training(message).round == 2
        if first and message.metadata.dst_node_id == 11:
            grid.contexts[11].state = RecordDict()
        return deliver(message)  # type: ignore[no-any-return]

    lab = Lab(tmp_path, *CODECS)
    grid = lab.weather(happens)
    lab.run(grid)
    assert [r.answered for r in lab.events() if isinstance(r, e.RoundDone)] == [4, 3, 4, 4]


def test_a_sampled_federation_goes_on_to_the_same_model(tmp_path: Path) -> None:
    """Who is invited follows from the round, and sums have the clients' order, whoever must be told the statistics again."""
    sampled = ("participation.fraction=0.5", "participation.minimum=1")
    (tmp_path / "whole").mkdir()
    whole = Lab(tmp_path / "whole", *sampled).run()

    def happens(message: Message, deliver: Any) -> Message | None:
        if message.metadata.message_type == "train" and training(message).round == 3:
            raise Killed
        return deliver(message)  # type: ignore[no-any-return]

    lab = Lab(tmp_path, *sampled)
    with pytest.raises(Killed):
        lab.run(lab.weather(happens))
    assert far(lab.run(lab.grid(run_id=2)), whole) == 0.0
    assert far(whole, lab.simulated(tmp_path)) < 1e-6


def test_cohorts_and_an_autoencoder_are_the_same_too(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "rounds.cohort_size=2", "data.labels=binary", "model={use='autoencoder'}", "rounds.count=2")
    assert far(lab.run(), lab.simulated(tmp_path)) < 1e-6


def test_settings_of_the_run_change_the_experiment(tmp_path: Path) -> None:
    lab = Lab(tmp_path, set="rounds.count=2 rounds.measure_every=1")
    lab.run()
    assert [event.round for event in lab.events() if isinstance(event, e.RoundDone)] == [1, 2]


def test_message_types_and_identities(tmp_path: Path) -> None:
    lab = Lab(tmp_path, set="rounds.count=2")
    grid = lab.weather(lambda message, deliver: deliver(message))
    lab.run(grid)
    kinds = [message.metadata.message_type for message in grid.seen]
    every = ["query.hello", "query.statistics", "train", "train", "query.measures"]
    assert kinds == [kind for kind in every for _ in range(4)]
    assert {message.metadata.ttl for message in grid.seen} == {30.0 + SKEW_S}
    for context in grid.contexts.values():
        assert set(context.state) == {"wardround"}


def test_lost_replies_and_error_replies_are_missing_answers(tmp_path: Path) -> None:
    """One reply never comes, one is the SuperLink's own error (source node 1): the round goes on with the others."""

    def happens(message: Message, deliver: Any) -> Message | None:
        kind, node = message.metadata.message_type, message.metadata.dst_node_id
        if kind == "train" and training(message).round == 2 and node in (11, 12):
            if node == 11:
                return None
            reply = Message(Error(5, "node unavailable"), reply_to=message)
            reply.metadata.__dict__["_src_node_id"] = 1
            return reply
        return deliver(message)  # type: ignore[no-any-return]

    lab = Lab(tmp_path)
    grid = lab.weather(happens)
    lab.run(grid)
    rounds = [event for event in lab.events() if isinstance(event, e.RoundDone)]
    assert [r.answered for r in rounds] == [4, 2, 4, 4]
    missing = notes(lab, "answer.missing")
    assert len(missing) == 2
    assert "no reply before the deadline" in missing[0]
    assert "Flower reports error 5: node unavailable" in missing[1]
    first = [m for m in grid.seen if m.metadata.message_type == "query.measures"][:4]
    reminded = {m.metadata.dst_node_id for m in first if asked(m, AskMeasures).preparation is not None}
    assert reminded == {11, 12}
    assert lab.clock.at == pytest.approx(30.0)  # the deadline was waited for once


def test_a_restarted_node_without_memory_catches_up(tmp_path: Path) -> None:
    """A SuperNode that restarts forgets Context.state: it refuses one exchange, is told the statistics, and is back."""

    def happens(message: Message, deliver: Any) -> Message | None:
        if (
            message.metadata.message_type == "train"
            and training(message).round == 2
            and message.metadata.dst_node_id == 11
        ):
            grid.contexts[11].state = RecordDict()
        return deliver(message)  # type: ignore[no-any-return]

    lab = Lab(tmp_path)
    grid = lab.weather(happens)
    lab.run(grid)
    assert [r.answered for r in lab.events() if isinstance(r, e.RoundDone)] == [4, 3, 4, 4]
    assert "refused: the server has not sent the federation's statistics yet" in notes(lab, "answer.missing")[0]


@pytest.mark.parametrize(
    ("algorithm", "kill_at", "folders"),
    [("fedavg", 13, False), ("fedavg", 26, False), *(("scaffold", n, True) for n in (1, 5, 8, 9, 11, 15, 19, 22, 27))],
)
def test_the_next_run_goes_on_where_a_killed_one_stopped(
    tmp_path: Path, algorithm: str, kill_at: int, folders: bool, undisturbed: Any
) -> None:
    """Killed at the n-th delivery; a new Flower run has new contexts, and the sites' state folders where they name one."""
    count = 0

    def happens(message: Message, deliver: Any) -> Message | None:
        nonlocal count
        count += 1
        if count == kill_at:
            raise Killed
        return deliver(message)  # type: ignore[no-any-return]

    nodes = [{"partition-id": n, "state": str(tmp_path / f"site{n}") if folders else ""} for n in range(4)]
    lab = Lab(tmp_path, f"algorithm.use={algorithm}", nodes=nodes)
    with pytest.raises(Killed):
        lab.run(lab.weather(happens))
    model = lab.run(lab.grid(run_id=2))
    assert far(model, undisturbed(algorithm)) == 0.0
    assert [r.round for r in lab.events() if isinstance(r, e.RoundDone)] == [1, 2, 3, 4]
    assert not Keep(lab.state).checkpoint.exists()


def test_a_finished_run_is_followed_by_a_new_one(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "rounds.count=2")
    first = lab.run()
    second = lab.run(lab.grid(run_id=2))
    assert far(first, second) == 0.0
    assert [event.run for event in lab.events() if isinstance(event, e.RunStarted)] == ["flower-2"]


def test_the_checkpoint_of_another_experiment_is_refused(tmp_path: Path) -> None:
    def happens(message: Message, deliver: Any) -> Message | None:
        if message.metadata.message_type == "train":
            raise Killed
        return deliver(message)  # type: ignore[no-any-return]

    lab = Lab(tmp_path)
    with pytest.raises(Killed):
        lab.run(lab.weather(happens))
    lab.config["set"] = "seed=4"
    with pytest.raises(UsageError, match="belongs to another experiment"):
        lab.run()
    Keep(lab.state).checkpoint.write_bytes(b"WR")
    with pytest.raises(UsageError, match="is damaged"):
        lab.run()


def test_what_does_not_run_over_flower_is_refused_by_both_ends(tmp_path: Path) -> None:
    for said, text in (
        (("secagg.use=pairwise", "secagg.minimum=2"), "benchmark baseline"),
        (("auth={use='x-wing', revoke=['radiology 1@2']}",), "scenario for simulations"),
        (("asynchronous.buffer=2",), "run over NATS"),
    ):
        with pytest.raises(ConfigError, match=text):
            Lab(tmp_path, *said).run()
    plain = Lab(tmp_path, "rounds.count=1")
    grid = plain.grid()
    for context in grid.contexts.values():
        context.run_config = {"set": "asynchronous.buffer=2"}
    with pytest.raises(RoundError, match="set-up failed"):
        plain.run(grid)
    assert "run over NATS" in notes(plain, "answer.missing")[0]
    assert not Keep(plain.state).checkpoint.exists()  # the next run is not stuck with the failed set-up


def test_nodes_that_are_not_clients(tmp_path: Path) -> None:
    """No partition-id, one that does not exist, one claimed twice: left out, said once, and the others go on."""
    nodes: list[Any] = [
        {"partition-id": 0},
        {"partition-id": 1},
        {},
        {"partition-id": 7},
        {"partition-id": 2},
        {"partition-id": 2},
    ]
    lab = Lab(tmp_path, nodes=nodes)
    lab.run()
    assert [r.answered for r in lab.events() if isinstance(r, e.RoundDone)] == [2, 2, 2, 2]
    refused = notes(lab, "node.refused")
    assert len(refused) == 2
    assert "partition-id is missing" in refused[0]
    assert "there are clients 0 to 3" in refused[1]
    assert len(notes(lab, "node.twice")) == 1


def test_too_few_nodes_end_the_run_with_one_sentence(tmp_path: Path) -> None:
    lab = Lab(tmp_path, nodes=[{"partition-id": 0}], **{"wait-for": 2})
    with pytest.raises(RoundError, match=r"1 of 2 nodes are there after 60 s.*goes on after round 0"):
        lab.run()


def test_a_node_that_joins_later_takes_part(tmp_path: Path) -> None:
    def happens(message: Message, deliver: Any) -> Message | None:
        if (
            message.metadata.message_type == "train"
            and training(message).round == 2
            and message.metadata.dst_node_id == 10
        ):
            grid.contexts[13] = late
        return deliver(message)  # type: ignore[no-any-return]

    lab = Lab(tmp_path)
    grid = lab.weather(happens)
    late = grid.contexts.pop(13)
    lab.run(grid)
    done = [r for r in lab.events() if isinstance(r, e.RoundDone)]
    assert [(r.answered, r.offline) for r in done] == [(3, 1), (3, 1), (4, 0), (4, 0)]


def test_clients_with_data_of_their_own(tmp_path: Path) -> None:
    """Named gateways train on all of their own source; here each generates the same hospital."""
    lab = Lab(tmp_path, "rounds.count=2", nodes=[{"partition-id": 0}, {"partition-id": 1}], gateways="icu, radiology")
    lab.run()
    assert [r.invited for r in lab.events() if isinstance(r, e.RoundDone)] == [2, 2]


def test_what_a_node_sends_in_place_of_an_answer(tmp_path: Path) -> None:
    replies = iter(
        [
            RecordDict(),
            RecordDict({"wardround": ConfigRecord({"body": 3})}),
            frames.reply(b"WR"),
            frames.refusal("x" * 999),
        ]
    )

    def happens(message: Message, deliver: Any) -> Message | None:
        if message.metadata.message_type == "train" and training(message).round == 1:
            return Message(next(replies), reply_to=message)
        return deliver(message)  # type: ignore[no-any-return]

    lab = Lab(tmp_path)
    lab.run(lab.weather(happens))
    missing = notes(lab, "answer.missing")
    assert len(missing) == 4
    assert all(len(text) < 400 for text in missing)
    assert any(isinstance(event, e.RoundFailed) and event.round == 1 for event in lab.events())


def test_a_rule_with_a_root_set_is_the_simulation_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StackedEngine, "chunk", 1)
    lab = Lab(tmp_path, "root.size=40", "rule.use=fltrust", "rounds.count=2", "rounds.cohort_size=1")
    assert far(lab.run(), lab.simulated(tmp_path)) < 1e-6
