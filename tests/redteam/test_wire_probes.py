"""Couriers and impostors reach their goal on an open wire, and get nothing but availability in sealed rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phalanx.attacks import couriers
from phalanx.attacks.couriers import Against, Recording
from phalanx.config import parse
from phalanx.engine.assemble import Stores, assemble, lab_edges
from phalanx.entropy import system_entropy
from phalanx.federation import Federation
from phalanx.learning import Job
from phalanx.redteam.lab import Lab
from phalanx.redteam.naive_wire import NaiveWire, averaged, message
from phalanx.redteam.probe import Probe, Probed, Setting
from phalanx.redteam.remembering import Remembering
from phalanx.redteam.sealed_wire import SealedWire, shortened
from phalanx.redteam.tampering import Scene, Try, found_by, scene_of
from phalanx.redteam.wire_probes import WIRE_PROBES
from phalanx.store import LedgerStore, RunStore
from phalanx.types import TrainTask

PROBES: Mapping[str, Probe] = {probe.card.name: probe for probe in WIRE_PROBES}
NOT_DEFENDED = ("dropping-courier",)
NAMED = (
    "altering-courier",
    "replaying-courier",
    "reordering-courier",
    "injecting-courier",
    "stolen-identity",
    "uninvited-identity",
    "malformed-updates",
    "oversized-updates",
)


@cache
def federation() -> Federation:
    return Federation.from_config(Path(__file__).parents[2] / "examples/digits/phalanx.toml")


def lab(**tables: Mapping[str, Any] | None) -> Lab:
    """The digits over ten members; `tables` change the configuration's own."""
    made = federation()
    held = made.settings.model_dump(by_alias=True)
    for name, table in tables.items():
        held[name] = table if table is None else (held[name] or {}) | dict(table)
    return Lab(federation=replace(made, settings=parse(held)), sites=made.sites, split="own", seed=0)


@cache
def played(name: str, setting: Setting) -> Probed:
    """What the probe finds on digits."""
    return PROBES[name].play(lab(), setting)


def notes(probed: Probed) -> str:
    return "; ".join(probed.notes)


def scene(setting: Setting, rounds: int, **tables: Mapping[str, Any] | None) -> Scene:
    found = scene_of(lab(**tables), setting, rounds)
    assert isinstance(found, Scene)
    return found


# ---------------------------------------------------------------------------------------------------------- the probes


@pytest.mark.parametrize("name", PROBES)
def test_undefended_an_attack_on_the_wire_reaches_its_goal(name: str) -> None:
    goal, found = PROBES[name].card.goal, played(name, "none")
    assert found.measures[goal.measure] >= goal.met


@pytest.mark.parametrize("name", [name for name in PROBES if name not in NOT_DEFENDED])
def test_in_the_users_rounds_it_does_not(name: str) -> None:
    goal, found = PROBES[name].card.goal, played(name, "yours")
    assert found.measures[goal.judged] <= goal.held


@pytest.mark.parametrize("name", [name for name in PROBES if name != "recording-courier"])
def test_no_attack_on_the_wire_changes_more_than_lost_messages_do(name: str) -> None:
    found = played(name, "yours")
    if name in NOT_DEFENDED:
        assert "changed" not in found.counts
    else:
        assert found.counts["changed"][0] == found.counts["stopped"][0] == 0


@pytest.mark.parametrize("name", NAMED)
def test_whatever_is_tampered_with_is_named_with_a_reason(name: str) -> None:
    tampered, named = played(name, "none").counts["named"], played(name, "yours").counts["named"]
    assert named[0] == named[1] > 0
    assert tampered[0] == 0 < tampered[1]


REASONS = {
    "altering-courier": ("altered", "malformed", "wrong-model"),
    "replaying-courier": ("replay", "wrong-round", "wrong-run", "wrong-size", "altered"),
    "reordering-courier": ("wrong-round", "wrong-size", "missing"),
    "injecting-courier": ("altered", "malformed", "wrong-sender"),
    "stolen-identity": ("bad-signature",),
    "uninvited-identity": ("unknown-member", "bad-signature"),
    "malformed-updates": ("malformed", "not-finite", "norm-too-large", "wrong-length", "wrong-dtype", "bad-claim"),
    "oversized-updates": ("wrong-size",),
    "flood": ("altered", "replay", "unknown-member"),
}


@pytest.mark.parametrize("name", REASONS)
def test_the_reasons_are_in_the_notes(name: str) -> None:
    (refused,) = [note for note in played(name, "yours").notes if note.startswith("refused: ")]
    assert {part.partition(" ×")[0] for part in refused.removeprefix("refused: ").split(", ")} >= set(REASONS[name])


