"""Tries of an attack on the wire, played and counted: what changed, and what was only lost.

Every attack is several tries. A try has changed something if the models that came out are neither those of a run in
which nobody tampered, nor those of the run in which the messages that were tampered with simply did not come: whoever
carries messages can always lose them, and that is all that an attacker on the wire should get. So `changed` is what is
judged, and what was only lost or stopped is said beside it.

| measure   | of the tries, or of what was delivered in them                                                   |
|-----------|--------------------------------------------------------------------------------------------------|
| `changed` | share of tries after which a model came out that no loss of messages explains                    |
| `named`   | share of tampered deliveries that the run's records name with a reason                           |
| `stopped` | share of tries that ended the run early; it can be resumed                                       |
| `silenced`| share of the victim's rounds in which its update did not count                                   |
| `kept`    | bytes that the receiver took in before looking at them, for each byte of the honest message      |
| `value_learned` | how much of an update can be read out of a recording, from chance (0) to all of it (1)           |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from phalanx.attacks import couriers
from phalanx.attacks.couriers import Against, Deed, Forge, When
from phalanx.redteam.lab import Lab
from phalanx.redteam.naive_wire import NaiveWire
from phalanx.redteam.probe import Probed, Setting
from phalanx.redteam.sealed_wire import SealedWire
from phalanx.redteam.wire import Forger, Played, Trick, Wire
from phalanx.types import MemberId, Reason

ROUNDS = 3  # enough to bring a message back in the next round, and in the one after that
_NOT_NAMED = (Reason.MISSING, Reason.DECLINED)  # what the records also say of members that nobody tampered with
Loss = tuple[MemberId, When]  # whose messages do not come, and which of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One way to attack. `lost`: what may be missing for it; `allowed`: what else may come of it.

    `named`: whether the records have to name each tampered delivery.
    """

    words: str
    trick: Trick
    lost: Loss | None = None
    allowed: Trick | None = None
    named: bool = True


@dataclass(slots=True)
class Scene:
    """A wire, what comes of an honest run on it, and who is attacked, by whom.

    The victim is the first of the members that send most, the insider the last of them with a name of the same length:
    its messages come later, and a header with the other's name in it is as long.
    """

    lab: Lab
    wire: Wire
    honest: Played
    victim: MemberId
    insider: MemberId
    _without: dict[Loss, Played] = field(default_factory=dict)

    def on_victim(self, deed: Deed, when: When = couriers.always) -> Trick:
        """The deed done to the victim's messages."""
        return lambda forger: Against(self.victim, deed, when)

    def without(self, loss: Loss) -> Played:
        """The run in which those messages do not come."""
        if loss not in self._without:
            member, when = loss
            self._without[loss] = self.wire.play(lambda forger: Against(member, couriers.lost, when))
        return self._without[loss]

    def changed(self, one: Try, played: Played) -> bool:
        """Whether it ended otherwise than an honest run, and than one with such losses, and than what is allowed.

        What a message crashes is changed, too: whoever resumes such a run is sent it again.
        """
        if played.crashed:
            return True
        references = [self.honest]
        if one.lost is not None:
            references.append(self.without(one.lost))
        if one.allowed is not None:
            references.append(self.wire.play(one.allowed))
        return not any(played.same_as(reference) for reference in references)

    def silenced(self, played: Played) -> tuple[int, int]:
        """The rounds in which the victim's update did not count, of those in which it would have."""
        rounds = [number for number, members in enumerate(self.honest.accepted) if self.victim in members]
        heard = [n for n in rounds if n < len(played.accepted) and self.victim in played.accepted[n]]
        return len(rounds) - len(heard), len(rounds)

    @property
    def secret(self) -> bool:
        """Whether the records name nobody, because chance drew cohorts that have to stay secret."""
        return isinstance(self.wire, SealedWire) and self.wire.settings.secret_rate is not None

    def kept(self, played: Played) -> float:
        """Bytes taken in beyond what members sent, for each byte of the victim's."""
        honest = sum(map(sum, played.sent.values()))
        return max(0.0, (played.kept - honest) / max(1, sum(played.sent.get(self.victim, ()))))


def scene_of(lab: Lab, setting: Setting, rounds: int) -> Scene | str:
    """The scene, or why nothing can be tried here."""
    wire: Wire = SealedWire.of(lab, rounds) if setting == "yours" else NaiveWire.of(lab, rounds)
    honest = wire.play(lambda forger: couriers.honest)
    if honest.crashed or not honest.models:
        return f"a run that nobody attacks comes to nothing: {honest.ended}"
    if len(honest.sent) < 2:
        return "it takes two members, one to be attacked and one to attack"
    most = max(map(len, honest.sent.values()))
    victim, *others = sorted(honest.sent, key=lambda member: (len(honest.sent[member]) < most, member))
    alike = [one for one in others if (len(honest.sent[one]), len(one)) == (most, len(victim))]
    return Scene(lab, wire, honest, victim, alike[-1] if alike else others[-1])


