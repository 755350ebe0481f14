"""What hostile members send in place of an update does what its table says."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.aggregation import aggregate
from phalanx.attacks import free_riding, identities, in_time, planting, updates
from phalanx.attacks.catalogue import DEFAULT, TRAINING_ATTACKS
from phalanx.attacks.training_attack import Craft, always, until_three_quarters
from phalanx.attacks.view import NotVisible, View
from phalanx.errors import NotAvailable
from phalanx.redteam.known import attack
from phalanx.rules import CAF, Chain, GeometricMedian, Mean, MultiKrum, NormClip, Rule, TrimmedMean
from phalanx.types import F32, F64
from tests.attacks.round_facts import HOSTILE, D, bad_direction, honest_rows, view

DEPLOYED = TrimmedMean(3)
RULES = [Mean(), TrimmedMean(3), MultiKrum(3), GeometricMedian(3), CAF(3), NormClip(1.0) >> Mean()]


def answer(rule: Rule | Chain, rows: F32) -> F64:
    """What the rule makes of the honest rows and these."""
    vector, _ = aggregate(np.vstack([honest_rows(), np.broadcast_to(rows, (HOSTILE, D))]), rule)
    return vector.astype(np.float64)


def progress(rule: Rule | Chain, rows: F32) -> float:
    mean = honest_rows().mean(axis=0, dtype=np.float64)
    return float(answer(rule, rows) @ mean / (mean @ mean))


def test_a_sign_flip_turns_a_mean_around() -> None:
    rows = updates.sign_flip(10.0)(view())
    assert np.array_equal(rows, -10 * view().own)
    assert progress(Mean(), rows) < -1


def test_noise_has_the_length_that_it_says_and_differs_between_members() -> None:
    rows = updates.gaussian(30.0)(view())
    lengths = np.linalg.norm(rows, axis=1) / view().length()
    assert np.all((lengths > 20) & (lengths < 40))
    assert not np.array_equal(rows[0], rows[1])


@pytest.mark.parametrize("name", ["ipm", "alie", "min-max", "min-sum", "mimic"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_what_colluders_find_is_one_finite_row(name: str, rule: Rule | Chain) -> None:
    row = updates.colluding(name)(view(rule))
    assert row.shape == (D,)
    assert np.isfinite(row).all()


def test_the_attack_on_krum_says_where_it_does_not_apply() -> None:
    assert np.isfinite(updates.colluding("fang-krum")(view(MultiKrum(3)))).all()
    with pytest.raises(NotAvailable, match="whole rows"):
        updates.colluding("fang-krum")(view(TrimmedMean(3)))


@pytest.mark.parametrize("rule", [TrimmedMean(3), CAF(3)], ids=str)
def test_fang_trim_falls_back_to_whole_rows_where_a_rule_looks_at_them(rule: Rule) -> None:
    assert progress(rule, updates.fang_trim(view(rule))) < progress(rule, view().own)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_best_response_is_no_weaker_than_any_attack_it_is_chosen_from(rule: Rule | Chain) -> None:
    best = progress(rule, updates.best_response(view(rule)))
    for name in ("ipm", "alie", "min-max", "min-sum"):
        assert best <= progress(rule, updates.colluding(name)(view(rule))) + 1e-6


@pytest.mark.parametrize("craft", [updates.colluding("ipm"), updates.best_response, updates.off_centre])
def test_where_nothing_moves_there_is_nothing_to_attack(craft: Craft) -> None:
    still = view(honest=np.zeros((7, D), np.float32))
    assert not craft(still).any()


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_tuned_row_has_the_length_that_brings_the_rule_nearest_to_where_it_leads(rule: Rule | Chain) -> None:
    direction = bad_direction()
    wanted = float(np.linalg.norm(direction))
    unit = direction / np.float32(wanted)
    tuned = updates.tuned(view(rule), direction)
    assert abs(float(tuned @ unit) / float(np.linalg.norm(tuned)) - 1) < 1e-5
    length = float(np.median(np.linalg.norm(honest_rows(), axis=1)))
    others = [answer(rule, np.float32(length * times) * unit) @ unit for times in updates.LENGTHS]
    assert abs(answer(rule, tuned) @ unit - wanted) <= min(abs(each - wanted) for each in others) + 1e-5


def test_a_row_across_the_honest_direction_turns_clipping_more_than_it_moves_it() -> None:
    rule = NormClip(1.0) >> Mean()
    assert progress(rule, updates.off_centre(view(rule))) < 0.5 * progress(rule, view().own)


# ------------------------------------------------------------------------------------------------------------ planting


def test_model_replacement_makes_a_mean_take_the_backdoored_model_over() -> None:
    quiet = view(honest=np.zeros((7, D), np.float32))
    rows = planting.replacement(quiet)
    moved = np.vstack([np.zeros((7, D), np.float32), rows]).mean(axis=0)
    assert np.allclose(moved, planting.planted(quiet)[0], atol=1e-5)


@pytest.mark.parametrize("craft", [planting.constrain_and_scale, planting.matched])
def test_what_hides_has_twice_the_length_of_an_honest_update(craft: Craft) -> None:
    seen = view()
    assert np.allclose(np.linalg.norm(craft(seen), axis=1), 2 * seen.length(), rtol=1e-5)


def test_what_is_constrained_looks_more_honest_than_what_is_only_scaled() -> None:
    seen = view()
    honest = seen.own.mean(axis=0)
    constrained, matched = planting.constrain_and_scale(seen), planting.matched(seen)
    assert (constrained @ honest).mean() > (matched @ honest).mean() + 0.1


def test_projected_descent_stays_within_twice_the_honest_length() -> None:
    seen = view()
    assert (np.linalg.norm(planting.projected(seen), axis=1) <= 2 * seen.length() * (1 + 1e-5)).all()


def test_neurotoxin_keeps_away_from_where_honest_updates_move_most() -> None:
    seen = view()
    most = np.argsort(-np.abs(seen.own.mean(axis=0)))[: int(planting.SPARED * D)]
    rows = planting.neurotoxin(seen)
    assert not rows[:, most].any()
    assert np.delete(rows, most, axis=1).any()


# -------------------------------------------------------------------------------------------- time, identities, riders


def test_a_ramp_begins_near_honest_and_ends_as_the_attack() -> None:
    craft = in_time.ramp(updates.sign_flip(1.0))
    first, last = view(number=1), view(number=30)
    assert np.allclose(craft(first), (1 - 2 / 30) * first.own, atol=1e-5)
    assert np.allclose(craft(last), -last.own, atol=1e-6)


def test_a_sleeper_wakes_after_six_rounds_of_ten() -> None:
    assert [in_time.sleeper(n, 10) for n in range(1, 11)] == [False] * 6 + [True] * 4


def test_an_on_off_attacker_is_hostile_in_every_third_round() -> None:
    assert [in_time.on_off(n, 9) for n in range(1, 7)] == [False, False, True, False, False, True]
    assert in_time.on_off(1, 2)


@pytest.mark.parametrize("rounds", [1, 2, 3, 40])
def test_every_attack_is_on_in_some_round(rounds: int) -> None:
    for one in TRAINING_ATTACKS.values():
        assert any(one.active(number, rounds) for number in range(1, rounds + 1)), one.card.name


def test_clones_send_one_row_and_noisy_ones_no_two_alike() -> None:
    seen = view()
    same = identities.clones(planting.matched)(seen)
    apart = identities.noisy_clones(planting.matched)(seen)
    assert same.shape == (D,)
    assert np.allclose(apart.mean(axis=0), same, atol=1e-5)
    unit = apart / np.linalg.norm(apart, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(HOSTILE, 1)]
    assert (cosines < 0.99).all()


def test_riders_send_what_costs_no_training() -> None:
    before = -honest_rows(1, 9)[0]
    seen = view(past=(before,))
    assert not free_riding.nothing(seen).any()
    assert np.array_equal(free_riding.echo(seen), -before)
    early = free_riding.noisy_echo(view(past=(before,), number=1)) + before
    late = free_riding.noisy_echo(view(past=(before,), number=40)) + before
    assert np.linalg.norm(late) < np.linalg.norm(early)
    assert np.array_equal(free_riding.copied(seen), seen.own[0])
    alone = view(past=(before,), hostile=1)
    assert np.array_equal(free_riding.copied(alone), -before)


# ----------------------------------------------------------------------------------------------------------- catalogue


def test_the_catalogue_names_each_attack_once_and_the_default_is_part_of_it() -> None:
    assert all(name == one.card.name for name, one in TRAINING_ATTACKS.items())
    assert set(DEFAULT) <= set(TRAINING_ATTACKS)
    assert len(DEFAULT) == len(set(DEFAULT)) == 24


@pytest.mark.parametrize("name", sorted(TRAINING_ATTACKS))
def test_every_attack_makes_do_with_what_its_attackers_see(name: str) -> None:
    one = TRAINING_ATTACKS[name]
    limited = view(MultiKrum(3), past=(np.zeros(D, np.float32),), knowledge=one.card.knowledge)
    rows = np.asarray(one.craft(limited))
    assert rows.shape in ((D,), (HOSTILE, D))
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("name", ["ipm", "best-response", "backdoor-tuned", "model-replacement"])
def test_off_twin_with_less_knowledge_the_attack_is_stopped_by_the_view(name: str) -> None:
    blind = view(DEPLOYED, knowledge="black")
    with pytest.raises(NotVisible):
        TRAINING_ATTACKS[name].craft(blind)


def test_a_strangers_attack_is_made_of_one_function() -> None:
    @attack(name="mine", title="Mine", goal="damage", knowledge="white", paper="ours")
    def half_back(seen: View) -> F32:
        """Half a step back."""
        mean: F32 = seen.honest.mean(axis=0)
        return np.float32(-0.5) * mean

    assert half_back.card.does == "Half a step back."
    assert half_back.active is always
    assert progress(Mean(), half_back.craft(view())) < 1


def test_a_strangers_backdoor_stops_in_time_for_its_lifespan_to_be_measured() -> None:
    made = attack(name="door", title="Door", goal="backdoor", knowledge="black", paper="ours")(updates.poisoned)
    assert made.active is until_three_quarters
    assert made.poison is not None
    assert made.triggered is not None
