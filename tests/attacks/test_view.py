"""Attackers see what their knowledge and the venue let them see, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.attacks.aim import Aim, Seat
from phalanx.attacks.card import DAMAGE, Card, Knowledge
from phalanx.attacks.triggers import Turned
from phalanx.attacks.view import NotVisible, Round, Sight, View
from phalanx.rules import Chain, Mean
from phalanx.types import F32

D, HONEST, HOSTILE = 6, 4, 2


def view_of(knowledge: Knowledge, venue: str = "open", number: int = 3) -> View:
    """A view of a round in which the honest rows are 1, the hostile members' own 2, and their poisoned ones 3."""

    def rows(count: int, value: float) -> F32:
        return np.full((count, D), value, np.float32)

    facts = Round(
        number=number,
        rounds=10,
        model=np.zeros(D, np.float32),
        past=[np.full(D, -1.0, np.float32)] if number > 1 else [],
        seats=tuple(Seat(i, HOSTILE) for i in range(HOSTILE)),
        members=HONEST + HOSTILE,
        rule=Chain((), Mean()),
        honest=rows(HONEST, 1.0),
        own=rows(HOSTILE, 2.0),
        memory={},
        poisoned=lambda: rows(HOSTILE, 3.0),
        trained=lambda starts, rounds: starts + np.float32(rounds),
    )
    return View(facts, Sight(knowledge, venue), Aim(10, 3, 5, Turned()), np.random.default_rng(0))


@pytest.mark.parametrize("knowledge", ["black", "grey", "white"])
def test_everybody_sees_the_models_and_their_own_updates(knowledge: Knowledge) -> None:
    view = view_of(knowledge)
    assert view.model.shape == (D,)
    assert np.array_equal(view.last_step, np.ones(D))
    assert (view.own == 2).all()
    assert (view.poisoned == 3).all()
    assert (view.trained(rounds=4) == 4).all()
    assert view.f == HOSTILE


def test_in_the_first_round_the_model_has_not_moved() -> None:
    assert not view_of("black", number=1).last_step.any()


def test_black_box_attackers_know_neither_the_rule_nor_how_many_there_are() -> None:
    view = view_of("black")
    with pytest.raises(NotVisible, match="rule"):
        _ = view.rule
    with pytest.raises(NotVisible, match="members"):
        _ = view.members


@pytest.mark.parametrize("knowledge", ["black", "grey"])
def test_the_others_updates_are_hidden_from_all_but_white_box_attackers(knowledge: Knowledge) -> None:
    with pytest.raises(NotVisible, match=knowledge):
        _ = view_of(knowledge).honest


@pytest.mark.parametrize("venue", ["masked", "split", "threshold", "enclave"])
def test_where_nobody_sees_single_updates_white_box_attackers_do_not_either(venue: str) -> None:
    with pytest.raises(NotVisible, match=venue):
        _ = view_of("white", venue).honest


def test_off_twin_in_the_open_venue_white_box_attackers_see_them() -> None:
    assert (view_of("white").honest == 1).all()


def test_what_is_seen_cannot_be_changed() -> None:
    view = view_of("white")
    for array in (view.model, view.own, view.honest, view.poisoned, view.trained()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize("knowledge", ["black", "grey"])
def test_what_is_hidden_is_not_in_the_view_at_all(knowledge: Knowledge) -> None:
    held = vars(view_of(knowledge))
    assert held["_honest"] is None
    assert (held["_deployed"] is None) == (knowledge == "black")


def test_the_round_keeps_its_own_arrays() -> None:
    view = view_of("white")
    assert view.model.base is None
    assert view.honest.base is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "With Capitals"), ("name", ""), ("threat", "T14"), ("threat", "t1"), ("knowledge", "all")],
)
def test_a_card_with_a_field_that_nothing_can_be_made_of_is_refused(field: str, value: str) -> None:
    fields = {
        "name": "an-attack",
        "title": "An attack",
        "family": "model",
        "threat": "T2",
        "knowledge": "black",
        "goal": DAMAGE,
        "paper": "none",
        "does": "nothing",
    }
    Card(**fields)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=field if field != "name" else "name"):
        Card(**(fields | {field: value}))  # type: ignore[arg-type]
