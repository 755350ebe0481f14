"""Reports that anybody can open: one HTML page, which refers to nothing outside itself and runs nothing."""

from phalanx.report.controls import controls_of
from phalanx.report.facts import Control, RunReport
from phalanx.report.limits import limits_of
from phalanx.report.run import render_run

__all__ = ["Control", "RunReport", "controls_of", "limits_of", "render_run"]
