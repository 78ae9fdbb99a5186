"""Codecs in a simulated federation: resumed to the bit, bytes counted, under the lattice too."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load
from simulated import TINY, events, metrics, resume, simulate  # type: ignore[import-not-found]

from wardround import events as e
from wardround.config import override, parse
from wardround.drivers.simulation import engines
from wardround.drivers.simulation.federate import Federation
from wardround.drivers.store.rundir import RunDir
from wardround.drivers.strategies import full
from wardround.drivers.world import build, plan
from wardround.errors import ConfigError, Stopped
from wardround.federation.server import Server
from wardround.rng import stream
from wardround.wire import encode

STC = (
    "auth.use='none'",
    "compress.up=[{use='error-feedback'}, {use='sparse-ternary', share=0.05}]",
    "compress.down=[{use='top-k', share=0.1}, {use='int'}]",
)
SUPPORT = (
    "auth.use='none'",
    "compress.up=[{use='importance', share=0.2}]",
    "compress.down=[{use='importance', share=0.2, weigh=false}, {use='int'}]",
)


def sent(run: RunDir) -> list[tuple[int, int]]:
    return [(event.bytes_up, event.bytes_down) for event in events(run) if isinstance(event, e.RoundDone)]


@pytest.mark.parametrize("sets", [STC, SUPPORT])
def test_a_stopped_run_ends_equal_to_the_bit(tmp_path: Path, sets: tuple[str, ...]) -> None:
    """Feedback, announced model, versions and public data all come out of the checkpoint."""
    (tmp_path / "whole").mkdir()
    whole = simulate(
        tmp_path / "whole", *sets, "rounds.count=5", "participation.fraction=0.75", "participation.minimum=1"
    )

    def press(event: e.Event) -> None:
        if isinstance(event, e.RoundDone) and event.round == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        simulate(
            tmp_path / "cut",
            *sets,
            "rounds.count=5",
            "participation.fraction=0.75",
            "participation.minimum=1",
            emit=press,
        )
    (folder,) = (tmp_path / "cut").iterdir()
    run = resume(RunDir(folder))
    assert (run.path / "metrics.json").read_bytes() == (whole.path / "metrics.json").read_bytes()
    assert all(np.array_equal(v, parameters(whole)[name]) for name, v in parameters(run).items())
    assert sent(run) == sent(whole)


def test_bytes_are_a_fraction_of_dense_in_both_directions(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    dense, coded = simulate(tmp_path / "a"), simulate(tmp_path / "b", *STC)
    (up, _), (coded_up, _) = sent(dense)[1], sent(coded)[1]
    assert coded_up < up / 20
    assert sent(coded)[1][1] < sent(dense)[1][1] / 3
    assert metrics(coded)["curve"][-1]["bytes_up"] < metrics(dense)["curve"][-1]["bytes_up"] / 20


def test_clients_that_come_and_go_catch_up_and_the_model_still_learns(tmp_path: Path) -> None:
    run = simulate(
        tmp_path, *STC, "weather.offline=0.3", "weather.dropout=0.1", "rounds.count=25", "participation.minimum=1"
    )
    losses = [event.loss for event in events(run) if isinstance(event, e.RoundDone)]
    assert losses[-1] < losses[0]


def test_a_round_that_was_given_up_takes_no_feedback_with_it() -> None:
    """Half of the answers are lost in a round and three of four are needed: feedback moves in rounds that count only."""
    lossy = ("weather.dropout=0.4", "rounds.count=12", "participation.minimum=3", "run.workers=1")
    asked = parse(override(TINY, [*STC, *lossy], "tiny.toml"), full(), "tiny.toml")
    table = asked.data.load(Path(), stream(asked.seed, "data"))
    world, agreed = build(asked, table), plan(asked, table)
    kept, given_up = 0, 0
    with ThreadPoolExecutor(1) as pool:
        server = Server.new(agreed, asked.participation, world.names, asked.seed)
        maker = engines.maker(asked.model, asked.training, agreed.classes)
        federation = Federation(asked, world, agreed, server, maker, e.ignore, pool, 1)
        before: dict[int, bytes] = {}
        for happened in federation.run():
            now = {i: encode(m.feedback[0]) for i, m in federation.memories.items() if m.feedback}
            if any(isinstance(event, e.RoundFailed) for event in happened):
                given_up += 1
                assert now == before
            for event in happened:
                if isinstance(event, e.RoundDone):
                    kept += 1
                    assert sum(now[i] != before.get(i) for i in now) == event.answered
            before = now
    assert kept > 1
    assert given_up > 1


@pytest.mark.parametrize("bits", [5, 8])
def test_under_the_lattice_the_model_is_the_open_sum_s_to_the_quantiser(tmp_path: Path, bits: int) -> None:
    (tmp_path / "open").mkdir()
    plain = simulate(tmp_path / "open", *SUPPORT)
    secure = simulate(tmp_path / "sum", *SUPPORT, "secagg.use='lattice'", f"secagg.bits={bits}")
    a, b = (np.concatenate([v.ravel() for _, v in sorted(parameters(run).items())]) for run in (plain, secure))
    assert 0 < float(np.abs(a - b).max()) < 1.0
    assert float(np.sqrt(np.mean((a - b) ** 2))) < 0.1
    assert sent(secure)[1][0] < 4 * 2600  # four clients' contributions, key shares and proofs included


def model(run: RunDir) -> bytes:
    return (run.path / "model" / "model.safetensors").read_bytes()


def parameters(run: RunDir) -> dict[str, Any]:
    return dict(load(model(run)))


def test_a_codec_that_is_not_linear_is_refused_when_the_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[compress\] up: codec 'sparse-ternary' is not linear"):
        simulate(tmp_path, *STC, "secagg.use='lattice'")
    with pytest.raises(ConfigError, match="scaffold's control variates"):
        simulate(tmp_path, *STC, "algorithm.use='scaffold'")


def test_a_budget_is_kept_by_every_class(tmp_path: Path) -> None:
    run = simulate(
        tmp_path,
        "compress={budget_bytes=300, classes=['slow'], class_bytes=[40], class_clients=['intensive*']}",
        "auth.use='none'",
        "rounds.count=3",
    )
    clients = metrics(run)["clients"]
    slow = sum(client["name"].startswith("intensive") for client in clients)
    frame = 25
    assert 0 < slow < len(clients)
    most = slow * (40 + frame) + (len(clients) - slow) * (300 + frame)
    assert all(most / 4 < up <= most for up, _ in sent(run))


CLUSTERS = ("data.wards=8", "rounds.count=4")
LOSSLESS = ("compress.up=[{use='float32'}]", "compress.down=[{use='float32'}]")


@pytest.mark.parametrize("use", ["ifca", "soft", "histograms"])
def test_several_models_in_one_vector_pass_a_codec(tmp_path: Path, use: str) -> None:
    algorithm = f"algorithm={{use='{use}', clusters=2}}"
    plain = metrics(simulate(tmp_path / "plain", *CLUSTERS, algorithm))
    same = metrics(simulate(tmp_path / "same", *CLUSTERS, algorithm, *LOSSLESS))
    assert same["models"]["federated"] == plain["models"]["federated"], "what loses nothing changes nothing"
    assert same["personal"]["clients"] == plain["personal"]["clients"]
    thin = (
        "compress.up=[{use='top-k', share=0.2}, {use='int'}]",
        "compress.down=[{use='top-k', share=0.2}, {use='int'}]",
    )
    cut = metrics(simulate(tmp_path / "cut", *CLUSTERS, algorithm, *thin))
    assert cut["bytes"]["up_per_client"] < 0.5 * same["bytes"]["up_per_client"]


def test_clusters_pass_a_codec_and_the_lattice_together(tmp_path: Path) -> None:
    sets = (*CLUSTERS, "secagg={use='lattice', minimum=3}", "auth={use='none'}", "algorithm={use='ifca', clusters=2}")
    thin = (
        "compress.up=[{use='importance', share=0.3, cap=3.0}]",
        "compress.down=[{use='top-k', share=0.2}, {use='int'}]",
    )
    found = metrics(simulate(tmp_path, *sets, *thin))
    assert found["models"]["federated"]["overall"]["accuracy"] > 0.3
    assert (
        found["model"]["parameters"]
        == 2 * metrics(simulate(tmp_path / "one", "data.wards=8", "rounds.count=1"))["model"]["parameters"]
    )


def test_heads_by_type_are_not_cut(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="heads apart"):
        simulate(tmp_path, "algorithm={use='type-heads', clusters=2}", *LOSSLESS)
