"""Ten members of whom nine are honest and answer about 1.0, as in the table of what breaks Flower (flower.md 2.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phalanx.screening import ScreeningPolicy, screen
from phalanx.types import Binding, Cohort, Layout, MemberId, Refusal, Screening, TensorSpec, Update, member_id

LAYOUT = Layout((TensorSpec("weight", (2, 3), 0), TensorSpec("bias", (3,), 6)))
BINDING = Binding("clinics", "run-1", 3, 0, "ab" * 32, "cd" * 32, "0" * 32)
INVITED = tuple(member_id(f"m{i}") for i in range(10))
CAPS = dict.fromkeys(INVITED, 0.2)
ATTACKER = INVITED[9]
POLICY = ScreeningPolicy(max_norm=100.0, max_examples=1000, min_rows=5)
CLAIMED = ScreeningPolicy(max_norm=100.0, max_examples=1000, min_rows=5, weighting="claimed")
OFF = ScreeningPolicy(max_norm=100.0, max_examples=1000, min_rows=1, weighting="claimed", unsafe_accept_all=True)


def update(
    member: MemberId,
    values: npt.ArrayLike = 1.0,
    *,
    claim: Any = 10,
    tensors: Any = None,
    payload: bytes | None = None,
    receipt: str = "",
) -> Update:
    """A sound update unless told otherwise; one value stands for all parameters."""
    row = np.broadcast_to(np.asarray(values, dtype="<f4"), (LAYOUT.d,))
    return Update(
        member=member,
        tensors=LAYOUT.as_json() if tensors is None else tensors,
        payload=row.tobytes() if payload is None else payload,
        claimed_examples=claim,
        receipt=receipt or f"receipt of {member}",
        signature="",
    )


def nine() -> list[Update]:
    """m0 to m8: 0.96, 0.97, …, 1.04."""
    return [update(member, 0.96 + 0.01 * i) for i, member in enumerate(INVITED[:9])]


def screened(
    updates: list[Update], policy: ScreeningPolicy = POLICY, refused: tuple[Refusal, ...] = (), cap: float = 0.2
) -> tuple[Cohort, Screening]:
    return screen(updates, refused, policy, LAYOUT, BINDING, INVITED, dict.fromkeys(INVITED, cap))


def weighted_mean(cohort: Cohort) -> npt.NDArray[np.float64]:
    """The aggregation that is attacked: FedAvg."""
    return np.asarray(cohort.weights @ cohort.rows.astype(np.float64), dtype=np.float64)
