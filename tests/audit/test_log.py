"""The append-only log."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.audit import Log, Moment, entries
from phalanx.audit.merkle import leaf_hash, root
from phalanx.types import MemberId, Reason, Refusal


@given(st.integers(0, 20))
@settings(max_examples=21, deadline=None)
def test_a_log_built_again_from_its_leaves_goes_on_as_if_it_had_never_stopped(crash_after: int) -> None:
    told = [entries.attempt_failed(Moment(i, 1, i), reason=f"because {i}") for i in range(20)]
    steady = Log()
    leaves = [steady.append(entry) for entry in told]
    recovered = Log(leaves[:crash_after])
    assert [recovered.append(entry) for entry in told[crash_after:]] == leaves[crash_after:]
    assert (
        (recovered.size, recovered.root) == (steady.size, steady.root) == (20, root(list(map(leaf_hash, leaves))).hex())
    )


def test_the_log_gives_each_entry_its_index() -> None:
    log = Log()
    assert [json.loads(log.append(entries.finished(Moment(7), selection_seed=None)))["index"] for _ in range(3)] == [
        0,
        1,
        2,
    ]


def test_an_entry_that_is_refused_leaves_the_log_as_it_was() -> None:
    log = Log()
    before = log.root
    with pytest.raises(ValueError, match="index, this one has 5"):
        log.append({"index": 5})
    with pytest.raises(ValueError, match="canonical JSON"):
        log.append({"norm": float("nan")})
    with pytest.raises(ValueError, match="the limit is 1048576"):
        log.append({"reason": "x" * (1 << 20)})
    assert (log.size, log.root) == (0, before)


def test_who_was_refused_is_sorted_whatever_the_order_of_arrival() -> None:
    refused = [Refusal(MemberId(name), Reason.REPLAY) for name in ("b", "a", "c")]
    one = entries.cohort(Moment(1, 1, 1), accepted=[], refused=refused, weights={})
    other = entries.cohort(Moment(1, 1, 1), accepted=[], refused=refused[::-1], weights={})
    assert one == other
    assert [row["member"] for row in one["refused"]] == ["a", "b", "c"]
