"""A configuration in words: what a run of it does not protect against."""

from __future__ import annotations

from collections.abc import Mapping

from phalanx.config import Settings
from phalanx.gate import detectable_drop, votes_to_refuse
from phalanx.privacy import COST_AT_SMALL_N, FEW_MEMBERS
from phalanx.report.controls import Privacy
from phalanx.report.wording import count
from phalanx.types import ExamplePrivacy, MemberId, MemberPrivacy


def limits_of(settings: Settings, privacy: Privacy, held_out: Mapping[MemberId, int]) -> tuple[str, ...]:
    """What a run of these settings does not protect against, worst first. `held_out` counts each voter's examples."""
    return (*_unsafe(settings), *_of_privacy(settings, privacy), *_of_robustness(settings, privacy),
            *_of_gate(settings, held_out), *_of_selection(settings), *_of_data(settings), *_of_trust())  # fmt: skip


def _unsafe(settings: Settings) -> list[str]:
    found = []
    if settings.run.lab_seed is not None:
        found.append("Not secure: lab_seed replaced the system's entropy. Whoever knows it knows all keys and noise.")
    if settings.screening.unsafe_accept_all:
        found.append("Not secure: screening was switched off. One update of NaN, or a huge one, ends the model.")
    if settings.gate.unsafe_accept_all:
        found.append("Not secure: the gate was switched off. A ruined candidate is released like any other.")
    return found


def _of_privacy(settings: Settings, privacy: Privacy) -> list[str]:
    if privacy is None:
        return [
            "The coordinator sees each single update, without any noise: training examples can be rebuilt from it.",
            "Nothing bounds what the released models tell about the training data.",
        ]
    if isinstance(privacy, MemberPrivacy):
        few = [COST_AT_SMALL_N] if len(settings.members) < FEW_MEMBERS else []
        return [
            "The coordinator sees each single update before the noise: ε holds only for those who see models.",
            *few,
        ]
    return [
        "The coordinator sees each single update. Only that member's own noise stands between it and the data.",
        "ε covers one example of one member. Whoever has several records, or records at several members, is covered "
        "less. Votes, and whatever was chosen by looking at the data, are outside it.",
    ]


def _of_robustness(settings: Settings, privacy: Privacy) -> list[str]:
    table, found = settings.aggregation, []
    if table.f and not settings.screening.unsafe_accept_all:
        found.append(
            f"More than f = {table.f} hostile members together can steer the model, and even f of them, with updates "
            "as long as honest ones, may plant part of a backdoor."
        )
    else:
        found.append("The rule tolerates nobody: a single hostile member can steer the model.")
    if isinstance(privacy, ExamplePrivacy) and table.rule in ("krum", "multi-krum", "mda", "bulyan"):
        found.append(f"Under noise {table.rule} prefers an update that is shorter than honest ones: attackers' choice.")
    return found


def _of_gate(settings: Settings, held_out: Mapping[MemberId, int]) -> list[str]:
    if settings.gate.unsafe_accept_all:
        return []
    return _of_votes(settings, held_out) if settings.gate.ballot == "votes" else _of_counts(settings, held_out)


def _of_counts(settings: Settings, held_out: Mapping[MemberId, int]) -> list[str]:
    table, examples, found = settings.gate, sum(held_out.values()), []
    if examples:
        drop = detectable_drop(examples, table.significance)
        least = "no loss at all" if drop is None else f"no loss of fewer than {round(drop * examples)} of them"
        more = ", and with liars tolerated less than that" if settings.liars else ""
        found.append(
            f"{count(len(held_out), 'voter').capitalize()} held out {examples} examples in all: the gate's overall "
            f"test notices {least}{more}."
        )
    if settings.liars:
        found.append(
            f"The gate does not hear the f = {settings.liars} voters who lost most: damage that shows at f voters or "
            "fewer passes. And f liars get good candidates refused more often than the significance says, which costs "
            "rounds."
        )
    else:
        found.append("The gate believes every voter: one liar can refuse good candidates or help a bad one through.")
    found.append("A ballot's counts tell the coordinator how many examples of each class a member holds out: no noise.")
    return found


def _of_votes(settings: Settings, held_out: Mapping[MemberId, int]) -> list[str]:
    table, voters = settings.gate, len(settings.members)
    enough = votes_to_refuse(voters, settings.gate_policy(1))
    found = [
        f"Damage passes the gate unless {enough} of {voters} voters each notice it on their own examples, and vote so."
    ]
    if held_out:
        most = max(held_out.values())
        drop = detectable_drop(most, table.vote_significance / 2)  # its class tests have the other half
        least = "no loss at all" if drop is None else f"no loss of fewer than {round(drop * most)} of them"
        found.append(f"The voter with most held out {most} examples: its own overall test notices {least}.")
    if not settings.liars:
        found.append("The gate takes no vote for a lie: a liar's vote counts like any other.")
    return found


def _of_selection(settings: Settings) -> list[str]:
    if settings.selection.policy == "all":
        return []
    drawn = [
        "The operator can try many seeds before it commits to one, and can let an attempt fail whose cohort it "
        "dislikes; the log shows the attempt.",
    ]
    if settings.privacy is not None:
        drawn.append(
            "Being drawn by chance makes nothing more private: the log names who took part, and ε is that of a member "
            "who takes part in every round."
        )
    if settings.aggregation.f:
        drawn.append(f"f = {settings.aggregation.f} is for one round: a draw can bring together more hostile members.")
    return drawn


def _of_data(settings: Settings) -> list[str]:
    found = []
    if settings.learning.local:
        found.append(
            "Local tensors are a member's own: no rule, clip or gate of the coordinator's sees them. Each voter judges "
            "a candidate together with its own, so a ballot speaks for nobody else's."
        )
    if settings.data.schema_file is None:
        found.append("No schema was declared: a member whose data have another unit trains along, and nobody is told.")
    else:
        found.append("Each member holds its own data against the schema: a hostile one can leave that out.")
    if settings.data.statistics is not None:
        found.append(
            "What the statistics for standardising give away was released by the survey: the ε of this page leaves it "
            "out."
        )
    return found


def _of_trust() -> list[str]:
    return [
        "A backdoor whose trigger no voter's data holds is invisible to the gate, and no inspection looks for it.",
        "All parties ran in one process of one user, with all keys in one folder: whoever reads it is everybody.",
        "The operator can announce one rule and apply another, and can show two logs to two parties: there are no "
        "witnesses yet.",
    ]
