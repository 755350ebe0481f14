"""Tokens in the rows of an embedding: all of them from an update without noise, at chance from one with it."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.attacks.token_recovery import Ids, find_embedding, tokens_of
from phalanx.learning.adapters.low_rank import low_rank_model
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Model
from phalanx.learning.dpsgd import private_mean
from phalanx.learning.models import text_transformer
from phalanx.types import F32, ExamplePrivacy

VOCABULARY, LENGTH = 200, 12
MODULE = text_transformer(vocabulary=VOCABULARY, width=16, heads=2, layers=1, length=LENGTH, classes=2, seed=0)
MODEL = torch_model(MODULE, 2)


def text(seed: int) -> Ids:
    """One text, padded with zeros."""
    rng = np.random.default_rng(seed)
    words = rng.integers(1, VOCABULARY, LENGTH - 3)
    return np.concatenate([words, np.zeros(3, np.int64)])[None]


def gradient(model: Model, x: Ids) -> dict[str, F32]:
    assert model.gradient is not None
    return dict(model.gradient(model.initial_model(), x, np.zeros(len(x), np.int64)))


@pytest.mark.parametrize("texts", [1, 8])
def test_all_tokens_of_a_batch_are_found_and_no_other(texts: int) -> None:
    x = np.concatenate([text(seed) for seed in range(texts)])
    found = tokens_of(gradient(MODEL, x)["tokens.weight"])
    assert sorted(found.tolist()) == sorted(set(x.ravel().tolist()) - {0})  # no other token sees the padding


def test_under_clip_and_noise_every_row_moves_and_guesses_are_at_chance() -> None:
    privacy = ExamplePrivacy(clip_l2=1.0, noise_multiplier=3.8, normaliser=1, epsilon=8, delta=1e-5)
    right = total = 0
    for seed in range(10):
        rows = gradient(MODEL, text(seed))["tokens.weight"]
        noised = private_mean(rows.reshape(1, -1), privacy, seed.to_bytes(32, "big"), round=0).reshape(rows.shape)
        true = np.unique(text(seed))[1:]
        found = tokens_of(noised)
        assert len(found) == VOCABULARY
        right, total = right + len(np.intersect1d(found[: len(true)], true)), total + len(true)
    assert right / total < 0.2  # by chance 9 of 200: 4.5 %


def test_the_embedding_is_found_by_its_rows_and_low_rank_layers_have_none() -> None:
    assert find_embedding(gradient(MODEL, text(1)), text(1)) == "tokens.weight"
    adapted = low_rank_model(
        lambda: text_transformer(vocabulary=VOCABULARY, width=16, heads=2, layers=1, length=LENGTH, classes=2, seed=0),
        classes=2,
        rank=2,
        alpha=4,
        targets=["blocks.*.widen"],
        seed=0,
    )
    assert find_embedding(gradient(adapted, text(1)), text(1)) is None
