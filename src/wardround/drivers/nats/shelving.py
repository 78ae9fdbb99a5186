"""A gateway that trains and watches: every model that the server has it measure goes to the site's shelf.

The measured model is the round's own, and a gateway needs no further message to get it. It goes into service only if it is no
worse on this site's own benign windows (detect/vetting.py); `wardround watch` beside this process takes it up at its next
checkpoint, and `wardround models rollback` takes it back. A shelf that cannot be written never stops the round.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wardround.arrays import F32
from wardround.drivers.site import OwnRows
from wardround.drivers.store import knowledge
from wardround.drivers.store.site import SiteStore
from wardround.errors import WardroundError
from wardround.events import Emit, Note
from wardround.federation.plan import Plan, Prepared, served
from wardround.traffic.normal import to_arrays
from wardround.training.bundle import Bundle
from wardround.training.task import Engine, Job, Trained


class ShelvingEngine:
    """``inner``, with a look at what it is asked to measure. ``folder``: the site's."""

    def __init__(self, inner: Engine, rows: OwnRows, plan: Plan, folder: Path, emit: Emit) -> None:
        self._inner, self._rows, self._plan, self._folder, self._emit = inner, rows, plan, folder, emit
        self._seen, self._trained = b"", 0

    @property
    def chunk(self) -> int:
        return self._inner.chunk

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        self._trained += 1
        return self._inner.train(jobs)

    def outputs(self, parameters: F32, x: F32) -> F32:
        found = self._inner.outputs(parameters, x)
        digest = hashlib.sha256(parameters.tobytes()).digest()
        prepared = self._rows.preparation
        if digest != self._seen and prepared is not None and not self._plan.model.unsupervised:
            self._seen = digest
            self._offer(parameters, prepared)
        return found

    def _offer(self, parameters: F32, prepared: Prepared) -> None:
        plan = self._plan
        model, parameters = served(plan, prepared, parameters)
        bundle = Bundle(
            model=model,
            parameters=parameters.copy(),
            inputs=len(prepared.preprocessor.names),
            labels=plan.labels.names,
            benign=plan.labels.benign,
            schema=plan.schema.id,
            preprocessing=prepared.preprocessor.to_record(),
            notes={"from": "measured in a round"},
            arrays=to_arrays(prepared.normal, plan.kinds, np.zeros(0)) if plan.normal.fit else {},
        )
        slot = "guard" if plan.training.exposure and len(plan.labels.names) == 2 else "model"
        try:
            store = SiteStore(self._folder)
            try:
                version, verdict = knowledge.offer(store, slot, bundle, (self._trained, time.time_ns()))
            finally:
                store.close()
        except WardroundError as error:
            self._emit(Note("gateway.shelf", f"the measured model was not shelved: {error}"))
            return
        said = "in service" if verdict.fit else "refused"
        self._emit(Note("gateway.shelf", f"{slot} v{version} {said}: {verdict.reason}"))
