"""What fails a pipeline: findings that are severe enough, that nobody accepted, or that got worse.

Values in, values out: the earlier findings, the waivers and today's date are handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from phalanx.errors import ConfigError
from phalanx.redteam.result import SEVERITIES, Figure, Finding, Result, Severity


@dataclass(frozen=True, slots=True)
class Waiver:
    """Somebody accepts a finding, for a reason, up to and including a day. `by` names them, "" if nobody said.

    Raises ConfigError without an id or a reason: a waiver that says nothing accepts nothing.
    """

    id: str
    reason: str
    until: date
    by: str = ""

    def __post_init__(self) -> None:
        if not self.id.strip() or not self.reason.strip():
            raise ConfigError(f"a waiver needs a finding's id and a reason, got {self.id!r} and {self.reason!r}")

    def holds(self, today: date) -> bool:
        """Not past its last day."""
        return today <= self.until


# ---------------------------------------------------------------------------------------------------------------- gate


def exit_worthy(result: Result, fail_on: Severity | None) -> bool:
    """Whether a finding that nobody waived is as severe as `fail_on` or more. None: nothing fails.

    A finding that an earlier run had already is as bad as it was: it counts. See `regressed` for the others.
    """
    if fail_on is None:
        return False
    severe = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    return any(finding.severity in severe and not finding.waived for finding in result.findings)


def regressed(result: Result) -> bool:
    """Whether a finding that nobody waived is new or worse against the baseline, whatever its severity."""
    return any(finding.change in ("new", "worse") and not finding.waived for finding in result.findings)


# ------------------------------------------------------------------------------------------------------------ baseline


def compared(findings: Iterable[Finding], baseline: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with their change against an earlier run's.

    | earlier                                 | change                         |
    |-----------------------------------------|--------------------------------|
    | no such finding                         | new                            |
    | the mean is now above its 95 % interval | worse; so is what is no number |
    | the mean is now below it                | better                         |
    | in it                                   | same                           |
    | one of the two has no figure            | by severity                    |
    """
    earlier = {finding.id: finding for finding in baseline}
    return tuple(replace(one, change=_change(one, earlier.get(one.id))) for one in findings)


def gone(findings: Iterable[Finding], baseline: Iterable[Finding]) -> tuple[str, ...]:
    """A sentence for each finding of the earlier run that this one has not: notes of the result.

    It may have been held now, or not been played: neither is called fixed.
    """
    held = {finding.id for finding in findings}
    return tuple(
        f"Found before and not now: {one.title} ({one.id}). The matrix says whether it was held or not tested."
        for one in baseline
        if one.id not in held
    )


def _change(now: Finding, before: Finding | None) -> str:
    if before is None:
        return "new"
    figure, base = now.judged.figure, before.judged.figure
    by_severity = _by_severity(now, before)
    if figure is None or base is None or by_severity == "worse":
        return by_severity
    return _against(figure, base)


def _against(figure: Figure, base: Figure) -> str:
    """Written so that what is not a number is worse."""
    if base.low <= figure.value <= base.high:
        return "same"
    return "better" if figure.value < base.low else "worse"


def _by_severity(now: Finding, before: Finding) -> str:
    rise = SEVERITIES.index(before.severity) - SEVERITIES.index(now.severity)
    return "worse" if rise > 0 else "better" if rise < 0 else "same"


# ------------------------------------------------------------------------------------------------------------- waivers


def waived(
    findings: Sequence[Finding], waivers: Sequence[Waiver], today: date
) -> tuple[tuple[Finding, ...], Mapping[str, str]]:
    """The findings, those that somebody accepts with who and why, and a sentence on every waiver by finding id.

    An expired waiver accepts nothing, and neither does one for a finding that there is not; both are said. Raises
    ConfigError for two waivers of one finding.
    """
    given: dict[str, Waiver] = {}
    for waiver in waivers:
        if waiver.id in given:
            raise ConfigError(f"finding {waiver.id} is waived twice")
        given[waiver.id] = waiver
    in_force = {name: _accepted(waiver) for name, waiver in given.items() if waiver.holds(today)}
    known = {finding.id for finding in findings}
    said = {name: _said(waiver, known, today) for name, waiver in sorted(given.items())}
    return tuple(replace(one, waived=in_force.get(one.id, "")) for one in findings), said


def _accepted(waiver: Waiver) -> str:
    return f"Accepted{f' by {waiver.by}' if waiver.by else ''} until {waiver.until.isoformat()}: {waiver.reason}"


def _said(waiver: Waiver, known: set[str], today: date) -> str:
    why = []
    if not waiver.holds(today):
        why.append(f"it expired on {waiver.until.isoformat()}")
    if waiver.id not in known:
        why.append("no finding of this run has this id")
    return f"Accepts nothing, since {' and '.join(why)}: {waiver.reason}" if why else _accepted(waiver)
