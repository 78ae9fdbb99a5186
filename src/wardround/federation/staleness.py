"""The table ``[asynchronous]``: how many updates make the next model, and what an update from an old model weighs.

Law: ``weight`` is 1 for a fresh update and never grows with age.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Asynchronous:
    """Asynchronous rounds for sites of very different speed (FedBuff; Nguyen et al., AISTATS 2022).

    Attributes:
        buffer: gateways whose updates make the next model (K of the paper); 0: rounds are synchronous.
        staleness: exponent a: an update counts (1 + s)^-a when s models were made since its gateway was asked (paper: 0.5).
        oldest: a gateway that is more models behind is asked anew, and what it sends then is not used.
        patience_s: a gateway that has not said after so many seconds that it is ready is asked anew.
    """

    buffer: int = 0
    staleness: float = 0.5
    oldest: int = 20
    patience_s: float = 3600.0

    def __post_init__(self) -> None:
        for name, least in (("buffer", 0), ("staleness", 0), ("oldest", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, not {getattr(self, name)}")
        if not self.patience_s > 0:
            raise ValueError(f"patience_s must be above 0, not {self.patience_s}")

    def weight(self, behind: int) -> float:
        """What an update counts whose gateway was asked ``behind`` models ago."""
        return float((1 + max(behind, 0)) ** -self.staleness)
