"""scikit-learn estimators as a `Model`, against what scikit-learn itself computes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

from phalanx.errors import ConfigError
from phalanx.learning.adapters.scikit import scikit_model
from phalanx.learning.adapters.scikit_gradients import scikit_gradients
from phalanx.learning.contract import Tensors
from phalanx.learning.data import Labels

RNG = np.random.default_rng(8)
X = RNG.normal(size=(60, 4)).astype(np.float32)
ESTIMATORS: list[Any] = [
    SGDClassifier(),
    SGDClassifier(loss="log_loss", random_state=4),
    LogisticRegression(),
    LogisticRegression(fit_intercept=False, solver="saga"),
    MLPClassifier((6, 3), random_state=2, batch_size=16),
]
OURS = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda one: type(one).__name__)
CLASSES = pytest.mark.parametrize("classes", [2, 3])


def labels(classes: int) -> Labels:
    return (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0) * (classes - 2)


def held_by(fitted: Any) -> Tensors:
    """The parameters of a fitted estimator by our names."""
    if not isinstance(fitted, MLPClassifier):
        return {"coef_": fitted.coef_, "intercept_": np.broadcast_to(fitted.intercept_, len(fitted.coef_))}
    pairs = (("coefs_", fitted.coefs_), ("intercepts_", fitted.intercepts_))
    return {f"{name}.{i}": value for name, values in pairs for i, value in enumerate(values)}


def after(model: Tensors, delta: Any) -> Tensors:
    return {name: (value + delta[name]).astype(np.float32) for name, value in model.items()}


@CLASSES
@OURS
def test_a_fitted_estimators_parameters_predict_what_it_predicts(estimator: Any, classes: int) -> None:
    fitted = clone(estimator).set_params(max_iter=2000).fit(X.astype(np.float64), labels(classes))
    model = scikit_model(estimator, features=4, classes=classes)
    tensors = {name: value.astype(np.float32) for name, value in held_by(fitted).items()}
    assert {name: value.shape for name, value in tensors.items()} == {
        name: value.shape for name, value in model.initial_model().items()
    }
    assert (model.predict(tensors, X) == fitted.predict(X)).all()


@CLASSES
@OURS
def test_zeros_are_no_prediction_and_a_network_starts_from_its_seed(estimator: Any, classes: int) -> None:
    """Off twin: scikit-learn says class 0 of everything with coefficients of zero."""
    model = scikit_model(estimator, features=4, classes=classes)
    start = model.initial_model()
    assert all(value.dtype == np.float32 for value in start.values())
    assert model.predict(start, X[:0]).shape == (0,)
    if isinstance(estimator, MLPClassifier):
        assert start["coefs_.0"].any()
        other = scikit_model(clone(estimator).set_params(random_state=3), features=4, classes=classes)
        assert (other.initial_model()["coefs_.0"] != start["coefs_.0"]).any()
        return
    assert not any(value.any() for value in start.values())
    assert (model.predict(start, X) == -1).all()
    zero = clone(estimator).set_params(max_iter=2000).fit(X, labels(classes))
    zero.coef_, zero.intercept_ = np.zeros_like(zero.coef_), np.zeros(len(zero.coef_))
    assert (zero.predict(X) == 0).all()


@CLASSES
@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_rounds_of_one_member_are_scikit_learns_own_partial_fit(loss: str, classes: int) -> None:
    estimator, y = SGDClassifier(loss=loss, random_state=4), labels(classes)
    model, theirs = scikit_model(estimator, features=4, classes=classes), clone(estimator)
    assert model.train
    here = model.initial_model()
    for round in (1, 2, 3):
        seed = int(np.random.SeedSequence([4, round]).generate_state(1)[0])
        theirs.set_params(random_state=seed).partial_fit(X.astype(np.float64), y, classes=np.arange(classes))
        here = after(here, model.train(here, X, y, round=round))
        assert np.allclose(here["coef_"], theirs.coef_, rtol=1e-4, atol=1e-4)  # ours is float32 between rounds
        assert np.allclose(here["intercept_"], theirs.intercept_, rtol=1e-4, atol=1e-4)


@CLASSES
def test_a_round_of_a_network_is_partial_fit_from_the_given_model(classes: int) -> None:
    estimator, y = MLPClassifier((6,), random_state=2, solver="sgd"), labels(classes)
    model, theirs = scikit_model(estimator, features=4, classes=classes, local_epochs=2), clone(estimator)
    assert model.train
    start = model.initial_model()
    theirs.partial_fit(X.astype(np.float64), y, classes=np.arange(classes))
    del theirs._optimizer
    for name, place in held_by(theirs).items():
        place[...] = start[name]
    for seed in np.random.SeedSequence([2, 1]).generate_state(2):
        theirs.set_params(random_state=int(seed)).partial_fit(X.astype(np.float64), y)
    delta = model.train(start, X, y, round=1)
    for name, value in held_by(theirs).items():
        assert np.allclose(start[name] + delta[name], value, rtol=1e-12, atol=1e-12)


@CLASSES
def test_a_round_of_logistic_regression_is_its_solver_from_the_given_model(classes: int) -> None:
    y, model = labels(classes), scikit_model(LogisticRegression(), features=4, classes=classes, local_epochs=200)
    assert model.train
    found = after(model.initial_model(), model.train(model.initial_model(), X, y, round=1))
    best = LogisticRegression(max_iter=200).fit(X.astype(np.float64), y)
    assert np.allclose(found["coef_"], best.coef_, rtol=1e-3, atol=1e-3)
    one_step = scikit_model(LogisticRegression(), features=4, classes=classes)
    assert one_step.train
    first, again = (one_step.train(here, X, y, round=1) for here in (one_step.initial_model(), found))
    assert np.abs(first["coef_"]).max() > 0.1
    assert np.abs(again["coef_"]).max() < 1e-2  # it started where it had stopped


@OURS
@pytest.mark.parametrize("missing", [0, 2])
def test_a_member_without_a_class_trains_the_same_tensors(estimator: Any, missing: int) -> None:
    """Off twin: scikit-learn's own fit forgets the class, and its coefficients have another shape."""
    y = labels(3)
    x, y = X[y != missing], y[y != missing]
    model = scikit_model(estimator, features=4, classes=3)
    assert model.train
    delta = model.train(model.initial_model(), x, y, round=1)
    assert {name: value.shape for name, value in delta.items()} == {
        name: value.shape for name, value in model.initial_model().items()
    }
    assert all(np.isfinite(value).all() for value in delta.values())
    if isinstance(estimator, LogisticRegression):  # the others are told the classes in partial_fit
        assert clone(estimator).set_params(max_iter=2000).fit(x, y).coef_.shape == (1, 4)


