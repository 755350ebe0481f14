"""A made-up `DemoResult` with realistic figures: ten members, three of them hostile, forty rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from phalanx.redteam.demo.result import DemoResult, Leak, Price, RoundResult, RunResult, Threat
from phalanx.types import MemberId, member_id

ATTACKS = ("backdoor", "sign flip", "not a number")

# name: accuracy, backdoor success, ε, hostile members, controls
_RUNS: Mapping[str, tuple[float, float, float | None, tuple[int, ...], str]] = {
    "clean": (0.953, 0.004, None, (), "plain federated averaging"),
    "undefended-backdoor": (0.951, 0.994, None, (0,), "plain federated averaging"),
    "undefended-sign-flip": (0.100, 0.0, None, (1,), "plain federated averaging"),
    "undefended-nan": (math.nan, math.nan, None, (2,), "plain federated averaging"),
    "robust": (0.947, 0.003, None, (), "screening, NNM, geometric median, gate"),
    "robust-attacked": (0.939, 0.001, None, (0, 1, 2), "screening, NNM, geometric median, gate"),
    "robust-norm-matched": (0.941, 0.021, None, (0,), "screening, NNM, geometric median, gate"),
    "private": (0.912, 0.005, 7.99, (), "all of the above and DP-SGD, σ = 3.80"),
    "private-attacked": (0.901, 0.034, 7.99, (0, 1, 2), "all of the above and DP-SGD, σ = 3.80"),
    "private-norm-matched": (0.908, 0.047, 7.99, (0,), "all of the above and DP-SGD, σ = 3.80"),
    "private-multi-krum-norm-matched": (0.910, 0.820, 7.99, (0,), "Multi-Krum and DP-SGD, σ = 3.80"),
    "alone": (0.900, 0.006, None, (), "each member on its own data"),
    "pooled": (0.957, 0.005, None, (), "all data in one place"),
}


def demo(
    *, members: int = 10, rounds: int = 40, without: tuple[str, ...] = (), detail: str = "3 of 650 values are NaN"
) -> DemoResult:
    """The demo's result for so many members and rounds, `without` some runs; `detail` is a hostile member's text."""
    rng = np.random.default_rng(7)
    everyone = tuple(member_id(f"org-{i:02}") for i in range(members))
    runs = {name: _run(name, everyone, rounds, detail, rng) for name in _RUNS if name not in without}
    image = np.clip(np.outer(np.hanning(8), np.hanning(8)) * 1.6 - 0.25 * np.eye(8), 0, 1).ravel()
    image[27:29] = image[35:37] = 0.05
    noise = np.clip(rng.normal(0.5, 0.6, 64), 0, 1)
    pixels = tuple(float(value) for value in image)
    return DemoResult(
        seed=7,
        runs=runs,
        threats=_threats(),
        prices=(
            Price("Robust aggregation", 0.953, 0.947, "nobody attacks"),
            Price("Differential privacy", 0.947, 0.912, "ε = 7.99 per example"),
            Price("All controls, under attack", 0.953, 0.901, "three of ten members hostile"),
        ),
        leak=Leak(pixels, pixels, tuple(float(value) for value in noise), 61.24, 5.87, 12.31, 0),
        split={member: tuple(int(n) for n in rng.integers(2, 31, 10)) for member in everyone},
        hostile=everyone[:3],
        does_not_protect=(
            "A coordinator that reads single updates: this lab runs in the open venue, where it sees them.",
            "A backdoor that three of ten members or more plant together.",
            "Multi-Krum against an update whose length is matched to the honest ones.",
            "What a member's own computer gives away before anything is sent.",
            "Members that stop taking part: availability is not guaranteed.",
        ),
        public="phalanx-demo/public",
        fingerprint="4f1c 09ae 77d2 5b60 91e3 c8aa 02d4 6f7e",
        verify_command="phalanx audit verify phalanx-demo/public --trust 4f1c09ae77d25b6091e3c8aa02d46f7e",
        seconds=83.4,
        version="0.1.0",
    )


def _threats() -> tuple[Threat, ...]:
    return (
        Threat("Backdoor by model replacement", "99.4 % of stamped digits become 0", "3.4 %",
               "norm screening, NNM", True, "private-attacked"),
        Threat("Sign flip", "accuracy falls to 10.0 %", "90.1 %", "geometric median", True, "private-attacked"),
        Threat("Not-a-number update", "model destroyed", "refused each round", "screening", True, "robust-attacked"),
        Threat("Rebuilding a private image", "rebuilt exactly", "noise", "DP-SGD", True, ""),
        Threat("Norm-matched backdoor", "99.1 %", "4.7 %", "NNM", True, "private-norm-matched"),
        Threat("Norm-matched backdoor, Multi-Krum", "99.1 %", "82.0 %", "nothing", False,
               "private-multi-krum-norm-matched"),
        Threat("Coordinator that reads updates", "sees everything", "sees noisy updates", "DP-SGD in part", None, ""),
    )  # fmt: skip


def _run(name: str, everyone: tuple[MemberId, ...], rounds: int, detail: str, rng: np.random.Generator) -> RunResult:
    accuracy, backdoor, epsilon, attackers, controls = _RUNS[name]
    hostile = {everyone[i]: ATTACKS[i] for i in attackers if i < len(everyone)}
    refuses = 2 in attackers and name != "undefended-nan"
    history = []
    for number in range(1, rounds + 1):
        share = number / rounds
        accepted = [member for i, member in enumerate(everyone) if not (refuses and i == 2)]
        raw = np.array([0.05 if m in hostile and not name.startswith("undefended") else 1.0 for m in accepted])
        raw = raw * rng.uniform(0.8, 1.2, len(raw))
        rise = 1 - 0.85 * math.exp(-6 * share) * (1 - share)
        wobble = float(rng.normal(0, 0.004)) * (number < rounds)
        history.append(
            RoundResult(
                round=number,
                accuracy=accuracy * rise + wobble if math.isfinite(accuracy) else None,
                backdoor_success=max(0.0, backdoor * rise + wobble) if math.isfinite(backdoor) else None,
                epsilon=None if epsilon is None else epsilon * math.sqrt(share),
                weights={m: float(w) for m, w in zip(accepted, raw / raw.sum(), strict=True)},
                refused=((everyone[2], "not-finite", detail),) if refuses else (),
                gate_passed=not (name == "robust-attacked" and number == 3),
                gate_test="class 8",
                gate_p=0.00003 if number == 3 else 0.4,
            )
        )
    base = accuracy if math.isfinite(accuracy) else 0.0
    return RunResult(
        name=name,
        controls=controls,
        hostile=hostile,
        accuracy=accuracy,
        backdoor_success=backdoor,
        finite=math.isfinite(accuracy),
        epsilon=epsilon,
        delta=None if epsilon is None else 1e-5,
        unit=None if epsilon is None else "example",
        seconds=6.5,
        rounds=() if name in ("alone", "pooled") else tuple(history),
        per_class=tuple(float(v) for v in np.clip(base + rng.normal(0, 0.03, 10), 0, 1)),
        per_site={m: float(v) for m, v in zip(everyone, np.clip(base + rng.normal(0, 0.04, len(everyone)), 0, 1),
                                              strict=True)},
    )  # fmt: skip
