"""Figures and verdicts in a reader's words. Each verdict has a sign, so that no picture rests on colour alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

from phalanx.attacks.card import Goal, Unit
from phalanx.redteam.result import Figure, Judged, Verdict
from phalanx.report.wording import NOT_FINITE, NOT_MEASURED, count, finite

SIGNS: Mapping[Verdict, str] = {
    "works": "!",
    "invalid test": "∅",
    "held": "✓",
    "not held": "✕",
    "unclear": "?",
    "not tested": "○",
    "not available": "–",
}
MEANINGS: Mapping[Verdict, str] = {
    "works": "undefended, the attack reaches its goal",
    "invalid test": "it fails undefended, so it tests no defence",
    "held": "the defence holds",
    "not held": "it does not",
    "unclear": "above the limit, perhaps by chance",
    "not tested": "not tested: no run of it",
    "not available": "cannot be run here",
}
UNITS: Mapping[Unit, str] = {"points": "points", "share": "%", "dB": "dB", "ratio": "ratio"}
_LARGE = 1e6


def brief(value: float, unit: Unit) -> str:
    """Two digits or three, for a small cell whose row names the unit: "9.7", "31", "1e+08"."""
    if not math.isfinite(value):
        return {"exact": "exact", "nothing": "0"}.get(_unbounded(value, unit), "n.f.")
    scaled = _scaled(value, unit)
    return _fixed(scaled, 1 if abs(scaled) < 9.95 else 0)


def with_unit(value: float | None, unit: Unit) -> str:
    """As in "31.2 points", "97.0 %", "24.1 dB", and of a ratio "7.3"."""
    if value is None:
        return NOT_MEASURED
    if not math.isfinite(value):
        return _unbounded(value, unit)
    shown = _fixed(_scaled(value, unit), 1)
    return shown if unit == "ratio" else f"{shown}\u00a0{UNITS[unit]}"


def with_interval(figure: Figure | None, unit: Unit) -> str:
    """The mean, its interval, and over how much: "31.2 points [28.0, 34.4]"."""
    if figure is None:
        return NOT_MEASURED
    low, high = (
        _fixed(_scaled(end, unit), 1) if math.isfinite(end) else _unbounded(end, unit)
        for end in (figure.low, figure.high)
    )
    return f"{with_unit(figure.value, unit)} [{low}, {high}]"


def over(figure: Figure) -> str:
    """How the interval was found, as in "95 % interval, bootstrap over 5 trials"."""
    return f"95\u00a0% interval, {figure.method or 'method not recorded'} over {count(figure.trials, 'trial')}"


def limits(goal: Goal) -> str:
    """What counts as holding, and what as reaching the goal; by which measures, if by two."""
    held, met = with_unit(goal.held, goal.unit), with_unit(goal.met, goal.unit)
    if goal.judged == goal.measure:
        return f"holds up to {held}, goal from {met}"
    return f"holds up to {held} ({in_words(goal.judged)}), goal from {met} ({in_words(goal.measure)})"


def in_words(measure: str) -> str:
    """A measure's name, as in "backdoor lift"."""
    return measure.replace("_", " ")


def harm_in_words(harm: float | None) -> str:
    """Two digits, not rounded up to the goal nor down to the limit."""
    if harm is None:
        return NOT_MEASURED
    known = finite(harm)
    return NOT_FINITE if known is None else _fixed(known, 2)


def cell_in_words(one: Judged, unit: Unit) -> str:
    """The verdict and its figure: "✕ not held: 31.2 points [28.0, 34.4]"."""
    shown = f"{SIGNS[one.verdict]} {one.verdict}"
    return shown if one.figure is None else f"{shown}: {with_interval(one.figure, unit)}"


def accuracy_in_words(share: float | None) -> str:
    """A share as "95.3 %", whatever it is."""
    return with_unit(share, "share")


def change_in_words(before: float, after: float) -> str:
    """Of two shares, in points, with its sign: "−0.6 points"."""
    change = with_unit(after - before, "points")
    return f"+{change}" if after > before and change[0] != "0" else change


def _scaled(value: float, unit: Unit) -> float:
    return 100 * value if unit in ("points", "share") else value


def _fixed(value: float, digits: int) -> str:
    text = f"{value:.0e}" if abs(value) >= _LARGE else f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def _unbounded(value: float, unit: Unit) -> str:
    if unit == "dB" and math.isinf(value):
        return "exact" if value > 0 else "nothing"
    return NOT_FINITE
