"""Which updates of a round count, and how much."""

from phalanx.screening.screen import ScreeningPolicy, screen

__all__ = ["ScreeningPolicy", "screen"]
