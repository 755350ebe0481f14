"""Attacks on the wire and on identity: couriers that are not honest, and senders who are not whom they say.

Each is played on an open wire, where it has to work, and in the user's own rounds. What counts as an effect is said in
`tampering`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from phalanx.attacks import couriers, forged_envelopes
from phalanx.attacks.card import Card, Family, Goal
from phalanx.attacks.couriers import PLACES, Against, Backwards, Courier, Deed, Only, Recording, When
from phalanx.attacks.eavesdropping import most_alike
from phalanx.redteam.identity_probes import stolen, uninvited
from phalanx.redteam.lab import Lab
from phalanx.redteam.load_probes import FLOOD, flood, malformed, oversized
from phalanx.redteam.probe import Probe, Probed, Setting
from phalanx.redteam.sealed_wire import SealedWire
from phalanx.redteam.tampering import (
    ROUNDS,
    Play,
    Scene,
    Try,
    playing,
    scene_of,
    setting_in_words,
    with_more,
)
from phalanx.redteam.wire import Forger, Trick
from phalanx.types import Reason

_ORDERS = 16  # that are altered on their way
_LISTENED = 30  # updates that are looked for in a recording
_CHANCE = 1.5  # times the largest correlation of random bytes: more than that chance does not reach
_ANYTHING = 0.6  # a correlation that chance must not reach, or a recording says nothing


# ------------------------------------------------------------------------------------------------------- what is read


def _recording(lab: Lab, setting: Setting) -> Probed:
    """How much of the updates is in what was recorded of them, beside random bytes of the same length.

    Sealing draws the system's entropy. What is no more than chance is said to be that and nothing else: the same seed
    must give the same figures.
    """
    scene = scene_of(lab, setting, ROUNDS)
    if isinstance(scene, str):
        return Probed(unavailable=scene)
    recording = Recording()
    inside = scene.wire.play(lambda forger: recording).inside
    sent = [envelope for _, envelope in recording.kept if envelope in inside][:_LISTENED]
    updates = [np.frombuffer(inside[envelope], "<f4") for envelope in sent]
    bodies = [couriers.body_of(envelope) for envelope in sent]
    rng = lab.rng("recording-courier")
    found, chance = most_alike(bodies, updates), most_alike([rng.bytes(len(body)) for body in bodies], updates)
    if not chance < _ANYTHING:
        few = f"with {len(updates)} updates of {updates[0].size} parameters random bytes look like them, too"
        return Probed(unavailable=few)
    sizes = sorted(set(map(len, sent)))
    by_chance = found <= _CHANCE * chance
    measures = {"value_learned": 0.0 if by_chance else found, "sizes": float(len(sizes))}
    like = "no more than random bytes" if by_chance else f"correlation {found:.2f}, of random bytes {chance:.2f}"
    return Probed(
        measures=measures,
        notes=(
            f"the most alike that anything recorded is to the {len(updates)} updates inside: {like}",
            f"bytes of an update on the wire: {', '.join(map(str, sizes))}",
            "what every recording shows: who answers, in which round, when, and the model, which travels in clear",
            *setting_in_words(scene),
        ),
    )


# ------------------------------------------------------------------------------------------------ what is done to it


def _altering(lab: Lab, setting: Setting) -> Probed:
    """Bits of the victim's messages flipped on their way, and, where they are signed, of the orders."""
    probed = playing(_alterations, ROUNDS)(lab, setting)
    if setting == "none":
        return probed
    obeyed = SealedWire.of(lab, 1).orders_obeyed(_ORDERS)
    words = f"of {_ORDERS} orders with a bit flipped on its way a member obeyed {obeyed}"
    return with_more(probed, {"orders_obeyed": obeyed / _ORDERS}, words)


def _alterations(scene: Scene) -> Sequence[Try]:
    everywhere = [
        Try(
            words=f"a bit in {place.words}",
            trick=scene.on_victim(couriers.altered(place)),
            lost=(scene.victim, couriers.always),
        )
        for place in PLACES
    ]
    which: dict[str, When] = {
        "its updates": couriers.updates,
        "its ballots": couriers.ballots,
        "its second message": Only(1),
        "its third message": Only(2),
    }
    middle = couriers.altered(PLACES[4])
    sometimes = [
        Try(words=f"a bit of {words}", trick=scene.on_victim(middle, when), lost=(scene.victim, when))
        for words, when in which.items()
    ]
    return [*everywhere, *sometimes]


