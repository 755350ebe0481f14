"""Votes by round as bars: examples won above the line, examples lost below it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from phalanx.report.charts import svg
from phalanx.report.markup import Html, el

_LEFT, _RIGHT, _TOP, _WIDTH, _DEEP = 56.0, 20.0, 14.0, 860.0, 200.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One round's counts, >= 0, and whether the candidate passed."""

    round: int
    better: int
    worse: int
    passed: bool


def vote_bars(label: str, bars: Sequence[Bar]) -> Html:
    """Bars on a square-root scale, so that few are seen beside many; a refused round is crossed."""
    up = math.sqrt(max([bar.better for bar in bars], default=0))
    down = math.sqrt(max([bar.worse for bar in bars], default=0))
    unit = _DEEP / max(up + down, 1.0)
    zero = _TOP + (up * unit if up + down else _DEEP / 2)
    step = (_WIDTH - _LEFT - _RIGHT) / max(len(bars), 1)
    wide = min(step * 0.72, 26.0)
    won, lost, crossed = [], [], []
    for index, bar in enumerate(bars):
        middle = _LEFT + (index + 0.5) * step
        x, high, deep = middle - wide / 2, math.sqrt(bar.better) * unit, math.sqrt(bar.worse) * unit
        won.append(f"M{x:.1f} {zero:.1f}h{wide:.1f}v{-high:.1f}h{-wide:.1f}z" if bar.better else "")
        lost.append(f"M{x:.1f} {zero:.1f}h{wide:.1f}v{deep:.1f}h{-wide:.1f}z" if bar.worse else "")
        if not bar.passed:
            crossed.append(f"M{middle - 4:.1f} {zero + deep + 5:.1f}l8 8m0 -8l-8 8")
    parts = [*_ticks(zero, unit, (1, up)), *_ticks(zero, unit, (-1, down))]
    parts.append(el("path", d="".join(won), class_="cell ink"))
    parts.append(el("path", d="".join(lost), class_="ring"))
    parts.append(el("path", d=f"M{_LEFT} {zero:.1f}H{_WIDTH - _RIGHT}", class_="axis"))
    parts.append(el("path", d="".join(crossed), class_="struck"))
    foot = _TOP + _DEEP + 30
    first, last = (f"round {bars[0].round}", f"round {bars[-1].round}") if bars else ("", "")
    parts.append(el("text", first, x=_LEFT, y=foot, class_="soft"))
    if len(bars) > 1:
        parts.append(el("text", last, x=_WIDTH - _RIGHT, y=foot, text_anchor="end", class_="soft"))
    return svg(_WIDTH, foot + 6, label, *parts)


def _ticks(zero: float, unit: float, side: tuple[int, float]) -> list[Html]:
    """The line, and two more on each side: the largest power of ten, and a hundredth of it or 1."""
    sign, most = side
    if most < 1:
        return []
    largest = 10 ** int(math.log10(most**2))
    parts = []
    for value in sorted({largest, max(largest // 10, 1)}):
        y = zero - sign * math.sqrt(value) * unit
        parts.append(el("path", d=f"M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}", class_="guide"))
        parts.append(el("text", f"{value:,}", x=_LEFT - 8, y=y + 4, text_anchor="end", class_="soft"))
    return parts
