"""What each client gets: the common model, and its own where the experiment has personal models or a prior correction.

Three numbers per client, always, because any one of them alone misleads (docs/design/0901): how well the model does on
the client's own traffic, how well on everybody's (can it see attacks the client never had?), and the worst tenth of clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wardround.arrays import F32, F64, I64
from wardround.drivers.simulation import engines
from wardround.drivers.simulation.evaluate import spread
from wardround.drivers.simulation.federate import Federation
from wardround.events import Emit, StageProgress, StageStarted
from wardround.federation import clusters
from wardround.federation.plan import Prepared, label_offset
from wardround.rng import stream
from wardround.training import metrics, priors
from wardround.training.personal import Finetune
from wardround.training.task import Engine, Job, Rows, Trained
from wardround.training.tuning import Pupil, row_losses, tune

SHOTS = (0, 10, 30, 100, 300, 1000)
"""Rows that a client which joins late has labelled, for the few-shot curve."""
LATE_ROUNDS = 10
"""Rounds of its strategy that such a client runs by itself, with the common model held."""


@dataclass(frozen=True, eq=False)
class Place:
    """The finished federation as its clients see it."""

    federation: Federation
    parameters: F32
    prepared: Prepared
    trained: F64

    @classmethod
    def of(cls, federation: Federation) -> Place:
        """Of a federation that is over."""
        prepared = federation.server.prepared
        assert prepared is not None, "a finished federation knows its statistics"
        shares = priors.trained_shares(prepared.prior, prepared.class_weights)
        return cls(federation, federation.server.outcome().parameters, prepared, shares)

    def rows(self, index: I64) -> Rows:
        return self.federation.prepared().rows(index)

    def test(self, index: I64) -> Rows:
        """Test rows in the order in which they arrive: their own where the data knows times, else a drawn one. Tables lie class
        by class, and a correction that follows the last rows would read the label off the file's order.
        """
        if self.federation.world.table.time is None:
            index = stream(self.federation.experiment.seed, "arrival", len(index)).permutation(index)
        return self.rows(index)

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
        view = clusters.View(outcome.models, told, rows, lambda w: row_losses(engine, w, rows), memory)
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
    common = federation.engine().outputs(place.parameters, everybody.x)
    found = []
    for done, (i, parameters) in enumerate(zip(taking_part, models, strict=True), start=1):
        if len(shares[i].test):
            found.append(_client(place, i, parameters, (everybody, common)))
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
    }


def own_models(place: Place, clients: Sequence[int]) -> list[F32]:
    """Each client's own parameters [d]."""
    federation, strategy = place.federation, place.federation.plan.personal
    held = {i: federation.memories[i].private for i in clients if i in federation.memories}
    nothing = np.zeros(0, dtype=np.float32)
    found = [strategy.model(held.get(i, nothing), place.start(i), place.prepared.layout) for i in clients]
    if isinstance(strategy, Finetune):
        rows = [(place.rows(federation.world.shares[i].train), i) for i in clients]
        seen = [place.rows(federation.world.shares[i].validation) for i in clients]
        pupils = [Pupil(_job(place, i, own, w), v) for (own, i), w, v in zip(rows, found, seen, strict=True)]
        return _tuned(place, strategy, pupils)
    return found


def few_shot(place: Place, late: Sequence[int]) -> list[dict[str, Any]]:
    """Clients that never took part, with the first ``SHOTS`` of their rows: mean of their numbers per amount of rows."""
    curve = []
    shares = place.federation.world.shares
    everybody = place.test(place.federation.world.split.test)
    common = place.federation.engine().outputs(place.parameters, everybody.x)
    for shots in SHOTS if late else ():
        found = []
        for i in late:
            order = stream(place.federation.experiment.seed, "shots", i).permutation(len(shares[i].train))
            index = shares[i].train[order[:shots]]
            if len(index) == min(shots, len(shares[i].train)) and len(shares[i].test):
                parameters = _joined(place, i, place.rows(index))
                found.append(_client(place, i, parameters, (everybody, common), place.rows(index).y))
        curve.append(
            {
                "rows": shots,
                "clients": len(found),
                **{k: _summary([row[k] for row in found]) for k in ("common", "own")},
            }
        )
    return curve


