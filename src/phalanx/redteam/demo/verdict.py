"""The report's statements: the verdict, the rebuilt digit, the prices, what is not protected, how to verify."""

from __future__ import annotations

from phalanx.gate import BLIND_SPOTS
from phalanx.redteam.demo.result import DemoResult, Leak, RunResult, Threat
from phalanx.report import proof
from phalanx.report.charts import difference_bar, digit
from phalanx.report.markup import Html, data, el, join, table
from phalanx.report.page import key_figure
from phalanx.report.wording import (
    NOT_FINITE,
    NOT_RUN,
    count,
    decibel,
    epsilon,
    finite,
    listed,
    percent,
    points,
    small,
    word,
)

DEFENDED = "private-attacked"  # all controls, all three attackers: the run that the page is about
RUNS = (
    "clean",
    "undefended-backdoor",
    "undefended-sign-flip",
    "undefended-nan",
    "robust",
    "robust-attacked",
    "robust-norm-matched",
    "private",
    "private-attacked",
    "private-norm-matched",
    "private-multi-krum-norm-matched",
    "alone",
    "pooled",
)


def names(result: DemoResult) -> tuple[str, ...]:
    """Every run that there is or should be, in the scenario's order."""
    return RUNS + tuple(name for name in result.runs if name not in RUNS)


def accuracy(run: RunResult | None) -> str:
    """The run's accuracy in words, whatever became of it."""
    if run is None:
        return NOT_RUN
    return percent(run.accuracy) if run.finite else NOT_FINITE


def backdoor(run: RunResult | None) -> str:
    """The run's backdoor success in words."""
    if run is None:
        return NOT_RUN
    return percent(run.backdoor_success) if run.finite else NOT_FINITE


# ------------------------------------------------------------------------------------------------------------ opening


def headline(result: DemoResult) -> str:
    """Who trained, and how many of them attacked."""
    trained = count(len(result.split), "organisation").capitalize()
    return f"{trained} trained together, {word(len(result.hostile))} hostile"


def opening(result: DemoResult) -> Html:
    """Title, the verdict in one sentence, and the key figures."""
    trained = count(len(result.split), "organisation").capitalize()
    attacked = f"{word(len(result.hostile)).capitalize()} of them attacked."
    return join(
        el("p", "Phalanx demo · federated learning under attack", class_="kicker"),
        el("h1", f"{trained} trained one model together. {attacked}"),
        el("p", sentence(result), class_="verdict"),
        el("dl", *_figures(result), class_="figures"),
    )


def sentence(result: DemoResult) -> str:
    """How many threats were stopped, and by name those that were not."""
    by: dict[str, list[str]] = {}
    for threat in result.threats:
        by.setdefault(_outcome(threat, result), []).append(threat.threat)
    held, failed = by.get("held", []), by.get("not held", [])
    tried = len(held) + len(failed)
    if not tried:
        text = "No threat that a defence is claimed for was run, so nothing is claimed here."
    elif not failed:
        text = f"Phalanx stopped {'the one threat' if tried == 1 else f'all {word(tried)} threats'} of this test."
    else:
        text = f"Phalanx stopped {word(len(held))} of {count(tried, 'threat')}. Not stopped: {'; '.join(failed)}."
    if claimless := by.get("no claim", []):
        text += f" Shown without any claim of a defence: {'; '.join(claimless)}."
    if absent := by.get(NOT_RUN, []):
        text += f" Not run: {'; '.join(absent)}."
    return text


def _outcome(threat: Threat, result: DemoResult) -> str:
    """A verdict without its run is no verdict. An empty `run` is a threat that no training run shows."""
    if threat.run and threat.run not in result.runs:
        return NOT_RUN
    return "no claim" if threat.held is None else "held" if threat.held else "not held"


def _figures(result: DemoResult) -> list[Html]:
    run = result.runs.get(DEFENDED)
    undefended = {name: result.runs.get(name) for name in RUNS if name.startswith("undefended-")}
    before = [f"{name.removeprefix('undefended-')} {accuracy(one)}" for name, one in undefended.items()]
    return [
        key_figure("Accuracy under attack", accuracy(run), f"Undefended: {', '.join(before)}."),
        key_figure("Backdoor succeeds", backdoor(run), f"Undefended: {backdoor(undefended['undefended-backdoor'])}."),
        key_figure("Privacy loss, at most", _epsilon(run), _unit(run)),
        key_figure("Members refused", *_refused(run, len(result.split))),
        key_figure("Refused by the gate", *_gate(run)),
    ]


