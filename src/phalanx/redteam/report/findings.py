"""The findings, the worst first: what happened, who could do it, what to change, and how to see it again."""

from __future__ import annotations

from collections.abc import Sequence

from phalanx.attacks.card import Card, Knowledge
from phalanx.redteam.defences import YOURS
from phalanx.redteam.report import lookup
from phalanx.redteam.report.figures import harm_in_words, in_words, limits, over, with_interval
from phalanx.redteam.report.heat import harm_bar
from phalanx.redteam.report.taxonomy import named
from phalanx.redteam.result import Finding, Result
from phalanx.report.markup import Html, el, join, table
from phalanx.report.wording import NOT_MEASURED, shortened

_IN_FULL = 40  # findings, and none that is low; the others stand in a table
_ROWS = 600  # of that table
KNOWLEDGE: dict[Knowledge, str] = {
    "black": "black box: they know the model that everybody is sent, and their own data",
    "grey": "grey box: they know also the deployed rule and how many members there are",
    "white": "white box: they know also what the honest members send in the round, before they send theirs",
}
_SIGNS = {"critical": "✕✕", "high": "✕✕", "medium": "✕", "low": "✕", "none": "–"}
_CHANGES = {"new": "new", "worse": "worse than before", "same": "as before", "better": "better than before", "": ""}


def findings(result: Result) -> tuple[Html, Html]:
    """Each finding as a block, the low ones in a table, and the waivers that were given."""
    lead = join(
        el("p", "A finding is an attack that a configuration of yours did not hold against, or perhaps did not. The "
                "worst come first, by impact and by how little the attackers need for it."),
        el("p", "Its id stays the same from run to run, for baselines and waivers."),
    )  # fmt: skip
    if not result.findings:
        none = "No findings. That speaks for the attacks that were played, and for no others."
        return lead, join(el("p", none), _waivers(result))
    known = lookup.cards(result)
    severe = [place for place, one in enumerate(result.findings) if one.severity not in ("low", "none")][:_IN_FULL]
    full = [result.findings[place] for place in severe]
    blocks = [_block(one, known.get(one.judged.attack), result.members) for one in full]
    rest = [one for place, one in enumerate(result.findings) if place not in set(severe)]
    return lead, join(*blocks, _others(result, rest), _waivers(result))


def _severity(finding: Finding) -> str:
    sign = "?" if finding.judged.verdict == "unclear" else _SIGNS[finding.severity]
    return f"{sign} {finding.severity}"


def _remarks(finding: Finding) -> list[Html]:
    change = _CHANGES.get(finding.change, finding.change)
    return [el("small", text) for text in (change, "waived" if finding.waived else "") if text]


def _block(finding: Finding, card: Card | None, members: int) -> Html:
    kind = "mark" if finding.waived else "mark harm"
    mark = el("div", el("b", _severity(finding)), *_remarks(finding), class_=kind)
    facts = [el("div", el("dt", name), el("dd", text)) for name, text in _facts(finding, card, members)]
    text = el(
        "div",
        el("h3", shortened(finding.title, 300)),
        el("p", shortened(finding.happened, 1200)),
        el("dl", *facts, class_="facts"),
    )
    return el("article", mark, text, class_="finding", aria_label=f"Finding {finding.id}")


def _facts(finding: Finding, card: Card | None, members: int) -> list[tuple[str, Html]]:
    judged = finding.judged
    facts = [
        ("Measured", join(_measured(finding, card), el("span", "harm ", harm_in_words(judged.harm), " ",
                                                       harm_bar(judged.harm), class_="gauge"))),
        ("Attackers", _attackers(finding, card, members)),
        ("Known as", _known_as(card)),
        ("Fix", join(shortened(finding.fix, 1200) or "none known")),
        ("See it again", el("code", shortened(judged.command, 1200) or "no command recorded")),
        ("Id", el("code", shortened(finding.id, 200))),
    ]  # fmt: skip
    if judged.defence != YOURS:
        facts.insert(0, ("Against", join(f"{judged.defence}, of your scenario")))
    if finding.waived:
        facts.insert(0, ("Waived", join(shortened(finding.waived, 600))))
    return facts


def _attackers(finding: Finding, card: Card | None, members: int) -> Html:
    if card is None:
        knowledge = "what they know is not recorded"
    elif card.family in ("privacy", "wire"):
        knowledge = f"an onlooker or a courier, {card.knowledge} box"
    else:
        knowledge = KNOWLEDGE[card.knowledge]
    return join(f"{lookup.setting(finding.judged).words(members)}; {knowledge}")


def _measured(finding: Finding, card: Card | None) -> Html:
    figure = finding.judged.figure
    if figure is None:
        return join(NOT_MEASURED)
    if card is None:
        return join(f"{figure.value:g} [{figure.low:g}, {figure.high:g}], {over(figure)}")
    goal = card.goal
    shown = el("b", f"{in_words(goal.judged)} {with_interval(figure, goal.unit)}")
    return join(shown, el("small", f"{over(figure)}; {limits(goal)}"))


def _known_as(card: Card | None) -> Html:
    """Threat and taxonomy ids, each ATLAS technique with its name and how it fits."""
    if card is None:
        return join("an attack without a card")
    found = named(card)
    atlas = [f"{one.id} {one.name} ({one.relation})" for one in found.atlas] or ["ATLAS has no word for it"]
    return join(f"{card.threat} · ", "; ".join([*atlas, *found.nist, *(f"OWASP {name}" for name in found.owasp)]))


def _in_short(finding: Finding, card: Card | None) -> str:
    harm = f"harm {harm_in_words(finding.judged.harm)}"
    return f"{with_interval(finding.judged.figure, card.goal.unit)}, {harm}" if card else harm


def _ids(card: Card | None) -> str:
    return ", ".join([card.threat, *named(card).ids]) if card else "an attack without a card"


def _others(result: Result, rest: Sequence[Finding]) -> Html:
    """All that a block says, in a row."""
    if not rest:
        return join()
    known = lookup.cards(result)
    rows = []
    for one in rest[:_ROWS]:
        card = known.get(one.judged.attack)
        what = join(shortened(one.title, 120), el("small", el("code", shortened(one.id, 120))))
        happened = join(shortened(one.happened, 400), el("small", _in_short(one, card)))
        box = f"{card.knowledge} box" if card else "what they know is not recorded"
        who = join(f"{lookup.setting(one.judged).words(result.members)}; {box}", el("small", _ids(card)))
        waiver = el("small", f"Waived: {shortened(one.waived, 300)}") if one.waived else ""
        fix = join(shortened(one.fix, 300), el("small", el("code", shortened(one.judged.command, 400))), waiver)
        kind = "outcome" if one.waived else "outcome harm"
        rows.append([what, join(el("span", _severity(one), class_=kind), *_remarks(one)), happened, who, fix])
    title = f"{len(rest)} more, less severe" if len(rest) < len(result.findings) else "All of low severity"
    unsaid = el("p", f"{len(rest) - _ROWS} more are in redteam.json.") if len(rest) > _ROWS else join()
    head = ("attack", "severity", "what happened", "attackers", "fix, and how to see it again")
    return join(el("h3", title), table(head, rows, stacked=True), unsaid)


def _waivers(result: Result) -> Html:
    if not result.waivers:
        return join()
    rows = [[name, shortened(said, 600)] for name, said in sorted(result.waivers.items())]
    return join(el("h3", "Waivers"), table(("finding", "what became of the waiver"), rows, stacked=True))