def _unlabelled(place: Place, everybody: tuple[Rows, F32]) -> dict[str, float | None]:
    """The test rows as traffic of one site that has no labels at all: what the prior correction makes of them in their order
    (only ``window`` can do anything without counts). With a site left out of training this is the site's own view.
    """
    rows, common = everybody
    nothing = np.zeros(place.federation.plan.classes)
    corrected = (rows, place.federation.experiment.prior.correct(common, nothing, place.trained))
    found = _numbers(corrected, corrected, nothing)
    return {key: found[key] for key in ("accuracy", "macro_f1")}


def _joined(place: Place, client: int, rows: Rows) -> F32:
    """The model of a client that comes late with ``rows``: its strategy alone, the common model held."""
    strategy, layout = place.federation.plan.personal, place.prepared.layout
    if not len(rows):
        return place.parameters
    if isinstance(strategy, Finetune):
        held = max(1, len(rows) // 5)
        kept, seen = Rows(rows.x[held:], rows.y[held:]), Rows(rows.x[:held], rows.y[:held])
        return _tuned(place, strategy, [Pupil(_job(place, client, kept, place.parameters), seen)])[0]
    memory, engine = np.zeros(0, dtype=np.float32), place.federation.engine()
    if strategy.name == "none":
        return place.parameters
    for round_ in range(LATE_ROUNDS):
        base = replace(
            _job(place, client, rows, place.parameters),
            batches=stream(place.federation.experiment.seed, "late", client, round_),
        )
        done: list[Trained] = []
        for leg in range(strategy.legs):
            done += engine.train([strategy.job(leg, base, memory, layout, done)])
        memory = strategy.finish(base, memory, layout, done)[1]
    return strategy.model(memory, place.parameters, layout)


def _job(place: Place, client: int, rows: Rows, start: F32) -> Job:
    plan = place.federation.plan
    batches = stream(place.federation.experiment.seed, "tuning", client)
    weights = place.prepared.class_weights
    return Job(client, rows, batches, start, class_weights=weights, offset=label_offset(plan, place.prepared, rows.y))


def _tuned(place: Place, strategy: Finetune, pupils: Sequence[Pupil]) -> list[F32]:
    plan = place.federation.plan
    training = replace(plan.training, epochs=1, steps=0)
    engine: Engine = engines.maker(plan.model, training, plan.classes)(place.federation.prepared().x.shape[1])
    chunks = [pupils[at : at + engine.chunk] for at in range(0, len(pupils), engine.chunk)]
    layout = place.prepared.layout
    return [
        w
        for found in place.federation.pool.map(lambda chunk: tune(strategy, engine, chunk, layout), chunks)
        for w in found
    ]


def _client(
    place: Place, client: int, parameters: F32, everybody: tuple[Rows, F32], labels: I64 | None = None
) -> dict[str, Any]:
    """One client's numbers; ``everybody``: all test rows and the common model's logits on them; ``labels`` of its own rows."""
    federation, share = place.federation, place.federation.world.shares[client]
    classes, engine, prior = federation.plan.classes, federation.engine(), federation.experiment.prior
    own = place.test(share.test)
    labels = federation.world.table.y[share.train] if labels is None else labels
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    rows, common = everybody
    same = parameters is place.parameters
    on_own = engine.outputs(parameters, own.x)
    on_all = common if same else engine.outputs(parameters, rows.x)
    return {
        "name": share.name,
        "rows": len(own),
        "classes": int((counts > 0).sum()),
        "common": _numbers((own, on_own if same else engine.outputs(place.parameters, own.x)), (rows, common), counts),
        "own": _numbers(
            (own, prior.correct(on_own, counts, place.trained)),
            (rows, prior.correct(on_all, counts, place.trained)),
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
