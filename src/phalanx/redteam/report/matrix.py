"""The matrix: every attack on every defence, one map for each setting, and the worst case of each defence."""

from __future__ import annotations

from collections.abc import Sequence

from phalanx.attacks.card import Unit
from phalanx.redteam.defences import YOURS
from phalanx.redteam.report import lookup
from phalanx.redteam.report.figures import SIGNS, UNITS, brief, cell_in_words, harm_in_words
from phalanx.redteam.report.heat import HeatCell, HeatRow, harm_bar, heat_map, legend
from phalanx.redteam.report.lookup import Setting
from phalanx.redteam.report.taxonomy import THREATS
from phalanx.redteam.result import Judged, Result
from phalanx.report.markup import Html, data, el, join, table
from phalanx.report.page import wide_chart
from phalanx.report.wording import count, finite, shortened

_MOST_MAPS = 4
_MOST_CELLS = 4000  # of tables on the page; the rest is in the JSON file
_MOST_COLUMNS = 24
_Cells = dict[tuple[str, str], Judged]


def matrix(result: Result) -> tuple[Html, Html]:
    """Maps of the worst settings, tables of the others."""
    lead = join(
        el("p", "Each row is an attack, each column a configuration that it was played against. The more colour, the "
                "more harm; the framed column is yours."),
        el("p", "The first column has no defence: it shows that the attack works. One that fails there is an invalid "
                "test, whatever became of it elsewhere."),
    )  # fmt: skip
    settings = lookup.settings(result)
    if not settings:
        return lead, el("p", "No attack was played: not tested.")
    left, parts = _MOST_CELLS, [legend()]
    for index, setting in enumerate(settings):
        cells = lookup.by_cell(one for one in lookup.attacked(result) if lookup.setting(one) == setting)
        columns = _columns(result, cells)
        fits = len(cells) <= left
        left -= len(cells) if fits else 0
        told = el("p", f"The table of these {len(cells)} cells is in redteam.json.")
        listing = _table(result, cells, columns) if fits else told
        parts.append(_of_setting(result, setting, cells, columns, listing, as_map=index < _MOST_MAPS))
    return lead, join(*parts)


def _of_setting(
    result: Result, setting: Setting, cells: _Cells, columns: Sequence[str], listing: Html, *, as_map: bool
) -> Html:
    words = setting.words(result.members)
    title = words[0].upper() + words[1:]
    said = _counted([one for (_, defence), one in cells.items() if defence == YOURS])
    if not as_map:
        return el("details", el("summary", f"{title}: {said}"), listing)
    label = f"{title}: {len(cells)} cells of attack and defence; the table below has the verdicts and figures"
    drawn = heat_map(label, columns, _groups(result, cells, columns), YOURS)
    return join(wide_chart(title, said, drawn), data(listing))


def _columns(result: Result, cells: _Cells) -> tuple[str, ...]:
    """Defences that have a cell here. What is beyond the widest map is in redteam.json."""
    held = {defence for _, defence in cells}
    return tuple([name for name in lookup.defences(result) if name in held][:_MOST_COLUMNS])


def _counted(yours: Sequence[Judged]) -> str:
    if not yours:
        return "Your configuration was not attacked here: not tested."
    kinds = [(verdict, sum(one.verdict == verdict for one in yours)) for verdict in SIGNS]
    shown = ", ".join(f"{number} {verdict}" for verdict, number in kinds if number)
    return f"Your configuration under {count(len(yours), 'attack')}: {shown}."


def _groups(result: Result, cells: _Cells, columns: Sequence[str]) -> dict[str, list[HeatRow]]:
    known = lookup.cards(result)
    titles = {name: held.title for name, held in THREATS.items()}
    titles |= {threat.id: shortened(threat.title, 80) for threat in result.threats}
    groups: dict[str, list[HeatRow]] = {}
    for threat, attacks in lookup.by_threat(result, {attack for attack, _ in cells}).items():
        title = f"{threat} {titles[threat]}" if threat in titles else "Attacks without a card"
        for attack in attacks:
            goal = known[attack].goal if attack in known else None
            unit: Unit = goal.unit if goal else "share"
            shown = tuple(_cell(cells.get((attack, defence)), unit) for defence in columns)
            name = lookup.title(known, attack)
            groups.setdefault(title, []).append(HeatRow(name, UNITS[unit], shown))
    return groups


def _cell(one: Judged | None, unit: Unit) -> HeatCell | None:
    if one is None:
        return None
    return HeatCell(one.verdict, "" if one.figure is None else brief(one.figure.value, unit), one.harm)


def _table(result: Result, cells: _Cells, columns: Sequence[str]) -> Html:
    known = lookup.cards(result)
    rows = []
    for attacks in lookup.by_threat(result, {attack for attack, _ in cells}).values():
        for attack in attacks:
            unit: Unit = known[attack].goal.unit if attack in known else "share"
            ones = [cells.get((attack, defence)) for defence in columns]
            rows.append([
                attack, *("· not in the plan" if one is None else cell_in_words(one, unit)
                          for one in ones),
            ])  # fmt: skip
    return table(("attack", *columns), rows)


# ---------------------------------------------------------------------------------------------------------- worst case


def worst_case(result: Result) -> tuple[Html, Html]:
    """For each defence the attack that hurts it most, the defence that is hurt most first."""
    lead = el(
        "p",
        "A defence is as good as it is against the attack chosen with it in mind. Harm is 0 at the limit that holds, "
        "1 at the attackers' goal. What was found can be done; something worse may exist.",
    )
    known = lookup.cards(result)
    rows = []
    for one in sorted(result.worst, key=lambda worst: -(finite(worst.harm) or 0.0)):
        title = lookup.title(known, one.attack)
        setting = Setting(one.hostile, one.split).words(result.members)
        rows.append([
            join(one.defence, el("small", "your configuration") if one.defence == YOURS else ""),
            join(title, el("small", setting)),
            join(harm_in_words(one.harm), harm_bar(one.harm)),
            shortened(one.words, 400),
        ])  # fmt: skip
    head = ("defence", "hurt most by", "harm", "in words")
    none = el("p", "No attack on accuracy and no backdoor was played: not tested.")
    return lead, table(head, rows, stacked=True) if rows else none
