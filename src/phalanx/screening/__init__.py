"""Which updates of a round count, and how much."""

from phalanx.screening.screen import ScreeningPolicy, screen
from phalanx.screening.weights import CAPS_ROUNDING

__all__ = ["CAPS_ROUNDING", "ScreeningPolicy", "screen"]
