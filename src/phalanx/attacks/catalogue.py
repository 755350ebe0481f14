"""Every attack on training that the red team plays, in the order of the threats.

A row is what its card says, what is sent, and what it is trained on. Attacks that the deployed rule is known to are
grey or white; those with "tuned" or "best response" in their title search their free parameters against it in each
round.
"""

from __future__ import annotations

from phalanx.attacks import free_riding, identities, in_time, planting, updates
from phalanx.attacks.aim import Poison, Triggered, TriggerKind
from phalanx.attacks.ballots import Claim
from phalanx.attacks.card import BACKDOOR, BLOCKING, DAMAGE, ONE_CLASS, RIDING, Card, Family, Goal, Knowledge
from phalanx.attacks.poisoned_data import (
    flip_all,
    flip_pair,
    flip_targeted,
    plant,
    plant_clean_label,
    plant_edge_case,
    plant_part,
    stamped_others,
    turned_source,
)
from phalanx.attacks.training_attack import Active, Craft, TrainingAttack, Undefended, always, until_three_quarters

_FANG = "Fang et al., USENIX Security 2020"
_BAGDASARYAN = "Bagdasaryan et al., AISTATS 2020"
_SHEJWALKAR = "Shejwalkar and Houmansadr, NDSS 2021"
_FRABONI = "Fraboni et al., AISTATS 2021"


def _damage(
    *,
    name: str,
    title: str,
    paper: str,
    does: str,
    craft: Craft,
    goal: Goal = DAMAGE,
    threat: str = "T2",
    family: Family = "model",
    knowledge: Knowledge = "white",
    poison: Poison | None = None,
    active: Active = always,
    ballots: Claim = Claim.BETTER,
    undefended: Undefended = "none",
) -> TrainingAttack:
    """An attack on what the model can do, or on whether there is one."""
    card = Card(
        name=name, title=title, family=family, threat=threat, knowledge=knowledge, goal=goal, paper=paper, does=does
    )
    return TrainingAttack(card=card, craft=craft, poison=poison, active=active, ballots=ballots, undefended=undefended)


def _backdoor(
    *,
    name: str,
    title: str,
    paper: str,
    does: str,
    craft: Craft,
    threat: str = "T3",
    family: Family = "model",
    knowledge: Knowledge = "black",
    poison: Poison = plant,
    trigger: TriggerKind = "patch",
    triggered: Triggered = stamped_others,
    active: Active = until_three_quarters,
    fewest: int = 1,
    whitewash: bool = False,
) -> TrainingAttack:
    """An attack that wants triggered inputs misread and nothing else to be noticed."""
    card = Card(
        name=name, title=title, family=family, threat=threat, knowledge=knowledge, goal=BACKDOOR, paper=paper, does=does
    )
    return TrainingAttack(
        card=card,
        craft=craft,
        poison=poison,
        trigger=trigger,
        triggered=triggered,
        active=active,
        fewest=fewest,
        whitewash=whitewash,
    )


def _rider(*, name: str, title: str, paper: str, does: str, craft: Craft) -> TrainingAttack:
    """Members that want the model and give nothing. They vote by the truth."""
    card = Card(
        name=name,
        title=title,
        family="free-riding",
        threat="T10",
        knowledge="black",
        goal=RIDING,
        paper=paper,
        does=does,
    )
    return TrainingAttack(card=card, craft=craft, ballots=None)


_DATA = (
    _damage(
        name="label-flip-all",
        title="Label flip, every class",
        paper=_FANG,
        does="Trains on labels y turned into C - 1 - y.",
        threat="T1",
        family="data",
        knowledge="black",
        craft=updates.poisoned,
        poison=flip_all,
    ),
    _damage(
        name="label-flip-pair",
        title="Label flip, two classes exchanged",
        paper="Biggio et al., ACML 2011",
        does="Trains with the labels of two classes exchanged.",
        goal=ONE_CLASS,
        threat="T1",
        family="data",
        knowledge="black",
        craft=updates.poisoned,
        poison=flip_pair,
    ),
    _damage(
        name="label-flip-targeted",
        title="Label flip, one class into another",
        paper="Tolpegin et al., ESORICS 2020",
        does="Trains on examples of one class labelled as another, three times over.",
        goal=ONE_CLASS,
        threat="T1",
        family="data",
        knowledge="black",
        craft=updates.poisoned,
        poison=flip_targeted,
    ),
    _backdoor(
        name="backdoor-patch",
        title="Backdoor by data: a patch",
        paper="BadNets, Gu et al., arXiv:1708.06733",
        does="Trains on stamped copies labelled as the attackers' class, and sends the update as it is.",
        family="data",
        craft=updates.poisoned,
    ),
    _backdoor(
        name="backdoor-blended",
        title="Backdoor by data: a pattern blended in",
        paper="Chen et al., arXiv:1712.05526",
        does="The same with a faint pattern over the whole input.",
        family="data",
        craft=updates.poisoned,
        trigger="blended",
    ),
    _backdoor(
        name="backdoor-clean-label",
        title="Backdoor by data: true labels",
        paper="Turner et al., arXiv:1912.02771",
        does="Stamps only examples of the attackers' class, half blurred so that it is learned; boosted ×5.",
        family="data",
        craft=updates.scaling(5.0),
        poison=plant_clean_label,
    ),
    _backdoor(
        name="backdoor-distributed",
        title="Backdoor by data: the trigger in pieces",
        paper="DBA, Xie et al., ICLR 2020",
        does="Each hostile member plants its own piece of the trigger; the whole switches the backdoor on.",
        family="data",
        fewest=2,
        craft=updates.poisoned,
        poison=plant_part,
    ),
    _backdoor(
        name="backdoor-edge-case",
        title="Backdoor by data: rare inputs",
        paper="Wang et al., NeurIPS 2020",
        does="Trains on examples of one class turned around, labelled as another; boosted ×3.",
        family="data",
        craft=updates.scaling(3.0),
        poison=plant_edge_case,
        trigger="edge",
        triggered=turned_source,
    ),
)

