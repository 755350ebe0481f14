"""A federation in one object: the library's door, and what `phalanx run` goes through.

Exporters are in files of their own, which name what they need: `json_lines`, `tensorboard`, `mlflow`.
"""

from phalanx.federation.callbacks import Callback, Started
from phalanx.federation.local import Federation
from phalanx.federation.report import report_page, verify_command
from phalanx.federation.result import Result
from phalanx.federation.split import Split
from phalanx.federation.survey import Survey, survey

__all__ = ["Callback", "Federation", "Result", "Split", "Started", "Survey", "report_page", "survey", "verify_command"]
