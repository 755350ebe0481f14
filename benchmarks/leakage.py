"""Training images rebuilt from one update, on MNIST and Fashion-MNIST: read off exactly, and searched by gradient.

    make bench-data
    .venv/bin/python benchmarks/leakage.py

Read off: the first layer of a network 784-100-10 of ReLUs, by batch size, and for one image under a clip and noise
(robust-aggregation.md 14.6 has figures of one ratio alone). Searched: DLG and inverting gradients for one image, on a
LeNet of sigmoids (Zhu et al., 2019) and a small network of ReLUs, before and after training. Published figures beside
them are of CIFAR-10: larger images in colour, larger networks, and up to 24,000 iterations.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np
import torch
from torch import nn

from phalanx.attacks.gradient_matching import Matched, Observed, deep_leakage, inverting_gradients
from phalanx.attacks.leakage import candidates, ratios, reconstruct
from phalanx.attacks.similarity import psnr, ssim
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Model, Tensors
from phalanx.learning.data import Labels
from phalanx.learning.dpsgd import private_mean
from phalanx.learning.models import small_cnn, small_network
from phalanx.learning.threads import use_threads
from phalanx.types import F32, F64, ExamplePrivacy

DATA = Path(os.environ.get("PHALANX_DATA") or Path(__file__).resolve().parent.parent / "data")
SETS = ("mnist", "fashion-mnist")
BATCHES = (1, 2, 4, 8, 32)
NOISES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the clip, on the gradient of one image
SEARCH_NOISES = (0.01, 1.0)
IMAGES = 20  # read off in each setting
SEARCHED = 3  # images searched in each setting
MOST_DB = 200.0
PUBLISHED = {
    "14.6, MNIST, one ratio": {"no noise": 166, 1e-5: 78.0, 1e-4: 61.5, 1e-3: 30.2, 1e-2: 9.6, 1e-1: 8.9},
    "14.6, MNIST, by batch": {1: 166, 2: 185, 4: 186, 8: 118, 32: 20.7},
    "CIFAR-10, DLG, LeNet of sigmoids, untrained / trained (Geiping et al., Table 1)": [46.25, 13.24],
    "CIFAR-10, inverting gradients, the same": [18.00, 18.08],
    "CIFAR-10, DLG, ConvNet (breaching)": 23.41,
}
Search = Callable[[Observed, np.random.Generator], Matched]
SEARCHES: dict[str, Search] = {
    "dlg": lambda seen, rng: deep_leakage(seen, iterations=300, restarts=2, rng=rng),
    "inverting-gradients": lambda seen, rng: inverting_gradients(seen, iterations=600, rng=rng),
}


def lenet() -> nn.Module:
    """Three convolutions of 12 channels and a linear layer, sigmoids between, weights uniform in ±0.5, as in DLG."""
    module = nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Sequential(nn.Conv2d(1, 12, 5, stride=2, padding=2), nn.Sigmoid()),
        nn.Sequential(nn.Conv2d(12, 12, 5, stride=2, padding=2), nn.Sigmoid()),
        nn.Sequential(nn.Conv2d(12, 12, 5, padding=2), nn.Sigmoid()),
        nn.Flatten(),
        nn.Linear(588, 10),
    )
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return module


NETWORKS: dict[str, Callable[[], nn.Module]] = {"lenet-sigmoid": lenet, "small-cnn-relu": lambda: small_cnn(10, seed=0)}


def images_of(name: str) -> tuple[F32, Labels]:
    """In a random order that is always the same: (n, 784) float32, 0 … 1, and labels."""
    with np.load(DATA / f"{name}.npz") as file:
        x, y = file["images"], file["labels"].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(y))
    return (x[order].reshape(len(y), -1) / 255).astype(np.float32), y[order]


def gradient(model: Model, tensors: Tensors, x: F32, y: Labels) -> dict[str, F32]:
    """Of the mean loss."""
    if model.gradient is None:
        raise ValueError("this model has no gradient")
    return dict(model.gradient(tensors, x, y))


def best(found: F32 | F64, image: F32) -> float:
    """PSNR of the candidate that is nearest, cut to 0 … 1."""
    inside = np.clip(found, 0, 1)
    return min(MOST_DB, psnr(image, inside[int(((inside - image) ** 2).mean(axis=1).argmin())]))


def mean(values: list[float]) -> float:
    """Rounded."""
    return round(float(np.mean(values)), 2)


# ------------------------------------------------------------------------------------------------------------- read off


def by_batch(x: F32, y: Labels) -> dict[str, dict[str, float]]:
    """By batch size: the nearest neuron of 100 for each image, on average and at most, and with differences of two."""
    model = torch_model(lambda: small_network(784, 100, 10, seed=0), 10)
    start, table = model.initial_model(), {}
    for size in BATCHES:
        neurons, all_of = [], []
        for first in range(0, max(IMAGES, size), size):
            rows = slice(first, first + size)
            g = gradient(model, start, x[rows], y[rows])
            weight, bias = g["0.weight"], g["0.bias"]
            own = ratios(weight.astype(np.float64), bias.astype(np.float64))
            neurons += [best(own, image) for image in x[rows]]
            all_of += [best(candidates(weight[:64], bias[:64]), image) for image in x[rows]]
        table[str(size)] = {
            "mean": mean(neurons),
            "most": round(max(neurons), 2),
            "with differences of 64": mean(all_of),
            "25 dB or more": round(float(np.mean([one >= 25 for one in neurons])), 3),
        }
    return table


def under_noise(x: F32, y: Labels) -> dict[str, dict[str, float]]:
    """By noise on one image's clipped gradient: PSNR of one ratio, of the fit to all, of the nearest; and the label."""
    model = torch_model(lambda: small_network(784, 100, 10, seed=0), 10)
    start, average, table = model.initial_model(), x[1000:3000].mean(axis=0), {}
    for noise in (0.0, *NOISES):
        found: dict[str, list[float]] = {name: [] for name in ("one ratio", "fit", "nearest", "label", "mean image")}
        for i in range(IMAGES):
            g = gradient(model, start, x[[i]], y[[i]])
            if noise:
                g = noised(g, ExamplePrivacy(1.0, noise, 1, epsilon=8, delta=1e-5), i)
            weight, bias = g["0.weight"], g["0.bias"]
            found["one ratio"].append(best(reconstruct(weight, bias).x[None], x[i]))
            made = candidates(weight, bias)
            found["fit"].append(best(made[:1], x[i]))
            found["nearest"].append(best(made, x[i]))
            found["label"].append(float(int(g["2.bias"].argmin()) == y[i]))
            found["mean image"].append(psnr(x[i], average))
        table[f"{noise:g}"] = {name: mean(values) for name, values in found.items()}
    return table