_MODEL = (
    _damage(
        name="sign-flip",
        title="Sign flip, ten times",
        paper="Li et al., AAAI 2019",
        does="Sends -10 times the honest update.",
        knowledge="black",
        craft=updates.sign_flip(10.0),
    ),
    _damage(
        name="scaled-flip",
        title="Flipped labels, boosted",
        paper=f"{_BAGDASARYAN}, section 4.2",
        does="Trains on flipped labels and sends ten times the update.",
        knowledge="black",
        craft=updates.scaling(10.0),
        poison=flip_all,
    ),
    _damage(
        name="gaussian",
        title="Noise",
        paper="Blanchard et al., NeurIPS 2017, section 6",
        does="Sends normal noise of 300 times the length of an honest update.",
        knowledge="black",
        craft=updates.gaussian(300.0),
    ),
    _damage(
        name="zero",
        title="Nothing, to slow training down",
        paper="Lin et al., arXiv:1911.12560",
        does="Sends zero: a mean then moves by the honest share only.",
        knowledge="black",
        craft=updates.zero,
    ),
    _damage(
        name="ipm",
        title="Inner product manipulation, tuned",
        paper="Xie et al., UAI 2019",
        does="Sends a multiple of minus the honest mean: the multiple that does most against the deployed rule.",
        craft=updates.colluding("ipm"),
    ),
    _damage(
        name="alie",
        title="A little is enough, tuned",
        paper="Baruch et al., NeurIPS 2019",
        does="Hides in the honest spread: the mean and so many deviations as do most against the deployed rule.",
        craft=updates.colluding("alie"),
    ),
    _damage(
        name="min-max",
        title="Min-Max",
        paper=_SHEJWALKAR,
        does="As far from the honest mean as honest members are from each other at most.",
        craft=updates.colluding("min-max"),
    ),
    _damage(
        name="min-sum",
        title="Min-Sum",
        paper=_SHEJWALKAR,
        does="The same, by the sum of squared distances.",
        craft=updates.colluding("min-sum"),
    ),
    _damage(
        name="fang-krum",
        title="Directed deviation, against Krum",
        paper=f"{_FANG}, section 4.2",
        does="Minus the signs of the honest mean, halved until the deployed rule takes it.",
        craft=updates.colluding("fang-krum"),
    ),
    _damage(
        name="fang-trim",
        title="Directed deviation, against trimmed means",
        paper=f"{_FANG}, section 4.3",
        does="In each coordinate just past the honest range, on the side that the model would not move to.",
        craft=updates.fang_trim,
    ),
    _damage(
        name="mimic",
        title="Mimic, tuned",
        paper="Karimireddy et al., ICLR 2022",
        does="All copy the honest member that biases the deployed rule most.",
        threat="T5",
        craft=updates.colluding("mimic"),
    ),
    _damage(
        name="best-response",
        title="Best response to the deployed rule",
        paper=f"{_SHEJWALKAR}, section IV; the search is Phalanx's own",
        does="In each round the row that turns the rule most, of all attacks and a search around them.",
        threat="T5",
        craft=updates.best_response,
    ),
    _damage(
        name="off-centre",
        title="Across the honest direction, against clipping, tuned",
        paper="Özfatura et al., arXiv:2208.09894",
        does="A row across the honest direction, near it, which clipping shortens and never turns.",
        threat="T5",
        craft=updates.off_centre,
    ),
    _backdoor(
        name="model-replacement",
        title="Model replacement",
        paper=f"{_BAGDASARYAN}, section 4.2",
        does="Sends the way to a backdoored model, boosted so that a mean takes it over whole.",
        knowledge="grey",
        craft=planting.replacement,
    ),
    _backdoor(
        name="constrain-and-scale",
        title="Constrain and scale",
        paper=f"{_BAGDASARYAN}, section 4.3",
        does="Trains for the trigger and for looking honest, and sends it at twice the honest length.",
        craft=planting.constrain_and_scale,
    ),
    _backdoor(
        name="backdoor-pgd",
        title="Backdoor by projected descent",
        paper="Wang et al., NeurIPS 2020, section 3",
        does="Trains for the trigger within twice the honest length of the model.",
        craft=planting.projected,
    ),
    _backdoor(
        name="neurotoxin",
        title="Neurotoxin",
        paper="Zhang et al., ICML 2022",
        does="Plants where honest updates move the model least, so that the backdoor lasts.",
        craft=planting.neurotoxin,
    ),
    _backdoor(
        name="backdoor-tuned",
        title="Backdoor tuned against the rule",
        paper=f"{_SHEJWALKAR}, section IV, for a backdoor",
        does="All send the way to a backdoored model, as long as brings the deployed rule nearest to it.",
        threat="T5",
        knowledge="white",
        craft=planting.tuned_backdoor,
    ),
)

