"""Attacks on purpose: scenarios that play the parties, hostile ones among them, and reports of what happened."""

from phalanx.redteam.known import attack
from phalanx.redteam.worst_case import worst_case

__all__ = ["attack", "worst_case"]
