"""The simulation: what may and what may not change a result, weather, odd clients, resume, errors."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from simulated import TINY, events, metrics, resume, score, simulate  # type: ignore[import-not-found]

from wardround import events as e
from wardround.drivers.simulation import engines
from wardround.drivers.simulation import run as simulation_run
from wardround.drivers.sources.hospital import Hospital
from wardround.errors import ConfigError, RoundError, Stopped, UsageError
from wardround.traffic.partition import Iid
from wardround.training import bundle as bundles
from wardround.training.bundle import from_safetensors
from wardround.training.stacked import StackedEngine


def model(run: Any) -> bytes:
    """The trained tensors (the bundle's notes name the run, so whole files differ)."""
    tensors = load_file(run.model / "model.safetensors")
    return b"".join(tensors[name].tobytes() for name in sorted(tensors))


@pytest.fixture
def whole() -> None:
    """Asked for by tests that look at report and ONNX file."""


@pytest.fixture(autouse=True)
def _without_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report and the ONNX file cost more than the tiny federation; only ``undisturbed`` and ``whole`` tests have them."""
    if "whole" not in request.fixturenames:
        monkeypatch.setattr(simulation_run, "write_report", lambda path: path)
        monkeypatch.setattr(bundles, "to_onnx", lambda contents: b"not made in this test")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return simulate(tmp_path_factory.mktemp("runs"), "run.workers=1")


def test_a_run_leaves_what_its_folder_promises(undisturbed: Any) -> None:
    names = {str(path.relative_to(undisturbed.path)) for path in undisturbed.path.rglob("*") if path.is_file()}
    assert names >= {
        "experiment.toml",
        "environment.json",
        "log.jsonl",
        "checkpoint.bin",
        "metrics.json",
        "timing.json",
        "report.html",
        "model/model.safetensors",
        "model/model.onnx",
        "stages/federated.json",
    }
    assert not any(name.endswith(".tmp") for name in names)
    bundle = from_safetensors((undisturbed.model / "model.safetensors").read_bytes())
    assert bundle.labels == tuple(metrics(undisturbed)["data"]["classes"])


def test_seed_and_threads(undisturbed: Any, tmp_path: Path) -> None:
    """The same seed gives the same metrics to the bit with any number of threads; another seed does not."""
    same = simulate(tmp_path, "run.workers=3")
    assert (same.path / "metrics.json").read_bytes() == (undisturbed.path / "metrics.json").read_bytes()
    assert model(same) == model(undisturbed)
    other = simulate(tmp_path, seed=4)
    assert metrics(other)["rounds"] != metrics(undisturbed)["rounds"]
    assert metrics(other)["seed"] == 4


@pytest.mark.parametrize("chunk", [1, 3])
def test_the_chunk_size_never_changes_a_result(
    undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(StackedEngine, "chunk", property(lambda _: chunk))
    run = simulate(tmp_path)
    assert np.allclose(
        np.frombuffer(model(run), dtype=np.float32), np.frombuffer(model(undisturbed), dtype=np.float32), atol=1e-6
    )
    losses = [[r["loss"] for r in metrics(each)["rounds"]] for each in (run, undisturbed)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.torch
def test_both_engines_end_alike(undisturbed: Any, tmp_path: Path) -> None:
    """After four rounds in float32: weights within 1e-4, the test measure within half a point."""
    pytest.importorskip("torch", reason="the extra wardround[torch] is not installed")
    torch = simulate(tmp_path, "training.engine=torch")
    ours, theirs = (np.frombuffer(model(run), dtype=np.float32) for run in (undisturbed, torch))
    assert np.abs(ours - theirs).max() < 1e-4
    assert score(torch) == pytest.approx(score(undisturbed), abs=0.005)


def test_bytes_are_those_of_the_messages(undisturbed: Any) -> None:
    found = metrics(undisturbed)
    d, rounds = found["model"]["parameters"], found["rounds"]
    for row in rounds:
        assert 4 * d * row["answered"] < row["bytes_up"] < (4 * d + 200) * row["answered"]
    assert rounds[0]["bytes_down"] > rounds[1]["bytes_down"]  # the statistics go down once
    assert sum(row["bytes_up"] for row in rounds) < found["bytes"]["up"]  # set-up and measures are counted too


@pytest.mark.parametrize(
    "sets",
    [
        ("algorithm.use=fedprox", "algorithm.mu=0.1"),
        ("algorithm.use=scaffold",),
        ("algorithm.use=fednova",),
        ("server.use=adam",),
        ("rounds.cohort_size=2", "rule.use=median"),
        ("rounds.weighting=sqrt", "rounds.keep=best"),
        ("scaling.use=moments", "scaling.bins=64"),
    ],
    ids=lambda sets: sets[0],
)
def test_algorithms_optimisers_rules_run_to_the_end_and_differ(undisturbed: Any, tmp_path: Path, sets: Any) -> None:
    text = TINY.replace("bins = 64\n", "") if sets[0] == "scaling.use=moments" else TINY
    run = simulate(tmp_path, *(sets[:1] if text is not TINY else sets), text=text)
    assert np.isfinite(score(run))
    assert model(run) != model(undisturbed)


def test_baselines_stand_beside_the_result(tmp_path: Path) -> None:
    run = simulate(tmp_path, "evaluation.centralised=true", "evaluation.local=true", "evaluation.centralised_epochs=3")
    found = metrics(run)
    assert found["models"]["root"] is None  # there is no root set
    for name in ("federated", "centralised", "local"):
        assert 0 < found["models"][name]["overall"]["macro_f1"] < 1
        assert len(found["models"][name]["clients"]) == 4


def test_an_autoencoder_learns_from_benign_rows_and_sets_a_threshold(tmp_path: Path) -> None:
    run = simulate(
        tmp_path,
        "data.labels=binary",
        "model.use=autoencoder",
        "model.hidden=[16,4,16]",
        "rounds.count=8",
        "evaluation.centralised=true",
        "evaluation.local=true",
        "evaluation.centralised_epochs=2",
        "evaluation.target_fpr=0.05",
    )
    overall = metrics(run)["models"]["federated"]["overall"]
    assert overall["roc_auc"] > 0.55
    assert overall["threshold"]["asked_fpr"] == 0.05
    assert overall["threshold"]["achieved_fpr"] < 0.15
    assert overall["ece"] is None
    bundle = from_safetensors((run.model / "model.safetensors").read_bytes())
    assert bundle.typical is not None
    assert bundle.threshold == overall["threshold"]["value"]


def test_an_autoencoder_asks_for_binary_labels(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='set \\[data\\] labels = "binary"'):
        simulate(tmp_path, "model.use=autoencoder", "model.hidden=[8,4,8]")


# --- weather ------------------------------------------------------------------------------------------------------


def test_weather_shows_in_the_events_and_the_rounds_go_on(tmp_path: Path) -> None:
    run = simulate(
        tmp_path,
        "data.wards=12",
        "data.windows_per_device=30",
        "rounds.count=12",
        "weather.offline=0.2",
        "weather.dropout=0.2",
        "weather.stragglers=0.3",
        "participation.minimum=2",
    )
    done = [event for event in events(run) if isinstance(event, e.RoundDone)]
    assert [event.round for event in done] == list(range(1, 13))
    for event in done:
        assert event.answered + event.dropped + event.late == event.invited == 12 - event.offline
    assert all(sum(getattr(event, what) for event in done) for what in ("offline", "dropped", "late"))


def test_rounds_with_too_few_answers_are_given_up_and_said_so(tmp_path: Path) -> None:
    run = simulate(tmp_path, "weather.dropout=0.6", "participation.minimum=3", "rounds.count=8")
    kinds = [type(event) for event in events(run) if isinstance(event, e.RoundDone | e.RoundFailed)]
    assert len(kinds) == 8
    assert e.RoundFailed in kinds
    rows = metrics(run)["rounds"]
    assert [row["round"] for row in rows] == list(range(1, 9))
    assert {row["failed"] for row in rows if "failed" in row} == {"too few clients answered"}


def test_set_up_waits_for_better_weather(tmp_path: Path) -> None:
    """Nobody need be on at the first try; the next tries see the next rounds' weather."""
    run = simulate(tmp_path, "weather.offline=0.6", "weather.outage=2.0", "participation.minimum=3", "rounds.count=30")
    notes = [event.code for event in events(run) if isinstance(event, e.Note)]
    assert notes.count("setup.short") > 0
    assert notes.count("setup.done") == 1


def test_every_client_offline_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(
        RoundError, match="set-up failed 21 times, the last time: 0 of 0 clients answered set-up, 4 must"
    ):
        simulate(tmp_path, "weather.offline=0.999", "weather.outage=5000.0")


# --- odd clients --------------------------------------------------------------------------------------------------


def without(part: str, emptied: int) -> Any:
    deal = Iid.deal

    def changed(self: Iid, table: Any, split: Any, rng: Any) -> Any:
        shares = deal(self, table, split, rng)
        parts = ("train", "validation", "test") if part == "all" else (part,)
        nothing: Any = np.zeros(0, dtype=np.int64)
        return [replace(s, **dict.fromkeys(parts, nothing)) if i < emptied else s for i, s in enumerate(shares)]

    return changed


@pytest.mark.parametrize(
    ("part", "emptied"), [("all", 1), ("train", 1), ("validation", 1), ("validation", 4), ("test", 4)]
)
def test_clients_without_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, emptied: int) -> None:
    monkeypatch.setattr(Iid, "deal", without(part, emptied))
    run = simulate(
        tmp_path, "partition.use=iid", "partition.clients=4", "evaluation.local=true", "evaluation.centralised=true"
    )
    assert np.isfinite(score(run))
    assert len(metrics(run)["models"]["federated"]["clients"]) == (4 - emptied if part in ("all", "test") else 4)