def noised(g: dict[str, F32], privacy: ExamplePrivacy, number: int) -> dict[str, F32]:
    """The gradient as a member with example-level privacy sends it."""
    flat = np.concatenate([value.ravel() for value in g.values()])[None]
    rows, at, made = private_mean(flat, privacy, number.to_bytes(32, "big"), round=0), 0, {}
    for name, value in g.items():
        made[name], at = rows[at : at + value.size].reshape(value.shape), at + value.size
    return made


# ------------------------------------------------------------------------------------------------------------- searched


def trained(make: Callable[[], nn.Module], x: F32, y: Labels, x_test: F32, y_test: Labels) -> tuple[nn.Module, float]:
    """Four passes over 10,000 images with Adam, and the accuracy."""
    torch.manual_seed(0)
    module = make()
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    inputs, labels = torch.tensor(x), torch.tensor(y)
    for rows in np.array_split(np.concatenate([np.random.default_rng(i).permutation(len(y)) for i in range(4)]), 400):
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(inputs[rows]), labels[rows]).backward()
        optimiser.step()
    with torch.no_grad():
        right = module(torch.tensor(x_test)).argmax(dim=1).numpy() == y_test
    return module, round(float(right.mean()), 4)


def searched(module: nn.Module, x: F32, y: Labels, privacy: ExamplePrivacy | None) -> dict[str, dict[str, float]]:
    """Each search's mean and best PSNR and mean SSIM over some images, and seconds an image."""
    model = torch_model(module, 10)
    start, table = model.initial_model(), {}
    for name, search in SEARCHES.items():
        found, alike, began = [], [], time.process_time()
        for i in range(SEARCHED):
            g = gradient(model, start, x[[i]], y[[i]])
            made = search(_observed(model, start, g if privacy is None else noised(g, privacy, i), y[[i]]), _rng(i)).x
            found.append(min(MOST_DB, psnr(x[i], made[0])))
            alike.append(ssim(x[i].reshape(28, 28), made[0].reshape(28, 28)))
        seconds = (time.process_time() - began) / SEARCHED
        table[name] = {
            "mean": mean(found),
            "most": round(max(found), 2),
            "ssim": mean(alike),
            "seconds": round(seconds, 2),
        }
    return table


