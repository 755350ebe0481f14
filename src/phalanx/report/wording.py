"""Numbers in a report's words. Rounding never flatters: ε is rounded up, and what is not finite says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal

NOT_FINITE = "not finite"
NOT_RUN = "not run"
NOT_MEASURED = "not measured"
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def finite(value: float | None) -> float | None:
    """The value, or None if there is none that can be drawn or compared."""
    return value if value is not None and math.isfinite(value) else None


def percent(share: float | None) -> str:
    """A share (0 … 1) as "95.3 %"."""
    return NOT_FINITE if finite(share) is None else f"{100 * share:.1f}\u00a0%"  # type: ignore[operator]


def points(before: float | None, after: float | None) -> str:
    """The difference of two shares in percentage points, with its sign: "−0.6 points"."""
    if finite(before) is None or finite(after) is None:
        return NOT_FINITE
    difference = round(100 * (after - before), 1)  # type: ignore[operator]
    sign = "−" if difference < 0 else "+" if difference > 0 else ""
    return f"{sign}{abs(difference):.1f}\u00a0points"


def epsilon(value: float | None) -> str:
    """ε with two decimals, rounded up. Without one, nothing bounds what is given away."""
    if value is None or value == math.inf:
        return "no bound"
    if not math.isfinite(value):
        return NOT_FINITE
    if value > 1e6:
        return "over a million"
    return str(Decimal(repr(float(value))).quantize(Decimal("0.01"), ROUND_CEILING))


def small(value: float | None) -> str:
    """A small number such as δ: "10⁻⁵", "2.5 × 10⁻⁶"."""
    if value is None or not math.isfinite(value):
        return "none" if value is None else NOT_FINITE
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    power = f"10{str(int(exponent)).translate(_RAISED)}"
    return power if mantissa == "1.0" else f"{mantissa.removesuffix('.0')} × {power}"


def decibel(value: float) -> str:
    """A peak signal-to-noise ratio: "12.3 dB"."""
    if math.isnan(value):
        return NOT_FINITE
    return f"{value:.1f}\u00a0dB" if math.isfinite(value) else ("exact" if value > 0 else "nothing left")


def word(number: int) -> str:
    """The word "ten" for 10, "no" for 0; digits above twelve."""
    return _WORDS[number] if 0 <= number < len(_WORDS) else str(number)


def count(number: int, noun: str) -> str:
    """As in "one member", "ten members"."""
    return f"{word(number)} {noun}" if number == 1 else f"{word(number)} {noun}s"


def ranges(numbers: Sequence[int]) -> str:
    """Sorted rounds as "1–12, 14": at most four ranges, then how many more there are."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = [f"{first}" if first == last else f"{first}–{last}" for first, last in spans[:4]]
    return ", ".join([*shown, f"and {len(spans) - 4} more spans"] if len(spans) > 4 else shown)


def listed(items: Sequence[str], most: int = 3, between: str = ", ") -> str:
    """The first items, and how many more there are."""
    more = [f"{len(items) - most} more"] if len(items) > most else []
    return between.join([*items[:most], *more])


def short(label: str, longest: int = 16) -> str:
    """A label that fits beside a chart; its middle is left out if it is long."""
    if len(label) <= longest:
        return label
    half = (longest - 1) // 2
    return f"{label[:half]}…{label[-half:]}"


def shortened(text: str, longest: int) -> str:
    """The beginning of a text, and how much was left out: a member chooses the length of some."""
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text) - longest} more characters)"
