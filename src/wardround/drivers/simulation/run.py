"""One run from experiment file to report, in stages that each survive a kill -9.

    load -> build -> federate (a checkpoint after every round) -> centralised -> local -> evaluate -> bundle, report

A finished stage leaves its result in the run folder; a resumed run takes it from there. Everything random comes from
the experiment's seed by named streams, so a resumed run ends bit-identical to an undisturbed one (tests/e2e).
"""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from threadpoolctl import threadpool_limits

from wardround import events
from wardround.config import Experiment, check_robust, dump, parse
from wardround.drivers.simulation import alarms, baselines, engines, environment, evaluate, personal, results, trial
from wardround.drivers.simulation.attackers import Attackers
from wardround.drivers.simulation.buffered import BufferedFederation
from wardround.drivers.simulation.federate import Federation
from wardround.drivers.simulation.strategies import simulated
from wardround.drivers.sinks.jsonlog import JsonLog
from wardround.drivers.sinks.report import write_report
from wardround.drivers.sources.lab.source import seed_of
from wardround.drivers.store.rundir import RunDir, create, to_json
from wardround.drivers.world import World, build, fingerprint, plan
from wardround.errors import DecodeError, Stopped, UsageError
from wardround.events import Emit, Event
from wardround.federation.buffered import server_for
from wardround.federation.plan import Plan
from wardround.federation.watch import Watch
from wardround.rng import stream
from wardround.traffic.root import missing
from wardround.traffic.table import Table
from wardround.training.bundle import from_safetensors


@dataclass(frozen=True)
class Options:
    """What the command line adds to the experiment: folders, a seed, the command as typed."""

    data: Path | None
    runs: Path
    seed: int | None
    command: str


def start_run(text: str, where: str, options: Options, emit: Emit) -> RunDir:
    """Run an experiment from its TOML text.

    Raises:
        ConfigError, DataError, UsageError: the file, the data or a flag is wrong.
        Stopped: the user stopped it; the folder can be resumed.
    """
    began = time.perf_counter()
    experiment = parse(text, simulated(), where)
    if options.seed is not None:
        experiment = replace(experiment, seed=options.seed)
    table = _load(experiment, options.data, emit)
    about = environment.describe(options.command, options.data, fingerprint(table))
    # in this order: a folder with an experiment.toml is a run, and a run can be resumed
    files = {"environment.json": to_json(about), "experiment.toml": dump(experiment).encode()}
    run = create(options.runs, experiment.name, experiment.seed, files)
    return _Run(run, experiment, table, emit, began).all()


def resume_run(run: RunDir, options: Options, emit: Emit) -> RunDir:
    """Go on with a run from its last checkpoint.

    Raises:
        UsageError: the data is not what it was, or the folder is damaged.
        Stopped: stopped again.
    """
    began = time.perf_counter()
    experiment = parse(run.text("experiment.toml"), simulated(), str(run.path / "experiment.toml"))
    about = run.json("environment.json")
    folder = options.data or (Path(about["data_folder"]) if about.get("data_folder") else None)
    table = _load(experiment, folder, emit)
    if fingerprint(table) != about["data_fingerprint"]:
        raise UsageError(f"the data in {folder} is not what run {run.id} started with: name that folder with --data")
    return _Run(run, experiment, table, emit, began).all()