def test_the_row_of_weight_zero_for_a_missing_class_is_not_learned_from() -> None:
    """The objective is that of the two classes there are: the best of it gives the missing class no chance."""
    y = labels(3)
    x, y = X[y != 2], y[y != 2]
    model = scikit_model(LogisticRegression(), features=4, classes=3, local_epochs=500)
    assert model.train
    here = after(model.initial_model(), model.train(model.initial_model(), x, y, round=1))
    scores = x @ here["coef_"].T + here["intercept_"]
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert chances[:, 2].max() < 0.01


@CLASSES
@OURS
def test_runs_repeat_and_rounds_differ_and_nothing_given_is_changed(estimator: Any, classes: int) -> None:
    y, before = labels(classes), copy.deepcopy(vars(estimator))

    def run(round: int) -> list[bytes]:
        model = scikit_model(estimator, features=4, classes=classes)
        assert model.train
        start = model.initial_model()
        kept, state = copy.deepcopy(start), np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
        delta = model.train(start, X, y, round=round)
        assert all((start[name] == kept[name]).all() for name in start)
        assert (np.random.get_state(legacy=False)["state"]["key"] == state).all()  # noqa: NPY002
        return [value.tobytes() for value in delta.values()]

    assert run(1) == run(1)
    if not (isinstance(estimator, LogisticRegression) and estimator.solver == "lbfgs"):  # which draws nothing
        assert run(1) != run(2)
    assert vars(estimator) == before