def _rng(number: int) -> np.random.Generator:
    return np.random.default_rng(number)


def _observed(model: Model, tensors: Tensors, g: dict[str, F32], y: Labels) -> Observed:
    return Observed(
        module=model.module,
        tensors=tensors,
        gradient=g,
        labels=y,
        shape=(784,),
        low=np.zeros(784, np.float32),
        high=np.ones(784, np.float32),
        picture=(28, 28),
    )


def searches(name: str, x: F32, y: Labels) -> list[dict[str, Any]]:
    """A row for each network, untrained and trained, and for the untrained ones with a clip and noise."""
    rows = []
    average = x[1000:3000].mean(axis=0)
    blind = mean([psnr(image, average) for image in x[:SEARCHED]])
    for network, make in NETWORKS.items():
        torch.manual_seed(0)
        untrained = make()
        after, accuracy = trained(make, x[1000:11000], y[1000:11000], x[60000:], y[60000:])
        cases: list[tuple[str, nn.Module, float]] = [("untrained", untrained, 0.0), ("trained", after, 0.0)]
        cases += [(f"untrained, clip 1, noise {noise:g}", untrained, noise) for noise in SEARCH_NOISES]
        for state, module, noise in cases:
            privacy = ExamplePrivacy(1.0, noise, 1, epsilon=8, delta=1e-5) if noise else None
            found = searched(module, x[:SEARCHED], y[:SEARCHED], privacy)
            row: dict[str, Any] = {"data": name, "network": network, "state": state, "mean image": blind} | found
            rows.append(row | ({"accuracy": accuracy} if state == "trained" else {}))
            told = ", ".join(f"{s} {found[s]['mean']:.1f} dB (most {found[s]['most']:.1f})" for s in SEARCHES)
            print(f"{name:14} {network:15} {state:30} {told}; mean image {blind:.1f}", flush=True)
    return rows


def main() -> None:
    use_threads(1)
    began = time.process_time()
    found: dict[str, Any] = {"command": "python benchmarks/leakage.py", "published": PUBLISHED}
    found["read off"], found["searched"] = {}, []
    for name in SETS:
        x, y = images_of(name)
        batches, noise = by_batch(x, y), under_noise(x, y)
        found["read off"][name] = {"by batch": batches, "by noise, one image": noise}
        for size, row in batches.items():
            print(
                f"{name:14} batch {size:>4}: nearest neuron {row['mean']:6.1f} dB, most {row['most']:6.1f}", flush=True
            )
        for level, row in noise.items():
            told = ", ".join(f"{what} {value:.2f}" for what, value in row.items())
            print(f"{name:14} noise {level:>6}: {told}", flush=True)
        found["searched"] += searches(name, x, y)
    found["seconds"] = round(time.process_time() - began)
    out = Path(__file__).with_name("results") / "leakage.json"
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{found['seconds']} s; {out}")


if __name__ == "__main__":
    main()