def _replays(scene: Scene) -> Sequence[Try]:
    deeds = {
        "the same message again": couriers.again(0),
        "the message before": couriers.again(1),
        "the one before that": couriers.again(2),
        "the message before, in this one's header": couriers.in_this_rounds_header(1),
        "the one before that, in this one's header": couriers.in_this_rounds_header(2),
    }
    tries = [Try(words=words, trick=scene.on_victim(deed)) for words, deed in deeds.items()]
    return [*tries, *_of_another_run(scene)]


def _of_another_run(scene: Scene) -> Sequence[Try]:
    """What the victim sent at the same place of another run, of the same keys, round keys and nonces."""
    wire = scene.wire
    if not isinstance(wire, SealedWire):
        return ()  # it would be the same bytes
    recording = Recording()
    replace(wire, run="another").play(lambda forger: recording)
    sent = [envelope for member, envelope in recording.kept if member == scene.victim]

    def trick(forger: Forger) -> Courier:
        old = iter(sent)
        return Against(scene.victim, couriers.with_added(lambda member, envelope: ((member, next(old, b"")),)))

    return (Try(words="the message of another run", trick=trick),)


def _reorderings(scene: Scene) -> Sequence[Try]:
    victim = scene.victim
    tries = []
    for by in (1, 2):
        held, late = scene.on_victim(couriers.held_back(0, by)), scene.on_victim(couriers.late(by))
        tries += [
            Try(words=f"the first held back until {by} later", trick=held, lost=(victim, Only(0))),
            Try(words=f"each in the place of the one {by} later", trick=late, lost=(victim, couriers.always)),
        ]
    if len({len(sent) for sent in scene.honest.sent.values()}) == 1:  # all send in each round: it is known who is last
        members = len(scene.honest.sent)
        tries.append(Try(words="the last first", trick=lambda forger: Backwards(members), named=False))
    return tries


def _dropping(lab: Lab, setting: Setting) -> Probed:
    """The victim's messages lost: nothing prevents it. In how many rounds its part is missing for that."""
    scene = scene_of(lab, setting, ROUNDS)
    if isinstance(scene, str):
        return Probed(unavailable=scene)
    played = scene.wire.play(scene.on_victim(couriers.lost))
    everything = scene.wire.play(lambda forger: couriers.nothing_at_all)
    part, of = scene.silenced(played)
    if not of:
        return Probed(unavailable="the records do not say whose update counted: cohorts are secret")
    counts = {"silenced": (part, of)}
    notes = ["not defended: whoever carries messages can lose them, which is availability"]
    if setting == "yours":
        missing = sum(one.member == scene.victim and one.reason is Reason.MISSING for one in played.refused)
        counts["named"] = (min(missing, of), of)
        notes.append(f"the records name the member as missing in {missing} of {of} rounds")
    notes += [f"it ends the run: {played.ended}"] if played.ended else []
    notes.append(f"where everybody's messages are lost: {everything.ended or 'the model stays as it is'}")
    measures = {name: share / whole for name, (share, whole) in counts.items()}
    return Probed(measures=measures, counts=counts, notes=(*notes, *setting_in_words(scene)))


# ------------------------------------------------------------------------------------------------------ what is added


def _injections(scene: Scene) -> Sequence[Try]:
    rng, victim, insider = scene.lab.rng("injecting-courier"), scene.victim, scene.insider
    behind, anything = forged_envelopes.noise_behind_the_header(rng), forged_envelopes.noise(rng)
    gone = (victim, couriers.always)

    def instead(deed: Deed) -> Trick:
        return lambda forger: couriers.one_after_the_other(Against(victim, couriers.lost), Against(insider, deed))

    def beside(deed: Deed) -> Trick:
        return lambda forger: Against(insider, deed)

    named, readdressed = couriers.also_as(victim), couriers.also_readdressed(victim)
    tries = [
        Try(words="noise in its header, beside", trick=scene.on_victim(couriers.with_added(behind))),
        Try(words="noise in its header, instead", trick=scene.on_victim(couriers.replaced(behind)), lost=gone),
        Try(words="noise, beside", trick=scene.on_victim(couriers.with_added(anything))),
        Try(words="noise, instead", trick=scene.on_victim(couriers.replaced(anything)), lost=gone),
        Try(words="another's message in its header, beside", trick=beside(readdressed)),
        Try(words="another's message in its header, instead", trick=instead(readdressed), lost=gone),
    ]
    if isinstance(scene.wire, SealedWire):  # the open wire's receiver never looks at who delivers
        tries += [
            Try(words="another's message as its own, beside", trick=beside(named)),
            Try(words="another's message as its own, instead", trick=instead(named), lost=gone),
        ]
    return tries


