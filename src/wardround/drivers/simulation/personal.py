"""What each client gets: the common model, and its own where the experiment has personal models or a prior correction.

Three numbers per client, always, because any one of them alone misleads (docs/design/0901): how well the model does on
the client's own traffic, how well on everybody's (can it see attacks the client never had?), and the worst tenth of clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wardround.arrays import F32, F64, I32, I64
from wardround.drivers.simulation import engines
from wardround.drivers.simulation.evaluate import spread
from wardround.drivers.simulation.federate import Federation
from wardround.events import Emit, StageProgress, StageStarted
from wardround.federation import clusters
from wardround.federation.plan import Prepared, label_offset, type_limits
from wardround.rng import stream
from wardround.training import limits, metrics, priors
from wardround.training.calm import CalmPrior
from wardround.training.personal import Finetune, Typed
from wardround.training.task import Engine, Job, Rows, Trained
from wardround.training.tuning import Pupil, row_losses, tune
from wardround.training.typed import Own

SHOTS = (0, 10, 30, 100, 300, 1000)
"""Rows that a client which joins late has labelled, for the few-shot curve."""
COUNTED = ("rows", "common", "own", "attacks", "found")
LATE_ROUNDS = 10
"""Rounds of its strategy that such a client runs by itself, with the common model held."""


@dataclass(frozen=True, eq=False)
class Traffic:
    """Rows as they arrive, and the ``types`` [n] of the devices they are of."""

    rows: Rows
    types: I32


@dataclass(frozen=True, eq=False)
class Place:
    """The finished federation as its clients see it."""

    federation: Federation
    parameters: F32
    prepared: Prepared
    trained: F64
    limits: F32

    @classmethod
    def of(cls, federation: Federation) -> Place:
        """Of a federation that is over."""
        prepared = federation.server.prepared
        assert prepared is not None, "a finished federation knows its statistics"
        shares = priors.trained_shares(prepared.prior, prepared.class_weights)
        outcome = federation.server.outcome()
        return cls(federation, outcome.parameters, prepared, shares, type_limits(federation.plan, outcome.measures))

    def rows(self, index: I64) -> Rows:
        return self.federation.prepared().rows(index)

    def test(self, index: I64) -> Traffic:
        """Test rows in the order in which they arrive: their own where the data knows times, else a drawn one. Tables lie class
        by class, and a correction that follows the last rows would read the label off the file's order.
        """
        table = self.federation.world.table
        if table.time is None:
            index = stream(self.federation.experiment.seed, "arrival", len(index)).permutation(index)
        return Traffic(self.rows(index), table.types_of(index))

    def judged(self, logits: F32, types: I32) -> F32:
        """``logits`` [n, c] of rows of devices of ``types`` [n] with the types' limits, where there are any."""
        return limits.limited(logits, types, self.limits, self.federation.plan.labels.benign)

    def start(self, client: int) -> F32:
        """The common model [d]; of several what fits the client's training rows."""
        algorithm = self.federation.plan.algorithm
        if clusters.models_of(algorithm) == 1:
            return self.parameters
        rows = clusters.sample(self.rows(self.federation.world.shares[client].train))
        outcome, engine = self.federation.server.outcome(), self.federation.engine()
        told = algorithm.broadcast(outcome.algorithm, outcome.models.size)
        held = self.federation.memories.get(client)
        memory = held.memory if held is not None else np.zeros(0, dtype=np.float32)
        kind = clusters.commonest(self.federation.world.table.types_of(self.federation.world.shares[client].train))
        view = clusters.View(outcome.models, told, rows, lambda w: row_losses(engine, w, rows), memory, kind)
        return clusters.place(algorithm, view)[0]


