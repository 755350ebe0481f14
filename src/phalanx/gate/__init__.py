"""Whether a candidate model replaces the incumbent."""

from phalanx.gate.decide import approve, judge
from phalanx.gate.policy import BLIND_SPOTS, GatePolicy
from phalanx.gate.sign_test import detectable_drop, p_value
from phalanx.gate.sites import SiteRow, SiteTable, site_accuracy
from phalanx.gate.votes import fewest_voters, vote_of, votes_to_refuse

__all__ = [
    "BLIND_SPOTS",
    "GatePolicy",
    "SiteRow",
    "SiteTable",
    "approve",
    "detectable_drop",
    "fewest_voters",
    "judge",
    "p_value",
    "site_accuracy",
    "vote_of",
    "votes_to_refuse",
]