def _epsilon(run: RunResult | None) -> str:
    if run is None:
        return NOT_RUN
    return epsilon(None) if run.epsilon is None else f"ε = {epsilon(run.epsilon)}"


def _unit(run: RunResult | None) -> str:
    """What ε protects, and δ, in words."""
    if run is None or run.epsilon is None:
        return "No differential privacy was measured."
    return f"Per {run.unit or 'unit that the run does not name'}, added or removed; δ = {small(run.delta)}."


def _refused(run: RunResult | None, members: int) -> tuple[str, str]:
    if run is None:
        return NOT_RUN, ""
    reasons = sorted({(member, reason) for one in run.rounds for member, reason, _ in one.refused})
    who = listed([f"{member}: {reason}" for member, reason in reasons])
    return f"{len({member for member, _ in reasons})} of {members}", f"{who}." if who else "Every update was sound."


def _gate(run: RunResult | None) -> tuple[str, str]:
    if run is None:
        return NOT_RUN, ""
    return f"{run.gate_refusals} of {len(run.rounds)}", "Candidate models that members' own held-out data found worse."


# ------------------------------------------------------------------------------------------------------------- threats

_SIGNS = {"held": "✓ held", "not held": "✕ not held", "no claim": "– no claim", NOT_RUN: f"○ {NOT_RUN}"}


def threats(result: DemoResult) -> tuple[Html, Html]:
    """The verdict table."""
    why = (
        "Each attack was first run without the defence, to show what it does, then against Phalanx. "
        "✓ is an attack that failed; ✕ one that got through; – one for which no defence is claimed; ○ one that was not "
        "run, which is not a pass."
    )
    lead = el("p", why)
    rows = []
    for threat in result.threats:
        outcome = _outcome(threat, result)
        kind = "outcome harm" if outcome == "not held" else "outcome"
        shown = [threat.undefended, threat.defended] if outcome != NOT_RUN else [NOT_RUN, NOT_RUN]
        stop = join(threat.stopped_by, el("small", f"run: {threat.run}")) if threat.run else threat.stopped_by
        rows.append([threat.threat, *shown, stop, el("span", _SIGNS[outcome], class_=kind)])
    head = ("threat", "plain federated learning", "Phalanx", "stopped by", "held?")
    return lead, table(head, rows, stacked=True) if rows else el("p", "No threat was run.")


# ---------------------------------------------------------------------------------------------------------------- leak


def leak(result: DemoResult) -> tuple[Html, Html]:
    """The rebuilt digit beside its original."""
    found = result.leak
    why = (
        "A model update is not anonymous: for one image, the gradient of the weights divided by that of the bias is "
        "the image. The first rebuild is from an unprotected update; the second from what is sent here."
    )
    lead = join(el("p", why), el("p", _leak_verdict(found)))
    images = (
        (f"The private image, a {found.label}", found.original, "What should stay at the member."),
        ("Rebuilt, no defence", found.undefended, f"PSNR {decibel(found.psnr_undefended)}"),
        ("Rebuilt, defended", found.defended, f"PSNR {decibel(found.psnr_defended)}"),
    )
    pictures = [
        el("figure", digit(f"{title}: 8 by 8 pixels", values), el("figcaption", el("h3", title), remark))
        for title, values, remark in images
    ]
    scale = (
        "PSNR is the peak signal-to-noise ratio against the original: low is good. Guessing the mean of all images, "
        f"which takes no update at all, scores {decibel(found.psnr_mean_image)}."
    )
    columns = [_pixel_rows(values) for _, values, _ in images]
    rows = [[f"{index + 1}", *row] for index, row in enumerate(zip(*columns, strict=False))]
    return lead, join(
        el("div", *pictures, class_="grid three"),
        el("p", scale, class_="soft"),
        data(table(("row", "original", "rebuilt, no defence", "rebuilt, defended"), rows)),
    )