@pytest.mark.parametrize("kind", ["mlp", "autoencoder"])
def test_one_class_clients(tmp_path: Path, kind: str) -> None:
    sets = ["partition.use=shards", "partition.clients=4", "partition.classes_per_client=1", "evaluation.local=true"]
    widths = "[8]" if kind == "mlp" else "[8,4,8]"
    run = simulate(tmp_path, *sets, f"model.use={kind}", f"model.hidden={widths}", "data.labels=binary")
    labels = [client["labels"] for client in metrics(run)["clients"]]
    assert all(min(counts) == 0 for counts in labels)
    assert np.isfinite(score(run))


# --- stop and resume ----------------------------------------------------------------------------------------------


def stop_after(count: int) -> Any:
    """An ``emit`` that presses Ctrl-C when ``count`` rounds are done."""
    seen: list[e.Event] = []

    def emit(event: e.Event) -> None:
        if isinstance(event, e.RoundDone):
            seen.append(event)
            if len(seen) == count:
                os.kill(os.getpid(), signal.SIGINT)

    return emit


def test_ctrl_c_stops_at_a_checkpoint_and_resume_ends_equal_to_the_bit(undisturbed: Any, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    stopped: list[e.Event] = []
    press = stop_after(1)

    def emit(event: e.Event) -> None:
        stopped.append(event)
        press(event)

    with pytest.raises(Stopped, match="stopped after round 1; go on with: wardround resume "):
        simulate(tmp_path, emit=emit)
    assert any(isinstance(event, e.RunStopped) for event in stopped)
    (folder,) = tmp_path.iterdir()
    run = type(undisturbed)(folder)
    with pytest.raises(Stopped, match="stopped after round 3"):
        resume(run, stop_after(2))
    resume(run)
    assert (run.path / "metrics.json").read_bytes() == (undisturbed.path / "metrics.json").read_bytes()
    assert model(run) == model(undisturbed)
    rounds = [event.round for event in events(run) if isinstance(event, e.RoundDone)]
    assert rounds == [1, 2, 3, 4]
    assert signal.getsignal(signal.SIGINT) is before  # the terminal's own Ctrl-C is back


def test_ctrl_c_is_heard_between_and_within_baselines(tmp_path: Path) -> None:
    def press(event: e.Event) -> None:
        if isinstance(event, e.StageProgress) and event.stage == "local":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        simulate(tmp_path, "evaluation.local=true", emit=press)
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in (folder / "stages").iterdir()) == [
        "centralised.json",
        "federated.json",
        "personal.json",
    ]


