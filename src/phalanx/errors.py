"""Every error that Phalanx raises on purpose, one leaf per cause that a caller can act on.

    PhalanxError                    exit
    ├── ConfigError                  2   the configuration cannot be run as written
    │   └── RuleRefused              2   this rule with these numbers, venue or privacy cannot be run
    ├── NotAdmitted                  3   an identity that is not on the roster, or was revoked
    ├── QuorumError                  4   too few members answered, or too few answers were sound
    ├── IntegrityError               5   bytes are not what was signed, logged or hashed
    │   ├── BadSignature             5
    │   ├── NotCanonical             5   an encoding that is not the one canonical encoding
    │   ├── LogInconsistent          5   a log, checkpoint or proof that does not fit
    │   ├── ReplayDiverged           5   recovery asks another question than the journal answered
    │   └── RollbackError            5   an older model or log than one already accepted
    ├── PolicyError                  6   a promise about privacy would be broken
    │   ├── BudgetExhausted          6   this charge would pass the ε budget
    │   ├── SensitivityUnknown       6   central noise asked for a rule without a known l2 sensitivity
    │   └── FloorRefused             6   an order that is weaker than the member's floor
    ├── ConflictError                7   the state is in use, or a key was reused with other content
    ├── NotAvailable                 8   an extra is not installed, or this host cannot do it
    ├── GateRefusal                  1   the candidate did not pass the gate; the incumbent stays
    └── LogUnavailable              70   the log cannot be written: no work is accepted

A bad member is not an error: it is a `Refusal` value with a `Reason` (see `types`).
"""

from __future__ import annotations


class PhalanxError(Exception):
    """A failure that Phalanx names. `exit_code` is what the command line returns for it."""

    exit_code = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(PhalanxError):
    """The configuration cannot be run as written."""

    exit_code = 2


class RuleRefused(ConfigError):
    """This rule with these numbers, venue or privacy cannot be run."""


class NotAdmitted(PhalanxError):
    """An identity that is not on the roster, or was revoked."""

    exit_code = 3


class QuorumError(PhalanxError):
    """Too few members answered, or too few of their answers were sound."""

    exit_code = 4


class IntegrityError(PhalanxError):
    """Bytes are not what was signed, logged or hashed."""

    exit_code = 5


class BadSignature(IntegrityError):
    """A signature does not verify under the key that it must verify under."""


class NotCanonical(IntegrityError):
    """An encoding that is not the one canonical encoding of its value."""


class LogInconsistent(IntegrityError):
    """A log, checkpoint or proof that does not fit the others."""


class ReplayDiverged(IntegrityError):
    """Recovery asks another question than the one that the journal answered."""


class RollbackError(IntegrityError):
    """An older model, round or log than one that was already accepted."""


class PolicyError(PhalanxError):
    """A promise about privacy would be broken."""

    exit_code = 6


class BudgetExhausted(PolicyError):
    """This charge would pass the ε budget. Nothing was charged and nothing was drawn."""


class SensitivityUnknown(PolicyError):
    """Central noise was asked for a rule whose l2 sensitivity is not known."""


class FloorRefused(PolicyError):
    """An order that is weaker than the weakest settings that this member accepts."""


class ConflictError(PhalanxError):
    """The state is in use by another process, or a key was reused with other content."""

    exit_code = 7


class NotAvailable(PhalanxError):
    """An extra is not installed, or this host cannot do what was asked."""

    exit_code = 8


class GateRefusal(PhalanxError):
    """Candidates did not pass the gate; the incumbent stays."""

    exit_code = 1


class LogUnavailable(PhalanxError):
    """The log cannot be written, so no work is accepted."""
