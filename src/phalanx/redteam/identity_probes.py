"""Attacks on identity: senders who are not whom they say, and what a stolen key is good for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from phalanx.attacks import couriers, forged_envelopes
from phalanx.attacks.couriers import Forge
from phalanx.redteam.lab import Lab
from phalanx.redteam.probe import Probed, Setting
from phalanx.redteam.sealed_wire import SealedWire
from phalanx.redteam.tampering import ROUNDS, ForgeOf, Scene, Try, forging, found_by, scene_of, with_more
from phalanx.redteam.wire import Forger, Played
from phalanx.types import MemberId

_SYBILS = 10


def _signed(names: Sequence[MemberId], by: MemberId | None) -> ForgeOf:
    """An answer in each of the names, made with the key of `by`."""
    return lambda forger: lambda member, envelope: tuple((name, forger.signed(name, by)) for name in names)


def stolen(lab: Lab, setting: Setting) -> Probed:
    """Updates and ballots in the victim's name under other keys; and beside that, what its own key is good for."""
    scene = scene_of(lab, setting, ROUNDS)
    if isinstance(scene, str):
        return Probed(unavailable=scene)
    probed, _ = found_by(scene, _impostors(scene))
    return with_more(probed, *_with_its_key(scene, scene.wire)) if isinstance(scene.wire, SealedWire) else probed


def _impostors(scene: Scene) -> Sequence[Try]:
    victim, gone = scene.victim, (scene.victim, couriers.always)
    tries = []
    for words, key in (("a stranger's key", None), ("another member's key", scene.insider)):
        forge = _signed([victim], key)
        tries += [
            Try(words=f"{words}, beside", trick=forging(victim, couriers.with_added, forge)),
            Try(words=f"{words}, before", trick=forging(victim, couriers.with_added_before, forge)),
            Try(words=f"{words}, instead", trick=forging(victim, couriers.replaced, forge), lost=gone),
        ]
    return tries


def _with_its_key(scene: Scene, wire: SealedWire) -> tuple[dict[str, float], str]:
    """What the victim's own key changes: in place of its updates, beside them, and after it was revoked."""
    victim, forge = scene.victim, _signed([scene.victim], scene.victim)
    instead = Try(words="", trick=forging(victim, couriers.replaced, forge, couriers.updates))
    beside = Try(
        words="",
        trick=forging(victim, couriers.with_added, forge, couriers.updates),
        lost=(victim, couriers.updates),
    )
    revoking = replace(wire, revoked=frozenset({victim}))
    after = revoking.play(forging(scene.insider, couriers.with_added, forge))
    without = revoking.play(lambda forger: couriers.honest)
    runs = [scene.wire.play(one.trick) for one in (instead, beside)]
    changed = {
        "own_key_instead": scene.changed(instead, runs[0]),
        "own_key_beside": scene.changed(beside, runs[1]),
        "own_key_revoked": not after.same_as(without),
    }
    found = [
        f"{'changed the model' if what else 'changed nothing'} (refused: {_in_words(run)})"
        for what, run in zip(changed.values(), (*runs, after), strict=True)
    ]
    words = f"in place of its updates it {found[0]}; beside them it {found[1]}; once revoked it {found[2]}"
    measures = {name: float(what) for name, what in changed.items()}
    return measures, f"whoever really holds the victim's key is the victim: {words}"


def _in_words(run: Played) -> str:
    return ", ".join(sorted({one.reason.value for one in run.refused})) or "nobody"


def uninvited(scene: Scene) -> Sequence[Try]:
    victim, insider = scene.victim, scene.insider
    strangers = forged_envelopes.strangers(_SYBILS)
    others = [member for member in scene.honest.sent if member != insider]

    def again(forger: Forger) -> Forge:
        return lambda member, envelope: tuple((member, forger.sealed_anew(member, envelope)) for _ in range(2))

    added = couriers.with_added
    return [
        Try(words="a stranger", trick=forging(victim, added, _signed(strangers[:1], None))),
        Try(words=f"{_SYBILS} strangers", trick=forging(victim, added, _signed(strangers, None))),
        Try(words=f"a member under {_SYBILS} names", trick=forging(insider, added, _signed(strangers, insider))),
        Try(words="a member under all others' names", trick=forging(insider, added, _signed(others, insider))),
        Try(words="a member that sends its update three times", trick=forging(insider, added, again), named=False),
    ]
