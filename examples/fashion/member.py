"""Ten shops with pictures of clothes, each with a range of its own; a small convolutional network in torch."""

import os
from functools import cache
from pathlib import Path

import numpy as np

from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.models import small_cnn
from phalanx.learning.splits import dirichlet

SEED = 0  # which images, and who has them
SHOPS = tuple(f"shop-{i}" for i in range(10))
IMAGES = 6_000  # of 70,000, so that a run takes a minute
ALPHA = 2  # the smaller, the fewer kinds of clothes in a shop
DATA = Path(os.environ.get("PHALANX_DATA", Path(__file__).parent.parent.parent / "data"))

MODEL = torch_model(lambda: small_cnn(10, seed=0), classes=10)


@cache
def _everything():
    path = DATA / "fashion-mnist.npz"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `make bench-data`, or name its folder in PHALANX_DATA")
    with np.load(path) as file:
        return file["images"], file["labels"].astype("i8")


def load(member):
    """A shop's images (n, 28, 28) and their kinds of clothes. The scale is public and fixed."""
    images, labels = _everything()
    rng = np.random.default_rng(SEED)
    some = rng.permutation(len(labels))[:IMAGES]
    mine = some[dirichlet(labels=labels[some], members=SHOPS, alpha=ALPHA, rng=rng, min_examples=200)[member]]
    return ((images[mine] / 255 - 0.29) / 0.35).astype("f4"), labels[mine]
