"""Convergence watch: names what goes wrong in training, from protected measures alone, with the remedy to try.

    diverging   the loss is not finite, or stays far above the best seen for several rounds
    collapsed   nearly every validation row is called the same class, though the labels are not like that
    stalled     the validation score has not improved for many measurements

It reads what the server knows anyway (mean loss, length of the update, summed confusion counts) and decides nothing: its
notes go into the log. Each trouble is named once, and again only after it was over.

Law: a watch that saw no event, or events of a healthy run, says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from wardround.events import Event, Measured, Note, RoundDone

WORSE = 2.0
"""A loss this many times the best so far is far above it."""
ROUNDS = 3
SAME = 0.97
"""Share of rows called one class from which a model has collapsed, unless the labels are as uneven."""
MEASUREMENTS = 8
GAIN = 0.002

REMEDIES = {
    "diverging": 'lower [training] learning_rate or set clip_norm; [algorithm] use = "fedprox" or scaffold with a smaller most',
    "collapsed": '[training] class_weighting = "sqrt" or logit_adjustment = 0.5; a lower learning_rate; more rounds',
    "stalled": '[server] momentum = 0.8 with [rounds] weighting = "sqrt"; [rounds] keep = "best"; or stop here',
}


@dataclass
class Watch:
    """Feed it every event of a run; ``see`` gives the notes that are due."""

    best_loss: float = math.inf
    best_score: float = -math.inf
    far: int = 0
    without_gain: int = 0
    said: set[str] = field(default_factory=set)

    def see(self, event: Event) -> tuple[Note, ...]:
        """Notes that follow from ``event``."""
        if isinstance(event, RoundDone):
            return self._round(event)
        if isinstance(event, Measured) and event.part == "validation":
            return self._measured(event)
        return ()

    def _round(self, event: RoundDone) -> tuple[Note, ...]:
        broken = not (math.isfinite(event.loss) and math.isfinite(event.update_norm))
        high = broken or event.loss > WORSE * self.best_loss
        self.far = self.far + 1 if high else 0
        if not broken:
            self.best_loss = min(self.best_loss, event.loss)
        text = f"round {event.round}: loss {event.loss:.3g}, the best was {self.best_loss:.3g}"
        return self._turn("diverging", broken or self.far >= ROUNDS, text)

    def _measured(self, event: Measured) -> tuple[Note, ...]:
        collapsed = event.commonest > max(SAME, event.commonest_label + 0.02)
        text = f"round {event.round}: {event.commonest:.0%} of the validation rows are called one class"
        notes = self._turn("collapsed", collapsed, text)
        score = event.macro_f1 if math.isfinite(event.macro_f1) else event.roc_auc
        if math.isfinite(score):
            gained = score > self.best_score + GAIN
            self.without_gain = 0 if gained else self.without_gain + 1
            self.best_score = max(self.best_score, score)
            text = f"round {event.round}: {score:.3f}, no gain over {self.best_score:.3f} in {self.without_gain} measurements"
            notes += self._turn("stalled", self.without_gain >= MEASUREMENTS, text)
        return notes

    def _turn(self, what: str, holds: bool, text: str) -> tuple[Note, ...]:
        if not holds:
            self.said.discard(what)
            return ()
        if what in self.said:
            return ()
        self.said.add(what)
        return (Note(f"watch.{what}", f"{text}; try {REMEDIES[what]}"),)