def test_losing_messages_is_not_defended_and_said_so() -> None:
    found = played("dropping-courier", "yours")
    assert found.measures["silenced"] == found.measures["named"] == 1.0
    assert "not defended" in notes(found)
    assert "QuorumError" in notes(found)  # where everybody's messages are lost


def test_a_recording_learns_as_much_as_of_random_bytes_and_all_messages_are_as_long() -> None:
    found = played("recording-courier", "yours")
    assert found.measures["value_learned"] == 0
    assert found == played.__wrapped__("recording-courier", "yours")  # sealed anew, with other entropy
    assert found.measures["sizes"] == 1.0
    assert played("recording-courier", "none").measures["value_learned"] == pytest.approx(1.0, abs=1e-6)


def test_no_order_with_a_bit_flipped_is_obeyed() -> None:
    assert played("altering-courier", "yours").measures["orders_obeyed"] == 0.0


def test_a_key_that_is_really_stolen_is_the_member_until_it_is_revoked() -> None:
    found = played("stolen-identity", "yours")
    assert found.measures["own_key_instead"] == 1.0
    assert found.measures["own_key_beside"] == found.measures["own_key_revoked"] == 0.0
    assert "duplicate" in notes(found)
    assert "revoked-member" in notes(found)


def test_a_flood_before_a_members_own_message_keeps_it_out_and_one_after_it_does_not() -> None:
    found = played("flood", "yours")
    assert found.counts["silenced"] == (1, 4)
    assert "keep it out" in notes(found)


def test_a_shortened_run_is_said_to_be_one() -> None:
    assert "3 of 40 rounds; noise is calibrated for these" in notes(played("replaying-courier", "yours"))


# ------------------------------------------------------------------------------------------------ other configurations


def test_where_nobody_may_be_missing_tampering_stops_the_run_and_changes_nothing() -> None:
    strict = lab(run={"missing_allowed": 0}, federation={"weight_cap": 0.1})
    found = PROBES["reordering-courier"].play(strict, "yours")
    assert found.counts["changed"] == (0, 5)
    assert found.counts["stopped"] == (4, 5)
    assert "availability" in notes(found)


SECRET: Mapping[str, Mapping[str, Any] | None] = {
    "privacy": {"unit": "member", "epsilon": 8.0, "noise_multiplier": 3.0, "clip_l2": None, "normaliser": None},
    "floor": {"max_epsilon": None, "refused_rules": ()},
    "aggregation": {"rule": "mean", "f": 0, "pre": ("norm-clip",), "clip_l2": 1.0},
    "selection": {"policy": "poisson", "rate": 0.5},
    "federation": {"weight_cap": 1.0},
}


def test_of_a_secret_cohort_the_records_name_nobody_and_nothing_changes() -> None:
    """Central noise is drawn by what it is for: one answer more does not make it another."""
    secret = lab(**SECRET)
    found = PROBES["injecting-courier"].play(secret, "yours")
    assert found.counts["changed"] == (0, 8)
    assert "named" not in found.counts
    assert "secret" in notes(found)
    assert "secret" in PROBES["dropping-courier"].play(secret, "yours").unavailable


def test_off_twin_without_screening_malformed_updates_change_the_model_behind_the_same_seals() -> None:
    open_lab = lab(
        privacy=None,
        floor={"max_epsilon": None, "refused_rules": ()},
        aggregation={"rule": "mean", "f": 0},
        screening={"unsafe_accept_all": True},
        gate={"f": 0, "unsafe_accept_all": True},
    )
    found = PROBES["malformed-updates"].play(open_lab, "yours")
    assert found.counts["changed"][0] >= 10
    assert "NaN" in notes(found)


# ----------------------------------------------------------------------------------------------------- how it is judged


def test_the_same_trick_twice_gives_the_same_models() -> None:
    for wire in (NaiveWire.of(lab(), 2), SealedWire.of(lab(), 2)):
        first, second = (wire.play(lambda forger: couriers.honest) for _ in range(2))
        assert len(first.models) == 2
        assert first.models == second.models
        assert first.tampered == second.tampered == 0


def test_the_honest_models_are_those_of_a_run_without_any_of_this() -> None:
    """Same seed, same rounds: what the probe compares with is what the engine does, but for central noise."""
    one, settings = lab(), shortened(lab().settings, 2)
    trainers = one.trainers()
    engine = assemble(
        settings,
        trainers,
        classes=one.classes,
        code=one.federation.code,
        stores=Stores(RunStore(None, system_entropy), LedgerStore(None)),
        edges=lab_edges(one.seed),
        durable=False,
    )
    engine.run(one.start(trainers))
    assert SealedWire.of(one, 2).play(lambda forger: couriers.honest).models[-1] == engine.model().tobytes()


