"""A made-up `Result` with realistic figures: ten members, one or three of them hostile, every verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from phalanx.attacks.card import BACKDOOR, BLOCKING, DAMAGE, ONE_CLASS, RIDING, Card, Goal
from phalanx.redteam.outcome import Cell, Outcome, Rebuilt
from phalanx.redteam.result import (
    Cost,
    Defence,
    Figure,
    Finding,
    Judged,
    Leak,
    Result,
    Threat,
    Verdict,
    Worst,
)

IMAGE = Goal(measure="psnr", met=25.0, held=13.3, unit="dB", words="rebuild an input to 25 dB")
MEMBER = Goal(measure="tpr", met=10.0, held=2.0, unit="ratio", words="name members ten times better than chance")


def card(name: str, title: str, threat: str, knowledge: str, goal: Goal, does: str, paper: str) -> Card:
    """A card; its family is by its threat."""
    family = {"T1": "data", "T6": "privacy", "T8": "privacy", "T10": "free-riding", "T9": "wire"}.get(threat, "model")
    return Card(
        name=name, title=title, family=family, threat=threat, knowledge=knowledge, goal=goal,  # type: ignore[arg-type]
        paper=paper, does=does,
    )  # fmt: skip


CARDS = (
    card("label-flip-all", "Label flip, every class", "T1", "black", DAMAGE,
         "Trains on labels y turned into C - 1 - y.", "Fang et al., USENIX Security 2020"),
    card("label-flip-targeted", "Label flip, one class into another", "T1", "black", ONE_CLASS,
         "Trains on examples of one class labelled as another.", "Tolpegin et al., ESORICS 2020"),
    card("sign-flip", "Sign flip, ten times", "T2", "black", DAMAGE,
         "Sends -10 times the honest update.", "Li et al., AAAI 2019"),
    card("alie", "A little is enough, tuned", "T2", "white", DAMAGE,
         "Hides in the honest spread: the mean and so many deviations as do most.", "Baruch et al., NeurIPS 2019"),
    card("fang-trim", "Directed deviation, against trimmed means", "T2", "white", DAMAGE,
         "In each coordinate just past the honest range.", "Fang et al., USENIX Security 2020, section 4.3"),
    card("veto", "Votes against every candidate", "T2", "black", BLOCKING,
         "Trains honestly and calls every candidate worse.", "CONTROLS C15"),
    card("backdoor-patch", "Backdoor by data: a patch", "T3", "black", BACKDOOR,
         "Trains on stamped copies labelled as the attackers' class.", "BadNets, Gu et al., arXiv:1708.06733"),
    card("backdoor-clean-label", "Backdoor by data: true labels", "T3", "black", BACKDOOR,
         "Stamps only examples that are of the attackers' class.", "Turner et al., arXiv:1912.02771"),
    card("model-replacement", "Model replacement", "T3", "grey", BACKDOOR,
         "Sends the way to a backdoored model, boosted so that a mean takes it over whole.",
         "Bagdasaryan et al., AISTATS 2020, section 4.2"),
    card("sybil-noise", "Sybils with noise between them", "T4", "black", BACKDOOR,
         "One attacker sends one backdoored update under each identity, with noise across it.",
         "Fung et al., RAID 2020, section 7"),
    card("best-response", "Best response to the deployed rule", "T5", "white", DAMAGE,
         "In each round the row that turns the rule most, of all attacks and a search around them.",
         "Shejwalkar and Houmansadr, NDSS 2021, section IV"),
    card("rider-echo", "Free-rider: echo", "T10", "black", RIDING,
         "Sends back how the model moved in the round before.", "Fraboni et al., AISTATS 2021"),
    card("inversion", "Gradient inversion, analytic", "T6", "grey", IMAGE,
         "Divides the gradient of the weights by that of the bias.", "Phong et al., IEEE TIFS 2018"),
    card("tokens", "Tokens read off an embedding's update", "T6", "grey", IMAGE,
         "Rows of the embedding that moved are the words that were there.", "Boenisch et al., EuroS&P 2023"),
    card("membership-lira", "Membership inference, LiRA", "T8", "black", MEMBER,
         "Compares the model's loss with that of models trained with and without the example.",
         "Carlini et al., IEEE S&P 2022"),
)  # fmt: skip
TRAINING = tuple(one.name for one in CARDS if one.threat not in ("T6", "T8"))
ONLOOKERS = tuple(one.name for one in CARDS if one.threat in ("T6", "T8"))
DEFENCES = (
    Defence("none", "no screening, mean, no gate"),
    Defence("norm-clip", "screening, norm_clip(clip_l2=0.5) → mean, no gate"),
    Defence("trimmed-mean", "screening, trimmed_mean(f=3), no gate"),
    Defence("median", "screening, median, no gate"),
    Defence("multi-krum", "screening, multi_krum(f=3), no gate"),
    Defence("geometric-median", "screening, geometric_median, no gate"),
    Defence("arc-caf", "screening, arc → caf(f=3), no gate"),
    Defence("trusting-gate", "no screening, mean, gate (f = 0)"),
    Defence("yours", "screening, nnm → trimmed_mean(f=2), ε = 8 for each example, gate (f = 2)"),
)
# How much of the way to its goal an attack comes, by defence; the rest is drawn.
_HARMS = {
    ("alie", "yours"): 0.86, ("best-response", "yours"): 1.3, ("backdoor-patch", "yours"): 0.31,
    ("rider-echo", "yours"): 1.0, ("label-flip-targeted", "yours"): 0.05, ("membership-lira", "yours"): 0.1,
}  # fmt: skip
INVALID = ("backdoor-clean-label",)
COMMAND = "phalanx redteam examples/digits/phalanx.toml"


def figure(value: float, goal: Goal, spread: float = 0.12) -> Figure:
    """With an interval around it."""
    half = spread * (goal.met - goal.held)
    return Figure(value, value - half, value + half, 5, "bootstrap over seeds")


@cache
def result(*, rounds: int = 20, hostile: tuple[int, ...] = (1, 3), splits: tuple[str, ...] = ("natural",)) -> Result:
    """The whole result. Every verdict is in it."""
    rng = np.random.default_rng(3)
    judged = [*_quiet(splits), *_training(rng, hostile, splits), *_onlookers(rng, splits[0])]
    outcomes = [*_runs(rng, hostile[-1], splits[0], rounds), *_rebuilt(rng, splits[0])]
    findings = _findings(judged)
    return Result(
        federation="digits",
        program="Phalanx 0.1.0",
        config="41be09c6d1f7a3c25e8840a9b7d6f1e2c3a4958677b8c9dae0f1021324354657",
        members=10,
        classes=10,
        parameters=2410,
        test_inputs=540,
        rounds=rounds,
        seeds=(0, 1, 2, 3, 4),
        hostile=hostile,
        splits=splits,
        cards=CARDS,
        defences=DEFENCES,
        outcomes=tuple(outcomes),
        judged=tuple(judged),
        findings=findings,
        worst=_worst(judged),
        costs=(
            Cost("none", "sign-flip", 1, "black", 20, 84.1, 0.24),
            Cost("trimmed-mean", "fang-trim", 3, "white", 20, 11.7, 5.13),
            Cost("yours", "best-response", 3, "white", 20, 12.4, 4.84),
            Cost("yours", "backdoor-patch", 1, "black", 15, 3.1, None),
        ),
        leaks=(
            Leak("inversion", "psnr", "does not apply", "61.2 [58.0, 64.1]", "9.8 [9.1, 10.4]"),
            Leak("membership-lira", "tpr", "14.1 [11.0, 17.4]", "12.9 [10.2, 15.8]", "1.1 [0.6, 1.9]"),
            Leak("tokens", "share of tokens", "does not apply", "not tested", "not tested"),
        ),
        threats=(
            Threat("T1", "Data poisoning", "unclear", "held: label-flip-all; unclear: label-flip-targeted"),
            Threat("T2", "Gradient manipulation, aggregation poisoning", "not defended", "not held: alie"),
            Threat("T3", "Backdoors", "not defended", "not held: backdoor-patch"),
            Threat("T4", "Sybils", "defended", "held: sybil-noise"),
            Threat("T5", "Collusion inside normal bounds", "not defended", "not held: best-response"),
            Threat("T6", "Gradient leakage", "defended", "held: inversion"),
            Threat("T7", "Model inversion", "not tested", ""),
            Threat("T8", "Membership inference", "defended", "held: membership-lira"),
            Threat("T9", "Eavesdropping, alteration, injection, replay", "not tested", ""),
            Threat("T10", "Free-riding", "not defended yet", "not held: rider-echo"),
            Threat("T11", "Curious or malicious coordinator", "not tested", ""),
            Threat("T12", "Stolen keys, rogue identities", "not tested", ""),
            Threat("T13", "Hostile input and load", "invalid test", "invalid test: flood"),
        ),
        left_out=(
            ("sybil-noise on multi-krum", "5 cells beyond the time budget"),
            ("attested hardware", "not available: no such hardware here"),
        ),
        notes=(
            "best-response on arc-caf: estimated on 4096 of 2410 columns.",
            "backdoor-patch on yours: the trigger without its backdoor is taken for the class in 2.1 % of inputs.",
            "3 hostile members are more than the f = 2 that the gate was told.",
        ),
        command=f"{COMMAND} --scenario redteam.toml",
        waivers={"yours:rider-echo:3:natural": _WAIVED, "yours:gone:1:iid": "Accepts nothing, since no finding of "
                 "this run has this id: it was there in June"},
    )  # fmt: skip


_WAIVED = "Accepted by ops@hub until 2027-06-30: contracts bind the members; scores come with the next version"


# -------------------------------------------------------------------------------------------------------------- judged


def judged(attack: str, defence: str, hostile: int, split: str, verdict: Verdict, **more: object) -> Judged:
    """A cell; what is not given is not measured."""
    held: dict[str, object] = {
        "seeds": 5, "why": "", "figure": None, "harm": None, "accuracy": None, "best": None, "clean": 0.949,
        "class_damage": None, "lifespan": None,
        "command": f"{COMMAND} --attacks {attack} --defences none,{defence} --hostile {hostile} --seeds 5",
    } | more  # fmt: skip
    return Judged(attack=attack, defence=defence, hostile=hostile, split=split, verdict=verdict, **held)  # type: ignore[arg-type]


def _quiet(splits: Sequence[str]) -> list[Judged]:
    accuracies = (0.953, 0.951, 0.948, 0.946, 0.939, 0.949, 0.950, 0.953, 0.912)
    return [
        judged("none", defence.name, 3 if defence.name in ("trimmed-mean", "multi-krum") else 0, split, "works",
               accuracy=accuracy - 0.02 * place, clean=accuracy)
        for place, split in enumerate(splits)
        for defence, accuracy in zip(DEFENCES, accuracies, strict=True)
    ]  # fmt: skip


def _training(rng: np.random.Generator, hostile: Sequence[int], splits: Sequence[str]) -> list[Judged]:
    cells = []
    for split in splits:
        for count in hostile:
            for one in CARDS:
                if one.name in TRAINING:
                    for defence in DEFENCES:
                        if (one.name == "veto") >= (defence.name == "trusting-gate"):
                            cells.append(_trained(rng, one, defence.name, count, split))
    return cells


def _trained(rng: np.random.Generator, one: Card, defence: str, count: int, split: str) -> Judged:
    goal = one.goal
    bare = defence == ("trusting-gate" if one.name == "veto" else "none")
    if defence == "multi-krum" and one.name == "sybil-noise":
        return judged(one.name, defence, count, split, "not tested", seeds=0, why="left out")
    if defence == "arc-caf" and one.name == "veto":
        return judged(one.name, defence, count, split, "not available", seeds=0, why="no gate: nobody votes")
    if one.name in INVALID:
        found = figure(goal.held - 0.01 * rng.random(), goal)
        return judged(one.name, defence, count, split, "invalid test", figure=found, harm=0.0, accuracy=0.94)
    harm = 1.0 + 0.4 * rng.random() if bare else _HARMS.get((one.name, defence), 0.9 * rng.random() ** 3 - 0.06)
    harm = max(0.0, harm * (1.0 if count > 1 or bare else 0.25))
    found = figure(goal.held + harm * (goal.met - goal.held) - (0.004 if harm == 0 else 0), goal)
    verdict: Verdict = "held"
    if bare:
        verdict = "works"
    elif found.value > goal.held:
        verdict = "not held" if found.low > goal.held else "unclear"
    accuracy = max(0.1, 0.94 - (found.value if goal.unit == "points" else 0.01))
    return judged(
        one.name, defence, count, split, verdict, figure=found, harm=harm, accuracy=accuracy, best=accuracy + 0.01,
        class_damage=max(0.0, found.value) if goal.unit == "points" else 0.02,
        lifespan=4.0 if goal is BACKDOOR else None,
    )  # fmt: skip


def _onlookers(rng: np.random.Generator, split: str) -> list[Judged]:
    cells = []
    for one in CARDS:
        if one.name in ONLOOKERS and one.name != "tokens":
            for defence in ("central", "none", "yours"):
                harm = 1.4 if defence != "yours" else _HARMS.get((one.name, defence), 0.0)
                reach = harm * (1 + 0.1 * rng.random())
                found = figure(one.goal.held + reach * (one.goal.met - one.goal.held), one.goal)
                verdict: Verdict = "held" if defence == "yours" else "works"
                cells.append(judged(one.name, defence, 0, split, verdict, figure=found, harm=harm))
    cells.append(judged("tokens", "yours", 0, split, "not available", seeds=0, why="the model has no embedding"))
    cells.append(judged("inversion", "arc-caf", 0, split, "works", figure=Figure(math.inf, 60.0, math.inf, 5, "min"),
                        harm=None))  # fmt: skip
    return cells


def _findings(cells: Sequence[Judged]) -> tuple[Finding, ...]:
    severities = {"best-response": "high", "rider-echo": "critical", "alie": "medium", "backdoor-patch": "medium"}
    titles = {one.name: one.title for one in CARDS}
    order = ["critical", "high", "medium", "low"]
    found = [
        Finding(
            id=f"yours:{one.attack}:{one.hostile}:{one.split}",
            severity="low" if one.verdict == "unclear" or one.hostile == 1 else severities.get(one.attack, "low"),  # type: ignore[arg-type]
            judged=one,
            title=titles[one.attack],
            happened=f"{one.hostile} hostile member(s) got {one.harm:.2f} of the way to their goal; the limit is 0.",
            fix="another rule: `phalanx redteam` with its name under --defences shows how it fares",
            change={"alie": "worse", "best-response": "new", "rider-echo": "same"}.get(one.attack, "better"),
            waived=_WAIVED if one.attack == "rider-echo" and one.hostile == 3 else "",
        )
        for one in cells
        if one.defence == "yours" and one.verdict in ("not held", "unclear")
    ]
    return tuple(sorted(found, key=lambda one: (order.index(one.severity), -(one.judged.harm or 0.0))))


def _worst(cells: Sequence[Judged]) -> tuple[Worst, ...]:
    worst: dict[str, Judged] = {}
    for one in cells:
        if one.harm is not None and one.hostile and one.harm > (worst[one.defence].harm if one.defence in worst else 0):  # type: ignore[operator]
            worst[one.defence] = one
    return tuple(
        Worst(one.defence, one.hostile, one.split, one.attack, one.harm or 0.0, "costs 11.7 points of accuracy")
        for one in worst.values()
    )


# ------------------------------------------------------------------------------------------------------------ outcomes


def _runs(rng: np.random.Generator, count: int, split: str, rounds: int) -> list[Outcome]:
    ends = {("best-response", "none"): (0.1, 0.0), ("best-response", "yours"): (0.79, 0.0),
            ("rider-echo", "none"): (0.93, 0.0), ("rider-echo", "yours"): (0.91, 0.0),
            ("alie", "none"): (math.nan, 0.0), ("alie", "yours"): (0.83, 0.0),
            ("backdoor-patch", "none"): (0.95, 0.99), ("backdoor-patch", "yours"): (0.91, 0.33)}  # fmt: skip
    found = []
    for (attack, defence), (accuracy, success) in ends.items():
        for seed in range(2):
            lines: dict[str, tuple[float | None, ...]] = {
                "accuracy": tuple(_by_round(rng, accuracy, rounds)),
            }
            if success:
                lines["backdoor"] = tuple(_by_round(rng, success, rounds))
            found.append(
                Outcome(
                    cell=Cell(attack, defence, count, split, seed),
                    measures={} if math.isnan(accuracy) else {"accuracy": accuracy},
                    counts={"class:0": (48, 52)},
                    series=lines,
                    right="ffee01",
                    ended="every round of the last five was refused" if (attack, defence, seed) == ("alie", "none", 0)
                    else "",
                )
            )  # fmt: skip
    return found


def _by_round(rng: np.random.Generator, end: float, rounds: int) -> list[float | None]:
    line: list[float | None] = []
    for number in range(1, rounds + 1):
        level = 0.9 if math.isnan(end) else end
        broken = math.isnan(end) and number > rounds // 2
        rise = 1 - 0.9 * math.exp(-6 * number / rounds)
        line.append(None if broken else float(np.clip(level * rise + rng.normal(0, 0.01), 0, 1)))
    return line


def _rebuilt(rng: np.random.Generator, split: str) -> list[Outcome]:
    image = np.clip(np.outer(np.hanning(16), np.hanning(16)) * 1.6 - 0.3 * np.eye(16), 0, 1).ravel()
    noise = np.clip(rng.normal(0.4, 0.5, 256), 0, 1)
    near = np.clip(image + rng.normal(0, 0.05, 256), 0, 1)
    pixels, rough, good = (tuple(float(v) for v in one) for one in (image, noise, near))
    words = (101, 7592, 1010, 2088, 999, 102)
    row = (0.31, -1.2, 3.4, 0.0, 12.75, 0.5)
    return [
        Outcome(
            cell=Cell("inversion", "none", 0, split, 0),
            rebuilt=(Rebuilt(pixels, good, (16, 16), "PSNR 26.1 dB"), Rebuilt(row, row, (6,), "exact")),
        ),
        Outcome(
            cell=Cell("inversion", "yours", 0, split, 0),
            rebuilt=(Rebuilt(pixels, rough, (16, 16), "PSNR 5.2 dB, the mean image has 12.3 dB"),),
        ),
        Outcome(cell=Cell("tokens", "none", 0, split, 0), rebuilt=(Rebuilt(words, words, (6,), "6 of 6 tokens"),)),
        Outcome(
            cell=Cell("tokens", "yours", 0, split, 0),
            rebuilt=(Rebuilt(words, (0, 7592, 3, 3, 8, 0), (6,), "1 of 6 tokens"),),
        ),
    ]


# A run in which nothing was played.
EMPTY = replace(
    result(), cards=(), defences=(), outcomes=(), judged=(), findings=(), worst=(), costs=(), leaks=(), threats=(),
    left_out=(), notes=(), waivers={}, hostile=(), splits=(), seeds=(), command="", program="", config="",
)  # fmt: skip
