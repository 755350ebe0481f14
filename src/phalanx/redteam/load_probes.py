"""Hostile input and load: updates that are none, messages that are too large, and too many of them."""

from __future__ import annotations

from collections.abc import Sequence

from phalanx.attacks import couriers, forged_envelopes
from phalanx.attacks.couriers import Forge
from phalanx.attacks.malformed import Malformed, cases
from phalanx.redteam.lab import Lab
from phalanx.redteam.probe import Probed, Setting
from phalanx.redteam.sealed_wire import SealedWire
from phalanx.redteam.tampering import Scene, Try, forging, found_by, scene_of, with_more
from phalanx.redteam.wire import Forger, Played, Trick
from phalanx.types import MemberId

FLOOD = 1000


def malformed(scene: Scene) -> Sequence[Try]:
    """Each defect alone. Numbers that are none mean something on the open wire, too; what is for parsers does not."""
    trainer = next(iter(scene.lab.trainers().values()))
    every = cases(trainer.layout.as_json(), scene.lab.rng("malformed-updates"))
    if not isinstance(scene.wire, SealedWire):
        return [_defect(scene, case) for case in every if case.numbers]
    most = Malformed(words="", stated={"examples": scene.wire.settings.screening.max_examples})
    claims = [_defect(scene, case, allowed=most) for case in every if case.counts]
    return [*(_defect(scene, case) for case in every if not case.counts), *claims]


def _defect(scene: Scene, case: Malformed, allowed: Malformed | None = None) -> Try:
    return Try(
        words=case.words,
        trick=_sending(scene.insider, case),
        lost=(scene.insider, couriers.updates),
        allowed=None if allowed is None else _sending(scene.insider, allowed),
        named=not case.counts,
    )


def _sending(member: MemberId, case: Malformed) -> Trick:
    """The member's update with this defect, in place of its own."""

    def defect(forger: Forger) -> Forge:
        return lambda name, envelope: ((name, forger.malformed(name, envelope, case)),)

    return forging(member, couriers.replaced, defect, couriers.updates)


def _taken_in(scene: Scene, tries: Sequence[Try]) -> tuple[Probed, list[Played]]:
    """What the tries came to, with the most that the receiver took in for one of them; and their runs."""
    probed, runs = found_by(scene, tries)
    kept = [scene.kept(run) for run in runs]
    each = ", ".join(f"{size:.4g}" for size in kept)
    return with_more(probed, {"kept": max(kept)}, f"taken in for each byte of an honest message, by try: {each}"), runs


def oversized(lab: Lab, setting: Setting) -> Probed:
    """Messages that no honest member's could be as large as, unsigned and signed."""
    scene = scene_of(lab, setting, 1)
    return Probed(unavailable=scene) if isinstance(scene, str) else _taken_in(scene, _large(scene))[0]


def flood(lab: Lab, setting: Setting) -> Probed:
    """A thousand messages more for each of the victim's; and whether its own was still heard."""
    scene = scene_of(lab, setting, 1)
    if isinstance(scene, str):
        return Probed(unavailable=scene)
    after, before, *others = _floods(scene)
    probed, runs = _taken_in(scene, [before, after, *others])
    if not scene.silenced(runs[0])[0]:
        return probed
    return with_more(probed, {}, "forged messages that come before a member's own keep it out, which is availability")


def _large(scene: Scene) -> Sequence[Try]:
    victim, gone, size = scene.victim, (scene.victim, couriers.updates), forged_envelopes.LARGE_BYTES
    large = Malformed(words="64 MiB, signed", payload=lambda data: data.ljust(size, b"\0"))
    deeds = {"64 MiB": forged_envelopes.large(size), "a byte too many": forged_envelopes.longer}
    instead = [
        Try(words=words, trick=scene.on_victim(couriers.replaced(forge), couriers.updates), lost=gone)
        for words, forge in deeds.items()
    ]
    thrice = couriers.with_added(forged_envelopes.large(size, times=3))
    beside = Try(words="64 MiB, three times, beside", trick=scene.on_victim(thrice, couriers.updates), named=False)
    return [*instead, beside, Try(words=large.words, trick=_sending(victim, large), lost=gone)]


def _floods(scene: Scene) -> Sequence[Try]:
    rng = scene.lab.rng("flood")
    forged = forged_envelopes.flood(FLOOD, rng)
    strangers, copies = forged_envelopes.flood_of_strangers(FLOOD, rng), forged_envelopes.copies(FLOOD)
    gone = (scene.victim, couriers.always)
    return [
        Try(words="after its own", trick=scene.on_victim(couriers.with_added(forged)), named=False),
        Try(words="before its own", trick=scene.on_victim(couriers.with_added_before(forged)), lost=gone, named=False),
        Try(words="of strangers", trick=scene.on_victim(couriers.with_added(strangers)), named=False),
        Try(words="of copies", trick=scene.on_victim(couriers.with_added(copies)), named=False),
    ]
