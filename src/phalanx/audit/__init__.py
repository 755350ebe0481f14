"""The log of a run, its signed tree heads, and the auditor who believes neither."""

from phalanx.audit.checkpoint import log_origin, open_checkpoint, sign_checkpoint
from phalanx.audit.entries import Entry, LoggedAnswer, Moment, PrivacyPlan, SelectionPlan
from phalanx.audit.log import Log
from phalanx.audit.verify import Verification, verify_run

__all__ = [
    "Entry",
    "Log",
    "LoggedAnswer",
    "Moment",
    "PrivacyPlan",
    "SelectionPlan",
    "Verification",
    "log_origin",
    "open_checkpoint",
    "sign_checkpoint",
    "verify_run",
]
