"""``wardround tune``: a small, budgeted, seeded search over an experiment's settings, on validation sums alone.

Every trial is a simulated run without baselines; its value is the best validation score that the *server* could know (summed
confusion counts of the clients' validation rows). Test rows steer nothing. The search is Optuna's TPE with a median pruner
(Akiba et al., KDD 2019); its study lies in a folder, so that Ctrl-C or a kill loses the trial in flight and nothing else.

    FOLDER/  study.db   best.toml   trials.json
"""

from __future__ import annotations

import json
import math
import re
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardround.config import Experiment, override, parse
from wardround.drivers.simulation.run import Options, start_run
from wardround.drivers.simulation.strategies import simulated
from wardround.errors import ConfigError, UsageError, WardroundError
from wardround.events import Emit, Event, Measured, StageDone, StageProgress, StageStarted

if TYPE_CHECKING:
    from optuna import Trial

BARE = (
    "evaluation.local=false",
    "evaluation.centralised=false",
    "evaluation.test_every=false",
    "rounds.keep=last",
)
LOG_SPAN = 8.0
"""A range of positive numbers whose ends are this many times apart is searched on a logarithmic scale."""


@dataclass(frozen=True)
class Vary:
    """One setting to vary: ``key`` as for ``--set``, and a range ``lo..hi`` or ``choices``."""

    key: str
    lo: float = 0.0
    hi: float = 0.0
    whole: bool = False
    choices: tuple[str, ...] = ()

    def suggest(self, trial: Trial) -> str:
        """The trial's value, as ``--set`` takes it."""
        if self.choices:
            return str(trial.suggest_categorical(self.key, list(self.choices)))
        log = self.lo > 0 and self.hi / self.lo >= LOG_SPAN
        if self.whole:
            return str(trial.suggest_int(self.key, int(self.lo), int(self.hi), log=log))
        return repr(trial.suggest_float(self.key, self.lo, self.hi, log=log))


@dataclass(frozen=True)
class Budget:
    """Where the search ends: whichever comes first. ``minutes`` 0: no limit."""

    trials: int = 20
    minutes: float = 0.0


@dataclass(frozen=True)
class Wish:
    """What to tune: the experiment's text and its file's name, what to vary, when to stop, where to keep the study."""

    text: str
    where: str
    vary: tuple[Vary, ...]
    budget: Budget
    folder: Path
    data: Path | None


class _Enough(Exception):  # noqa: N818 - not an error: the trial has its value
    """Training is over."""


@dataclass(frozen=True)
class Tuned:
    """The best trial: its settings and value, the value of the file as it stands, and how many trials there are."""

    settings: dict[str, str]
    value: float
    as_it_stands: float
    trials: int
    pruned: int


