"""The aggregator's page in the open venue: draw a round key, open, screen, charge, aggregate.

The open venue trusts this party with single updates, and only in memory: what is stored is the members' ciphertext.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phalanx.aggregation import aggregate, unsafe_mean
from phalanx.channel.envelope import Ballot, Directory, Opened, Terms, accept, open_ballot, open_envelopes, open_update
from phalanx.channel.keys import SEED_BYTES, RoundKey
from phalanx.entropy import KEY_BYTES
from phalanx.privacy import central_noise
from phalanx.round.effects import Answer, Charge, Corridor, Draw
from phalanx.rules import Chain
from phalanx.screening import ScreeningPolicy, screen
from phalanx.types import (
    Aggregate,
    Binding,
    Cohort,
    ExamplePrivacy,
    Layout,
    MemberId,
    MemberPrivacy,
    Reason,
    Refusal,
    Reservation,
    Screening,
    SealedUpdate,
    Tally,
    Update,
    Vote,
)
from phalanx.venue import Noise
from phalanx.venue import aggregate as aggregate_open


@dataclass(frozen=True, slots=True)
class Invitation:
    """Who was asked in this attempt, under which keys and caps."""

    members: tuple[MemberId, ...]
    directory: Directory
    caps: dict[MemberId, float]


def draw_round_key() -> Corridor[RoundKey]:
    """A fresh key for this attempt."""
    seed = yield from Draw("round-key", SEED_BYTES)
    return RoundKey.from_seed(seed)


def open_updates(
    answers: Sequence[Answer], terms: Terms, key: RoundKey, directory: Directory
) -> tuple[list[Update], list[Refusal]]:
    """All updates that open, sorted by member: the order of arrival changes nothing."""
    opened, refused = _open(answers, terms, key, directory)
    updates: list[Update] = []
    for envelope in opened:
        update = open_update(envelope)
        if isinstance(update, Refusal):
            refused.append(update)
        else:
            updates.append(update)
    return updates, refused


@dataclass(frozen=True, slots=True)
class Ballots:
    """`received`: one signed ballot a member, for the log. `counted`: what the gate is given. The rest is refused."""

    received: tuple[Opened, ...]
    counted: dict[MemberId, Tally | Vote]
    refused: tuple[Refusal, ...]


def open_ballots(answers: Sequence[Answer], terms: Terms, key: RoundKey, directory: Directory) -> Ballots:
    """One ballot a member. The same one again is no other; two different ones of a member count as none."""
    opened, refused = _open(answers, terms, key, directory)
    received: dict[MemberId, Opened] = {}
    twice: set[MemberId] = set()
    for one in opened:
        if received.setdefault(one.member, one).receipt != one.receipt:
            twice.add(one.member)
    refused += [Refusal(member, Reason.DUPLICATE, "two different ballots") for member in sorted(twice)]
    ballots = [open_ballot(one) for member, one in received.items() if member not in twice]
    counted = {ballot.member: ballot.content for ballot in ballots if isinstance(ballot, Ballot)}
    refused += [ballot for ballot in ballots if isinstance(ballot, Refusal)]
    return Ballots(tuple(received.values()), counted, tuple(refused))


def _open(
    answers: Sequence[Answer], terms: Terms, key: RoundKey, directory: Directory
) -> tuple[list[Opened], list[Refusal]]:
    sealed: list[SealedUpdate] = []
    refused: list[Refusal] = []
    for answer in sorted(answers, key=lambda a: (a.sender, a.envelope)):
        if answer.declined:
            refused.append(Refusal(answer.sender, Reason.DECLINED, answer.declined))
            continue
        envelope = accept(terms, answer.sender, answer.envelope)
        if isinstance(envelope, Refusal):
            refused.append(envelope)
        else:
            sealed.append(envelope)
    opened, not_opened = open_envelopes(sealed, terms, key, directory)
    return opened, refused + not_opened


def screen_updates(
    answers: Sequence[Answer],
    terms: Terms,
    key: RoundKey,
    invitation: Invitation,
    policy: ScreeningPolicy,
    layout: Layout,
) -> tuple[Cohort, Screening, list[Update]]:
    """The cohort of this attempt. Raises QuorumError if too few updates are sound."""
    updates, refused = open_updates(answers, terms, key, invitation.directory)
    cohort, screening = screen(updates, refused, policy, layout, terms.binding, invitation.members, invitation.caps)
    return cohort, screening, updates


def aggregate_cohort(
    cohort: Cohort,
    rule: Chain,
    policy: ScreeningPolicy,
    privacy: ExamplePrivacy | MemberPrivacy | None,
    rate: float = 1.0,
) -> Corridor[Aggregate]:
    """The cohort's one update. Central noise: charge, then draw, then aggregate. Raises BudgetExhausted.

    `rate` is that at which a secret cohort was drawn, 1 for one that the log names.
    """
    if policy.unsafe_accept_all:
        return aggregate_open(cohort, rule, unsafe_mean, None)
    if not isinstance(privacy, MemberPrivacy):
        return aggregate_open(cohort, rule, aggregate, None)
    mechanism = central_noise(rule, cohort.denominator, privacy)
    yield from Charge(central_reservation(cohort.binding, privacy, rate))
    noise_key = yield from Draw("central-noise", KEY_BYTES)
    noise = Noise(mechanism.std, privacy.noise_multiplier, noise_key)
    return aggregate_open(cohort, rule, aggregate, noise)


def central_reservation(binding: Binding, privacy: MemberPrivacy, rate: float) -> Reservation:
    """The charge against the federation's members for one attempt of one round.

    Noise is drawn once for a nonce. Should the attempt ever be told a second time, from an old copy of the state, then
    with another nonce and other noise, and it is paid for again. Where the cohort is secret it is refused instead: its
    draw would be the same, and two releases of one draw are not two draws.
    """
    sample = f"{binding.run}/{binding.round}/{binding.attempt}" if rate < 1 else ""
    return Reservation(
        key=f"{binding.run}/{binding.round}/{binding.attempt}/{binding.nonce}/members",
        dataset=f"{binding.federation}/members",
        unit="member",
        noise_multiplier=privacy.noise_multiplier,
        epsilon_budget=privacy.epsilon,
        delta=privacy.delta,
        rate=rate,
        sample=sample,
    )