def _leak_verdict(found: Leak) -> str:
    if found.psnr_defended <= found.psnr_mean_image:
        return "Defended, the attacker learns less than by guessing the mean image: nothing useful is left of it."
    if found.psnr_defended > found.psnr_mean_image:
        return "Defended, the rebuild is still better than guessing the mean image: the update gives something away."
    return "The defended rebuild could not be scored."


def _pixel_rows(values: tuple[float, ...]) -> list[str]:
    side = max(1, round(len(values) ** 0.5))
    return [" ".join(f"{value:.2f}" for value in values[at : at + side]) for at in range(0, len(values), side)]


# -------------------------------------------------------------------------------------------------------------- prices


def prices(result: DemoResult) -> tuple[Html, Html]:
    """What each control costs, and every run in one table."""
    alone, joint = result.runs.get("alone"), result.runs.get(DEFENDED)
    gain = ""
    if alone is not None and joint is not None:
        gain = f" Joining is worth {points(_share(alone), _share(joint))} over staying alone, attackers included."
    baseline = (
        f"Training alone, on its own data only, an organisation reaches {accuracy(alone)}; together, with every "
        f"control on and under attack, {accuracy(joint)}.{gain}"
    )
    price = "Every control costs some accuracy, also when nobody attacks. High is good; a minus is the price."
    lead = join(el("p", price), el("p", baseline))
    largest = max([abs(d) for p in result.prices if (d := finite(p.with_it - p.without)) is not None], default=0.0)
    rows = [
        [
            p.control,
            percent(p.without),
            percent(p.with_it),
            points(p.without, p.with_it),
            difference_bar(p.without, p.with_it, largest),
            p.remark,
        ]
        for p in result.prices
    ]
    head = ("control", "accuracy without", "with", "difference", "loss | gain", "remark")
    costs = table(head, rows, numeric=(1, 2, 3), stacked=True) if rows else el("p", "No price was measured.")
    return lead, join(costs, el("h3", "Every run"), _runs(result))


def _share(run: RunResult) -> float | None:
    return finite(run.accuracy) if run.finite else None


def _runs(result: DemoResult) -> Html:
    head = ("run", "accuracy", "backdoor success", "ε", "refused", "gate refused", "seconds")
    rows: list[list[str]] = []
    for name in names(result):
        run = result.runs.get(name)
        if run is None:
            rows.append([name, NOT_RUN, *["–"] * 5])
            continue
        hostile = listed([f"{member} {how}" for member, how in run.hostile.items()])
        who = join(name, el("small", run.controls), el("small", f"hostile: {hostile}" if hostile else "nobody hostile"))
        refused = [f"{who_why} ×{times}" for who_why, times in run.refused.items()]
        privacy = (
            epsilon(run.epsilon)
            if run.epsilon is None
            else join(epsilon(run.epsilon), el("small", f"per {run.unit or '?'}"))
        )
        rows.append(
            [
                who,
                accuracy(run),
                backdoor(run),
                privacy,
                listed(refused) or "nobody",
                f"{run.gate_refusals} of {len(run.rounds)}" if run.rounds else "–",
                f"{run.seconds:.1f}",
            ]
        )
    return table(head, rows, numeric=(1, 2, 3, 5, 6), stacked=True)


# -------------------------------------------------------------------------------------------------- limits and checks


def limits(result: DemoResult) -> tuple[Html, Html]:
    """What is not protected, as plainly as what is."""
    lead = el("p", "A page that only lists what works is an advertisement. These are open.")
    gate = join(el("h3", "What the gate does not see"), el("p", BLIND_SPOTS))
    items = [el("li", item) for item in result.does_not_protect]
    listing = el("ul", *items, class_="plain") if items else el("p", "The scenario states no limits: a defect of it.")
    return lead, join(listing, el("div", gate, class_="aside"))


def verification(result: DemoResult) -> tuple[Html, Html]:
    """The auditor's command and what it proves."""
    return proof.verification(result.verify_command, result.public, result.fingerprint)


def provenance(result: DemoResult) -> Html:
    """Where the page comes from."""
    version = f"Phalanx {result.version}" if result.version else "Phalanx, version not recorded"
    made = f"{version} · seed {result.seed} · {result.seconds:.1f} seconds · {count(len(result.runs), 'run')}"
    return el("footer", el("p", f"{made}. This page refers to nothing outside itself and runs no script."))
