"""The attacks by name; a new attack is one file and one line here."""

from __future__ import annotations

from wardround.attacks.attack import Attack, Target
from wardround.attacks.aware import AwareALIE, AwareIPM, FLTrustAdaptive
from wardround.attacks.forging import FreeRider, Gaussian, Mimic, SignFlip
from wardround.attacks.malformed import Malformed
from wardround.attacks.omniscient import ALIE, IPM, MinMax, MinSum
from wardround.attacks.poisoning import LabelFlip, ModelReplacement

ATTACKS: tuple[type[Attack], ...] = (
    Attack,
    LabelFlip,
    SignFlip,
    Gaussian,
    FreeRider,
    Mimic,
    ALIE,
    IPM,
    MinMax,
    MinSum,
    AwareALIE,
    AwareIPM,
    FLTrustAdaptive,
    ModelReplacement,
    Malformed,
)

__all__ = ["ATTACKS", "Attack", "Target"]
