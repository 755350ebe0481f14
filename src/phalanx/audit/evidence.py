"""Whether a decision follows from its own evidence: the counts that the log holds, and what config.json demands.

The log says who voted, under each voter's own signature, and not what: the counts are the operator's word. What they
must not do is name other voters than the log holds, or say something else than the decision that rests on them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Set
from typing import Any

from phalanx.audit.agreed import Agreed
from phalanx.audit.blame import require
from phalanx.audit.votes import chance, decimal

_OWN = "own held-out data: "
_CLASS = re.compile(r"class (0|[1-9][0-9]{0,8})")
_NOT_FINITE = re.compile(r"non-finite outputs at (0|[1-9][0-9]{0,8}) of (0|[1-9][0-9]{0,8}) voters")
_BALLOT = 100_000  # examples that one ballot may speak for
_EXACT = 2000  # up to so many examples the tail is summed in integers
_SPOILT = ("bad-ballot", "duplicate")  # reasons that only a member's own signed ballots give
_CLOSE = 1e-9  # relative; a recorded p is exact to the last bits, and the sum below to 1e-11


def check_decision(agreed: Agreed, entry: Mapping[str, Any], *, voted: Set[str], untried: bool) -> None:
    """Raises LogInconsistent unless the decision in `entry` follows from its voters, test, p-value and counts.

    `voted` are the members whose signed ballots the log holds. With `untried`, the incumbent is the initial model,
    which no test of one class judges.
    """
    test, passed, voters, p = entry["test"], entry["passed"], entry["voters"], entry["p_value"]
    counts = entry["worse"], entry["better"]
    spoilt = {row["member"] for row in entry["refused"] if row["reason"] in _SPOILT}
    unsigned, counted = sorted(spoilt - voted), len(voted - spoilt)
    require(not unsigned, f"refuses ballots that the log does not hold: {unsigned}")
    require(voters == counted, f"{voters} voters, the log holds {counted} ballots that count")
    require(voters >= agreed.min_voters, f"{voters} voters, config.json needs {agreed.min_voters}")
    if agreed.accept_all:
        found = (test, passed, p, *counts)
        require(found == ("unsafe-accept-all", True, 1, 0, 0), f"config.json has the gate accept all, found {found}")
    elif (broken := _NOT_FINITE.fullmatch(test)) is not None:
        possible = int(broken[1]) <= voters == int(broken[2])
        require(possible and (passed, p, *counts) == (False, 0, 0, 0), f"{test!r} with another verdict than refused")
    elif agreed.ballot == "votes" and not test.startswith(_OWN):
        _check_votes(agreed, entry)
    else:
        _check_sign_test(agreed, entry, untried)


def _check_votes(agreed: Agreed, entry: Mapping[str, Any]) -> None:
    """`worse` votes against the candidate, `better` not."""
    test, passed, voters, p = entry["test"], entry["passed"], entry["voters"], entry["p_value"]
    worse, better = entry["worse"], entry["better"]
    require(test == "votes", f"rests on {test!r}, config.json has the gate count votes")
    require(worse + better == voters, f"{worse} votes against and {better} not, of {voters} voters")
    exact = chance(worse, voters, agreed.liars, decimal(agreed.vote_significance))
    require(
        math.isclose(p, exact, rel_tol=_CLOSE, abs_tol=1e-300),
        f"records p = {p!r}, {worse} of {voters} votes against give {float(exact)!r}",
    )
    refuses = exact <= decimal(agreed.significance)
    verdict = "refuses" if refuses else "does not refuse"
    require(passed != refuses, f"passed is {passed}, config.json {verdict} at {worse} of {voters} votes against")


def _check_sign_test(agreed: Agreed, entry: Mapping[str, Any], untried: bool) -> None:
    test, passed, p = entry["test"], entry["passed"], entry["p_value"]
    worse, better = entry["worse"], entry["better"]
    own = test.startswith(_OWN)
    scope = test.removeprefix(_OWN)
    one_class = _CLASS.fullmatch(scope)
    require(scope == "overall" or one_class is not None, f"rests on {test!r}, which is no test of the gate")
    most = _BALLOT * (1 if own else entry["voters"]) + 1  # one more where the gate rounds to an even sum
    require(worse + better <= most, f"{worse + better} examples changed, the voters hold at most {most}")
    exact = sign_test(worse, better)
    require(
        math.isclose(p, exact, rel_tol=_CLOSE, abs_tol=1e-300),
        f"records p = {p!r}, worse on {worse} and better on {better} give {exact!r}",
    )
    if passed:  # then no test found anything, and the log names the first
        require(test == "overall", f"passed by {test!r}, expected the test over all classes")
        require(p >= agreed.significance, f"passed at p = {p!r}, config.json refuses below {agreed.significance!r}")
        return
    level = agreed.significance
    if one_class is not None:  # the level is shared out, and there are more classes than the number of this one
        level = 0.0 if untried else agreed.class_significance / (int(one_class[1]) + 1)
    require(p < level, f"refused by {test!r} at p = {p!r}, which is not below {level!r}")


def sign_test(worse: int, better: int) -> float:
    """P[Bin(worse + better, 1/2) >= worse], for counts >= 0 below 2**31, to 1e-11 relative."""
    n = worse + better
    if n <= _EXACT:
        term = total = 1  # C(n, 0), and on to C(n, better): as many as from `worse` to n
        for k in range(better):
            term = term * (n - k) // (k + 1)
            total += term
        return total / (1 << n)
    return _tail(n, worse) if worse > better else 1.0 - _tail(n, better + 1)


def _tail(n: int, k: int) -> float:
    """P[Bin(n, 1/2) >= k] for k > n/2 and large n: its first term, and the others by their ratios."""
    if k > n:
        return 0.0
    ratio, total, j = 1.0, 1.0, k
    while ratio > 1e-18 * total:
        ratio *= (n - j) / (j + 1)
        total += ratio
        j += 1
    return _first_term(n, k) * total


def _first_term(n: int, k: int) -> float:
    """C(n, k) / 2**n with Stirling's series in the form that does not cancel.  Loader 2000, section 3."""
    half = n / 2
    square = ((2 * k - n) / n) ** 2
    if half * square > 800 or k == n:  # below the smallest float64
        return 0.0
    # half * ((1 + e) log(1 + e) + (1 - e) log(1 - e)) as a power series: every term is positive.
    power, deviance, j = square, 0.0, 1
    while power > 1e-18 * deviance:
        deviance += power / (j * (2 * j - 1))
        power, j = power * square, j + 1
    error = _stirling(n) - _stirling(k) - _stirling(n - k)
    return math.exp(error - half * deviance) * math.sqrt(n / (2 * math.pi * k * (n - k)))


def _stirling(n: int) -> float:
    """log n! minus Stirling's formula, for n > 15.  Abramowitz and Stegun 6.1.41."""
    square = n * n
    return (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / 1188 / square) / square) / square) / square) / n
