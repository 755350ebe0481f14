"""A scikit-learn classifier as a `Model` that trains as the estimator itself does. Needs scikit-learn.

| estimator          | a round of training                                                                          |
|--------------------|----------------------------------------------------------------------------------------------|
| SGDClassifier      | `local_epochs` calls of partial_fit; a learning rate that falls goes on falling over rounds  |
| LogisticRegression | `local_epochs` iterations of its solver from the given model, in place of its max_iter       |
| MLPClassifier      | `local_epochs` calls of partial_fit, with a fresh optimiser (Adam, momentum)                 |

Labels are 0 … classes-1; a member need not hold them all. For example-level privacy use `scikit_gradients`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from phalanx.errors import ConfigError
from phalanx.learning.adapters.scikit_estimator import fitted_like, parameters_of
from phalanx.learning.contract import Model, Tensors
from phalanx.learning.data import Array, Labels
from phalanx.types import F64


def scikit_model(estimator: Any, *, features: int, classes: int, local_epochs: int = 1) -> Model:
    """`estimator` as a `Model` for inputs (n, features). It is cloned without what it was fitted to, never changed.

    The order of examples comes from its random_state and the round, so that runs repeat. Numbers that run away give
    NaN, which screening refuses by name. Raises ConfigError for other estimators and for settings that have no
    meaning over rounds.
    """
    fitted = fitted_like(estimator, features, classes)
    _refuse(estimator.get_params())
    if local_epochs < 1:
        raise ConfigError(f"local_epochs must be at least 1, got {local_epochs}")

    def train(model: Tensors, x: Array, y: Labels, /, *, round: int) -> Tensors:
        here = fitted.holding(model)
        here.t_ += (round - 1) * local_epochs * len(x)
        try:
            _go_on(here, np.asarray(x, np.float64), y, classes, _seeds(here, round, local_epochs))
        except ValueError as error:
            if not any(said in str(error) for said in ("non-finite", "overflow")):
                raise
            return {name: np.full_like(value, np.nan) for name, value in model.items()}
        return {name: value - model[name] for name, value in parameters_of(here).items()}

    try:  # scikit-learn checks the settings of an estimator that was never fitted, and only of such a one
        trial = np.zeros((classes, features))
        _go_on(clone(estimator), trial, np.arange(classes), classes, _seeds(estimator, 1, 1))
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{estimator!r} cannot train over rounds: {error}") from error
    return Model(
        classes=classes,
        initial_model=fitted.initial_model,
        predict=fitted.predict,
        train=train,
        logits=fitted.logits,
    )


def _refuse(settings: dict[str, Any]) -> None:
    """Raises ConfigError for what keeps more than the model, starts anew, or goes by what a member happens to hold."""
    unfit = {"solver": "liblinear", "class_weight": "balanced"}
    for name in ("average", "early_stopping", "solver", "class_weight"):
        found = settings.get(name)
        if found and found == unfit.get(name, found):
            raise ConfigError(f"{name}={found!r} has no meaning over rounds", hint=f"leave {name} out")


def _seeds(estimator: Any, round: int, epochs: int) -> list[int]:
    return [int(seed) for seed in np.random.SeedSequence([estimator.random_state or 0, round]).generate_state(epochs)]


def _go_on(estimator: Any, x: F64, y: Labels, classes: int, seeds: list[int]) -> None:
    """Trains from the parameters that `estimator` holds, an epoch or an iteration for each seed."""
    every = np.arange(classes)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", UserWarning)  # not converged yet, which is meant; a batch larger than the data
        if not isinstance(estimator, LogisticRegression):
            for seed in seeds:
                estimator.set_params(random_state=seed).partial_fit(x, y, classes=every)
            return
        missing = np.setdiff1d(every, y)  # fit knows only the classes that it sees: a row of weight 0 for each
        weights = np.repeat([1.0, 0.0], [len(x), len(missing)])
        estimator.set_params(warm_start=True, max_iter=len(seeds), random_state=seeds[0])
        estimator.fit(np.vstack([x, np.zeros((len(missing), x.shape[1]))]), np.append(y, missing), weights)