def test_a_finished_run_can_be_resumed_and_nothing_changes(undisturbed: Any, whole: None) -> None:
    before = {p: p.read_bytes() for p in undisturbed.path.rglob("*") if p.suffix in (".json", ".safetensors", ".onnx")}
    resume(undisturbed)
    assert {p: p.read_bytes() for p in before} == before
    rounds = [event.round for event in events(undisturbed) if isinstance(event, e.RoundDone)]
    assert rounds == [1, 2, 3, 4]


def test_resume_refuses_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = simulate(tmp_path, "rounds.count=1")
    load = Hospital.load

    def altered(self: Hospital, folder: Path | None, rng: np.random.Generator) -> Any:
        table = load(self, folder, rng)
        x = table.x.copy()
        x[0, 0] += 1
        return replace(table, x=x)

    monkeypatch.setattr(Hospital, "load", altered)
    with pytest.raises(UsageError, match=f"is not what run {run.id} started with"):
        resume(run)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("checkpoint.bin", r"checkpoint\.bin is damaged .*delete it and resume"),
        ("environment.json", r"environment\.json is damaged .*start the run again"),
        ("experiment.toml", r"experiment\.toml.*not valid TOML"),
        ("stages/federated.json", r"federated\.json is damaged .*delete it and resume"),
    ],
)
def test_a_torn_file_is_named_with_what_to_do(tmp_path: Path, name: str, words: str) -> None:
    run = simulate(tmp_path, "rounds.count=1")
    whole = (run.path / name).read_bytes()
    torn = whole[: len(whole) // 2] if name != "experiment.toml" else whole[: whole.index(b"=") + 1]
    (run.path / name).write_bytes(torn)
    with pytest.raises(UsageError, match=words):
        resume(run)
    if "delete" in words:
        before = (run.path / "metrics.json").read_bytes()
        (run.path / name).unlink()
        resume(run)
        assert (run.path / "metrics.json").read_bytes() == before


def test_a_shortened_log_is_refused(tmp_path: Path) -> None:
    run = simulate(tmp_path, "rounds.count=1")
    run.log.write_bytes(run.log.read_bytes()[:50])
    with pytest.raises(Exception, match="the log was cut; start the run again"):
        resume(run)


def test_sources_that_read_files_ask_for_a_folder(tmp_path: Path) -> None:
    text = TINY.replace(
        'use = "hospital"\nwards = 4\ndevices_per_ward = 3\nwindows_per_device = 60', 'use = "wustl-ehms"'
    )
    with pytest.raises(UsageError, match="--data DIR or WARDROUND_DATA"):
        simulate(tmp_path, "data.labels=binary", text=text)
    assert not list(tmp_path.iterdir())


def test_torch_missing_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wardround.training.torch_engine", None)
    with pytest.raises(UsageError, match=r"needs PyTorch: pip install"):
        simulate(tmp_path, "training.engine=torch")
    assert engines.workers(3) == 3
    assert engines.workers(0) >= 1
