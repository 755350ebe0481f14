"""The exact sign test, and what it cannot see.

Of the held-out examples on which candidate and incumbent differ, `worse` are lost and `better` won. If the candidate is
no worse, each is won or lost by the toss of a fair coin at worst: McNemar, Psychometrika 1947, in its exact form.
A fixed threshold on accuracy knows nothing of how many examples there were: measured, it refuses a third of all honest
rounds.

Integer arithmetic throughout, so that every machine gets the same p-value and takes the same decision.
"""

from __future__ import annotations

import math

_BITS = 256  # kept of each term; up to here the arithmetic is exact, and past it off by less than 2**-200 relative


def p_value(worse: int, better: int) -> float:
    """P[Bin(worse + better, 1/2) >= worse], one-sided: small if the candidate is worse. 1.0 if nothing was lost."""
    if worse < 0 or better < 0:
        raise ValueError(f"counts are >= 0, got worse = {worse}, better = {better}")
    n = worse + better
    return _tail(n, worse) if worse > better else 1.0 - _tail(n, better + 1)


def detectable_drop(examples: int, significance: float, churn: float = 0.0) -> float | None:
    """The smallest net loss of accuracy on `examples` held-out examples that the test refuses; None: it is blind.

    `churn` is the share of examples that change without net loss, half of them each way: rounds of honest training
    change many, and every one of them hides a little of what is lost. The answer is a share of `examples`.
    """
    if not (examples >= 0 and 0 < significance < 1 and 0 <= churn <= 1):
        raise ValueError(f"examples = {examples!r}, significance = {significance!r}, churn = {churn!r} make no test")
    each = int(churn * examples / 2)
    low, high = 0, examples - 2 * each  # net losses: the first passes, the second is all that is left to lose
    if not p_value(each + high, each) < significance:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if p_value(each + middle, each) < significance else (middle, high)
    return high / examples


def _tail(n: int, k: int) -> float:
    """P[Bin(n, 1/2) >= k] for k > n/2, where the terms C(n, k) / 2**n only fall."""
    term, shift = _binomial(n, k)
    total = 0
    while term:
        total += term
        term = term * (n - k) // (k + 1)
        k += 1
    return math.ldexp(total, shift - n) if total else 0.0


def _binomial(n: int, k: int) -> tuple[int, int]:
    """C(n, k) as an integer times a power of two: (C, 0) itself while it has few bits."""
    if k > n:
        return 0, 0
    value, shift = 1, 0
    for i in range(1, n - k + 1):
        value = value * (k + i) // i  # C(k + i, i)
        excess = value.bit_length() - _BITS
        if excess > 0:
            value >>= excess
            shift += excess
    return value, shift
