"""A federation in one object: the library's door, and what `phalanx run` goes through."""

from phalanx.federation.callbacks import Callback, Started
from phalanx.federation.local import Federation
from phalanx.federation.result import Result
from phalanx.federation.survey import Survey, survey

__all__ = ["Callback", "Federation", "Result", "Started", "Survey", "survey"]
