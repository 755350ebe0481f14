"""A made-up `RunReport`: ten members, forty rounds, one refusal of each kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from phalanx.config import parse
from phalanx.gate import SiteRow, SiteTable
from phalanx.learning.baselines import Baselines
from phalanx.report import RunReport, controls_of, limits_of
from phalanx.round.coordinator import RoundRecord
from phalanx.types import MemberId, Reason, Refusal, Verdict, member_id


def table(members: int = 10, rounds: int = 40) -> dict[str, dict[str, object]]:
    """A configuration with every control on, as parsed TOML."""
    return {
        "federation": {"name": "wards", "members": [f"ward-{i:03}" for i in range(members)]},
        "run": {"rounds": rounds},
        "learning": {"module": "member.py"},
        "aggregation": {"rule": "trimmed-mean", "f": f} if (f := min((members - 1) // 3, 10)) else {"rule": "mean"},
        "privacy": {"unit": "example", "epsilon": 8.0, "noise_multiplier": 40.0, "clip_l2": 1.0, "normaliser": 150},
        "floor": {"max_epsilon": 8.0, "refused_rules": ["krum"]},
        "data": {"schema": "schema.toml"},
    }


def run_report(*, members: int = 10, rounds: int = 40, detail: str = "3 of 650 values are NaN") -> RunReport:
    """The report of such a run. `detail` is what a hostile member's refusals say."""
    settings = parse(table(members, rounds))
    everyone, rng = settings.members, np.random.default_rng(3)
    held_out = dict.fromkeys(everyone, 27)
    privacy = settings.mechanism
    return RunReport(
        federation=settings.federation.name,
        run="a1b2c3d4",
        members=everyone,
        planned=rounds,
        finished=True,
        rule=settings.chain,
        privacy=privacy,
        controls=controls_of(settings, privacy),
        limits=limits_of(settings, privacy, held_out),
        records=tuple(_record(number, rounds, everyone, detail, rng) for number in range(1, rounds + 1)),
        accuracy={m: float(v) for m, v in zip(everyone, rng.uniform(0.8, 0.97, members), strict=True)},
        baselines=Baselines(
            alone={m: float(v) for m, v in zip(everyone, rng.uniform(0.7, 0.9, members), strict=True)},
            plain={m: float(v) for m, v in zip(everyone, rng.uniform(0.86, 0.98, members), strict=True)},
            pooled={m: float(v) for m, v in zip(everyone, rng.uniform(0.9, 0.99, members), strict=True)},
        ),
        held_out=held_out,
        split={m: tuple(row) for m, row in zip(everyone, rng.poisson(30.0, (members, 3)).tolist(), strict=True)},
        class_names=("well", "ill", "unclear"),
        travels=("weight 64×3: travels, 768 bytes", "bias 3: travels, 12 bytes", "head 3: stays with each member"),
        how_trained=("one step a round on all examples, rate 0.1", "one thread, hand-batched"),
        messages={everyone[-1]: f"FloorRefused: {detail}"},
        public="wards-run/public",
        fingerprint="sha256:" + "ab" * 32,
        verify_command="phalanx audit verify wards-run --trust sha256:" + "ab" * 32,
        version="0.1.0",
    )


def hostile_report(text: str) -> RunReport:
    """A report in which each text that comes from outside is `text`."""
    report = run_report(detail=text, rounds=5)
    bad = MemberId(text)
    records = tuple(
        replace(
            one,
            accepted=(*one.accepted, bad),
            weights=(*one.weights, 0.2),
            refused=(*one.refused, Refusal(bad, Reason.MALFORMED, text)),
            sites=SiteTable((SiteRow(bad, 0.5, 0.5, 9),), text),
            verdict=replace(one.verdict, test=text, passed=False, refused=(Refusal(bad, Reason.BAD_BALLOT, text),)),
        )
        for one in report.records
    )
    return replace(
        report, federation=text, run=text, finished=False, reason=text, limits=(text,), records=records, public=text,
        controls=tuple(replace(one, name=text, value=text, switch=text) for one in report.controls),
        members=(*report.members, bad), accuracy={**report.accuracy, bad: 0.5}, messages={bad: text},
        baselines=Baselines(alone={bad: 0.5}, plain={bad: 0.5}, pooled={bad: 0.5}), held_out={bad: 9},
        split={m: (0, *counts[1:]) for m, counts in {**report.split, bad: (0, 2, 3)}.items()},
        class_names=(text, "ill", "unclear"), travels=(text,), how_trained=(text,),
        fingerprint=text, verify_command=text, version=text,
    )  # fmt: skip


def _record(
    number: int, rounds: int, everyone: tuple[MemberId, ...], detail: str, rng: np.random.Generator
) -> RoundRecord:
    away = everyone[1:2] if number % 2 == 0 and len(everyone) > 1 else ()
    accepted = tuple(member for member in everyone if member not in away)
    passed = number != 3
    bad_ballot = (Refusal(everyone[0], Reason.BAD_BALLOT, detail),) if number == 1 else ()
    return RoundRecord(
        round=number,
        attempt=1,
        version=number - (number >= 3),
        accepted=accepted,
        refused=tuple(Refusal(member_id(member), Reason.NOT_FINITE, detail) for member in away),
        weights=tuple(rng.uniform(0.2, 0.6, len(accepted)).tolist()),
        verdict=Verdict(passed, "overall" if passed else "class 8", 0.4 if passed else 3e-5, 2 if passed else 31,
                        120 // number, len(everyone), bad_ballot),
        sites=SiteTable(tuple(SiteRow(m, 0.7 + 0.001 * i, 0.7 + 0.001 * i, 27) for i, m in enumerate(everyone))),
        epsilon=7.99 * (number / rounds) ** 0.5,
        model="00" * 32,
    )  # fmt: skip