def vary(text: str) -> Vary:
    """Read ``TABLE.KEY=LOW..HIGH`` or ``TABLE.KEY=A|B|C``.

    Raises:
        UsageError: it is neither.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    found = re.fullmatch(r"(-?[0-9.eE+-]+?)\.\.(-?[0-9.eE+-]+)", value)
    try:
        if equals and key and found:
            lo, hi = float(found[1]), float(found[2])
            whole = "." not in found[1] + found[2] and "e" not in value.lower()
            if lo < hi:
                return Vary(key, lo, hi, whole)
        elif equals and key and "|" in value:
            return Vary(key, choices=tuple(part.strip() for part in value.split("|")))
    except ValueError:
        pass
    raise UsageError(f"--vary {text!r} should be TABLE.KEY=LOW..HIGH or TABLE.KEY=A|B|C")


def usual(experiment: Experiment) -> tuple[Vary, ...]:
    """What is varied where nothing is named: the learning rate, the server's momentum, weighting, and the strategies' own."""
    rate = experiment.training.learning_rate
    found = [
        Vary("training.learning_rate", rate / 4, rate * 4),
        Vary("rounds.weighting", choices=("rows", "sqrt", "uniform")),
        Vary("training.class_weighting", choices=("none", "sqrt", "balanced")),
    ]
    if experiment.server.name == "sgd":
        found.append(Vary("server.momentum", choices=("0.0", "0.5", "0.8", "0.9")))
    if not experiment.model.unsupervised:
        found.append(Vary("training.logit_adjustment", choices=("0.0", "0.3", "1.0")))
    own = {
        "fedprox": ("mu", 0.001, 1.0),
        "feddyn": ("mu", 0.01, 1.0),
        "term": ("tilt", 0.1, 3.0),
        "afl": ("rate", 0.02, 0.5),
        "moon": ("mu", 0.1, 10.0),
    }
    if experiment.algorithm.name in own:
        key, lo, hi = own[experiment.algorithm.name]
        found.append(Vary(f"algorithm.{key}", lo, hi))
    return tuple(found)


def tune(wish: Wish, emit: Emit) -> Tuned:
    """Search until the budget is spent; goes on with a study that is there.

    Raises:
        UsageError: Optuna is not installed, or the folder holds a study of other settings.
        ConfigError, DataError: the experiment or the data is wrong.
    """
    try:
        import optuna
    except ImportError as error:
        raise UsageError('wardround tune needs Optuna: pip install "wardround[tune]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    wish.folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="wardround",
        storage=f"sqlite:///{wish.folder / 'study.db'}",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
    )
    seed = parse(wish.text, simulated(), wish.where).seed + len(study.trials)  # a search that goes on draws anew
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    _same(study, wish)
    if not any(trial.state.is_finished() for trial in study.trials):
        study.enqueue_trial({}, user_attrs={"as_it_stands": True})
    began, done = time.monotonic(), sum(1 for trial in study.trials if trial.state.is_finished())
    emit(StageStarted("tune", "trials", wish.budget.trials))
    while done < wish.budget.trials:
        if wish.budget.minutes and time.monotonic() - began > 60 * wish.budget.minutes:
            break
        _one(study, wish)
        done += 1
        emit(StageProgress("tune", done, wish.budget.trials))
        _write(study, wish)
    return _best(study)


def _same(study: Any, wish: Wish) -> None:
    about = json.dumps([wish.text, [repr(v) for v in wish.vary]])
    before = study.user_attrs.get("about")
    if before is not None and before != about:
        raise UsageError(f"{wish.folder} holds a study of another experiment or other settings: name another --folder")
    study.set_user_attr("about", about)


def _one(study: Any, wish: Wish) -> None:
    """Run one trial; a setting that the experiment refuses is a trial that failed, not the end."""
    import optuna

    trial = study.ask()
    first = bool(trial.user_attrs.get("as_it_stands"))
    sets = [] if first else [f"{one.key}={one.suggest(trial)}" for one in wish.vary]
    trial.set_user_attr("sets", sets)
    try:
        value = _value(wish, sets, None if first else trial)
        study.tell(trial, value)
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except ConfigError as error:
        if first:
            raise
        trial.set_user_attr("refused", str(error))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    except BaseException:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise


def _value(wish: Wish, sets: Sequence[str], trial: Trial | None) -> float:
    """Best validation score of a run with ``sets``.

    Raises:
        optuna.TrialPruned: the run does worse than most did at this point.
    """
    from optuna import TrialPruned

    best = -math.inf

    def heard(event: Event) -> None:
        nonlocal best
        if isinstance(event, StageDone) and event.stage == "federate":
            raise _Enough  # no trial needs test scores, a report or a bundle
        if not isinstance(event, Measured) or event.part != "validation":
            return
        score = event.macro_f1 if math.isfinite(event.macro_f1) else event.roc_auc
        best = max(best, score if math.isfinite(score) else -math.inf)
        if trial is not None:
            trial.report(best, event.round)
            if trial.should_prune():
                raise TrialPruned

    text = override(wish.text, [*BARE, *sets], wish.where)
    with tempfile.TemporaryDirectory(prefix="wardround-tune-") as runs, suppress(_Enough):
        start_run(text, wish.where, Options(wish.data, Path(runs), None, "wardround tune"), heard)
    return best if math.isfinite(best) else 0.0


def _best(study: Any) -> Tuned:
    finished = [t for t in study.trials if t.value is not None and t.state.name == "COMPLETE"]
    if not finished:
        raise WardroundError("no trial finished: give the search more time")
    best = max(finished, key=lambda t: t.value)
    settings = dict(setting.split("=", 1) for setting in best.user_attrs["sets"])
    first = next((t.value for t in finished if t.user_attrs.get("as_it_stands")), math.nan)
    pruned = sum(1 for t in study.trials if t.state.name == "PRUNED")
    return Tuned(settings, best.value, first, len(study.trials), pruned)


def _write(study: Any, wish: Wish) -> None:
    """trials.json, and best.toml: the experiment with the best settings so far."""
    rows = [
        {
            "number": t.number,
            "state": t.state.name,
            "value": t.value,
            **{k: t.user_attrs.get(k) for k in ("sets", "refused")},
        }
        for t in study.trials
    ]
    _replace(wish.folder / "trials.json", json.dumps(rows, indent=1) + "\n")
    best = _best(study)
    said = f"# {wish.where} tuned: validation {best.value:.4f}, as it stood {best.as_it_stands:.4f}, {best.trials} trials\n"
    _replace(
        wish.folder / "best.toml",
        said + override(wish.text, [f"{k}={v}" for k, v in best.settings.items()], wish.where),
    )


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
