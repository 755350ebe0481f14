"""A result in which every text that somebody else may have written is one and the same."""

from __future__ import annotations

from dataclasses import replace

from phalanx.redteam.outcome import Cell, Outcome, Rebuilt
from phalanx.redteam.result import Cost, Defence, Leak, Result, Threat, Worst
from tests.redteam.report.synthetic_result import judged, result


def hostile(text: str) -> Result:
    """`text` in names, titles, reasons, notes, commands, and in the name of an attack without a card."""
    given = result(rounds=4)
    cards = tuple(
        replace(one, title=text, does=text, paper=text, goal=replace(one.goal, words=text)) for one in given.cards
    )
    changed = tuple(
        replace(one, why=text, command=text, figure=None if one.figure is None else replace(one.figure, method=text))
        for one in given.judged
    )
    findings = tuple(
        replace(
            one, title=text, happened=text, fix=text, waived=text, change=text, judged=replace(one.judged, command=text)
        )
        for one in given.findings
    )
    stray = judged(text, text, 2, text, "not held", why=text, command=text, harm=0.5)
    return replace(
        given,
        federation=text,
        program=text,
        config=text,
        splits=(*given.splits, text),
        cards=cards,
        defences=(*(replace(one, words=text) for one in given.defences), Defence(text, text)),
        outcomes=tuple(_with(one, text) for one in given.outcomes),
        judged=(*changed, stray),
        findings=(replace(findings[0], id=text, judged=stray), *findings),
        worst=(*given.worst, Worst(text, 1, text, text, 0.5, text)),
        costs=(*given.costs, Cost(text, text, 1, text, 1, 1.0, 1.0)),
        leaks=(*given.leaks, Leak(text, text, text, text, text)),
        threats=(*given.threats, Threat(text, text, text, text)),
        left_out=((text, text),),
        notes=(text,),
        command=text,
        waivers={text: text},
    )


def _with(outcome: Outcome, text: str) -> Outcome:
    cell = outcome.cell
    return replace(
        outcome,
        cell=Cell(cell.attack, cell.defence, cell.hostile, cell.split, cell.seed),
        rebuilt=tuple(Rebuilt(one.original, one.rebuilt, one.shape, text) for one in outcome.rebuilt),
        notes=(text,),
        ended=text,
    )