_TIME = (
    _backdoor(
        name="slow-ramp",
        title="Slow ramp",
        paper="CONTROLS C13; after Bagdasaryan et al., AISTATS 2020",
        does="Mixes model replacement into honest updates, a little more each round.",
        family="time",
        knowledge="grey",
        craft=in_time.ramp(planting.replacement),
    ),
    _backdoor(
        name="sleeper",
        title="Sleeper",
        paper="CONTROLS T3; after Bagdasaryan et al., AISTATS 2020",
        does="Honest for 60 % of the rounds, then model replacement.",
        family="time",
        knowledge="grey",
        craft=planting.replacement,
        active=in_time.sleeper,
    ),
    _damage(
        name="on-off",
        title="On and off",
        paper="Sun et al., INFOCOM 2006, section IV",
        does="A sign flip in every third round. There is no reputation yet that it would mislead.",
        family="time",
        knowledge="black",
        craft=updates.sign_flip(10.0),
        active=in_time.on_off,
    ),
)

_IDENTITY = (
    _backdoor(
        name="sybil-clones",
        title="Sybils that send the same",
        paper="Fung et al., RAID 2020",
        does="One attacker with all hostile identities sends one backdoored update under each.",
        threat="T4",
        family="identity",
        fewest=2,
        craft=identities.clones(planting.matched),
    ),
    _backdoor(
        name="sybil-noise",
        title="Sybils with noise between them",
        paper="Fung et al., RAID 2020, section 7",
        does="The same with noise across it, so that no two of the updates are alike.",
        threat="T4",
        family="identity",
        fewest=2,
        craft=identities.noisy_clones(planting.matched),
    ),
    _backdoor(
        name="whitewash",
        title="Whitewashing",
        paper="Feldman et al., IEEE JSAC 2006",
        does="Half-way the hostile members leave and come back under new names, by a change of the roster.",
        threat="T4",
        family="identity",
        craft=planting.matched,
        whitewash=True,
    ),
)

_RIDING = (
    _rider(
        name="rider-zero",
        title="Free-rider: nothing",
        paper="Lin et al., arXiv:1911.12560",
        does="Sends zero and takes the model.",
        craft=free_riding.nothing,
    ),
    _rider(
        name="rider-echo",
        title="Free-rider: echo",
        paper=f"{_FRABONI}, plain free-rider",
        does="Sends back how the model moved in the round before.",
        craft=free_riding.echo,
    ),
    _rider(
        name="rider-noisy-echo",
        title="Free-rider: echo with falling noise",
        paper=f"{_FRABONI}, disguised free-rider",
        does="The same with noise that falls as an honest member's updates do.",
        craft=free_riding.noisy_echo,
    ),
    _rider(
        name="rider-clone",
        title="Free-rider: another's update",
        paper="CONTROLS T10",
        does="One of them trains, and all send its update.",
        craft=free_riding.copied,
    ),
)

_VOTING = (
    _damage(
        name="veto",
        title="Votes against every candidate",
        paper="CONTROLS C15",
        does="Trains honestly and calls every candidate worse, so that no model is released.",
        goal=BLOCKING,
        family="voting",
        knowledge="black",
        craft=lambda view: view.own,
        ballots=Claim.WORSE,
        undefended="trusting-gate",
    ),
    _damage(
        name="vouch",
        title="Votes for a poisoned candidate",
        paper="CONTROLS C15",
        does="Sends flipped updates and calls every candidate better.",
        family="voting",
        knowledge="black",
        craft=updates.sign_flip(3.0),
        ballots=Claim.BETTER,
        undefended="none",
    ),
)

TRAINING_ATTACKS: dict[str, TrainingAttack] = {
    attack.card.name: attack for attack in (*_DATA, *_MODEL, *_TIME, *_IDENTITY, *_RIDING, *_VOTING)
}

# The matrix that is played unless the scenario names another: of attacks that differ in little, the stronger.
DEFAULT: tuple[str, ...] = (
    "label-flip-all",
    "label-flip-targeted",
    "backdoor-patch",
    "backdoor-blended",
    "backdoor-distributed",
    "backdoor-edge-case",
    "sign-flip",
    "gaussian",
    "ipm",
    "alie",
    "min-max",
    "fang-trim",
    "mimic",
    "best-response",
    "model-replacement",
    "constrain-and-scale",
    "neurotoxin",
    "backdoor-tuned",
    "slow-ramp",
    "sleeper",
    "sybil-noise",
    "rider-echo",
    "rider-noisy-echo",
    "veto",
)
