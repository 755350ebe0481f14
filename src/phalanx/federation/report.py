"""The report page of a run in this process, from its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phalanx import __version__
from phalanx.errors import PhalanxError
from phalanx.report import RunReport, controls_of, limits_of, render_run

if TYPE_CHECKING:
    from phalanx.federation.result import Result

_NOWHERE = "nowhere: this run was kept in memory"


def verify_command(result: Result, program: str = "phalanx") -> str:
    """What an auditor types. `program` is how the command line is called here."""
    if result.public is None:
        return f"# {_NOWHERE}, and there is nothing to verify"
    return f"{program} audit verify {result.public.parent} --trust {result.fingerprint}"


def report_page(result: Result, program: str = "phalanx") -> bytes:
    """`report.html`, also of a run that was stopped. A member's own words stay out of it."""
    settings, privacy = result.settings, result.settings.mechanism
    return render_run(
        RunReport(
            federation=settings.federation.name,
            run=result.start.run,
            members=settings.members,
            planned=settings.run.rounds,
            finished=not result.stopped,
            reason=result.stopped,
            rule=settings.chain,
            privacy=privacy,
            controls=controls_of(settings, privacy),
            limits=limits_of(settings, privacy, result.held_out),
            records=result.records,
            accuracy=result.accuracy,
            baselines=result.baselines,
            split=result.split,
            travels=result.start.travels,
            how_trained=result.start.how_trained,
            warnings=result.start.warnings,
            held_out=result.held_out,
            messages={member: _sentence(error) for member, error in result.member_errors.items()},
            public=_NOWHERE if result.public is None else str(result.public),
            fingerprint=result.fingerprint,
            verify_command=verify_command(result, program),
            version=__version__,
        )
    )


def _sentence(error: Exception) -> str:
    return error.message if isinstance(error, PhalanxError) else f"its own code raised {type(error).__name__}"