@given(seed=st.integers(0, 2**32 - 1), estimator=st.sampled_from(ESTIMATORS), classes=st.sampled_from([2, 3]))
@settings(max_examples=30, deadline=None)
def test_the_tensors_given_are_the_tensors_used(seed: int, estimator: Any, classes: int) -> None:
    """Round trip: a delta on top of any model is relative to exactly that model."""
    rng = np.random.default_rng(seed)
    model = scikit_model(estimator, features=4, classes=classes)
    assert model.train
    start = {name: rng.normal(size=value.shape).astype(np.float32) for name, value in model.initial_model().items()}
    if not isinstance(estimator, MLPClassifier):
        scores = X.astype(np.float64) @ start["coef_"].T.astype(np.float64) + start["intercept_"]
        expected = scores.argmax(axis=1) if classes == 3 else (scores[:, 0] > 0).astype(np.int64)
        assert (model.predict(start, X) == expected).all()
    delta = model.train(start, X, labels(classes), round=1)
    assert all(np.isfinite(value).all() for value in delta.values())
    assert any(value.any() for value in delta.values())


@pytest.mark.parametrize(
    "estimator",
    [
        SGDClassifier(learning_rate="constant", eta0=1e10),
        MLPClassifier((6,), activation="identity", solver="sgd", batch_size=16),
    ],
)
def test_numbers_that_run_away_are_not_finite_and_no_exception(estimator: Any) -> None:
    """Off twin: scikit-learn raises, and the member would answer nothing."""
    x, y, model = X.astype(np.float64) * 1e300, labels(3), scikit_model(estimator, features=4, classes=3)
    assert model.train
    assert all(np.isnan(value).all() for value in model.train(model.initial_model(), x, y, round=1).values())
    theirs = clone(estimator).set_params(random_state=0)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"overflow|non-finite"):
        theirs.partial_fit(x, y, classes=np.arange(3))


@OURS
def test_a_hostile_models_numbers_raise_nothing(estimator: Any) -> None:
    model = scikit_model(estimator, features=4, classes=3)
    assert model.train
    huge = {name: np.full_like(value, 3e38) for name, value in model.initial_model().items()}
    assert sorted(model.train(huge, X * np.float32(1e30), labels(3), round=1)) == sorted(huge)
    assert (model.predict({name: value * np.nan for name, value in huge.items()}, X) == -1).all()


def test_an_infinite_score_is_no_prediction() -> None:
    model = scikit_model(LogisticRegression(), features=4, classes=3)
    assert (model.predict({**model.initial_model(), "intercept_": np.array([np.inf, 0, 0])}, X) == -1).all()


