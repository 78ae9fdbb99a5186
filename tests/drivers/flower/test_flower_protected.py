"""Layers 1 and 2 over the in-process Grid: the simulation's model, nothing in Flower's Context, killed runs, liars, revocation."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason='needs pip install "wardround[flower]"')  # before what needs it

from flower_federation import Lab, far  # type: ignore[import-not-found]
from flwr.app import Message  # noqa: E402

from wardround import events as e  # noqa: E402
from wardround.auth.trust import Turn  # noqa: E402
from wardround.drivers.flower import frames  # noqa: E402
from wardround.drivers.flower.settings import RunSettings, fingerprint, read_experiment  # noqa: E402
from wardround.drivers.nats.provisioning import Asked, keys  # noqa: E402
from wardround.drivers.parties.identities import enrolled  # noqa: E402
from wardround.drivers.store.keys import read_private  # noqa: E402
from wardround.drivers.store.registrar import Registrar, act  # noqa: E402
from wardround.errors import RoundError, UsageError  # noqa: E402

LATTICE = "secagg={use='lattice', minimum=2, committee='small', bits=16}"
APART = 4 * 8 / 65535  # four rounds of rounding at 16 bits, as over NATS
NAMES = ("intensive care 1", "radiology 1", "outpatients 1", "maternity 1")


class Killed(BaseException):
    """The run ends as a kill ends it: nothing more is written."""


class Keyed(Lab):  # type: ignore[misc]
    """A federation whose nodes are enrolled; each node has a state folder, all keys lie in one folder (the lab)."""

    def __init__(self, folder: Path, made: Path, *sets: str, **config: Any) -> None:
        nodes = [{"partition-id": n, "state": str(folder / f"site{n}"), "keys": str(made / "keys")} for n in range(4)]
        super().__init__(folder, *sets, "rounds.count=2", nodes=nodes, keys=str(made / "keys"), **config)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with keys/ and registrar/ of the four gateways and their committee."""
    folder = tmp_path_factory.mktemp("keys")
    lab = Lab(folder, LATTICE, "auth={use='x-wing'}")
    list(keys(Asked(lab.file)))
    return folder


@pytest.fixture(scope="module")
def whole(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An undisturbed federation: (lab, grid, model)."""
    lab = Keyed(tmp_path_factory.mktemp("whole"), made, LATTICE, "auth={use='x-wing'}")
    grid = lab.weather(lambda message, deliver: deliver(message))
    return lab, grid, lab.run(grid)


def notes(lab: Lab, code: str) -> list[str]:
    return [event.text for event in lab.events() if isinstance(event, e.Note) and event.code == code]


def rounds(lab: Lab) -> list[e.RoundDone]:
    return [event for event in lab.events() if isinstance(event, e.RoundDone)]


def test_the_lattice_s_model_is_the_simulation_s(whole: Any, tmp_path: Path) -> None:
    lab, grid, model = whole
    assert any(np.abs(model[name]).max() > 0.1 for name in model)
    assert far(model, lab.simulated(tmp_path)) < APART
    assert [(r.invited, r.answered) for r in rounds(lab)] == [(4, 4), (4, 4)]
    assert len(notes(lab, "auth.session")) == 8  # four gateways, four members
    kinds = [message.metadata.message_type for message in grid.seen]
    assert kinds[:4] == ["query.hello"] * 4
    assert kinds[4:20] == ["query.knock"] * 16  # two messages each, once
    assert {"query.statistics", "train", "query.measures", "query.committee"} == set(kinds[20:])


def test_no_secret_is_in_flower_s_context_nor_in_a_message(whole: Any, made: Path) -> None:
    """Every secret of every identity, in its bytes: in no Context, request or reply; what lies on a node's disk is 0600."""
    lab, grid, _ = whole
    secrets = [(made / "keys" / "server.key").read_bytes()[-32:]]
    for owner in [*(f"g{n:05d}" for n in range(4)), *(f"m{n:05d}" for n in range(1, 5)), "coordinator"]:
        gateway = enrolled(made / "keys", owner, owner)
        assert gateway.member is not None
        secrets += [gateway.identity.key.seed, gateway.identity.psk, gateway.member.seed]
    said = [repr(message.content).encode() + b"".join(bodies(message)) for message in grid.seen]
    for number, context in grid.contexts.items():
        assert not context.state, f"node {number}: nothing is kept in the Context at all"
        said.append(repr(context).encode())
    for secret in secrets:
        assert len(secret) >= 32
        assert not any(secret in each or secret.hex().encode() in each for each in said)
    kept = [*lab.state.parent.glob("site*/*/*"), lab.state / "auth.bin", *made.glob("keys/*.id")]
    assert len(kept) > 16
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept)
    read_private(lab.state / "auth.bin")


