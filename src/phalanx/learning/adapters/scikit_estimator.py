"""A scikit-learn estimator that holds whatever parameters it is given, as if it had been fitted. Needs scikit-learn.

| estimator          | tensors                                                                            |
|--------------------|------------------------------------------------------------------------------------|
| SGDClassifier      | coef_ (rows, features), intercept_ (rows,): from zero; a row for each class, one   |
| LogisticRegression | row for two classes                                                                |
| MLPClassifier      | coefs_.i (from, to), intercepts_.i (to,): from its random_state, 0 if it has none  |
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier

from phalanx.errors import ConfigError
from phalanx.learning.contract import Tensors
from phalanx.learning.data import Array, Labels
from phalanx.types import F64


@dataclass(frozen=True, slots=True)
class Fitted:
    """`template` has every attribute of a fitted estimator and is never changed; it computes in float64."""

    template: Any

    def initial_model(self) -> Tensors:
        """As in the module's table."""
        return {name: value.astype(np.float32) for name, value in parameters_of(self.template).items()}

    def holding(self, model: Tensors) -> Any:
        """A copy of the estimator with the parameters of `model`."""
        fitted = copy.deepcopy(self.template)
        for name, place in parameters_of(fitted).items():
            place[...] = model[name]
        return fitted

    def predict(self, model: Tensors, x: Array) -> Labels:
        """The estimator's own labels; -1 where a score is not finite or classes share the highest, as in zeros."""
        if len(x) == 0:
            return np.empty(0, np.int64)  # scikit-learn refuses to predict nothing
        fitted = self.holding(model)
        with np.errstate(all="ignore"):
            scores = _scores(fitted, x)
            lead = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) == 1
            return np.where(np.isfinite(scores).all(axis=1) & lead, fitted.predict(x), -1)

    def logits(self, model: Tensors, x: Array) -> F64:
        """(n, classes) whose softmax is the estimator's confidence: of an MLPClassifier the logarithm of it."""
        fitted = self.holding(model)
        with np.errstate(all="ignore"):
            scores = _scores(fitted, x)
            if isinstance(fitted, MLPClassifier):
                return np.log(np.maximum(scores, np.finfo(np.float64).tiny))
            return scores / 2 if scores.shape[1] == 2 else scores  # of two classes it is ± the one score


def fitted_like(estimator: Any, features: int, classes: int) -> Fitted:
    """A clone of `estimator` at its initial parameters. Raises ConfigError for what is not in the module's table."""
    if not isinstance(estimator, SGDClassifier | LogisticRegression | MLPClassifier):
        raise ConfigError(
            f"not available yet: {type(estimator).__name__}; available: SGDClassifier, LogisticRegression, "
            "MLPClassifier, whose parameters are a vector of a fixed length",
            hint="a tree, a forest or a boosted model is no such vector, so no rule, clip or noise applies to it; a "
            "pipeline's scaling goes into load()",
        )
    template, rows = clone(estimator), 1 if classes == 2 else classes
    if isinstance(template, MLPClassifier):
        template.set_params(random_state=template.random_state or 0, batch_size="auto")
        try:
            template.partial_fit(np.zeros((classes, features)), np.arange(classes), classes=np.arange(classes))
        except (AttributeError, ValueError) as error:
            raise ConfigError(f"{estimator!r} cannot train over rounds: {error}") from error
        del template._optimizer  # its moments are of the made-up examples
        template.set_params(batch_size=estimator.batch_size)
    else:
        template.coef_, template.intercept_ = np.zeros((rows, features)), np.zeros(rows)
        template.classes_, template.n_features_in_ = np.arange(classes), features
    template.t_ = 0 if isinstance(template, MLPClassifier) else 1.0  # examples seen, where learning rates fall with it
    return Fitted(template)


def _scores(fitted: Any, x: Array) -> F64:
    """(n, classes): the higher, the more is the estimator for that class."""
    scores: F64 = fitted.predict_proba(x) if isinstance(fitted, MLPClassifier) else fitted.decision_function(x)
    return scores if scores.ndim == 2 else np.column_stack([-scores, scores])


def parameters_of(fitted: Any) -> Tensors:
    """The estimator's own arrays by name, to read or to write into."""
    if not isinstance(fitted, MLPClassifier):
        return {"coef_": fitted.coef_, "intercept_": fitted.intercept_}
    pairs = (("coefs_", fitted.coefs_), ("intercepts_", fitted.intercepts_))
    return {f"{name}.{i}": value for name, values in pairs for i, value in enumerate(values)}