def personal(federation: Federation, emit: Emit) -> dict[str, Any]:
    """Each client's three numbers with the common model and with its own (metrics.json, ``personal``); {} for models
    without classes.
    """
    plan, experiment = federation.plan, federation.experiment
    if plan.model.unsupervised:
        return {}
    place, shares = Place.of(federation), federation.world.shares
    emit(StageStarted("personal", "personal models", len(shares)))
    late = federation.late
    taking_part = [i for i in range(len(shares)) if i not in late]
    models = own_models(place, taking_part)
    everybody = place.test(federation.world.split.test)
    common = place.judged(federation.engine().outputs(place.parameters, everybody.rows.x), everybody.types)
    found, alarms = [], FalseAlarms.of(federation)
    for done, (i, own) in enumerate(zip(taking_part, models, strict=True), start=1):
        if len(shares[i].test):
            found.append(_client(place, i, own, (everybody, common), alarms=alarms))
        if done % 10 == 0:
            emit(StageProgress("personal", done, len(shares)))
    emit(StageProgress("personal", len(shares), len(shares)))
    return {
        "use": experiment.personal.name,
        "prior": experiment.prior.name,
        "clients": found,
        **{kind: _summary([row[kind] for row in found]) for kind in ("common", "own")},
        "late": few_shot(place, sorted(late)),
        "unlabelled": _unlabelled(place, (everybody, common)),
        "device_types": alarms.table(),
    }


def own_models(place: Place, clients: Sequence[int]) -> list[Own]:
    """Each client's own model."""
    federation, strategy = place.federation, place.federation.plan.personal
    held = {i: federation.memories[i].private for i in clients if i in federation.memories}
    nothing = np.zeros(0, dtype=np.float32)
    found = [strategy.model(held.get(i, nothing), place.start(i), place.prepared.layout) for i in clients]
    if isinstance(strategy, Finetune):
        shares = [federation.world.shares[i] for i in clients]
        pupils = [
            _Asking(i, share.train, share.validation, w) for i, share, w in zip(clients, shares, found, strict=True)
        ]
        return _tuned(place, strategy, pupils)
    return [Own(w) for w in found]


def few_shot(place: Place, late: Sequence[int]) -> list[dict[str, Any]]:
    """Clients that never took part, with the first ``SHOTS`` of their rows: mean of their numbers per amount of rows."""
    curve = []
    shares = place.federation.world.shares
    everybody = place.test(place.federation.world.split.test)
    common = place.judged(place.federation.engine().outputs(place.parameters, everybody.rows.x), everybody.types)
    for shots in SHOTS if late else ():
        found = []
        for i in late:
            order = stream(place.federation.experiment.seed, "shots", i).permutation(len(shares[i].train))
            index = shares[i].train[order[:shots]]
            if len(index) == min(shots, len(shares[i].train)) and len(shares[i].test):
                own = _joined(place, i, index)
                found.append(_client(place, i, own, (everybody, common), place.rows(index).y))
        curve.append(
            {
                "rows": shots,
                "clients": len(found),
                **{k: _summary([row[k] for row in found]) for k in ("common", "own")},
            }
        )
    return curve


def _unlabelled(place: Place, everybody: tuple[Traffic, F32]) -> dict[str, float | None]:
    """The test rows as traffic of one site that has no labels at all: what the prior correction makes of them in their order
    (only ``window`` and ``calm`` can do anything without counts). With a site left out of training this is the site's own view.
    ``calm`` takes the first benign rows for its calm window; the others are judged. ``as_is``: the same rows uncorrected.
    """
    (traffic, common), prior = everybody, place.federation.experiment.prior
    nothing, benign = np.zeros(place.federation.plan.classes), place.federation.plan.labels.benign
    corrected, plain = (traffic.rows, prior.correct(common, nothing, place.trained)), (traffic.rows, common)
    if isinstance(prior, CalmPrior) and benign is not None:
        window = np.flatnonzero(traffic.rows.y == benign)[: prior.rows]
        rest = np.delete(np.arange(len(traffic.rows)), window)
        rows = Rows(traffic.rows.x[rest], traffic.rows.y[rest])
        corrected, plain = (rows, prior.moved(common[window], common[rest], benign)), (rows, common[rest])
    found, as_is = _numbers(corrected, corrected, nothing), _numbers(plain, plain, nothing)
    keys = ("accuracy", "macro_f1")
    return {key: found[key] for key in keys} | {f"{key}_as_is": as_is[key] for key in keys}


