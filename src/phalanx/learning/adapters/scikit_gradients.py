"""The log loss of a linear scikit-learn classifier, with exact per-example gradients. Needs scikit-learn.

scikit_model(LogisticRegression(), features=30, classes=2)      # its own training; no example-level privacy
scikit_gradients(LogisticRegression(), features=30, classes=2)  # the same model, and example-level privacy works
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression, SGDClassifier

from phalanx.errors import ConfigError
from phalanx.learning.adapters.scikit_estimator import fitted_like
from phalanx.learning.contract import Model, Tensors
from phalanx.learning.data import Array, Labels
from phalanx.types import F64


def scikit_gradients(estimator: Any, *, features: int, classes: int) -> Model:
    """LogisticRegression (multinomial) or SGDClassifier(loss="log_loss") (each class against the rest) by its gradient.

    Tensors and predictions are those of `scikit_model`. The loss alone: the estimator's penalty, solver and learning
    rate play no part. Raises ConfigError for other estimators and losses, and for class weights.
    """
    linear = isinstance(estimator, LogisticRegression | SGDClassifier)
    if not linear or getattr(estimator, "loss", "log_loss") != "log_loss" or estimator.class_weight is not None:
        raise ConfigError(
            f"per-example gradients are not available yet for {estimator!r}",
            hint="LogisticRegression() and SGDClassifier(loss='log_loss') without class_weight have them; "
            "use scikit_model, without example-level privacy",
        )
    fitted, rest = fitted_like(estimator, features, classes), isinstance(estimator, SGDClassifier)

    def residuals(model: Tensors, x: Array, y: Labels) -> F64:
        """(n, rows): the derivative of each example's loss by its scores."""
        scores = np.asarray(x, np.float64) @ model["coef_"].T.astype(np.float64) + model["intercept_"]
        truth = np.arange(classes) == y[:, None]
        if classes == 2 or rest:
            return np.asarray(expit(scores) - truth[:, -scores.shape[1] :])
        return np.asarray(softmax(scores, axis=1) - truth)

    def named(coefficients: F64, intercepts: F64) -> Tensors:
        return {"coef_": coefficients} | ({"intercept_": intercepts} if estimator.fit_intercept else {})

    def per_example_gradients(model: Tensors, x: Array, y: Labels) -> Tensors:
        by_score = residuals(model, x, y)
        return named(by_score[:, :, None] * x[:, None, :], by_score)

    def gradient(model: Tensors, x: Array, y: Labels) -> Tensors:
        by_score = residuals(model, x, y)
        return named(by_score.T @ x / len(x), by_score.mean(axis=0))

    return Model(
        classes=classes,
        initial_model=fitted.initial_model,
        predict=fitted.predict,
        per_example_gradients=per_example_gradients,
        gradient=gradient,
        logits=fitted.logits,
    )
