"""Membership inference: was this example among those that the model was trained on? Pure functions over confidences."""

from phalanx.attacks.membership.bayesian import student
from phalanx.attacks.membership.confidence import confidence
from phalanx.attacks.membership.lira import lira_offline, lira_online
from phalanx.attacks.membership.loss import log_likelihood
from phalanx.attacks.membership.others_updates import cosines, evidence
from phalanx.attacks.membership.rmia import rmia_offline, rmia_online
from phalanx.attacks.membership.roc import Roc, area, balanced_accuracy, roc, tpr_at
from phalanx.attacks.membership.shadows import Shadows, leave_one_out

__all__ = [
    "Roc",
    "Shadows",
    "area",
    "balanced_accuracy",
    "confidence",
    "cosines",
    "evidence",
    "leave_one_out",
    "lira_offline",
    "lira_online",
    "log_likelihood",
    "rmia_offline",
    "rmia_online",
    "roc",
    "student",
    "tpr_at",
]
