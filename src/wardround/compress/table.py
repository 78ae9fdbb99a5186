"""The table ``[compress]`` and what it comes to for a model: one chain per class of link, and the chain down.

What it does not do: know which client is on which link (federation/links.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wardround.compress.budget import Bought, Ring, plan_open, plan_secure
from wardround.compress.chain import Chain, LinearChain
from wardround.compress.codec import Codec
from wardround.compress.quantise import Integer
from wardround.compress.sparsify import TopK
from wardround.compress.supports import Importance
from wardround.params import Layout

DEFAULT = "all"
"""The class of clients that no other class names."""


def _codecs() -> tuple[Codec, ...]:
    return field(default=(), metadata={"kind": "codec", "many": True})


@dataclass(frozen=True)
class Compress:
    """What travels instead of whole float32 vectors.

    Attributes:
        up: codecs of a client's update, in order; none: float32. Under secure aggregation only linear ones.
        down: codecs of the difference of models sent to clients, without error-feedback (it has its own); none: float32.
        budget_bytes: most bytes of an update per round; the best chains that fit are chosen, up and down must then be empty.
        classes: names of classes of slower links, for example ["cellular"].
        class_bytes: the budget of each of these classes, in the same order.
        class_clients: which clients are in each of them: a pattern of names, for example ["ward-3/*"], in the same order.
        class_speeds: bytes per second of each of them, in the same order: a client whose link is measured to be slower is in
            that class (the slowest that fits), unless a pattern puts it elsewhere; nobody is measured where this is empty.
    """

    up: tuple[Codec, ...] = _codecs()
    down: tuple[Codec, ...] = _codecs()
    budget_bytes: int = 0
    classes: tuple[str, ...] = ()
    class_bytes: tuple[int, ...] = ()
    class_clients: tuple[str, ...] = ()
    class_speeds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.budget_bytes < 0:
            raise ValueError(f"budget_bytes must be 0 (none) or more, not {self.budget_bytes}")
        if self.budget_bytes and (self.up or self.down):
            raise ValueError("budget_bytes chooses the codecs: leave up and down out, or set budget_bytes = 0")
        if len(self.classes) != len(self.class_bytes) or len(set(self.classes)) != len(self.classes):
            raise ValueError("classes and class_bytes should name each class once, with its budget in the same place")
        if len(self.class_clients) != len(self.classes) and not (self.class_speeds and not self.class_clients):
            raise ValueError(
                'class_clients should say for each class which clients are in it: a pattern such as "ward-3/*"; '
                "or class_speeds, below which speed a link is in it"
            )
        if self.class_speeds and len(self.class_speeds) != len(self.classes):
            raise ValueError(
                "class_speeds should say for each class, in the same order, below which speed a link is in it"
            )
        if any(not 0 < speed < 1e9 for speed in self.class_speeds) or len(set(self.class_speeds)) != len(
            self.class_speeds
        ):
            raise ValueError("class_speeds are bytes per second, above 0 and below 1e9, different for each class")
        if self.classes and not self.budget_bytes:
            raise ValueError("classes have budgets of their own beside budget_bytes: set budget_bytes for all others")
        Chain.of(self.up)
        if Chain.of(self.down).linear.feedback is not None:
            raise ValueError("the downlink is its own error feedback: take error-feedback out of down")

    def check_secure(self) -> None:
        """May these codecs stand under a secure sum?

        Raises:
            ValueError: one of ``up`` is not linear; the text names it and those that are.
        """
        LinearChain.of(self.up)

    def links(self, layout: Layout, ring: Ring | None) -> Mapping[str, Bought]:
        """Codecs, bytes and turns of each class of link (``DEFAULT`` for the rest); ``ring``: under a secure sum.

        A pure function: where a link's budget changes, call it again. Public state and clients' memories serve any share.

        Raises:
            ValueError: a budget is too small, or a codec does not fit a secure sum.
        """
        if self.budget_bytes:
            budgets = {DEFAULT: self.budget_bytes, **dict(zip(self.classes, self.class_bytes, strict=True))}
            return plan_secure(layout, budgets, ring) if ring else plan_open(layout, budgets)
        if ring:
            chain = LinearChain.of(self.up)
            size = ring.size(max(chain.outputs(layout, turn) for turn in (0, 1)))
        else:
            size = Chain.of(self.up).size(layout).most
        return {DEFAULT: Bought(self.up, size, 1, "the file's chain")}

    def downlink(self, layout: Layout, ring: Ring | None) -> tuple[Codec, ...]:
        """Codecs of the way down: the file's, or with a budget those that fit the way up chosen for most clients."""
        if not self.budget_bytes:
            return self.down
        up = self.links(layout, ring)[DEFAULT].codecs
        masks = [codec for codec in up if isinstance(codec, Importance)]
        if masks:  # the model moves on the public support only, so the same support without weights says it all
            mask = masks[0]
            return (Importance(mask.share, mask.explore, mask.cap, mask.decay, weigh=False), Integer(8))
        sparse = Chain.of(up).linear.feedback is not None
        return (TopK(0.1), Integer(8)) if sparse else ()
