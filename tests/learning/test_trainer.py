"""One trainer for every model: what travels, what stays, what is noised, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

from phalanx.errors import ConfigError
from phalanx.learning import Descent, LocalTrainer, MemberData, Model, private_mean
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Tensors
from phalanx.learning.data import Array, Labels
from phalanx.learning.descent import batch_of
from phalanx.learning.models import small_network, softmax_regression
from phalanx.learning.parts import views
from phalanx.types import F32, ExamplePrivacy, Trained, TrainTask
from tests.learning.numpy_models import each_gradient, linear_model, mean_gradient, some_data, start_of

PRIVACY = ExamplePrivacy(clip_l2=1.0, noise_multiplier=3.8, normaliser=25, epsilon=8.0, delta=1e-5)
PLAIN, PRIVATE = TrainTask(3, None), TrainTask(3, PRIVACY, b"k" * 32)
FULL = Descent(learning_rate=0.5, momentum=0.9)
ZERO = np.zeros(15, np.float32)  # bias (3,), weight (4, 3)
HEAD = ("bias",)


def trainer(settings: Descent = FULL, model: Model | None = None, **more: Any) -> LocalTrainer:
    return LocalTrainer(model or linear_model(), some_data(), settings, **more)


def trained_by(train: Callable[..., Any]) -> Model:
    return replace(linear_model(), gradient=None, per_example_gradients=None, train=train)


# ------------------------------------------------------------------------------------------------- plain and private


@pytest.mark.parametrize("lacks", ["gradient", "per_example_gradients"])
def test_a_plain_delta_is_the_mean_gradient_from_either_function(lacks: str) -> None:
    data = some_data()
    given = mean_gradient(linear_model().initial_model(), data.x_train.astype(np.float64), data.y_train)
    expected = -0.5 * np.concatenate([given["bias"], given["weight"].ravel()])
    without: dict[str, Any] = {lacks: None}
    trained = trainer(model=replace(linear_model(), **without)).train(ZERO, PLAIN, None)
    assert np.allclose(trained.delta, expected, rtol=1e-5, atol=1e-7)  # float32
    assert trained.delta.dtype == np.float32
    assert trained.examples == 30


def test_a_mini_batch_step_sees_the_rows_of_its_batch_and_no_other() -> None:
    seen: list[list[float]] = []

    def gradient(model: Tensors, x: Array, y: Labels) -> Tensors:
        seen.append(x[:, 0].tolist())
        return mean_gradient(model, x, y)

    settings, data = Descent(learning_rate=0.5, batch_size=7, local_steps=5), some_data()
    LocalTrainer(replace(linear_model(), gradient=gradient), data, settings).train(ZERO, PLAIN, None)
    assert seen == [data.x_train[batch_of(settings, 30, 3, step), 0].tolist() for step in range(5)]
    assert [len(one) for one in seen] == [7, 7, 7, 7, 2]


def test_a_private_delta_is_the_clipped_and_noised_mean_times_the_learning_rate() -> None:
    data = some_data()
    x = 9 * data.x_train  # so that the clip matters
    rows = each_gradient(linear_model().initial_model(), x, data.y_train)
    flat = np.concatenate([rows["bias"], rows["weight"].reshape(30, 12)], axis=1).astype(np.float32)
    assert np.linalg.norm(flat, axis=1).max() > PRIVACY.clip_l2
    expected = private_mean(flat, PRIVACY, PRIVATE.noise_key, round=3)
    mine = LocalTrainer(linear_model(), replace(data, x_train=x), Descent(learning_rate=1.0, momentum=0.9))
    trained = mine.train(ZERO, PRIVATE, None)
    assert (trained.delta == -expected).all()
    assert (trained.state == expected).all()  # the momentum, noised already


def test_under_privacy_the_claimed_examples_are_the_public_constant() -> None:
    assert trainer().train(ZERO, PRIVATE, None).examples == 25


def test_private_training_at_a_non_finite_model_is_noise_alone() -> None:
    noise = private_mean(np.zeros((1, 15), np.float32), PRIVACY, PRIVATE.noise_key, round=3)
    trained = trainer().train(np.full(15, np.nan, np.float32), PRIVATE, None)
    assert (trained.delta == np.float32(-0.5) * noise).all()


def test_a_member_that_learns_alone_finds_the_classes() -> None:
    mine = trainer(Descent(learning_rate=0.5, momentum=0.9, local_steps=60))
    delta = mine.train(ZERO, PLAIN, None).delta
    assert mine.accuracy(delta, None) == 1.0
    assert mine.accuracy(ZERO, None) == (some_data().y_held == 0).mean()


@pytest.mark.parametrize("task", [PLAIN, PRIVATE])
@pytest.mark.parametrize("local", [(), HEAD])
def test_the_same_inputs_give_the_same_bytes_and_are_left_alone(task: TrainTask, local: tuple[str, ...]) -> None:
    mine = trainer(local=local)
    model = np.linspace(-1, 1, mine.layout.d, dtype=np.float32)
    state = mine.train(model, task, None).state
    before = model.tobytes(), state.tobytes()
    first = mine.train(model, task, state)
    again = trainer(local=local).train(model, task, state)
    assert (first.delta.tobytes(), first.state.tobytes()) == (again.delta.tobytes(), again.state.tobytes())
    assert (model.tobytes(), state.tobytes()) == before
    first.state[:], first.delta[:] = np.nan, np.nan  # results are nobody else's memory
    assert mine.train(model, task, state).delta.tobytes() == again.delta.tobytes()


# --------------------------------------------------------------------------------------------------------------- state


def test_momentum_lasts_over_rounds_in_the_state() -> None:
    twice = trainer(replace(FULL, local_steps=2)).train(ZERO, PLAIN, None)
    once = trainer()
    first = once.train(ZERO, PLAIN, None)
    second = once.train(first.delta, PLAIN, first.state)
    assert np.allclose(first.delta + second.delta, twice.delta, rtol=0, atol=1e-6)
    assert np.allclose(second.state, twice.state, rtol=0, atol=1e-6)
    assert not np.allclose(once.train(first.delta, PLAIN, None).delta, second.delta, rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    ("settings", "local", "length"),
    [
        (FULL, (), 15),  # momentum
        (FULL, HEAD, 3 + 15),  # local, momentum
        (replace(FULL, momentum=0.0), (), 0),
        (replace(FULL, momentum=0.0, scaffold=True), (), 15),  # control variate
        (replace(FULL, momentum=0.0, scaffold=True), HEAD, 3 + 12),
    ],
)
def test_the_state_that_a_round_leaves_is_the_one_that_the_next_takes_apart(
    settings: Descent, local: tuple[str, ...], length: int
) -> None:
    mine = trainer(settings, local=local)
    d = mine.layout.d
    task = replace(PLAIN, control=np.zeros(d, np.float32) if settings.scaffold else None)
    state = mine.train(np.zeros(d, np.float32), task, None).state
    assert state.shape == (length,)
    assert (mine.unpack(state).joined() == state).all()
    assert state.all()  # nothing is kept that is not used
    with pytest.raises(ValueError, match=rf"of shape \({length},\), got float32 of \({length + 1},\)"):
        mine.train(np.zeros(d, np.float32), task, np.zeros(length + 1, np.float32))
    with pytest.raises(ValueError, match="state must be float32"):
        mine.train(np.zeros(d, np.float32), task, state.astype(np.float64))


@pytest.mark.parametrize("settings", [FULL, replace(FULL, momentum=0.0, scaffold=True)])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
def test_a_round_that_diverges_is_shown_in_the_delta_and_not_kept(settings: Descent, wrong: float) -> None:
    ruined = replace(linear_model(), gradient=lambda model, x, y: {"bias": np.full(3, wrong)})
    task = replace(PLAIN, control=ZERO if settings.scaffold else None)
    sound = trainer(settings).train(ZERO, task, None).state
    for state in (None, sound):
        trained = trainer(settings, ruined).train(ZERO, task, state)
        assert not np.isfinite(trained.delta[:3]).any()
        assert (trained.state == (np.zeros_like(sound) if state is None else state)).all()


def test_numbers_at_float32s_end_raise_nothing() -> None:
    top = np.full(12, np.finfo(np.float32).max)
    huge = replace(linear_model(), gradient=lambda model, x, y: {"weight": np.full((4, 3), -1e38)})
    mine = trainer(Descent(learning_rate=1e-3, scaffold=True, local_steps=3), huge, local=HEAD)
    state = mine.unpack(None).joined()
    state[-12:] = -top
    trained = mine.train(top, replace(PLAIN, control=top), state)
    assert not np.isfinite(trained.delta).all()
    assert (trained.state == state).all()


# ------------------------------------------------------------------------------------------------------ local tensors


def test_a_local_tensor_moves_at_the_member_and_never_travels() -> None:
    mine, whole = trainer(local=HEAD), trainer()
    assert [one.name for one in mine.layout.tensors] == ["weight"]
    first = mine.train(np.zeros(12, np.float32), PLAIN, None)
    everything = whole.train(ZERO, PLAIN, None).delta
    assert (first.delta == everything[3:]).all()
    assert (mine.unpack(first.state).local == everything[:3]).all()
    second = mine.train(first.delta, PLAIN, first.state)
    assert (mine.unpack(second.state).local != mine.unpack(first.state).local).all()


def test_a_local_tensor_starts_where_the_model_says() -> None:
    start = {"bias": np.array([1, 2, 3], np.float32), "weight": np.zeros((4, 3), np.float32)}
    mine = trainer(model=replace(linear_model(), initial_model=lambda: start), local=HEAD)
    assert mine.start(np.full(12, 7, np.float32), None).tolist() == [7.0] * 12 + [1, 2, 3]


def test_members_judge_candidates_with_their_own_local_tensors() -> None:
    mine, data = trainer(local=HEAD), some_data()
    shared = np.zeros(12, np.float32)

    def says(label: int) -> F32:
        state = mine.unpack(None).joined()
        state[label] = 1
        return state

    total = np.bincount(data.y_held, minlength=3)
    for label in range(3):
        tally = mine.evaluate(shared, shared, says(label))
        assert tally.right == tuple(np.where(np.arange(3) == label, total, 0))
        assert mine.accuracy(shared, says(label)) == total[label] / 10


def test_neither_prox_nor_control_variates_reach_a_local_tensor() -> None:
    plain = Descent(learning_rate=0.5, local_steps=2)
    seen: list[F32] = []
    for settings in (plain, replace(plain, prox=100.0), replace(plain, scaffold=True)):
        still = replace(linear_model(), gradient=lambda model, x, y: {"bias": np.ones(3)})
        mine = trainer(settings, still, local=HEAD)
        control = np.ones(12, np.float32) if settings.scaffold else None
        trained = mine.train(np.ones(12, np.float32), replace(PLAIN, control=control), None)
        seen.append(mine.unpack(trained.state).local)
        assert (trained.delta == (-1 if settings.scaffold else 0)).all()
    assert all((one == -1).all() for one in seen)


# ----------------------------------------------------------------------------- local tensors under example privacy

SPREAD = replace(PRIVACY, noise_multiplier=2.0, normaliser=1)
ROUND = TrainTask(3, SPREAD, b"k" * 32)


def without_one(data: MemberData) -> MemberData:
    return replace(data, x_train=data.x_train[1:], y_train=data.y_train[1:])


def loud(data: MemberData) -> MemberData:
    """The same with a first example whose gradient is as long as a thousand others."""
    return replace(data, x_train=np.concatenate([1000 * data.x_train[:1], data.x_train[1:]]))


@pytest.mark.parametrize("local", [(), ("weight",), HEAD])
def test_one_example_moves_shared_and_local_tensors_together_by_no_more_than_the_clip(local: tuple[str, ...]) -> None:
    settings, data = Descent(learning_rate=1.0), loud(some_data())
    moves = []
    for each in (data, without_one(data)):
        mine = LocalTrainer(linear_model(), each, settings, local=local)
        trained = mine.train(np.zeros(mine.layout.d, np.float32), ROUND, None)
        moves.append(np.concatenate([trained.delta, mine.unpack(trained.state).local]))
    apart = np.linalg.norm((moves[0] - moves[1]).astype(np.float64))  # the same noise in both
    assert apart == pytest.approx(SPREAD.clip_l2, abs=1e-4)  # float32 at numbers of about 10
    noise = private_mean(np.zeros((1, 15), np.float32), SPREAD, ROUND.noise_key, round=3)
    assert abs(noise[-3:]).min() > 0.1  # and local tensors have noise like the others


def test_clipping_the_shared_tensors_alone_would_leave_an_example_in_clear_in_the_local_one() -> None:
    """Off twin: the local tensor by plain steps, the shared one by DP-SGD, is what the trainer does not do."""
    data = loud(some_data())
    locals_ = []
    for each in (data, without_one(data)):
        given = each_gradient(linear_model().initial_model(), each.x_train, each.y_train)
        locals_.append(-given["weight"].sum(axis=0))  # a local weight that follows the sum without clip and noise
    moved = locals_[0] - locals_[1]
    assert np.linalg.norm(moved) > 100 * SPREAD.clip_l2
    cosines = [abs(column @ data.x_train[0]) / np.linalg.norm(column) for column in moved.T]
    assert np.allclose(cosines, np.linalg.norm(data.x_train[0]), rtol=1e-3)  # it is the example, column by column


# ------------------------------------------------------------------------------------------------------------ refresh


def centred_model(refresh: Callable[[Tensors, Array], Any] | None = None) -> Model:
    """A linear model of inputs minus `mean`, a tensor that no gradient moves: it follows the inputs."""

    def gradient(model: Tensors, x: Array, y: Labels) -> Tensors:
        return mean_gradient({name: model[name] for name in ("bias", "weight")}, x - model["mean"], y)

    def start() -> Tensors:
        return linear_model().initial_model() | {"mean": np.zeros(4, np.float32)}

    return Model(
        classes=3,
        initial_model=start,
        predict=lambda model, x: ((x - model["mean"]) @ model["weight"] + model["bias"]).argmax(axis=1),
        per_example_gradients=lambda model, x, y: each_gradient(model, x, y) | {"mean": np.zeros(x.shape)},
        gradient=gradient,
        refresh=refresh or (lambda model, x: {"mean": x.mean(axis=0)}),
    )


def test_a_tensor_that_no_gradient_moves_is_refreshed_from_the_members_inputs() -> None:
    mine = trainer(model=centred_model(), local=["mean"])
    trained = mine.train(ZERO, PLAIN, None)
    assert np.allclose(mine.unpack(trained.state).local, some_data().x_train.mean(axis=0), atol=1e-6)
    assert trained.delta.shape == (15,)


def test_refresh_sees_the_model_that_training_left() -> None:
    seen: list[Array] = []

    def refresh(model: Tensors, x: Array) -> Tensors:
        seen.append(model["weight"].copy())
        return {"mean": x.mean(axis=0)}

    mine = trainer(model=centred_model(refresh), local=["mean"])
    model = np.linspace(-1, 1, 15, dtype=np.float32)
    trained = mine.train(model, PLAIN, None)
    assert (seen[-1].ravel() == (model + trained.delta)[3:]).all()


def test_a_tensor_that_is_refreshed_and_travels_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="mean follow the data without a gradient, so they cannot travel") as refused:
        trainer(model=centred_model())
    assert "local = ['mean']" in refused.value.hint


def test_batch_norm_of_a_torch_module_has_to_be_local() -> None:
    model = torch_model(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)), 3)
    with pytest.raises(ConfigError, match=r"1\.running_mean, 1\.running_var follow the data"):
        trainer(model=model)
    mine = trainer(model=model, local=["1.*"])
    assert not any(one.name.startswith("1.") for one in mine.layout.tensors)
    start = np.concatenate([model.initial_model()[one.name].ravel() for one in mine.layout.tensors])
    trained = mine.train(start, PLAIN, None)
    after = views(mine.start(start + trained.delta, trained.state), mine.parts.whole)
    inputs = some_data().x_train @ after["0.weight"].T + after["0.bias"]  # at the weights that the step left
    assert np.allclose(after["1.running_mean"], inputs.mean(axis=0), rtol=0, atol=1e-5)


def test_refreshed_tensors_under_example_level_privacy_are_refused_since_no_clip_and_no_noise_covers_them() -> None:
    with pytest.raises(ConfigError, match="no clip and no noise covers"):
        trainer(model=centred_model(), local=["mean"]).train(ZERO, PRIVATE, None)


def test_an_unclipped_statistic_would_carry_an_example_into_the_next_gradients() -> None:
    """Off twin: one example moves the mean, and with it the gradient of every other example."""
    data, model = some_data(), centred_model()
    means = [{"mean": each.x_train.mean(axis=0)} for each in (loud(data), without_one(data))]
    assert model.gradient is not None
    others = without_one(data)
    with_it, without_it = (
        model.gradient(model.initial_model() | mean, others.x_train, others.y_train)["weight"] * 29 for mean in means
    )
    assert np.linalg.norm(with_it - without_it) > 10 * PRIVACY.clip_l2


def test_a_refresh_of_unknown_or_misshapen_tensors_is_refused() -> None:
    def after(given: Callable[[], Tensors]) -> LocalTrainer:
        calls: list[int] = []

        def refresh(model: Tensors, x: Array) -> Tensors:
            calls.append(1)
            return {"mean": np.zeros(4)} if len(calls) == 1 else given()

        return trainer(model=centred_model(refresh), local=["mean"])

    with pytest.raises(ValueError, match=r"refresh: tensor 'mean' must have shape \(4,\), got \(1,\)"):
        after(lambda: {"mean": np.zeros(1)}).train(ZERO, PLAIN, None)
    with pytest.raises(ValueError, match=r"refresh: expected the tensors .* got \['men'\]"):
        after(lambda: {"men": np.zeros(4)}).train(ZERO, PLAIN, None)


# ---------------------------------------------------------------------------------------------------- own training


def test_a_users_train_function_gives_the_delta_and_sees_the_round() -> None:
    def train(model: Tensors, x: Array, y: Labels, /, *, round: int) -> Tensors:
        return {"bias": model["bias"] + round, "weight": np.full((4, 3), len(x))}

    model = np.arange(15, dtype=np.float32)
    trained = trainer(Descent(learning_rate=1.0), trained_by(train)).train(model, PLAIN, None)
    assert trained.delta.tolist() == [3.0, 4.0, 5.0] + [30.0] * 12
    assert trained.examples == 30


def test_a_users_train_function_trains_local_tensors_too() -> None:
    own = trained_by(lambda model, x, y, *, round: {"bias": np.ones(3), "weight": np.zeros((4, 3))})
    mine = trainer(Descent(learning_rate=1.0), own, local=HEAD)
    first = mine.train(np.zeros(12, np.float32), PLAIN, None)
    second = mine.train(np.zeros(12, np.float32), PLAIN, first.state)
    assert mine.unpack(second.state).local.tolist() == [2.0] * 3


def test_privacy_asked_of_a_train_function_is_refused() -> None:
    mine = trainer(Descent(learning_rate=1.0), trained_by(lambda model, x, y, *, round: model))
    with pytest.raises(ConfigError, match="needs per_example_gradients"):
        mine.train(ZERO, PRIVATE, None)


def test_privacy_asked_of_a_model_with_mean_gradients_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs per_example_gradients"):
        trainer(model=replace(linear_model(), per_example_gradients=None)).train(ZERO, PRIVATE, None)


@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.9},
        {"batch_size": 8},
        {"local_steps": 2},
        {"scaffold": True},
        {"prox": 0.1, "local_steps": 2},
    ],
)
def test_settings_that_a_train_function_does_not_read_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="do nothing there"):
        trainer(Descent(learning_rate=1.0, **settings), trained_by(lambda model, x, y, *, round: model))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"local_steps": 2}, "charges one step a round, found local_steps = 2"),
        ({"batch_size": 8}, "found a batch_size"),
        ({"scaffold": True}, "SCAFFOLD would only add"),
    ],
)
def test_steps_that_one_charge_does_not_cover_are_refused_under_privacy(settings: dict[str, Any], message: str) -> None:
    mine = trainer(Descent(learning_rate=1.0, **settings))
    with pytest.raises(ConfigError, match=message):
        mine.train(ZERO, replace(PRIVATE, control=ZERO if "scaffold" in settings else None), None)


def test_an_order_with_a_control_variate_is_for_scaffold_and_for_nothing_else() -> None:
    scaffold = trainer(Descent(learning_rate=1.0, scaffold=True))
    with pytest.raises(ConfigError, match="steps with SCAFFOLD, found an order without a control variate"):
        scaffold.train(ZERO, PLAIN, None)
    with pytest.raises(ConfigError, match="steps without SCAFFOLD, found an order with a control variate"):
        trainer().train(ZERO, replace(PLAIN, control=ZERO), None)
    with pytest.raises(ValueError, match=r"shape \(15,\), got \(1,\)"):
        scaffold.train(ZERO, replace(PLAIN, control=ZERO[:1]), None)


# -------------------------------------------------------------------------------------------- what a user's code gives


def spoiling(give: Callable[..., Any]) -> Callable[..., Any]:
    """The function, after which nothing that it was given is what it was."""

    def spoil(model: Tensors, *examples: Array, **more: Any) -> Any:
        given = give(model, *examples, **more)
        for array in (*model.values(), *examples):
            array[...] = 0 if array.dtype.kind == "i" else 7
        return given

    return spoil


@pytest.mark.parametrize("task", [PLAIN, PRIVATE])
def test_functions_that_spoil_their_arguments_spoil_nothing(task: TrainTask) -> None:
    good, data = linear_model(), some_data()
    bad = replace(
        good,
        predict=spoiling(good.predict),
        gradient=spoiling(mean_gradient),
        per_example_gradients=spoiling(each_gradient),
    )
    _compare_spoiled(good, bad, data, task, ())


def test_a_train_or_refresh_function_that_spoils_its_arguments_spoils_nothing() -> None:
    def train(model: Tensors, x: Array, y: Labels, /, *, round: int) -> Tensors:
        return mean_gradient(model, x, y)

    _compare_spoiled(trained_by(train), trained_by(spoiling(train)), some_data(), PLAIN, HEAD)
    good = centred_model()
    assert good.refresh is not None
    _compare_spoiled(good, replace(good, refresh=spoiling(good.refresh)), some_data(), PLAIN, ("mean",))


def _compare_spoiled(good: Model, bad: Model, data: MemberData, task: TrainTask, local: tuple[str, ...]) -> None:
    before = [part.copy() for part in (data.x_train, data.y_train, data.x_held, data.y_held)]
    settings = Descent(learning_rate=0.5)
    fine, spoiled = (LocalTrainer(one, data, settings, local=local) for one in (good, bad))
    model = np.linspace(-1, 1, fine.layout.d, dtype=np.float32)
    expected: Trained | None = None
    for each in (fine, spoiled, spoiled):
        trained = each.train(model, task, None)
        expected = expected or trained
        assert (trained.delta == expected.delta).all() and (trained.state == expected.state).all()
        assert each.evaluate(model, -model, trained.state) == fine.evaluate(model, -model, expected.state)
    assert (model == np.linspace(-1, 1, fine.layout.d, dtype=np.float32)).all()
    after = (data.x_train, data.y_train, data.x_held, data.y_held)
    assert all((one == other).all() for one, other in zip(before, after, strict=True))


WRONG: list[tuple[str, Callable[..., Any], str]] = [
    ("gradient", lambda m, x, y: {"wieght": m["weight"]}, r"gradient: expected .*'weight'\], got \['wieght'\]"),
    ("gradient", lambda m, x, y: {"weight": m["weight"].T}, r"'weight' must have shape \(4, 3\), got \(3, 4\)"),
    ("gradient", lambda m, x, y: {"bias": 0.0}, r"'bias' must have shape \(3,\), got \(\)"),
    ("per_example_gradients", lambda m, x, y: m, r"'bias' must have shape \(30, 3\), got \(3,\)"),
    ("per_example_gradients", lambda m, x, y: {"bias": x[:, :3]}, r"expected .*, got \['bias'\]"),
    ("train", lambda m, x, y, round: {"bias": m["bias"]}, r"train: expected .*'weight'\], got \['bias'\]"),
    ("train", lambda m, x, y, round: m | {"more": m["bias"]}, r"got \['bias', 'more', 'weight'\]"),
    ("train", lambda m, x, y, round: m | {"bias": m["bias"][:1]}, r"'bias' must have shape \(3,\), got \(1,\)"),
]


@pytest.mark.parametrize(("function", "wrong", "message"), WRONG)
def test_unknown_missing_and_misshapen_tensors_are_named(
    function: str, wrong: Callable[..., Any], message: str
) -> None:
    if function == "train":
        model = trained_by(wrong)
    else:
        given: dict[str, Any] = {"gradient": None, "per_example_gradients": None} | {function: wrong}
        model = replace(linear_model(), **given)
    with pytest.raises(ValueError, match=message):
        trainer(Descent(learning_rate=1.0), model).train(ZERO, PLAIN, None)


def test_a_gradient_that_lacks_a_tensor_leaves_it_alone() -> None:
    partial = replace(linear_model(), gradient=lambda model, x, y: {"weight": np.ones((4, 3))})
    trained = trainer(Descent(learning_rate=1.0, local_steps=3), partial).train(ZERO, PLAIN, None)
    assert trained.delta.tolist() == [0.0] * 3 + [-3.0] * 12


def test_a_model_of_another_length_or_precision_is_refused() -> None:
    for wrong, message in ((ZERO[:14], r"shape \(15,\), got \(14,\)"), (np.zeros(15), "must be float32, got float64")):
        with pytest.raises(ValueError, match=message):
            trainer().train(wrong, PLAIN, None)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=message):
            trainer().evaluate(ZERO, wrong, None)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_non_finite_candidate_gets_nothing_right_and_is_never_shown_to_predict(bad: float) -> None:
    asked: list[Array] = []

    def predict(model: Tensors, x: Array) -> Labels:
        asked.append(model["bias"])
        return np.zeros(len(x), np.int64)

    mine, right = trainer(model=replace(linear_model(), predict=predict)), int((some_data().y_held == 0).sum())
    tally = mine.evaluate(np.full_like(ZERO, bad), ZERO, None)
    assert not tally.finite
    assert tally.worse == (right, 0, 0) and right > 0
    assert sum(tally.better) == sum(tally.right) == 0
    assert mine.evaluate(ZERO, np.full_like(ZERO, bad), None).finite
    assert mine.accuracy(np.full_like(ZERO, bad), None) == 0.0
    assert all(np.isfinite(bias).all() for bias in asked)


def test_a_member_without_held_out_examples_has_no_accuracy_and_still_reports_what_is_not_finite() -> None:
    data = some_data(held=0)
    mine = LocalTrainer(linear_model(), data, FULL)
    assert mine.accuracy(ZERO, None) is None
    assert mine.evaluate(ZERO, ZERO, None).total == (0, 0, 0)
    assert not mine.evaluate(np.full_like(ZERO, np.nan), ZERO, None).finite


def test_predictions_that_are_scores_are_refused() -> None:
    scores = replace(linear_model(), predict=lambda model, x: x @ model["weight"])
    with pytest.raises(ValueError, match=r"integer labels of shape \(10,\), got float32 of shape \(10, 3\)"):
        trainer(model=scores).evaluate(ZERO, ZERO, None)


# -------------------------------------------------------------------------------------------------------------- torch


@pytest.mark.parametrize("make", [lambda: softmax_regression(4, 3), lambda: small_network(4, 5, 3, seed=4)])
def test_a_torch_module_trains_privately_by_its_own_per_example_gradients(make: Callable[[], nn.Module]) -> None:
    model, data = torch_model(make(), 3), some_data()
    mine = LocalTrainer(model, data, Descent(learning_rate=1.0))
    start = start_of(model)
    assert model.per_example_gradients is not None
    given = model.per_example_gradients(model.initial_model(), data.x_train, data.y_train)
    rows = np.concatenate([given[one.name].reshape(30, -1) for one in mine.layout.tensors], axis=1)
    assert (mine.train(start, PRIVATE, None).delta == -private_mean(rows, PRIVACY, b"k" * 32, round=3)).all()
    plain = mine.train(start, PLAIN, None).delta
    assert np.allclose(plain, -rows.mean(axis=0), rtol=1e-4, atol=1e-6)  # float32, another order of sums


def test_a_tie_is_no_prediction_so_an_untrained_model_has_no_class_wholly_right() -> None:
    """Off twin: by argmax, as in `linear_model`, zeros are perfect at class 0, and an honest step looks like damage."""
    data = some_data(held=60)
    others = data.y_train != 0
    data = replace(data, x_train=data.x_train[others], y_train=data.y_train[others])
    torch, by_argmax = (
        LocalTrainer(model, data, FULL) for model in (torch_model(softmax_regression(4, 3), 3), linear_model())
    )
    tally = torch.evaluate(torch.train(ZERO, PLAIN, None).delta, ZERO, None)
    assert sum(tally.worse) == 0 and sum(tally.better) > 0
    assert sum(by_argmax.evaluate(by_argmax.train(ZERO, PLAIN, None).delta, ZERO, None).worse) > 0


# ------------------------------------------------------------------------------------------------------------- ballots


@pytest.mark.parametrize("settings", [FULL, Descent(learning_rate=0.5, local_steps=3, scaffold=True)])
def test_a_ballot_does_not_tell_whether_its_member_has_trained(settings: Descent) -> None:
    """Runs whose cohorts are secret rest on it: all members vote in public, whoever was drawn."""
    one = trainer(settings)
    task = replace(PLAIN, control=ZERO if settings.scaffold else None)
    state = one.train(ZERO, task, None).state
    candidate = np.linspace(-1, 1, 15, dtype=np.float32)
    assert state.any()
    assert one.evaluate(candidate, ZERO, state) == one.evaluate(candidate, ZERO, None)


def test_off_twin_with_local_tensors_a_ballot_does_tell() -> None:
    """Why the configuration refuses `learning.local` for such runs."""
    one = trainer(local=HEAD)
    state = one.train(ZERO[:12], PLAIN, None).state * 100
    candidate = np.linspace(-0.1, 0.1, 12, dtype=np.float32)
    assert one.evaluate(candidate, ZERO[:12], state) != one.evaluate(candidate, ZERO[:12], None)
