"""Whether a candidate model replaces the incumbent."""

from phalanx.gate.decide import BLIND_SPOTS, GatePolicy, approve, judge
from phalanx.gate.sign_test import detectable_drop, p_value

__all__ = ["BLIND_SPOTS", "GatePolicy", "approve", "detectable_drop", "judge", "p_value"]