def bodies(message: Message) -> list[bytes]:
    asked = frames.read_request(message.content)
    return [asked.body, asked.record]


def test_the_superlink_reads_no_model_and_nobody_s_update(whole: Any) -> None:
    """Under layer 1 a body is sealed: the summed model, which all nodes get, is in no message."""
    _, grid, model = whole
    largest = max((model[name] for name in model), key=lambda array: array.size)
    sample = largest.astype("<f4").tobytes()[:64]
    assert not any(sample in body for message in grid.seen for body in bodies(message))
    assert len({frames.read_request(message.content).body for message in grid.seen}) > 8


@pytest.mark.parametrize("kill_at", [6, 24, 31, 37, 44, 52])
def test_a_killed_run_goes_on_to_the_same_model(tmp_path: Path, made: Path, whole: Any, kill_at: int) -> None:
    """Killed in the handshake, in the offers, while gateways train, in the committee's turns: never two things in one turn."""
    count, told = 0, dict[tuple[str, int], set[bytes]]()

    def happens(message: Message, deliver: Callable[[Message], Message | None]) -> Message | None:
        nonlocal count
        count += 1
        asked = frames.read_request(message.content)
        if asked.record:
            told.setdefault((asked.peer, int(message.metadata.group_id)), set()).add(asked.body)
        if count == kill_at:
            raise Killed
        return deliver(message)

    lab = Keyed(tmp_path, made, LATTICE, "auth={use='x-wing'}")
    with pytest.raises(Killed):
        lab.run(lab.weather(happens))
    model = lab.run(lab.weather(happens))
    assert far(model, whole[2]) < APART
    assert [r.answered for r in rounds(lab)] == [4, 4]
    assert all(len(each) == 1 for each in told.values())
    assert count > kill_at


def test_layer_one_around_plain_sums(tmp_path: Path, made: Path) -> None:
    """With the handshake alone the model is that of the plain federation, bit for bit; a node's lost reply is asked for anew."""
    (tmp_path / "calm").mkdir()
    wanted = Keyed(tmp_path / "calm", made).run()
    lab = Keyed(tmp_path, made, "auth={use='x-wing'}")
    lost: list[Message] = []

    def happens(message: Message, deliver: Callable[[Message], Message | None]) -> Message | None:
        reply = deliver(message)
        if message.metadata.message_type == "query.measures" and not lost:
            lost.append(message)
            return None
        return reply

    model = lab.run(lab.weather(happens))
    assert far(model, wanted) == 0.0
    assert len(lost) == 1
    assert len(notes(lab, "answer.missing")) == 1


def test_who_cannot_prove_it_is_not_taken(tmp_path: Path, made: Path, whole: Any) -> None:
    """A second node says that it is client 0 and even comes first; it has no keys, and the federation does not notice it."""
    lab = Keyed(tmp_path, made, LATTICE, "auth={use='x-wing'}", **{"wait-for": 4})
    shutil.copytree(made / "keys", tmp_path / "stolen", ignore=shutil.ignore_patterns("*.id"))
    liar = {"partition-id": 0, "state": str(tmp_path / "liar"), "keys": str(tmp_path / "stolen")}
    lab.nodes.insert(0, liar)
    assert far(lab.run(), whole[2]) < APART
    refused = notes(lab, "node.refused")
    assert all("node 10 is not taken for" in text and "not enrolled here" in text for text in refused)
    assert len(refused) >= 2  # the client, and its seat on the committee


