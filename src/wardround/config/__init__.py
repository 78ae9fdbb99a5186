"""One TOML file -> one frozen ``Experiment``; every key is a field of a frozen dataclass.

Unknown keys, wrong types and values out of range give one ``ConfigError`` that names the key's path and, where a
word is near, asks "did you mean". Law: ``parse(dump(experiment)) == experiment``.
What it does not do: read files (cli), load data (drivers).
"""

from wardround.config.checks import check, check_robust, looked_for, setting, watching
from wardround.config.experiment import Evaluation, Experiment, Rounds, Run, strategy
from wardround.config.toml import DEPLOYED, dump, override, parse
from wardround.errors import nearest

__all__ = [
    "DEPLOYED",
    "Evaluation",
    "Experiment",
    "Rounds",
    "Run",
    "check",
    "check_robust",
    "dump",
    "looked_for",
    "nearest",
    "override",
    "parse",
    "setting",
    "strategy",
    "watching",
]