# ------------------------------------------------------------------------------------------------------ what came of it


def found_by(scene: Scene, tries: Sequence[Try]) -> tuple[Probed, list[Played]]:
    """What all tries came to, and their runs. One in which nothing was tampered with, nor lost, is none."""
    played = [(one, scene.wire.play(one.trick)) for one in tries]
    done = [(one, run) for one, run in played if run.tampered or run.ended or not run.same_as(scene.honest)]
    runs = [run for _, run in done]
    if not done:
        return Probed(unavailable="so few rounds leave no message that could be tampered with in this way"), runs
    changed = [one.words for one, run in done if scene.changed(one, run)]
    stopped = [run.ended for run in runs if run.ended and not scene.honest.ended]
    counts = {"changed": (len(changed), len(done)), "stopped": (len(stopped), len(done))}
    counts["silenced"] = _summed([scene.silenced(run) for run in runs])
    if not scene.secret:
        counts["named"] = _summed([_named(run) for one, run in done if one.named])
    counts = {name: (part, of) for name, (part, of) in counts.items() if of}
    probed = Probed(
        measures={name: part / of for name, (part, of) in counts.items()},
        counts=counts,
        notes=(
            *([f"changed by: {', '.join(changed)}"] if changed else []),
            *_refusals_in_words(scene, runs),
            *_stops_in_words(stopped, len(done)),
            *setting_in_words(scene),
        ),
    )
    return probed, runs


def _summed(counts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(part for part, _ in counts), sum(of for _, of in counts)


def _named(run: Played) -> tuple[int, int]:
    """How many of the tampered deliveries are in the records with a reason, and how many there were."""
    reasons = sum(one.reason not in _NOT_NAMED for one in run.refused)
    return min(reasons, run.tampered), run.tampered


def _refusals_in_words(scene: Scene, runs: Sequence[Played]) -> tuple[str, ...]:
    if not isinstance(scene.wire, SealedWire):
        return ("nobody refuses anything by name",)
    reasons = Counter(one.reason.value for run in runs for one in run.refused)
    each = ", ".join(f"{reason} ×{count}" for reason, count in reasons.most_common())
    return (f"refused: {each}" if each else "nothing was refused by name",)


def _stops_in_words(stopped: Sequence[str], tries: int) -> tuple[str, ...]:
    if not stopped:
        return ()
    return (f"stopped the run in {len(stopped)} of {tries} tries, which is availability; the first: {stopped[0]}",)


def setting_in_words(scene: Scene) -> tuple[str, ...]:
    """On what was played that differs from a run of the user's."""
    if not isinstance(scene.wire, SealedWire):
        return ("plain federated averaging over an open wire, without noise",)
    rounds, all_rounds = scene.wire.settings.run.rounds, scene.lab.settings.run.rounds
    words = []
    if rounds < all_rounds:
        noise = "" if scene.wire.settings.privacy is None else "; noise is calibrated for these, unless it is fixed"
        words.append(f"{rounds} of {all_rounds} rounds{noise}")
    if scene.secret:
        words.append("cohorts are secret, so the records name nobody; a courier sees who sends")
    return tuple(words)


# ----------------------------------------------------------------------------------------------------------- the probes

Play = Callable[[Lab, Setting], Probed]


def playing(tries: Callable[[Scene], Sequence[Try]], rounds: int) -> Play:
    """The probe that consists of these tries."""

    def play(lab: Lab, setting: Setting) -> Probed:
        scene = scene_of(lab, setting, rounds)
        return Probed(unavailable=scene) if isinstance(scene, str) else found_by(scene, tries(scene))[0]

    return play


def with_more(probed: Probed, measures: dict[str, float], *notes: str) -> Probed:
    """The same with more measures, and notes before its own."""
    if probed.unavailable:
        return probed
    return Probed(measures=dict(probed.measures) | measures, counts=probed.counts, notes=(*notes, *probed.notes))


ForgeOf = Callable[[Forger], Forge]


def forging(member: MemberId, deed: Callable[[Forge], Deed], forge: ForgeOf, when: When = couriers.always) -> Trick:
    """The deed with what attackers can make who know the order and hold keys."""
    return lambda forger: Against(member, deed(forge(forger)), when)