def test_a_silent_claim_holds_up_less_and_less(tmp_path: Path, made: Path) -> None:
    """A node that says it is client 0 and then never answers costs a deadline now and then, not one per exchange."""
    lab = Keyed(tmp_path, made, "auth={use='x-wing'}", **{"wait-for": 3, "deadline-s": 30.0})
    lab.nodes.insert(0, dict(lab.nodes[0]))

    def happens(message: Message, deliver: Callable[[Message], Message | None]) -> Message | None:
        silent = message.metadata.message_type == "query.knock" and message.metadata.dst_node_id == 10
        return None if silent else deliver(message)

    lab.run(lab.weather(happens))
    assert [r.answered for r in rounds(lab)] == [4, 4]
    assert len(notes(lab, "node.refused")) == 1
    assert lab.clock.at < 90


def test_a_gateway_revoked_in_a_round_is_cut_off_there(tmp_path: Path, made: Path) -> None:
    """The registrar revokes while it trains: its answer is not taken, nobody waits for it, the sum is of the other three."""
    shutil.copytree(made, tmp_path / "made")
    lab = Keyed(tmp_path, tmp_path / "made", LATTICE, "auth={use='x-wing'}", "rounds.measure_every=2")
    done: list[Message] = []

    def happens(message: Message, deliver: Callable[[Message], Message | None]) -> Message | None:
        asked = frames.read_request(message.content)
        if message.metadata.message_type == "train" and asked.peer == NAMES[1] and not done:
            done.append(message)
            office = Registrar(tmp_path / "made" / "registrar")
            registry = office.open("")
            registry.turn(NAMES[1], Turn.REVOKE, act(), "stolen")
            office.export(registry)
            registry.close()
        return deliver(message)

    lab.run(lab.weather(happens))
    assert len(done) == 1
    assert [(r.invited, r.answered) for r in rounds(lab)] == [(4, 3), (3, 3)]
    assert notes(lab, "auth.cut") == [f"{NAMES[1]} is cut off: the registrar no longer lets it take part"]


def test_a_member_that_is_no_gateway_is_a_node_of_its_own(tmp_path: Path) -> None:
    named = "secagg={use='lattice', minimum=2, committee='small', members=['radiology 1','outpatients 1','maternity 1','registrar']}"
    sets = (named, "auth={use='x-wing'}", "rounds.measure_every=2")
    lab = Keyed(tmp_path, tmp_path, *sets)
    list(keys(Asked(lab.file)))
    lab.nodes.append({"member": "registrar", "state": str(tmp_path / "reg"), "keys": str(tmp_path / "keys")})
    lab.nodes.append({"member": "nobody", "state": str(tmp_path / "no"), "keys": str(tmp_path / "keys")})
    lab.run()
    assert [r.answered for r in rounds(lab)] == [4, 4]
    assert "'nobody', who has no seat" in notes(lab, "node.refused")[0]
    lab.nodes.pop(4)
    with pytest.raises(RoundError, match="3 of the committee's 4 members that are needed to agree on keys"):
        lab.run(lab.grid(run_id=2))


def test_a_node_without_folders_or_keys_says_what_is_missing(tmp_path: Path, made: Path) -> None:
    lab = Keyed(tmp_path, made, "auth={use='x-wing'}")
    lab.nodes = [{"partition-id": 0}, {**lab.nodes[1], "keys": str(tmp_path / "none")}, *lab.nodes[2:]]
    lab.run()
    refused = notes(lab, "node.refused")
    assert any("state is missing: with [auth] or [secagg] a node needs folders of its own" in text for text in refused)
    assert any("is not enrolled here" in text for text in refused)
    assert [r.answered for r in rounds(lab)] == [2, 2]
    lab.config["keys"] = str(tmp_path / "none")
    with pytest.raises(UsageError, match=r"federation\.anchor"):
        lab.run()


def test_both_ends_agree_on_the_file(tmp_path: Path) -> None:
    """The secure sum's session is bound to the experiment: other settings are another federation."""
    lab = Lab(tmp_path, LATTICE, "auth={use='x-wing'}")
    one = read_experiment(lab.file, RunSettings())
    other = read_experiment(lab.file, RunSettings(set="rounds.count=3"))
    assert fingerprint(one, NAMES) != fingerprint(other, NAMES)
    assert fingerprint(one, NAMES) != fingerprint(one, NAMES[:3])
