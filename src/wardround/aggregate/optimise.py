"""Server optimisers: the round's combined change of the model taken as a gradient step at the server.

    sgd      w <- w + lr * v,  v <- momentum * v + delta       McMahan et al., AISTATS 2017; momentum: Hsu et al., 2019
    adagrad  u <- u + delta^2                                  |  Reddi et al., "Adaptive Federated Optimization",
    yogi     u <- u - (1 - b2) delta^2 sign(u - delta^2)       |  ICLR 2021, Algorithm 2:
    adam     u <- b2 u + (1 - b2) delta^2                      |  m <- b1 m + (1 - b1) delta
                                                               |  w <- w + lr m / (sqrt(u) + tau)

``delta`` [d] is the clients' combined change, i.e. minus the pseudo-gradient. As in the paper there is no bias
correction, and u starts at tau^2. Law: ``sgd`` with learning rate 1 and no momentum is plain FedAvg, exactly.

State is passed in and returned, float64, never changed in place. What it does not do: gate its input; the rule's
gate (gate.py) has done that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from wardround.arrays import F32, F64
from wardround.wire import message


@message(0x4101)
@dataclass(frozen=True, eq=False)
class OptimiserState:
    """What an optimiser remembers: ``first`` and ``second`` moment, [d] or empty where the optimiser keeps none."""

    first: F64
    second: F64


class ServerOptimiser(Protocol):
    """Turns the combined change into the next model."""

    name: ClassVar[str]

    def init(self, d: int) -> OptimiserState:
        """State before the first round of a model with ``d`` parameters."""
        ...

    def apply(self, state: OptimiserState, parameters: F32, delta: F32) -> tuple[F32, OptimiserState]:
        """(next parameters [d], next state) from the parameters [d] and the combined change ``delta`` [d].

        Raises:
            ValueError: parameters, delta and state are not of one length.
        """
        ...


@dataclass(frozen=True)
class SGD:
    """The combined change as a gradient step; the defaults are plain FedAvg.

    Attributes:
        learning_rate: how far the model follows the combined change; 1 takes it as it is.
        momentum: share of the last step that is kept (FedAvgM); 0 for none.
    """

    name: ClassVar[str] = "sgd"
    learning_rate: float = 1.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _check(self.learning_rate, momentum=self.momentum)

    def init(self, d: int) -> OptimiserState:
        return OptimiserState(np.zeros(d if self.momentum else 0), np.zeros(0))

    def apply(self, state: OptimiserState, parameters: F32, delta: F32) -> tuple[F32, OptimiserState]:
        if self.momentum == 0.0:
            _fit(parameters, delta)
            return parameters + np.float32(self.learning_rate) * delta, state
        _fit(parameters, delta, state.first)
        velocity = self.momentum * state.first + delta
        return _moved(parameters, self.learning_rate * velocity), OptimiserState(velocity, state.second)


@dataclass(frozen=True)
class Adagrad:
    """FedAdagrad: steps shrink where changes have been large (Reddi et al. 2021, Algorithm 2).

    Attributes:
        learning_rate: the paper's eta.
        beta1: share of the last mean change that is kept; the paper uses 0 for FedAdagrad.
        tau: smallest denominator, the degree of adaptivity.
    """

    name: ClassVar[str] = "adagrad"
    learning_rate: float = 0.01
    beta1: float = 0.0
    tau: float = 1e-3

    def __post_init__(self) -> None:
        _check(self.learning_rate, beta1=self.beta1)
        _check_tau(self.tau)

    def init(self, d: int) -> OptimiserState:
        return _adaptive_init(d, self.tau)

    def apply(self, state: OptimiserState, parameters: F32, delta: F32) -> tuple[F32, OptimiserState]:
        _fit(parameters, delta, state.first, state.second)
        first = _first(self.beta1, state, delta)
        second = state.second + _squared(delta)
        return _adaptive_step(self, parameters, first, second)


@dataclass(frozen=True)
class Yogi:
    """FedYogi: like Adam, but the second moment moves by at most (1 - beta2) delta^2 (Reddi et al. 2021, Algorithm 2).

    Attributes:
        learning_rate: the paper's eta.
        beta1: share of the last mean change that is kept.
        beta2: how slowly the second moment follows.
        tau: smallest denominator, the degree of adaptivity.
    """

    name: ClassVar[str] = "yogi"
    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        _check(self.learning_rate, beta1=self.beta1, beta2=self.beta2)
        _check_tau(self.tau)

    def init(self, d: int) -> OptimiserState:
        return _adaptive_init(d, self.tau)

    def apply(self, state: OptimiserState, parameters: F32, delta: F32) -> tuple[F32, OptimiserState]:
        _fit(parameters, delta, state.first, state.second)
        first, squared = _first(self.beta1, state, delta), _squared(delta)
        second = state.second - (1 - self.beta2) * squared * np.sign(state.second - squared)
        return _adaptive_step(self, parameters, first, second)


@dataclass(frozen=True)
class Adam:
    """FedAdam: steps are scaled by the running size of the changes (Reddi et al. 2021, Algorithm 2).

    Attributes:
        learning_rate: the paper's eta.
        beta1: share of the last mean change that is kept.
        beta2: share of the last second moment that is kept.
        tau: smallest denominator, the degree of adaptivity.
    """

    name: ClassVar[str] = "adam"
    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        _check(self.learning_rate, beta1=self.beta1, beta2=self.beta2)
        _check_tau(self.tau)

    def init(self, d: int) -> OptimiserState:
        return _adaptive_init(d, self.tau)

    def apply(self, state: OptimiserState, parameters: F32, delta: F32) -> tuple[F32, OptimiserState]:
        _fit(parameters, delta, state.first, state.second)
        first = _first(self.beta1, state, delta)
        second = self.beta2 * state.second + (1 - self.beta2) * _squared(delta)
        return _adaptive_step(self, parameters, first, second)


OPTIMISERS = (SGD, Adagrad, Yogi, Adam)


def _adaptive_init(d: int, tau: float) -> OptimiserState:
    return OptimiserState(np.zeros(d), np.full(d, tau**2))


def _first(beta1: float, state: OptimiserState, delta: F32) -> F64:
    return beta1 * state.first + (1 - beta1) * delta


def _squared(delta: F32) -> F64:
    return np.square(delta, dtype=np.float64)  # in float32 a change below 1e-19 would square to nothing


def _adaptive_step(rule: Adagrad | Yogi | Adam, parameters: F32, first: F64, second: F64) -> tuple[F32, OptimiserState]:
    step = rule.learning_rate * first / (np.sqrt(second) + rule.tau)
    return _moved(parameters, step), OptimiserState(first, second)


def _moved(parameters: F32, step: F64) -> F32:
    return (parameters + step).astype(np.float32)


def _fit(parameters: F32, *others: F32 | F64) -> None:
    for other in others:
        if other.shape != parameters.shape:
            raise ValueError(
                f"the model has {parameters.shape} parameters, the change or the optimiser's state {other.shape}"
            )


def _check(learning_rate: float, **shares: float) -> None:
    if not 0 < learning_rate < np.inf:
        raise ValueError(f"learning_rate must be positive, not {learning_rate}")
    for key, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"{key} must lie in [0, 1), not {share}")


def _check_tau(tau: float) -> None:
    if not 0 < tau < np.inf:
        raise ValueError(f"tau must be positive, not {tau}")
