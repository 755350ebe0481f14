"""The values that flow through the corridor.

Passing a control changes the type: SealedUpdate → Update → Cohort → Aggregate → Candidate → Approved → Release. Each of
these seven is constructed in exactly one function of the whole package (`tests/test_stages.py` reads the syntax trees),
so that holding one proves which control it passed.

Letters: `n` members, `d` parameters, `f` hostile members tolerated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

MemberId = NewType("MemberId", str)
_MEMBER_ID = re.compile(r"[a-z0-9-]{1,63}")


def member_id(text: str) -> MemberId:
    """`text` as a member id. Raises ValueError unless it matches [a-z0-9-]{1,63}."""
    if not _MEMBER_ID.fullmatch(text):
        raise ValueError(f"a member id is 1 to 63 of a-z, 0-9 and -, got {text!r}")
    return MemberId(text)


# ---------------------------------------------------------------------------------------------------------- models


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named tensor of a model. All tensors are float32; `offset` counts elements, not bytes."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Layout:
    """How named tensors lie in one flat little-endian float32 vector of length d. Fixed by the coordinator."""

    tensors: tuple[TensorSpec, ...]

    @property
    def d(self) -> int:
        """Parameters."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of one update on the wire, without header and padding."""
        return 4 * self.d

    def as_json(self) -> list[list[Any]]:
        """[[name, [shape], dtype], …] in order: what a member repeats in its update and the receiver compares."""
        return [[tensor.name, list(tensor.shape), "float32"] for tensor in self.tensors]


# --------------------------------------------------------------------------------------------------------- the round


@dataclass(frozen=True, slots=True)
class Binding:
    """What every message of a round is bound to. Two messages with the same binding are of the same attempt."""

    federation: str
    run: str
    round: int
    attempt: int
    model: str  # hash of the model that the members start from
    config: str  # hash of the effective configuration
    nonce: str  # 32 hexadecimal characters, fresh for every attempt

    def as_json(self) -> dict[str, Any]:
        """The binding as a JSON object, in the words of the wire."""
        return {
            "attempt": self.attempt,
            "config": self.config,
            "federation": self.federation,
            "model": self.model,
            "nonce": self.nonce,
            "round": self.round,
            "run": self.run,
        }


class Reason(StrEnum):
    """Why one member's answer does not count. A reason is data: the round goes on without the member."""

    # channel
    WRONG_SIZE = "wrong-size"  # not the one padded length of this round; refused before anything is parsed
    MALFORMED = "malformed"  # the envelope or the header inside cannot be parsed
    UNKNOWN_MEMBER = "unknown-member"
    REVOKED_MEMBER = "revoked-member"
    WRONG_SENDER = "wrong-sender"  # a known member's envelope, delivered as somebody else's
    WRONG_FEDERATION = "wrong-federation"
    WRONG_RUN = "wrong-run"
    WRONG_ROUND = "wrong-round"
    WRONG_ATTEMPT = "wrong-attempt"
    WRONG_MODEL = "wrong-model"
    WRONG_CONFIG = "wrong-config"
    WRONG_NONCE = "wrong-nonce"
    WRONG_KIND = "wrong-kind"  # a ballot where an update was asked, or the other way round
    ALTERED = "altered"  # the sealed bytes do not open under the round key
    BAD_SIGNATURE = "bad-signature"
    REPLAY = "replay"  # these bytes were already received in this round
    # screening
    DUPLICATE = "duplicate"  # a second, different update of the same member
    WRONG_NAMES = "wrong-names"
    WRONG_SHAPE = "wrong-shape"
    WRONG_DTYPE = "wrong-dtype"
    WRONG_LENGTH = "wrong-length"
    NOT_FINITE = "not-finite"
    NORM_TOO_LARGE = "norm-too-large"
    BAD_CLAIM = "bad-claim"  # a sample count that is not a positive integer
    # availability
    MISSING = "missing"  # no answer before the deadline
    DECLINED = "declined"  # the member refused the order (its floor, its budget) and said so
    # gate
    BAD_BALLOT = "bad-ballot"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One member's answer that does not count, and why."""

    member: MemberId
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SealedUpdate:
    """An envelope of the right length, from somebody who says to be `sender`. Nothing in it is believed yet."""

    sender: MemberId
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """Opened, bound to this round and signed by `member`. Its numbers are not checked yet.

    `tensors` is the member's own statement of names, shapes and dtypes; `payload` its raw little-endian bytes.
    `receipt` is the hash that the log holds; `signature` is the member's, over
    that hash and the attempt's binding.
    """

    member: MemberId
    tensors: Any
    payload: bytes = field(repr=False)
    claimed_examples: Any
    receipt: str
    signature: str