# ----------------------------------------------------------------------------------------------------------- the probes

_DOLEV_YAO = "Dolev and Yao, IEEE Transactions on Information Theory 1983"
_CHANGED = Goal(
    measure="changed", met=0.5, held=0.0, unit="share", words="change the model by more than losing messages does"
)
_LEARNED = Goal(
    measure="value_learned", met=0.9, held=0.2, unit="share", words="read updates out of what they recorded"
)
_SILENCED = Goal(measure="silenced", met=0.9, held=0.1, unit="share", words="keep a member's updates out of the model")
_KEPT = Goal(measure="kept", met=100, held=20, unit="ratio", words="make the receiver hold 100 messages for one")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What several cards have in common. Nobody here knows more than the orders, which travel in clear."""

    family: Family
    threat: str
    goal: Goal
    paper: str = _DOLEV_YAO

    def probe(self, name: str, title: str, does: str, play: Play) -> Probe:
        """The probe of one attack of this kind."""
        card = Card(
            name=name, title=title, family=self.family, threat=self.threat, knowledge="black", goal=self.goal,
            paper=self.paper, does=does,
        )  # fmt: skip
        return Probe(card=card, play=play)


_ON_THE_WIRE = _Kind("wire", "T9", _CHANGED)
_LOAD = _Kind("wire", "T13", _KEPT, "MITRE CWE-770")

WIRE_PROBES: tuple[Probe, ...] = (
    _Kind("wire", "T9", _LEARNED).probe(
        "recording-courier",
        "Eavesdropping",
        "Keeps every message and looks for the updates in them, from every byte on.",
        _recording,
    ),
    _ON_THE_WIRE.probe(
        "altering-courier",
        "Man in the middle",
        "Flips a bit of a member's messages, in each of their parts.",
        _altering,
    ),
    _ON_THE_WIRE.probe(
        "replaying-courier",
        "Replay",
        "Delivers a member's messages again: in the same round, in later ones, in another run.",
        playing(_replays, ROUNDS),
    ),
    _ON_THE_WIRE.probe(
        "reordering-courier",
        "Delay and reordering",
        "Delivers in another order, and in another round than the messages were sent in.",
        playing(_reorderings, ROUNDS),
    ),
    _Kind("wire", "T9", _SILENCED).probe(
        "dropping-courier",
        "Losing messages",
        "Delivers nothing of what a member sends.",
        _dropping,
    ),
    _ON_THE_WIRE.probe(
        "injecting-courier",
        "Injection",
        "Adds noise and other members' messages in a member's name, beside its own or in their place.",
        playing(_injections, ROUNDS),
    ),
    _Kind("identity", "T12", _CHANGED).probe(
        "stolen-identity",
        "Stolen identity",
        "Sends updates and ballots in a member's name, signed with other keys.",
        stolen,
    ),
    _Kind("identity", "T4", _CHANGED, "Douceur, IPTPS 2002").probe(
        "uninvited-identity",
        "Uninvited identities",
        "Sends as a stranger, as many strangers, and as a member under other names.",
        playing(uninvited, 2),
    ),
    _Kind("wire", "T13", _CHANGED, "MITRE CWE-20 and CWE-502").probe(
        "malformed-updates",
        "Malformed updates",
        "A member signs updates that are none: NaN, other lengths, pickles, JSON to break a parser.",
        playing(malformed, 1),
    ),
    _LOAD.probe(
        "oversized-updates",
        "Oversized updates",
        "Sends messages of 64 MiB in a member's name.",
        oversized,
    ),
    _LOAD.probe(
        "flood",
        "Flood",
        f"Sends {FLOOD} messages more for each of a member's, in its name and in strangers'.",
        flood,
    ),
)
