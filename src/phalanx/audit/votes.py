"""The auditor's own reading of a gate that counts votes: how many against a candidate are too many, exactly.

n voters, at most f of them liars, and α the chance that an honest one votes against a candidate that is no worse. Of w
votes against, f may be lies: the others are more than chance explains if P[Bin(n - f, α) >= w - f] is no larger than
the agreed significance. α and significance are what their decimal digits say, and all is computed in integers.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb


def decimal(number: float) -> Fraction:
    """A number of config.json as its shortest decimal form says."""
    return Fraction(repr(number))


def chance(against: int, voters: int, f: int, alpha: Fraction) -> Fraction:
    """P[Bin(voters - f, alpha) >= against - f], for voters >= f."""
    honest, least = voters - f, max(against - f, 0)
    hit, whole = alpha.numerator, alpha.denominator
    ways = sum(comb(honest, j) * hit**j * (whole - hit) ** (honest - j) for j in range(least, honest + 1))
    return Fraction(ways, whole**honest)


def fewest_voters(f: int, alpha: Fraction, significance: Fraction, members: int) -> int:
    """The fewest of `members` voters of whom the honest alone can refuse, whatever f liars say; `members` + 1 if none.

    n voters with n - f votes against, those of all honest ones.
    """
    fewest = 2 * f + 1
    while fewest <= members and chance(fewest - f, fewest, f, alpha) > significance:
        fewest += 1
    return min(fewest, members + 1)