@CLASSES
@pytest.mark.parametrize("estimator", [LogisticRegression(), SGDClassifier(loss="log_loss")])
def test_per_example_gradients_equal_finite_differences_of_scikit_learns_loss(estimator: Any, classes: int) -> None:
    y, rng = labels(classes), np.random.default_rng(1)
    model = scikit_gradients(estimator, features=4, classes=classes)
    assert model.per_example_gradients and model.gradient and model.train is None
    shapes = {name: value.shape for name, value in model.initial_model().items()}
    here = {name: rng.normal(size=shape) for name, shape in shapes.items()}

    def losses(coef: Any, intercept: Any) -> Any:
        """Each example's log loss by scikit-learn: multinomial, or the sum over classes against the rest."""
        fitted = LogisticRegression()
        fitted.n_features_in_ = 4
        each, total = np.arange(len(y)), np.zeros(len(y))
        if isinstance(estimator, LogisticRegression) or classes == 2:
            fitted.classes_, fitted.coef_, fitted.intercept_ = np.arange(classes), coef, intercept
            return -np.log(fitted.predict_proba(X.astype(np.float64))[each, y])
        for c in range(classes):
            fitted.classes_, fitted.coef_, fitted.intercept_ = np.arange(2), coef[c : c + 1], intercept[c : c + 1]
            total -= np.log(fitted.predict_proba(X.astype(np.float64))[each, (y == c).astype(int)])
        return total

    rows, mean = model.per_example_gradients(here, X, y), model.gradient(here, X, y)
    step = 1e-5  # central differences are wrong by about step² and by rounding over step: both near 1e-10
    for name, value in here.items():
        for at in np.ndindex(value.shape):
            moved = {sign: {**here, name: value.copy()} for sign in (1, -1)}
            for sign, tensors in moved.items():
                tensors[name][at] += sign * step
            slope = (losses(*moved[1].values()) - losses(*moved[-1].values())) / (2 * step)
            assert np.allclose(rows[name][(slice(None), *at)], slope, atol=1e-7)
            assert np.allclose(mean[name][at], slope.mean(), atol=1e-7)


def test_an_intercept_that_is_not_fitted_gets_no_gradient() -> None:
    model = scikit_gradients(LogisticRegression(fit_intercept=False), features=4, classes=3)
    assert model.gradient and model.per_example_gradients
    assert list(model.gradient(model.initial_model(), X, labels(3))) == ["coef_"]
    assert list(model.per_example_gradients(model.initial_model(), X, labels(3))) == ["coef_"]


@pytest.mark.parametrize(
    "estimator", [DecisionTreeClassifier(), RandomForestClassifier(), GradientBoostingClassifier()]
)
def test_trees_forests_and_boosting_are_refused_with_the_reason(estimator: Any) -> None:
    with pytest.raises(ConfigError, match=f"not available yet: {type(estimator).__name__}") as refused:
        scikit_model(estimator, features=4, classes=3)
    assert "no such vector, so no rule, clip or noise applies" in refused.value.hint


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (SGDClassifier(average=True), "average=True has no meaning over rounds"),
        (SGDClassifier(early_stopping=True), "early_stopping=True has no meaning"),
        (LogisticRegression(solver="liblinear"), "solver='liblinear' has no meaning"),
        (LogisticRegression(class_weight="balanced"), "class_weight='balanced' has no meaning"),
        (MLPClassifier(early_stopping=True), "early_stopping"),
        (MLPClassifier(solver="lbfgs"), "cannot train over rounds: .*partial_fit"),
        (SGDClassifier(loss="hinges"), "cannot train over rounds: .*'hinges'"),
        (SGDClassifier(alpha=-1.0), "cannot train over rounds: .*'alpha'"),
        (SGDClassifier(random_state=-1), "cannot train over rounds: .*non-negative"),
    ],
)
def test_settings_without_a_meaning_over_rounds_are_refused_at_the_start(estimator: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scikit_model(estimator, features=4, classes=2)


def test_no_local_epoch_is_refused() -> None:
    with pytest.raises(ConfigError, match="local_epochs must be at least 1, got 0"):
        scikit_model(SGDClassifier(), features=4, classes=2, local_epochs=0)


@pytest.mark.parametrize(
    "estimator", [SGDClassifier(), MLPClassifier(), RandomForestClassifier(), LogisticRegression(class_weight={0: 2.0})]
)
def test_per_example_gradients_of_another_loss_are_refused(estimator: Any) -> None:
    with pytest.raises(ConfigError, match="per-example gradients are not available yet for") as refused:
        scikit_gradients(estimator, features=4, classes=2)
    assert "use scikit_model" in refused.value.hint
