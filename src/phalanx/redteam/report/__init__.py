"""What comes of a finished red-team run: a page, JSON, SARIF, an ATLAS layer, and whether a pipeline should fail."""

from phalanx.redteam.report.atlas import as_atlas_layer
from phalanx.redteam.report.gate import Waiver, compared, exit_worthy, gone, regressed, waived
from phalanx.redteam.report.json_file import as_json, findings_of, schema
from phalanx.redteam.report.opening import verdict_line
from phalanx.redteam.report.page import render
from phalanx.redteam.report.sarif import as_sarif

__all__ = [
    "Waiver",
    "as_atlas_layer",
    "as_json",
    "as_sarif",
    "compared",
    "exit_worthy",
    "findings_of",
    "gone",
    "regressed",
    "render",
    "schema",
    "verdict_line",
    "waived",
]