def _joined(place: Place, client: int, index: I64) -> Own:
    """The model of a client that comes late with rows ``index``: its strategy alone, the common model held."""
    strategy, layout, rows = place.federation.plan.personal, place.prepared.layout, place.rows(index)
    if not len(rows):
        return Own(place.parameters)
    if isinstance(strategy, Finetune):
        held = max(1, len(rows) // 5)
        return _tuned(place, strategy, [_Asking(client, index[held:], index[:held], place.parameters)])[0]
    memory, engine = np.zeros(0, dtype=np.float32), place.federation.engine()
    if strategy.name == "none":
        return Own(place.parameters)
    for round_ in range(LATE_ROUNDS):
        base = replace(
            _job(place, client, rows, place.parameters),
            batches=stream(place.federation.experiment.seed, "late", client, round_),
        )
        done: list[Trained] = []
        for leg in range(strategy.legs):
            done += engine.train([strategy.job(leg, base, memory, layout, done)])
        memory = strategy.finish(base, memory, layout, done)[1]
    return Own(strategy.model(memory, place.parameters, layout))


def _job(place: Place, client: int, rows: Rows, start: F32) -> Job:
    plan = place.federation.plan
    batches = stream(place.federation.experiment.seed, "tuning", client)
    weights = place.prepared.class_weights
    return Job(client, rows, batches, start, class_weights=weights, offset=label_offset(plan, place.prepared, rows.y))


@dataclass(frozen=True, eq=False)
class _Asking:
    """A client that is to be tuned: row numbers to train on and to stop by, and the model it comes with."""

    client: int
    train: I64
    validation: I64
    start: F32


def _tuned(place: Place, strategy: Finetune, asking: Sequence[_Asking]) -> list[Own]:
    """Each client's tuned model; of a typed strategy one for each type of device that it has enough rows of."""
    if not isinstance(strategy, Typed):
        return [Own(w) for w in _trained_on(place, strategy, asking)]
    table = place.federation.world.table
    parts, whose = [], []
    for number, one in enumerate(asking):
        trains, validates = table.types_of(one.train), table.types_of(one.validation)
        for code, count in zip(*np.unique(trains, return_counts=True), strict=True):
            if code >= 0 and count >= strategy.least:
                of_type = one.train[trains == code], one.validation[validates == code]
                parts.append(replace(one, train=of_type[0], validation=of_type[1]))
                whose.append((number, int(code)))
    typed: list[dict[int, F32]] = [{} for _ in asking]
    for (number, code), w in zip(whose, _trained_on(place, strategy, parts), strict=True):
        typed[number][code] = w
    return [Own(one.start, found) for one, found in zip(asking, typed, strict=True)]


def _trained_on(place: Place, strategy: Finetune, asking: Sequence[_Asking]) -> list[F32]:
    plan = place.federation.plan
    training = replace(plan.training, epochs=1, steps=0)
    engine: Engine = engines.maker(plan.model, training, plan.classes)(place.federation.prepared().x.shape[1])
    layout = place.prepared.layout
    pupils = [
        Pupil(_job(place, one.client, place.rows(one.train), one.start), place.rows(one.validation)) for one in asking
    ]
    chunks = [pupils[at : at + engine.chunk] for at in range(0, len(pupils), engine.chunk)]
    return [
        w
        for found in place.federation.pool.map(lambda chunk: tune(strategy, engine, chunk, layout), chunks)
        for w in found
    ]


@dataclass(eq=False)
class FalseAlarms:
    """Benign test rows of the clients and attacks, and how many of them each kind of model calls an attack, by type of device."""

    names: tuple[str, ...]
    benign: int | None
    counts: dict[str, I64]

    @classmethod
    def of(cls, federation: Federation) -> FalseAlarms:
        """Nothing counted yet."""
        names = federation.world.table.device_types
        counts = {key: np.zeros(len(names), dtype=np.int64) for key in COUNTED}
        return cls(names, federation.plan.labels.benign, counts)

    def add(self, traffic: Traffic, logits: dict[str, F32]) -> None:
        """Count one client's own test rows with the logits of its ``common`` and ``own`` model."""
        if self.benign is None or not self.names:
            return
        calm = (traffic.rows.y == self.benign) & (traffic.types >= 0)
        hit = (traffic.rows.y != self.benign) & (traffic.types >= 0)
        alarms = {kind: z.argmax(1) != self.benign for kind, z in logits.items()}
        said = {"rows": calm, **{kind: calm & rows for kind, rows in alarms.items()}}
        said |= {"attacks": hit, "found": hit & alarms["own"]}
        for key, rows in said.items():
            self.counts[key] += np.bincount(traffic.types[rows], minlength=len(self.names))

    def table(self) -> list[dict[str, Any]]:
        """metrics.json, ``personal.device_types``: name, benign rows, false-positive rate of both models, attacks, and how many
        of them the own models found.
        """
        by_name = ({key: int(self.counts[key][k]) for key in COUNTED} for k in range(len(self.names)))
        return [
            {"name": name, **n, "common": n["common"] / n["rows"], "own": n["own"] / n["rows"]}
            for name, n in zip(self.names, by_name, strict=True)
            if n["rows"]
        ]


def _client(
    place: Place,
    client: int,
    own: Own,
    everybody: tuple[Traffic, F32],
    labels: I64 | None = None,
    *,
    alarms: FalseAlarms | None = None,
) -> dict[str, Any]:
    """One client's numbers; ``everybody``: all test rows and the common model's logits on them; ``labels`` of its own rows."""
    federation, share = place.federation, place.federation.world.shares[client]
    classes, engine, prior = federation.plan.classes, federation.engine(), federation.experiment.prior
    here = place.test(share.test)
    labels = federation.world.table.y[share.train] if labels is None else labels
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    there, common = everybody
    same = own.parameters is place.parameters and not own.typed
    on_own = place.judged(own.outputs(engine, here.rows.x, here.types), here.types)
    on_all = common if same else place.judged(own.outputs(engine, there.rows.x, there.types), there.types)
    common_own = on_own if same else place.judged(engine.outputs(place.parameters, here.rows.x), here.types)
    corrected = prior.correct(on_own, counts, place.trained)
    if alarms is not None:
        alarms.add(here, {"common": common_own, "own": corrected})
    return {
        "name": share.name,
        "rows": len(here.rows),
        "classes": int((counts > 0).sum()),
        "common": _numbers((here.rows, common_own), (there.rows, common), counts),
        "own": _numbers(
            (here.rows, corrected),
            (there.rows, prior.correct(on_all, counts, place.trained)),
            counts,
        ),
    }


def _numbers(own: tuple[Rows, F32], everybody: tuple[Rows, F32], counts: F64) -> dict[str, float | None]:
    """Measures of logits on the client's own rows and on everybody's; ``counts`` [c] of the client's own labels."""
    rows, logits = own
    here, there = _confusion(rows, logits, len(counts)), _confusion(*everybody, len(counts))
    judged, far = metrics.classification(here), metrics.classification(there)
    never = (counts == 0) & (far.support > 0)
    return {
        "accuracy": judged.accuracy,
        "macro_f1": judged.macro_f1,
        "macro_f1_present": float(judged.f1[judged.support > 0].mean()) if judged.support.any() else None,
        "everybody_macro_f1": far.macro_f1,
        "unseen_recall": float(far.recall[never].mean()) if never.any() else None,
    }


def _confusion(rows: Rows, logits: F32, classes: int) -> I64:
    return metrics.confusion(rows.y, np.asarray(logits.argmax(1), dtype=np.int64), classes)


def _summary(rows: Sequence[dict[str, float | None]]) -> dict[str, dict[str, float | None]]:
    """Mean, deviation and worst tenth of every measure over clients."""
    keys = rows[0].keys() if rows else ()
    return {key: spread([value for row in rows if (value := row[key]) is not None]) for key in keys}