def test_a_lost_message_is_no_change_only_where_it_may_be_lost() -> None:
    one = scene("yours", 1)
    trick = one.on_victim(couriers.lost, couriers.updates)
    forgiven, _ = found_by(one, [Try(words="lost", trick=trick, lost=(one.victim, couriers.updates))])
    blamed, _ = found_by(one, [Try(words="lost", trick=trick)])
    assert forgiven.counts["changed"] == (0, 1)
    assert blamed.counts["changed"] == (1, 1)
    assert blamed.notes[0] == "changed by: lost"


def test_a_message_that_crashes_the_receiver_is_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    one = scene("yours", 1)

    def crashes(*arguments: object) -> None:
        raise ZeroDivisionError("no error of ours")

    monkeypatch.setattr("phalanx.channel.envelope._check_header", crashes)
    trick = one.on_victim(couriers.lost, couriers.updates)
    found, (run,) = found_by(one, [Try(words="crashes", trick=trick, lost=(one.victim, couriers.updates))])
    assert run.crashed
    assert found.counts["changed"] == found.counts["stopped"] == (1, 1)
    assert "ZeroDivisionError" in notes(found)


def test_a_try_in_which_nothing_was_tampered_with_is_none() -> None:
    one = scene("none", 1)
    found, runs = found_by(one, [Try(words="nothing", trick=one.on_victim(couriers.again(5)))])
    assert "no message" in found.unavailable
    assert runs == []


def test_victim_and_insider_are_two_members_with_names_of_one_length() -> None:
    one = scene("none", 1)
    assert one.victim < one.insider
    assert len(one.victim) == len(one.insider)


# ------------------------------------------------------------------------------------------------------- the open wire


def update(value: float, d: int = 3) -> bytes:
    return np.full(d, value, "<f4").tobytes()


def test_the_open_wire_believes_names_and_takes_the_last_message_of_each() -> None:
    mean, names = averaged([message("a", update(1)), message("b", update(3)), message("a", update(5))], 3)
    assert mean.tolist() == [4, 4, 4]
    assert names == ("a", "b")


def test_the_open_wire_drops_what_has_another_length_and_averages_whatever_has_not() -> None:
    mean, names = averaged([message("a", update(1)), message("b", update(3, 4)), b"", b"\xff" * 9], 3)
    assert (mean.tolist(), names) == ([1, 1, 1], ("a",))
    assert np.isnan(averaged([message("a", update(1)), message("b", update(np.nan))], 3)[0]).all()
    assert averaged([], 3)[0].tolist() == [0, 0, 0]


def test_on_the_open_wire_training_ends_once_the_model_is_no_number() -> None:
    one = scene("none", 3)
    nan = couriers.replaced(lambda member, envelope: ((member, message(member, update(np.nan, 650))),))
    run = one.wire.play(one.on_victim(nan))
    assert len(run.models) == 1
    assert run.ended == "the model is no number any more"


def test_what_was_recorded_on_the_open_wire_is_the_update() -> None:
    recording = Recording()
    run = NaiveWire.of(lab(), 1).play(lambda forger: recording)
    assert [couriers.body_of(envelope) for _, envelope in recording.kept] == list(run.inside.values())
    sender, envelope = recording.kept[0]
    assert couriers.header_of(envelope) == sender.encode()


# --------------------------------------------------------------------------------------------------------- remembering


def test_training_is_done_once_for_the_same_jobs_and_anew_for_others() -> None:
    one = lab()
    trainers = one.trainers()
    remembering, start = Remembering(trainers), one.start(trainers)
    jobs = [Job(trainer, start, TrainTask(1, None), None) for trainer in trainers.values()]
    first = remembering(jobs)
    assert remembering(jobs) is first
    for other in (
        jobs[:-1],
        [replace(job, task=TrainTask(2, None)) for job in jobs],
        [replace(job, model=start + 1) for job in jobs],
        [replace(job, state=np.zeros_like(first[0].state)) for job in jobs],
    ):
        assert remembering(other) is not first


def test_a_courier_against_one_member_is_made_anew_for_every_run() -> None:
    """Else the second run would begin with what the first had kept."""
    one = scene("none", 1)
    trick = one.on_victim(couriers.again(1))
    assert one.wire.play(trick).tampered == one.wire.play(trick).tampered == 0
    kept = Against(one.victim, couriers.again(1))
    assert [one.wire.play(lambda forger: kept).tampered for _ in range(2)] == [0, 1]