@dataclass(frozen=True, slots=True)
class Cohort:
    """The updates that passed screening: rows (n, d) float32, sorted by member.

    `weights` (n,) sum to 1 and are the coordinator's, not the members'. `invited` counts the members asked this round.
    A secret cohort has `expected` members on average, a public number: each then weighs 1 / expected, and n may be 0.
    """

    members: tuple[MemberId, ...]
    rows: F32 = field(repr=False)
    weights: F64
    invited: int
    binding: Binding
    expected: float | None = None

    @property
    def denominator(self) -> float:
        """What central differential privacy divides by: fixed before anybody answers."""
        return self.invited if self.expected is None else self.expected


@dataclass(frozen=True, slots=True)
class Screening:
    """What screening did: who counts, who does not and why."""

    accepted: tuple[MemberId, ...]
    refused: tuple[Refusal, ...]
    norms: Mapping[MemberId, float]
    capped_claims: tuple[MemberId, ...] = ()


@dataclass(frozen=True, slots=True)
class AggregationReport:
    """Who counted how much, and what the rule guarantees.

    `weights` (n,) is each row's weight in the aggregate; for coordinate-wise rules, the share of coordinates at which
    the row was used. `scores` (n,) are the rule's own, lower is more trusted, or None. `l2_sensitivity` is None unless
    it is analysed.
    """

    rule: str
    weights: F64
    scores: F64 | None
    l2_sensitivity: float | None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The cohort's one update (d,), float32, after the rule and, where there is any, central noise."""

    vector: F32 = field(repr=False)
    report: AggregationReport
    noise_multiplier: float | None
    binding: Binding


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model (d,) that training produced and that nobody has tried yet. `base` hashes the model it came from."""

    model: F32 = field(repr=False)
    digest: str
    base: str
    binding: Binding


@dataclass(frozen=True, slots=True)
class Tally:
    """A paired comparison of candidate and incumbent on held-out data, counted, never the data.

    `worse[c]`: held-out examples of class c that the incumbent has right and the candidate wrong; `better[c]` the
    reverse; `right[c]` those that the candidate has right; `total[c]` how many there are. `finite` is False if the
    candidate gave a non-finite output.
    """

    worse: tuple[int, ...]
    better: tuple[int, ...]
    right: tuple[int, ...]
    total: tuple[int, ...]
    finite: bool


@dataclass(frozen=True, slots=True)
class Vote:
    """All that a member says of a candidate where its counts stay at home: the gate's policy `votes`.

    `worse`: the member's own sign tests found the candidate worse. `accuracy`: the bucket of the candidate's accuracy
    on the member's held-out examples, -1 where it holds none. `finite` as in `Tally`.
    """

    worse: bool
    accuracy: int
    finite: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's decision and its evidence. `test` names what decided; p-values are one-sided, exact."""

    passed: bool
    test: str
    p_value: float
    worse: int
    better: int
    voters: int
    refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Approved:
    """A candidate that passed the gate."""

    candidate: Candidate
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed tree head: the log had `size` entries with RFC 6962 root `root` (hex)."""

    origin: str
    size: int
    root: str
    note: bytes


@dataclass(frozen=True, slots=True)
class Release:
    """A signed model: safetensors bytes, a canonical manifest that names its log entry, and the signature over it."""

    version: int
    model: bytes = field(repr=False)
    manifest: bytes
    signature: str


# ----------------------------------------------------------------------------------------------------------- learning


@dataclass(frozen=True, slots=True)
class ExamplePrivacy:
    """Example-level DP-SGD at the member: clip each example's gradient, add noise to the sum, divide by a constant.

    Unit: one example of one member, added or removed. `normaliser` is public: never the member's own sample count.
    """

    clip_l2: float
    noise_multiplier: float
    normaliser: int
    epsilon: float
    delta: float


@dataclass(frozen=True, slots=True)
class MemberPrivacy:
    """Central Gaussian noise by the aggregator. Unit: one member's whole update, added or removed."""

    noise_multiplier: float
    epsilon: float
    delta: float


@dataclass(frozen=True, slots=True)
class TrainTask:
    """What a member is asked to do this round. `noise_key` (32 bytes) is the member's own and secret.

    `control` (d,) is the server's control variate where the algorithm has one (SCAFFOLD), else None.
    """

    round: int
    privacy: ExamplePrivacy | None
    noise_key: bytes = field(repr=False, default=b"")
    control: F32 | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Trained:
    """What a member's training gives: its delta (d,), a claim of how many examples, and state to keep for next time.

    `state` is the member's own (local tensors, momentum, control variate); it stays at the member.
    """

    delta: F32 = field(repr=False)
    examples: int
    state: F32 = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A charge against a privacy budget, made durable before any noise is drawn. `key` makes it idempotent.

    `rate` is the probability with which the unit was sampled in secret, 1 where it always takes part (and in charges
    that were made before there were rates); `sample` names the draw, so that none is counted on twice.
    """

    key: str
    dataset: str
    unit: str
    noise_multiplier: float
    epsilon_budget: float
    delta: float
    rate: float = 1.0
    sample: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The ledger after a charge: the ε spent on this dataset so far, at δ, rounded up."""

    key: str
    charges: int
    epsilon: float