def _load(experiment: Experiment, folder: Path | None, emit: Emit) -> Table:
    source = experiment.data
    if folder is None and getattr(source, "needs_folder", True):
        raise UsageError(
            f"data source {source.name!r} reads files: name their folder with --data DIR or WARDROUND_DATA"
        )
    emit(events.StageStarted("load", f"loading {source.name}"))
    began = time.perf_counter()
    table: Table = source.load(folder, stream(experiment.seed, "data"))
    for dropped in table.dropped:
        emit(events.ColumnDropped(dropped.column, dropped.reason))
    for note in table.notes:
        emit(events.Note("data", note))
    emit(events.StageDone("load", time.perf_counter() - began))
    return table


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """Within: the first Ctrl-C or SIGTERM is noted, the second takes its usual course."""
    noted: list[int] = []
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        noted.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Run:
    """The stages of one run."""

    def __init__(self, run: RunDir, experiment: Experiment, table: Table, emit: Emit, began: float) -> None:
        self.run, self.experiment, self.table = run, experiment, table
        self._sinks: list[Emit] = [emit]
        self._watch = Watch()
        self._began, self._cpu = began, time.process_time()
        self._timing: dict[str, float] = {}
        self._first_round_s: float | None = None

    def all(self) -> RunDir:
        """Every stage that is not finished yet."""
        world = build(self.experiment, self.table)
        agreed = plan(self.experiment, self.table)
        workers = engines.workers(self.experiment.run.workers)
        with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool, _stopping() as noted:
            federation = self._federation(world, agreed, pool, workers)
            try:
                self._federate(federation, noted)
                self._finish(federation, noted)
            finally:
                self._log.close()
        return self.run

    def _federation(self, world: World, agreed: Plan, pool: ThreadPoolExecutor, workers: int) -> Federation:
        e = self.experiment
        server = server_for(agreed).new(agreed, e.participation, world.names, e.seed)
        maker = engines.maker(e.model, e.training, agreed.classes)
        attackers = None if e.attack.name == "none" else Attackers(e.attack, world.names, agreed, e.seed)
        kind = BufferedFederation if agreed.asynchronous.buffer else Federation
        federation = kind(e, world, agreed, server, maker, self._emit, pool, workers, attackers=attackers)
        at: int | None = None
        if self.run.checkpoint.exists():
            at = self._restored(federation)
        self._log = JsonLog(self.run.log, at)
        self._sinks.append(self._log)
        for event in results.rounds(self.run) if at is not None else ():
            self._watch.see(event)  # what was said before the stop is not said again
        if at is None:
            for dropped in self.table.dropped:
                self._log(events.ColumnDropped(dropped.column, dropped.reason))
            for note in world.table.notes:
                self._log(events.Note("data", note))
            self._outlook(federation)
        return federation

    def _outlook(self, federation: Federation) -> None:
        """What the root set lacks, and whether the rule holds against the hostile clients that are assumed."""
        world, e = federation.world, self.experiment
        lacking = missing(world.table, world.root, world.split) if len(world.root) else ()
        if lacking:
            self._emit(events.Note("root.coverage", f"the root set has no row of {', '.join(lacking)}"))
        words = check_robust(e, e.name, len(world.shares))
        if words:
            self._emit(events.Note("rule.outlook", words))

    def _restored(self, federation: Federation) -> int:
        try:
            return federation.restore(self.run.checkpoint.read_bytes())
        except (DecodeError, OSError) as error:
            raise UsageError(
                f"{self.run.checkpoint} is damaged ({error}); delete it and resume: the run starts again from round 1",
            ) from error

    def _announce(self, federation: Federation) -> None:
        """Once the number of parameters is known: after set-up, or at once when resumed."""
        e, server = self.experiment, federation.server
        clients, d = len(federation.world.shares), int(server.parameters.size)
        self._emit(events.RunStarted(self.run.id, e.name, e.seed, clients, e.rounds.count, d, server.round))

    def _emit(self, event: Event) -> None:
        for told in (event, *self._watch.see(event)):
            for sink in self._sinks:
                sink(told)

    def _federate(self, federation: Federation, noted: list[int]) -> None:
        total = self.experiment.rounds.count
        self._emit(events.StageStarted("federate", "federated training", total))
        began = time.perf_counter()
        saved = federation.server.round
        announced = federation.server.prepared is not None
        if announced:
            self._announce(federation)
        for happened in federation.run():
            if not announced and federation.server.prepared is not None:
                announced = True
                self._announce(federation)
            for event in happened:
                if isinstance(event, events.RoundDone) and self._first_round_s is None:
                    self._first_round_s = time.perf_counter() - self._began
                self._emit(event)
            self._test(federation, happened)
            due = federation.server.round - saved >= self.experiment.run.checkpoint_every
            if due or noted or federation.over:
                saved = federation.server.round
                self._save(federation)
            self._stop_if(noted, federation)
        self._done("federate", began)

    def _test(self, federation: Federation, happened: tuple[Event, ...]) -> None:
        """A point of the learning curve on the test rows, which no machine of the federation ever sees."""
        measured = any(isinstance(event, events.Measured) for event in happened)
        if measured and self.experiment.evaluation.test_every:
            score = evaluate.overall(federation, federation.server.common, federation.server.errors)
            self._emit(
                events.Measured(
                    federation.server.round, "test", score["macro_f1"], score["balanced_accuracy"], score["roc_auc"]
                ),
            )

    def _save(self, federation: Federation) -> None:
        self.run.write("checkpoint.bin", federation.checkpoint(self._log.position()))
        self._sinks[0](events.CheckpointSaved(federation.server.round))

    def _stop_if(self, noted: list[int], federation: Federation) -> None:
        if noted:
            self._sinks[0](events.RunStopped(self.run.id, federation.server.round))
            self._log.close()
            raise Stopped(
                f"stopped after round {federation.server.round}; go on with: wardround resume {self.run.path}"
            )

    def _finish(self, federation: Federation, noted: list[int]) -> None:
        models: dict[str, Any] = {}

        def heard(event: Event) -> None:  # baselines take long: Ctrl-C is heard at each step of progress
            self._emit(event)
            self._stop_if(noted, federation)

        for name, work in self._stages(federation, heard).items():
            result = self.run.stage(name)
            if result is None:
                began = time.perf_counter()
                result = work()
                self.run.write_json(f"stages/{name}.json", result)
                self._done(name, began)
            models[name] = result
            for event in alarms.told(result["alarms"]) if name == "federated" and "alarms" in result else ():
                self._emit(event)
            self._stop_if(noted, federation)
        metrics = results.metrics(federation, self.run, models)
        self.run.write_json("metrics.json", metrics)
        results.write_bundle(federation, self.run, metrics)
        self._trial(noted, federation)
        score = metrics["models"]["federated"]["overall"]["macro_f1"] or 0.0
        seconds = time.perf_counter() - self._began
        self._emit(events.RunDone(self.run.id, self.experiment.rounds.count, score, seconds))
        self._log.close()
        if not (self.run.path / "timing.json").exists():  # a finished run that is resumed takes no time
            self.run.write_json("timing.json", self._times())
        write_report(self.run.path)

    def _trial(self, noted: list[int], federation: Federation) -> None:
        """The lab's trial, where the data source has one: trial.json."""
        source = self.experiment.data
        if not getattr(source, "trial", False) or (self.run.path / "trial.json").exists():
            return
        self._emit(events.StageStarted("trial", "the detector in an unseen ward"))
        began = time.perf_counter()
        model = from_safetensors((self.run.model / "model.safetensors").read_bytes())
        found = trial.run(model, source, seed_of(stream(self.experiment.seed, "data")))
        self.run.write_json("trial.json", found)
        self._done("trial", began)
        self._stop_if(noted, federation)

    def _stages(self, federation: Federation, emit: Emit) -> dict[str, Any]:
        wanted = self.experiment.evaluation
        return {
            "federated": lambda: evaluate.federated(federation) | {"alarms": alarms.of_federation(federation)},
            "personal": lambda: personal.personal(federation, emit),
            "centralised": lambda: baselines.centralised(federation, emit) if wanted.centralised else {},
            "local": lambda: baselines.local(federation, emit) if wanted.local else {},
            "root": lambda: baselines.rooted(federation) if len(federation.world.root) else {},
        }

    def _done(self, stage: str, began: float) -> None:
        self._timing[stage] = time.perf_counter() - began
        self._emit(events.StageDone(stage, self._timing[stage]))

    def _times(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        done = [event for event in results.rounds(self.run) if isinstance(event, events.RoundDone)]
        answered, seconds = sum(event.answered for event in done), sum(event.seconds for event in done)
        return {
            "stages": self._timing,
            "first_round_s": self._first_round_s,
            "client_rounds_per_s": answered / seconds if seconds > 0 else None,
            "peak_memory_bytes": usage.ru_maxrss * 1024,
            "cpu_s": time.process_time() - self._cpu,
        }
