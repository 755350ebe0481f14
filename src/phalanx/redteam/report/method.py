"""What was played, how it was measured, what was left out, and how to do it again."""

from __future__ import annotations

from phalanx.attacks.card import Card
from phalanx.redteam.report import lookup
from phalanx.redteam.report.figures import limits
from phalanx.redteam.report.taxonomy import ATLAS_VERSION, NIST_EDITION, OWASP_EDITION
from phalanx.redteam.result import Judged, Result
from phalanx.report.markup import Html, el, join, scrolling, table
from phalanx.report.wording import count, listed, ranges, shortened

_MOST_LEFT_OUT, _MOST_NOTES = 200, 80


def attacks(result: Result) -> tuple[Html, Html]:
    """The cards, by threat, each with whether it worked undefended."""
    lead = el(
        "p",
        "An attack is tested on itself first: played where nothing defends, it has to reach its own goal. Where it "
        "does not, it is an invalid test, and no defence is credited with it.",
    )
    known = lookup.cards(result)
    rows = []
    for threat, names in lookup.by_threat(result, known).items():
        for name in names:
            card = known[name]
            rows.append([
                join(card.title, el("small", el("code", name))),
                threat,
                join(shortened(card.does[:1].upper() + card.does[1:], 400), el("small", shortened(card.paper, 200))),
                card.knowledge,
                join(f"They want to {card.goal.words}.", el("small", limits(card.goal))),
                _self_check(result, card),
            ])  # fmt: skip
    head = ("attack", "threat", "what it does, and from where", "box", "goal", "undefended")
    return lead, table(head, rows, stacked=True) if rows else el("p", "No attack was chosen: not tested.")


def _self_check(result: Result, card: Card) -> Html:
    """Whether it worked where nothing defends, in how many settings."""
    shown = lookup.undefended(result, card.name)
    if not shown:
        return join("○ not tested")
    works = sum(one.verdict == "works" for one in shown.values())
    sign = "! works" if works else "∅ invalid test"
    return join(sign, el("small", f"in {works} of {len(shown)} setting{'s' if len(shown) > 1 else ''}"))


def measured(result: Result) -> tuple[Html, Html]:
    """What the words mean, and on how much they rest."""
    lead = el("p", "What each word of this page means. The limits are the goals' own, and the same for every defence.")
    methods = sorted({one.figure.method for one in result.judged if one.figure is not None and one.figure.method})
    items = [
        ("held", "the defended mean is at the goal's limit or below it."),
        ("not held", "the mean is above the limit, and so is the whole 95 % interval: more than chance."),
        ("unclear", "the mean is above the limit, but the interval reaches it. More seeds would tell."),
        ("works", "undefended, the attack reaches its own goal."),
        ("invalid test", "undefended, it does not: whatever a defence does about it proves nothing."),
        ("not tested", "no run of it. That is not a pass."),
        ("not available", "it cannot be run here; the list below says why."),
        ("harm", "0 at the limit that holds, 1 at the attackers' goal, on a straight line between them."),
        ("intervals", f"95 %, by: {listed([shortened(m, 80) for m in methods], 6) or 'none was needed'}."),
        ("damage", "accuracy lost on the same test inputs, against the same defence where nobody attacks."),
    ]
    meanings = el("dl", *(el("div", el("dt", name), el("dd", said)) for name, said in items), class_="facts broad")
    seeds = ranges(sorted(set(result.seeds))) or "none"
    size = (
        ("members", f"{result.members}, of which hostile: {', '.join(map(str, result.hostile)) or 'none'}"),
        ("splits of the data", ", ".join(shortened(one, 60) for one in result.splits) or "none"),
        ("model", f"{result.parameters:,} parameters, {result.classes} classes"),
        ("test inputs", f"{result.test_inputs:,}"),
        ("rounds", f"{result.rounds}"),
        ("seeds", f"{len(result.seeds)}: {seeds}"),
    )
    sizes = el("dl", *(el("div", el("dt", name), el("dd", said)) for name, said in size), class_="facts broad")
    configurations = [[one.name, shortened(one.words, 400)] for one in result.defences]
    return lead, join(
        meanings,
        el("h3", "On how much it rests"),
        sizes,
        el("h3", "The configurations that were attacked"),
        table(("name", "what is on"), configurations, stacked=True) if configurations else el("p", "None."),
    )


def left_out(result: Result) -> tuple[Html, Html]:
    """What was not tested, with the reason of each, and what else a reader should know."""
    lead = el("p", "A page that only lists what was tried is an advertisement. What follows was not tested here.")
    cells: dict[tuple[str, str], list[Judged]] = {}
    for one in lookup.attacked(result):
        if one.verdict in ("not tested", "not available"):
            cells.setdefault((one.verdict, one.why), []).append(one)
    rows = [[shortened(what, 200), "not tested", shortened(why, 400) or "–"] for what, why in result.left_out]
    planned = {what for what, _ in result.left_out}
    for (verdict, why), ones in cells.items():
        names = [
            name for name in dict.fromkeys(f"{one.attack} on {one.defence}" for one in ones) if name not in planned
        ]
        if names:
            rows.append([shortened(listed(names, 4), 400), verdict, shortened(why, 400) or "no reason was recorded"])
    more = el("p", f"{len(rows) - _MOST_LEFT_OUT} more are in redteam.json.") if len(rows) > _MOST_LEFT_OUT else join()
    head = ("what", "in this test", "why")
    listing = table(head, rows[:_MOST_LEFT_OUT], stacked=True) if rows else el("p", "Nothing of the plan was left out.")
    notes = [el("li", shortened(note, 400)) for note in result.notes[:_MOST_NOTES]]
    unsaid = len(result.notes) - len(notes)
    rest = el("p", f"{count(unsaid, 'more note')} in redteam.json.".capitalize()) if unsaid else join()
    said = join(el("h3", "To be read with it"), el("ul", *notes, class_="plain"), rest) if notes else join()
    return lead, join(listing, more, said)


def again(result: Result) -> tuple[Html, Html]:
    """The command that repeats everything, and what it was run on."""
    lead = el(
        "p", "The same scenario, program and seeds give this page again, byte for byte. It names no host and no time."
    )
    command = el("pre", shortened(result.command, 2000) or "no command recorded", tabindex="0")
    facts = (
        ("program", result.program or "not recorded"),
        ("configuration", result.config or "not recorded"),
        ("seeds", ranges(sorted(set(result.seeds))) or "none"),
        ("taxonomies", f"MITRE ATLAS {ATLAS_VERSION}, {NIST_EDITION}, {OWASP_EDITION}"),
    )
    rows = [el("div", el("dt", name), el("dd", el("code", text))) for name, text in facts]
    return lead, join(scrolling(command, "The command that repeats it"), el("dl", *rows, class_="facts broad"))


def provenance(result: Result) -> Html:
    """Where the page comes from."""
    config = shortened(result.config, 80) or "not recorded"
    made = f"{result.program or 'program not recorded'} · configuration {config}"
    return el("footer", el("p", f"{made}. This page refers to nothing outside itself and runs no script."))
