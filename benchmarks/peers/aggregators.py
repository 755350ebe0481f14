"""What the peers of `benchmarks/aggregation.py` are called with: Flower, ByzFL, krum, byzpy, plain numpy and torch.

Each is handed what costs it least: rows that are stacked already where its functions take them so, Flower's records
without serialisation, tensors that share the rows' memory. A peer with several ways to the same answer has several
forms, and the fastest is compared.

Letters: `n` rows, `f` hostile ones among them, `d` parameters.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

import numpy as np
import numpy.typing as npt
import torch

F32 = npt.NDArray[np.float32]
STEPS = 10  # Weiszfeld steps of the peers' geometric median; ours goes to tolerance
CLIP_STEPS = 5  # of centred clipping, from zero, everybody's
_GIB = 1 << 30
LARGEST = 6 * _GIB  # more memory than this a peer is not given

# Tolerances of the relative distance between two aggregates:
SAME = 1e-6  # a mean of the same rows, rounded to float32
NORMED = 1e-4  # norms of a million values added up in float32; ten Weiszfeld steps come closer than that
TIED = 5e-4  # a coordinate or two in a million where two values lie equally far from the median, up to rounding


@dataclass(frozen=True)
class Given:
    """The rows and the numbers that every rule needs."""

    X: F32
    f: int
    clip_l2: float

    @property
    def n(self) -> int:
        return len(self.X)

    @property
    def d(self) -> int:
        return self.X.shape[1]

    @cached_property
    def T(self) -> torch.Tensor:  # noqa: N802
        return torch.from_numpy(self.X)

    @cached_property
    def tensors(self) -> list[torch.Tensor]:
        return list(self.T)

    @cached_property
    def results(self) -> list[tuple[list[F32], int]]:
        """As Flower's older strategies hold them: layers and a number of examples for each row."""
        return [([row], 1) for row in self.X]

    @cached_property
    def contents(self) -> list[Any]:
        return [_Content(row) for row in self.X]

    def bulyan(self) -> Given:
        """The same rows with the f that Bulyan can tolerate, n >= 4f + 3."""
        return Given(self.X, min(self.f, (self.n - 3) // 4), self.clip_l2)


class _Content:
    """What Flower's selection reads of a reply, without the serialised bytes that its own records hold."""

    def __init__(self, row: F32) -> None:
        self.row = row
        self.array_records = {"arrays": self}

    def __getitem__(self, key: str) -> _Content:
        return self

    def to_numpy_ndarrays(self) -> list[F32]:
        return [self.row]


Form = Callable[[Given], Any]


@dataclass(frozen=True)
class Entry:
    """A peer's way to compute a rule."""

    peer: str
    forms: dict[str, Form]
    tolerance: float | None = None  # of the difference to ours; None: a convention differs, `note` says which
    note: str = ""
    changes_rows: bool = False  # then it is handed a copy, made before the clock starts
    memory: Callable[[Given], int] = field(default=lambda given: 0)  # bytes that it is known to need, if many
    kernels: str | None = None  # ours runs on these kernels, the best if None
    other_rule: bool = False  # what it computes is another rule, or unfinished: no rival, whatever its time


def load() -> dict[str, str]:
    """Imports the peers. Which of them are not available, and why.

    torchvision, matplotlib and seaborn, which ByzFL's experiments use and its rules do not, may be missing.
    """
    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms"):
        _stand_in(name)
    for name in ("matplotlib", "matplotlib.pyplot", "seaborn"):
        _stand_in(name)
    missing = {}
    for peer, modules in _MODULES.items():
        try:
            _loaded.update({module: importlib.import_module(module) for module in modules})
        except Exception as failure:  # a peer may fail in any way when it meets versions that it was not made for
            missing[peer] = f"not available: {type(failure).__name__}: {failure}"
    return missing


_loaded: dict[str, Any] = {}
_MODULES = {
    "flower": (
        "flwr.server.strategy.aggregate",
        "flwr.serverapp.strategy.bulyan",
        "flwr.serverapp.strategy.fedtrimmedavg",
        "flwr.serverapp.strategy.multikrum",
        "flwr.supercore.differential_privacy",
    ),
    "byzfl": ("byzfl",),
    "krum": tuple(
        f"krum.primitives.aggregators.{name}"
        for name in ("average", "brute", "bulyan", "geometric_median", "krum", "median", "multikrum", "trimmed_mean")
    ),
    "byzpy": (
        "byzpy.aggregators.coordinate_wise.median",
        "byzpy.aggregators.coordinate_wise.trimmed_mean",
        "byzpy.aggregators.geometric_wise.geometric_median",
        "byzpy.aggregators.geometric_wise.krum",
        "byzpy.aggregators.geometric_wise.minimum_diameter_average",
        "byzpy.aggregators.norm_wise.caf",
        "byzpy.aggregators.norm_wise.center_clipping",
        "byzpy.pre_aggregators",
    ),
}


class _StandIn(ModuleType):
    """Takes the place of a package that is imported and not used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()


def _stand_in(name: str) -> None:
    top = name.partition(".")[0]
    if isinstance(sys.modules.get(top), _StandIn) or importlib.util.find_spec(top) is None:
        sys.modules[name] = _StandIn(name)


# ------------------------------------------------------------------------------------------------------ plain arrays


def _plain(function: Callable[[Any, Any, Given], Any], tolerance: float, note: str = "") -> list[Entry]:
    """The same lines in numpy and in torch."""
    return [
        Entry("numpy", {"": lambda given: function(np, given.X, given)}, tolerance, note),
        Entry("torch", {"": lambda given: function(torch, given.T, given)}, tolerance, note),
    ]


def _weiszfeld(xp: Any, X: Any, given: Given) -> Any:
    z = X.mean(0)
    for _ in range(STEPS):
        w = 1.0 / xp.linalg.norm(X - z, axis=1).clip(min=1e-6)
        z = (w / w.sum()) @ X
    return z


def _centered_clipping(xp: Any, X: Any, given: Given) -> Any:
    v = X[0] * 0
    for _ in range(CLIP_STEPS):
        away = X - v
        v = v + (given.clip_l2 / xp.linalg.norm(away, axis=1)).clip(max=1.0) @ away / given.n
    return v


def _clipped_mean(xp: Any, X: Any, given: Given) -> Any:
    return (given.clip_l2 / xp.linalg.norm(X, axis=1)).clip(max=1.0) @ X / given.n


def _numpy_trimmed(given: Given) -> Any:
    n, f = given.n, given.f
    return np.partition(given.X, (f, n - f - 1), axis=0)[f : n - f].mean(axis=0)


def _numpy_sorted(given: Given) -> Any:
    return np.sort(given.X, axis=0)[given.f : given.n - given.f].mean(axis=0)


def _numpy_meamed(given: Given) -> Any:
    kept = given.n - given.f
    away = np.abs(given.X - np.median(given.X, axis=0))
    return np.take_along_axis(given.X, np.argpartition(away, kept - 1, axis=0)[:kept], axis=0).mean(axis=0)


def _torch_meamed(given: Given) -> Any:
    away = (given.T - given.T.median(dim=0).values).abs()
    return given.T.gather(0, away.topk(given.n - given.f, dim=0, largest=False).indices).mean(dim=0)


def _numpy_distances(X: F32) -> F32:
    G = X @ X.T
    squares = np.diagonal(G)
    D: F32 = squares[:, None] + squares - 2 * G
    np.fill_diagonal(D, 0.0)
    return D


def _numpy_multi_krum(given: Given, m: int) -> Any:
    scores = np.sort(_numpy_distances(given.X), axis=1)[:, 1 : given.n - given.f - 1].sum(axis=1)
    return given.X[np.argsort(scores)[:m]].mean(axis=0)


def _torch_multi_krum(given: Given, m: int) -> Any:
    D = torch.cdist(given.T, given.T).square()
    return given.T[D.sort(dim=1).values[:, 1 : given.n - given.f - 1].sum(dim=1).argsort()[:m]].mean(dim=0)


def _numpy_nnm(given: Given) -> Any:
    kept = given.n - given.f
    W = np.zeros((given.n, given.n), np.float32)
    np.put_along_axis(W, np.argpartition(_numpy_distances(given.X), kept - 1, axis=1)[:, :kept], 1 / kept, axis=1)
    return _numpy_trimmed(replace(given, X=W @ given.X))


# ------------------------------------------------------------------------------------------------------------ Flower


def _flower(function: str) -> Any:
    return getattr(_loaded["flwr.server.strategy.aggregate"], function)


def _serverapp(module: str, function: str) -> Any:
    return getattr(_loaded[f"flwr.serverapp.strategy.{module}"], function)


def _flower_trimmed(given: Given) -> Any:
    # Half a row more: int() of a product such as 0.29 * 100 would cut one row less.
    return _serverapp("fedtrimmedavg", "trim_mean")(given.X, (given.f + 0.5) / given.n)


def _flower_krum(given: Given, keep: int) -> Any:
    return _flower("aggregate_krum")(given.results, given.f, keep)[0]


def _serverapp_krum(given: Given, keep: int) -> Any:
    chosen = _serverapp("multikrum", "select_multikrum")(given.contents, given.f, keep)
    return _flower("aggregate")([([one.row], 1) for one in chosen])[0]


def _flower_bulyan(given: Given) -> Any:
    rows = list(given.results)  # it takes them out one by one
    return _flower("aggregate_bulyan")(rows, given.bulyan().f, _flower("aggregate_krum"), to_keep=0)[0]


def _serverapp_bulyan(given: Given) -> Any:
    f = given.bulyan().f
    theta = given.n - 2 * f
    chosen = [[one.row] for one in _serverapp("multikrum", "select_multikrum")(given.contents, f, theta)]
    median = [np.median(layer, axis=0) for layer in zip(*chosen, strict=True)]
    return _serverapp("bulyan", "aggregate_n_closest_weights")(median, chosen, theta - 2 * f)[0]


def _flower_clip(given: Given) -> Any:
    clip = _loaded["flwr.supercore.differential_privacy"].clip_inputs_inplace
    for layers, _ in given.results:
        clip(layers, given.clip_l2)
    return _flower("aggregate")(given.results)[0]


# ------------------------------------------------------------------------------------------------ ByzFL, krum, byzpy
# Settings are values, or functions of what is given.


def _settled(settings: dict[str, Any], given: Given) -> dict[str, Any]:
    return {key: value(given) if callable(value) else value for key, value in settings.items()}


def _byzfl(*steps: str, **settings: Any) -> dict[str, Form]:
    """Rows of torch and of numpy through the steps, which all take the settings. New objects: one keeps its answer."""

    def run(rows: Any, given: Given) -> Any:
        for step in steps:
            rows = getattr(_loaded["byzfl"], step)(**_settled(settings, given))(rows)
        return rows

    return {"torch": lambda given: run(given.T, given), "numpy": lambda given: run(given.X, given)}


def _byzfl_clip() -> dict[str, Form]:
    def run(rows: Any, given: Given) -> Any:
        return _loaded["byzfl"].Average()(_loaded["byzfl"].Clipping(c=given.clip_l2)(rows))

    return {"torch": lambda given: run(given.T, given), "numpy": lambda given: run(given.X, given)}


def _krum(module: str, name: str, **settings: Any) -> dict[str, Form]:
    def run(given: Given) -> Any:
        rule = getattr(_loaded[f"krum.primitives.aggregators.{module}"], name)
        return rule.aggregate(given.T, **_settled(settings, given))

    return {"": run}


def _byzpy(module: str, name: str, **settings: Any) -> dict[str, Form]:
    def run(given: Given) -> Any:
        rule = getattr(_loaded[f"byzpy.aggregators.{module}"], name)(**_settled(settings, given))
        return rule.aggregate(given.tensors)

    return {"": run}


def _byzpy_nnm(given: Given) -> Any:
    mixed = _loaded["byzpy.pre_aggregators"].NearestNeighborMixing(f=given.f).pre_aggregate(given.tensors)
    trimmed = _loaded["byzpy.aggregators.coordinate_wise.trimmed_mean"].CoordinateWiseTrimmedMean(f=given.f)
    return trimmed.aggregate(mixed)


def _byzpy_clip(given: Given) -> Any:
    clipped = _loaded["byzpy.pre_aggregators"].Clipping(threshold=given.clip_l2).pre_aggregate(given.tensors)
    return torch.stack(clipped).mean(dim=0)


def _n(given: Given) -> int:
    return given.n


def _f(given: Given) -> int:
    return given.f


def _m(given: Given) -> int:
    return given.n - given.f


def _clip(given: Given) -> float:
    return given.clip_l2


def _mixed_rows(given: Given) -> int:
    """ByzFL gathers n - f rows for each of the n."""
    return given.n * (given.n - given.f) * given.d * 4


# ----------------------------------------------------------------------------------------------------------- the table

_LOWER = "of two middle values it takes the lower one"
_NEIGHBOURS = "n-f-1 neighbours, ours n-f-2"
_MANY = "from 26 rows on, distances from products of float32, whose errors are below"
_COARSE = "distances from products of float32, whose errors are below"
_TEN = f"{STEPS} steps"
_TWIN = "beside our numpy twin"
_NP_MEDIAN: dict[str, Form] = {"np.median": lambda given: np.median(given.X, axis=0)}

# In the order of the tables. Multi-Krum: m = n-f for all. Bulyan: an f of its own.
ENTRIES: dict[str, list[Entry]] = {
    "median": [
        Entry("flower", _NP_MEDIAN, SAME, "what FedMedian calls"),
        Entry("numpy", _NP_MEDIAN, SAME, _TWIN, kernels="numpy"),
        Entry("torch", {"": lambda given: given.T.median(dim=0).values}, note=_LOWER),
        Entry("byzfl", _byzfl("Median"), SAME),
        Entry("krum", _krum("median", "Median"), SAME),
        Entry("byzpy", _byzpy("coordinate_wise.median", "CoordinateWiseMedian"), note=_LOWER),
    ],
    "trimmed mean": [
        Entry("flower", {"": _flower_trimmed}, SAME),
        Entry("numpy", {"partition": _numpy_trimmed, "sort": _numpy_sorted}, SAME, _TWIN, kernels="numpy"),
        Entry("torch", {"": lambda given: given.T.sort(dim=0).values[given.f : _m(given)].mean(dim=0)}, SAME),
        Entry("byzfl", _byzfl("TrMean", f=_f), SAME),
        Entry("krum", _krum("trimmed_mean", "TrimmedMean", f=_f), SAME),
        Entry("byzpy", _byzpy("coordinate_wise.trimmed_mean", "CoordinateWiseTrimmedMean", f=_f), SAME),
    ],
    "meamed": [
        Entry("numpy", {"": _numpy_meamed}, TIED),
        Entry("torch", {"": _torch_meamed}, note=_LOWER),
        Entry("byzfl", _byzfl("Meamed", f=_f), TIED),
    ],
    "krum": [
        Entry("flower", {"": lambda given: _flower_krum(given, 0)}, SAME),
        Entry("flower serverapp", {"": lambda given: _serverapp_krum(given, 1)}, SAME, _COARSE),
        Entry("numpy", {"": lambda given: _numpy_multi_krum(given, 1)}, SAME, _COARSE),
        Entry("torch", {"": lambda given: _torch_multi_krum(given, 1)}, SAME),
        Entry("byzfl", _byzfl("Krum", f=_f), SAME, _NEIGHBOURS),
        Entry("krum", _krum("krum", "Krum", n=_n, f=_f), SAME, _MANY),
        Entry("byzpy", _byzpy("geometric_wise.krum", "Krum", f=_f), SAME, f"{_NEIGHBOURS}; {_COARSE}"),
    ],
    "multi-krum": [
        Entry("flower", {"": lambda given: _flower_krum(given, _m(given))}, SAME),
        Entry("flower serverapp", {"": lambda given: _serverapp_krum(given, _m(given))}, SAME, _COARSE),
        Entry("numpy", {"": lambda given: _numpy_multi_krum(given, _m(given))}, SAME, _COARSE),
        Entry("torch", {"": lambda given: _torch_multi_krum(given, _m(given))}, SAME),
        Entry("byzfl", _byzfl("MultiKrum", f=_f), SAME, _NEIGHBOURS),
        Entry("krum", _krum("multikrum", "MultiKrum", n=_n, f=_f, m=_m), SAME, f"m by itself would be n-2f-3; {_MANY}"),
        Entry("byzpy", _byzpy("geometric_wise.krum", "MultiKrum", f=_f, q=_m), SAME, f"{_NEIGHBOURS}; {_COARSE}"),
    ],
    "geometric median": [
        *_plain(_weiszfeld, NORMED, _TEN),
        Entry("byzfl", _byzfl("GeometricMedian", T=STEPS), NORMED, _TEN),
        Entry("byzfl, T=3", _byzfl("GeometricMedian"), note="its default, from zero: not converged", other_rule=True),
        Entry(
            "krum",
            _krum("geometric_median", "GeometricMedian", n=_n, f=_f, max_iter=STEPS),
            NORMED,
            f"{_TEN}, by itself up to 100",
        ),
        Entry(
            "byzpy",
            _byzpy("geometric_wise.geometric_median", "GeometricMedian", max_iter=STEPS, init="mean"),
            NORMED,
            f"{_TEN}, by itself up to 256",
        ),
    ],
    "centred clipping": [
        *_plain(_centered_clipping, NORMED),
        Entry("byzfl", _byzfl("CenteredClipping", L=CLIP_STEPS, tau=_clip), NORMED),
        Entry(
            "byzpy",
            _byzpy("norm_wise.center_clipping", "CenteredClipping", c_tau=_clip, M=CLIP_STEPS, init="zero"),
            NORMED,
        ),
    ],
    "bulyan": [
        Entry("flower", {"": _flower_bulyan}, TIED),
        Entry("flower serverapp", {"": _serverapp_bulyan}, note="chooses all rows at once", other_rule=True),
        Entry(
            "krum",
            _krum("bulyan", "Bulyan", n=_n, f=lambda given: given.bulyan().f, m=1),
            note="chooses n-2f-2 rows, ours n-2f; then a trimmed mean, ours the mean around the median",
        ),
    ],
    "nnm, trimmed mean": [
        Entry("numpy", {"": _numpy_nnm}, SAME, _COARSE),
        Entry("byzfl", _byzfl("NNM", "TrMean", f=_f), SAME, memory=_mixed_rows),
        Entry("byzpy", {"": _byzpy_nnm}, SAME, _COARSE),
    ],
    "norm clip, mean": [
        *_plain(_clipped_mean, NORMED),
        Entry("flower", {"": _flower_clip}, NORMED, "in place", changes_rows=True),
        Entry("byzfl", _byzfl_clip(), NORMED, "in place", changes_rows=True),
        Entry("byzpy", {"": _byzpy_clip}, NORMED, "then torch's mean"),
    ],
    "mean": [
        Entry("flower", {"": lambda given: _flower("aggregate")(given.results)[0]}, SAME),
        Entry("numpy", {"": lambda given: given.X.mean(axis=0)}, SAME),
        Entry("torch", {"": lambda given: given.T.mean(dim=0)}, SAME),
        Entry("byzfl", _byzfl("Average"), SAME),
        Entry("krum", _krum("average", "Average"), SAME),
    ],
    "mda": [
        Entry("byzfl", _byzfl("MDA", f=_f), SAME),
        Entry("krum", _krum("brute", "Brute", n=_n, f=_f), SAME, "called Brute"),
        Entry("byzpy", _byzpy("geometric_wise.minimum_diameter_average", "MinimumDiameterAveraging", f=_f), SAME),
    ],
    "caf": [
        Entry("byzfl", _byzfl("CAF", f=_f), note="one power step from a random start: another answer in each call"),
        Entry("byzpy", _byzpy("norm_wise.caf", "CAF", f=_f), note="three power steps: not the top direction"),
    ],
}


def distances(given: Given) -> dict[str, Any]:
    """Squared distances of the rows as the peers' Krum sees them."""
    found: dict[str, Any] = {"torch.cdist (krum; byzfl on torch)": torch.cdist(given.T, given.T).square().numpy()}
    if "flwr.serverapp.strategy.multikrum" in _loaded:
        found["flower serverapp"] = _serverapp("multikrum", "compute_distances")(given.contents)
        found["flower"] = _flower("_compute_distances")([[row] for row in given.X])
    if "byzpy.aggregators.geometric_wise.krum" in _loaded:
        found["byzpy"] = _loaded["byzpy.aggregators.geometric_wise.krum"]._pairwise_sq_dists(given.T).numpy()
    return found


def chosen_by_flower(given: Given, m: int) -> list[int]:
    """Which rows the Multi-Krum of Flower's serverapp chooses."""
    chosen = _serverapp("multikrum", "select_multikrum")(given.contents, given.f, m)
    return [at for at, one in enumerate(given.contents) if any(one is each for each in chosen)]
