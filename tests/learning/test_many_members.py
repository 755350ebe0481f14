"""Members side by side: the same gradients as autograd's, the same training as alone, nobody moved by a neighbour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from phalanx.learning import Descent, MemberData, many
from phalanx.learning.adapters.torch_many import many_members
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Batches, Job, ManyMembers, Model
from phalanx.learning.data import Array
from phalanx.learning.many import how_together, train_together
from phalanx.learning.parts import flatten_whole
from phalanx.learning.trainer import LocalTrainer
from phalanx.types import F32, ExamplePrivacy, Trained, TrainTask

CLASSES = 3
PRIVACY = ExamplePrivacy(clip_l2=0.5, noise_multiplier=1.5, normaliser=12, epsilon=8.0, delta=1e-5)


def close(found: F32, expected: F32) -> bool:
    """Within what float32 gives: sums of up to 50 terms about 1 in another order, models rounded at each of 7 steps."""
    return np.allclose(found, expected, rtol=2e-5, atol=2e-6)


class Residual(nn.Module):
    """Not a chain: vmap's business."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.outer(x + torch.tanh(self.inner(x)))
        return out


class Deciding(nn.Linear):
    """What it computes depends on a value of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if bool(x.sum() > -1e9) else x[:, :CLASSES]


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, (2, 3), padding=(1, 2), bias=False), nn.Tanh(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, CLASSES),
    )  # fmt: skip


Make = Callable[[], nn.Module]
CHAINS: list[tuple[Make, tuple[int, ...]]] = [
    (lambda: nn.Linear(6, CLASSES), (6,)),
    (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, CLASSES)), (6,)),
    (lambda: nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(6, 4), nn.Tanh()), nn.Linear(4, 3)), (2, 3)),
    (lambda: nn.Sequential(nn.Linear(3, 2, bias=False), nn.Identity(), nn.Flatten(), nn.Linear(4, 3)), (2, 3)),
    (convolutions, (1, 9, 8)),
    (lambda: nn.Sequential(nn.Unflatten(1, (1, 5, 4)), nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(24, 3)), (20,)),
]  # fmt: skip
BOTH = [*CHAINS, (Residual, (6,))]


def made(make: Make) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return make()


def many_of(make: Make, shape: tuple[int, ...]) -> ManyMembers:
    found = many_members(made(make), sample=np.ones((2, *shape), np.float32))
    assert found is not None
    return found


def unlike_models(make: Make, members: int) -> dict[str, F32]:
    rng = np.random.default_rng(5)
    shapes = {name: tuple(one.shape) for name, one in made(make).named_parameters()}
    return {name: rng.normal(size=(members, *shape)).astype(np.float32) for name, shape in shapes.items()}


def batches(shape: tuple[int, ...], members: int, size: int) -> Batches:
    """Unequal weights; the last member has padding."""
    rng = np.random.default_rng(6)
    weight = rng.uniform(0.5, 1.5, (members, size)).astype(np.float32)
    weight[-1, size // 2 :] = 0
    x = rng.normal(size=(members, size, *shape)).astype(np.float32)
    return Batches(x, rng.integers(0, CLASSES, (members, size)), weight / weight.sum(axis=1, keepdims=True))


def by_autograd(make: Make, models: dict[str, F32], batch: Batches) -> dict[str, F32]:
    module = made(make)

    def loss(tensors: dict[str, Tensor], x: Array, y: Array, weight: Array) -> Tensor:
        logits = functional_call(module, tensors, (torch.tensor(x),))
        each = nn.functional.cross_entropy(logits, torch.tensor(y), reduction="none")
        return (each * torch.tensor(weight)).sum()

    rows = [
        grad(loss)({name: torch.tensor(value[i]) for name, value in models.items()}, batch.x[i], batch.y[i], w)
        for i, w in enumerate(batch.weight)
    ]
    return {name: np.stack([row[name].numpy() for row in rows]) for name in models}


# ---------------------------------------------------------------------------------------------------- the gradients


@pytest.mark.parametrize(("make", "shape"), BOTH)
def test_gradients_of_members_with_unlike_models_equal_autograds(make: Make, shape: tuple[int, ...]) -> None:
    models, batch = unlike_models(make, 11), batches(shape, 11, 4)
    before = {name: value.tobytes() for name, value in models.items()}
    out = {name: np.full_like(value, np.nan) for name, value in models.items()}  # must be overwritten
    many_of(make, shape).gradients(models, batch, out)
    for name, expected in by_autograd(make, models, batch).items():
        assert close(out[name], expected), name
        assert models[name].tobytes() == before[name]


@pytest.mark.parametrize(("make", "shape"), BOTH)
def test_a_step_can_be_taken_in_place(make: Make, shape: tuple[int, ...]) -> None:
    models, batch = unlike_models(make, 3), batches(shape, 3, 4)
    expected = by_autograd(make, models, batch)
    moved = {name: value.copy() for name, value in models.items()}
    many_of(make, shape).gradients(moved, batch, moved, keep=0.5, scale=-2.0)
    for name, gradient in expected.items():
        assert close(moved[name], 0.5 * models[name] - 2 * gradient), name


@pytest.mark.parametrize(("make", "shape"), CHAINS)
def test_blocks_of_one_member_give_the_same_gradients(
    make: Make, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    models, batch = unlike_models(make, 5), batches(shape, 5, 4)
    together, alone = ({name: np.zeros_like(value) for name, value in models.items()} for _ in range(2))
    many_of(make, shape).gradients(models, batch, together)
    monkeypatch.setattr("phalanx.learning.adapters.torch_mlp.BLOCK_BYTES", 1)
    many_of(make, shape).gradients(models, batch, alone)
    for name in models:
        assert close(together[name], alone[name])


def test_of_equal_values_the_first_in_row_major_order_has_the_gradient_as_in_torch() -> None:
    """Off twin: the last of the equal ones has another gradient, so the comparison is not blind to the choice."""

    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, CLASSES))

    models, batch = unlike_models(make, 2), batches((1, 4, 4), 2, 3)
    models["0.weight"][:] = 0  # all pixels are equal: the bias
    expected = by_autograd(make, models, batch)["0.weight"]
    out = {name: np.empty_like(value) for name, value in models.items()}
    many_of(make, (1, 4, 4)).gradients(models, batch, out)
    assert close(out["0.weight"], expected)
    other = {name: np.empty_like(value) for name, value in models.items()}
    many_of(make, (1, 4, 4)).gradients(models, replace(batch, x=batch.x[..., ::-1, ::-1].copy()), other)
    assert not close(other["0.weight"], expected)


# ------------------------------------------------------------------------------------------------- which way is chosen


@pytest.mark.parametrize(("make", "shape"), CHAINS)
def test_a_chain_of_known_layers_is_batched_by_hand(make: Make, shape: tuple[int, ...]) -> None:
    found = many_members(made(make))
    assert found is not None and found.batching == "hand-batched"


def test_another_module_is_vmapped_where_that_is_seen_to_work() -> None:
    sample = np.ones((2, 6), np.float32)
    found = many_members(Residual(), sample=sample)
    assert found is not None and found.batching == "vmap"
    assert many_members(Residual()) is None
    assert many_members(Deciding(6, CLASSES), sample=sample) is None


def _shared() -> nn.Module:
    layer = nn.Linear(6, 6)
    return nn.Sequential(layer, nn.ReLU(), layer)


def _frozen() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, CLASSES))
    module[0].requires_grad_(False)
    return module


@pytest.mark.parametrize(
    "make",
    [
        _shared,
        _frozen,
        lambda: Deciding(6, CLASSES),
        lambda: nn.Sequential(nn.Linear(6, CLASSES), nn.BatchNorm1d(CLASSES)),
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Flatten(), nn.Linear(8, CLASSES)),
        lambda: nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.Flatten(), nn.Linear(8, CLASSES)),
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), nn.Flatten(), nn.Linear(8, 3)),
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(3), nn.Flatten(), nn.Linear(8, CLASSES)),
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(8, CLASSES)),
    ],
)  # fmt: skip
def test_what_the_hand_written_layers_do_not_compute_is_not_batched_by_hand(make: Make) -> None:
    assert many_members(make()) is None


def test_frozen_parameters_stay_the_modules_own_under_vmap() -> None:
    module = _frozen()
    found = many_members(module, sample=np.ones((2, 6), np.float32))
    assert found is not None and found.batching == "vmap"


# --------------------------------------------------------------------------------------------------- members together


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, CLASSES))


def model(*, batched: bool = True) -> Model:
    module = made(mlp)
    model = torch_model(module, CLASSES)
    return model if batched else replace(model, many=None)


def data(seed: int, examples: int) -> MemberData:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, 6)).astype(np.float32)
    return MemberData(x, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0), x[:0], np.zeros(0, np.int64), CLASSES)


def jobs(
    settings: Descent,
    *,
    sizes: tuple[int, ...] = (9, 4, 12, 9, 1, 7),
    of: Model | None = None,
    local: tuple[str, ...] = (),
    privacy: ExamplePrivacy | None = None,
) -> list[Job]:
    """One job a member, in the second round: all have a state of their own by then."""
    family = model() if of is None else of
    out = []
    for seed, size in enumerate(sizes):
        trainer = LocalTrainer(family, data(seed, size), settings, local=local)
        start = flatten_whole(family.initial_model(), trainer.parts.whole)[: trainer.parts.shared.d]
        control = np.full_like(start, 0.01) if settings.scaffold else None
        task = TrainTask(3, privacy, bytes([seed]) * 32, control)
        state = trainer.train(start, task, None).state
        out.append(Job(trainer, start, replace(task, round=4), state))
    return out


def alone(each: Job) -> Trained:
    return each.trainer.train(each.model, each.task, each.state)


@pytest.mark.parametrize(
    ("settings", "local"),
    [
        (Descent(learning_rate=0.3), ()),
        (Descent(learning_rate=0.3, local_steps=3), ()),
        (Descent(learning_rate=0.3, local_steps=7, batch_size=4), ()),
        (Descent(learning_rate=0.3, local_steps=3, batch_size=4), ("2.*",)),
        (Descent(learning_rate=0.1, momentum=0.9, local_steps=3, batch_size=4), ()),
        (Descent(learning_rate=0.1, prox=0.5, local_steps=4, batch_size=4), ("0.bias",)),
        (Descent(learning_rate=0.1, scaffold=True, local_steps=4, batch_size=4), ()),
    ],
)
def test_members_together_learn_what_they_learn_alone(settings: Descent, local: tuple[str, ...]) -> None:
    asked = jobs(settings, local=local)
    assert how_together([each.trainer for each in asked]) == "hand-batched"
    for found, each in zip(train_together(asked), asked, strict=True):
        expected = alone(each)
        assert np.abs(expected.delta).max() > 1e-3
        assert close(found.delta, expected.delta)
        assert close(found.state, expected.state)
        assert found.examples == expected.examples


def test_under_privacy_each_member_clips_and_noises_its_own_examples() -> None:
    asked = jobs(Descent(learning_rate=0.3, momentum=0.5), privacy=PRIVACY)
    assert how_together([each.trainer for each in asked], private=True) == "examples of all members"
    for found, each in zip(train_together(asked), asked, strict=True):
        expected = alone(each)
        assert close(found.delta, expected.delta)
        assert close(found.state, expected.state)
        assert found.examples == PRIVACY.normaliser


def test_under_privacy_equal_members_have_unequal_noise_and_without_it_equal_deltas() -> None:
    settings = Descent(learning_rate=0.3)
    twin = jobs(settings, privacy=PRIVACY)[0]
    other = replace(twin, task=replace(twin.task, noise_key=b"k" * 32))
    one, two = train_together([twin, other])
    assert (one.delta != two.delta).all()
    plain = jobs(settings)[0]
    one, two = train_together([plain, replace(plain)])
    assert (one.delta == two.delta).all()


def test_members_with_unlike_starts_are_private_too() -> None:
    asked = jobs(Descent(learning_rate=0.3), privacy=PRIVACY)
    asked[2] = replace(asked[2], model=asked[2].model + np.float32(0.1))
    for found, each in zip(train_together(asked), asked, strict=True):
        assert close(found.delta, alone(each).delta)


@pytest.mark.parametrize("privacy", [None, PRIVACY])
def test_the_same_jobs_give_the_same_bytes_and_are_left_alone(privacy: ExamplePrivacy | None) -> None:
    settings = Descent(learning_rate=0.3) if privacy else Descent(learning_rate=0.3, local_steps=3, batch_size=4)
    asked = jobs(settings, privacy=privacy)
    before = [each.model.tobytes() for each in asked]
    first, again = train_together(asked), train_together(jobs(settings, privacy=privacy))
    assert [each.model.tobytes() for each in asked] == before
    for one, two in zip(first, again, strict=True):
        assert one.delta.tobytes() == two.delta.tobytes()
        assert one.state.tobytes() == two.state.tobytes()


@pytest.mark.parametrize("privacy", [None, PRIVACY])
def test_a_members_result_depends_on_no_other_members_data(privacy: ExamplePrivacy | None) -> None:
    """Nor on a neighbour who diverges: its infinities stay with it."""
    settings = Descent(learning_rate=0.3) if privacy else Descent(learning_rate=0.3, local_steps=3, batch_size=4)
    asked = jobs(settings, privacy=privacy)
    before = train_together(asked)
    trainer = asked[2].trainer
    assert isinstance(trainer, LocalTrainer)
    broken = replace(trainer.data, x_train=np.full_like(trainer.data.x_train, 3e38))
    asked[2] = replace(asked[2], trainer=trainer.with_data(broken))
    after = train_together(asked)
    assert [one.delta.tobytes() == two.delta.tobytes() for one, two in zip(before, after, strict=True)] == [
        True, True, False, True, True, True,
    ]  # fmt: skip
    assert privacy or not np.isfinite(after[2].delta).all()


def test_groups_of_one_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = jobs(Descent(learning_rate=0.3, local_steps=3, batch_size=4))
    together = train_together(asked)
    monkeypatch.setattr(many, "_GROUP_BYTES", 1)
    monkeypatch.setattr(many, "_DELTA_BYTES", 1)
    for one, two in zip(together, train_together(asked), strict=True):
        assert close(one.delta, two.delta)
    private = jobs(Descent(learning_rate=0.3), privacy=PRIVACY)
    noised = train_together(private)
    monkeypatch.setattr(many, "_ROWS_BYTES", 1)
    for one, two in zip(noised, train_together(private), strict=True):
        assert close(one.delta, two.delta)


def test_jobs_of_several_models_and_settings_come_back_in_their_order() -> None:
    asked = [
        *jobs(Descent(learning_rate=0.3), sizes=(5, 3)),
        *jobs(Descent(learning_rate=0.3), sizes=(5, 3), of=model(batched=False)),
        *jobs(Descent(learning_rate=0.1, momentum=0.9), sizes=(4, 6)),
    ]
    mixed = [asked[place] for place in (4, 2, 0, 5, 3, 1)]
    assert how_together([each.trainer for each in mixed]) == "loop"
    for found, each in zip(train_together(mixed), mixed, strict=True):
        assert close(found.delta, alone(each).delta)


def test_a_model_without_many_is_trained_by_the_loop_to_the_byte() -> None:
    asked = jobs(Descent(learning_rate=0.3, local_steps=2), of=model(batched=False))
    assert how_together([each.trainer for each in asked]) == "loop"
    for found, each in zip(train_together(asked), asked, strict=True):
        assert found.delta.tobytes() == alone(each).delta.tobytes()


def test_no_jobs_give_no_results() -> None:
    assert train_together([]) == []
