"""What a configuration may be: refused at the edge, with an exit code and a sentence that says what to do."""

from __future__ import annotations

import datetime
import math
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.canonical import decode
from phalanx.config import MAX_MEMBERS, MAX_ROUNDS, Settings, parse, read_config
from phalanx.config.tables import RuleName
from phalanx.errors import ConfigError, NotAvailable, PhalanxError, RuleRefused
from phalanx.privacy import epsilon
from phalanx.redteam.demo.scenario import RUNS
from phalanx.rules import NNM, Chain, Krum, Mean, NormClip, TrimmedMean
from phalanx.types import ExamplePrivacy, MemberPrivacy

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits" / "phalanx.toml"
MEMBERS = [f"site-{number}" for number in range(9)]
PRIVACY = {"unit": "example", "epsilon": 8.0, "clip_l2": 1.0, "normaliser": 150}
CENTRAL = {"unit": "member", "epsilon": 8.0}
CLIPPED_MEAN = {"rule": "mean", "pre": ["norm-clip"], "clip_l2": 0.5}
SECTIONS = tuple(Settings.model_fields)


# Every rule of a run that is no mean and no clipping to a public bound.
ROBUST = sorted(set(get_args(RuleName)) - {"mean", "centered-clipping"})


def table(**sections: dict[str, Any]) -> dict[str, Any]:
    """The smallest sound configuration of nine members, but for what the sections change."""
    least: dict[str, dict[str, Any]] = {
        "federation": {"name": "clinics", "members": MEMBERS},
        "run": {"rounds": 10},
        "learning": {"module": "member.py"},
        "aggregation": {"f": 1},
    }
    return least | {name: _changed(least.get(name, {}), changes) for name, changes in sections.items()}


def _changed(least: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A plain mean tolerates nobody, so it comes without the f of the least configuration."""
    return ({} if changes.get("rule") == "mean" else least) | changes


def refusal(expected: type[PhalanxError] = ConfigError, /, **sections: dict[str, Any]) -> PhalanxError:
    with pytest.raises(expected) as caught:
        parse(table(**sections))
    assert type(caught.value) is expected
    return caught.value


# ----------------------------------------------------------------------------------------------------- what is accepted


def test_the_example_and_every_run_of_the_demo_are_accepted() -> None:
    for sections in (tomllib.loads(EXAMPLE.read_text()), *(dict(run.tables) for run in RUNS)):
        assert parse(sections).members
    assert read_config(EXAMPLE).chain == Chain((), TrimmedMean(3))


def test_what_is_left_out_takes_the_safe_value() -> None:
    settings_ = parse(table())
    assert not (settings_.screening.unsafe_accept_all or settings_.gate.unsafe_accept_all)
    assert settings_.run.missing_allowed == 0 and settings_.run.lab_seed is None
    assert settings_.aggregation.rule != "mean" and settings_.screening.weighting == "equal"


def test_the_rule_is_built_with_its_steps_in_the_order_of_the_file() -> None:
    built = parse(table(aggregation={"rule": "krum", "f": 2, "pre": ["nnm", "norm-clip"], "clip_l2": 0.5})).chain
    assert built == Chain((NNM(2), NormClip(0.5)), Krum(2))


def test_noise_is_calibrated_so_that_all_rounds_fit_and_less_would_not() -> None:
    mechanism = parse(table(privacy=PRIVACY)).mechanism
    assert isinstance(mechanism, ExamplePrivacy) and mechanism.delta == 1e-5
    assert (
        epsilon([mechanism.noise_multiplier] * 10, 1e-5)
        <= 8.0
        < epsilon([mechanism.noise_multiplier - 0.01] * 10, 1e-5)
    )


def test_noise_that_the_file_states_is_used_as_it_stands() -> None:
    mechanism = parse(table(privacy=CENTRAL | {"noise_multiplier": 5}, aggregation=CLIPPED_MEAN)).mechanism
    assert mechanism == MemberPrivacy(noise_multiplier=5.0, epsilon=8.0, delta=1e-5)


def test_the_effective_configuration_is_canonical_and_holds_every_default_and_the_code() -> None:
    base = parse(table())
    held = decode(base.effective("code-1"))
    assert held["code"] == "code-1" and held["rule"] == "trimmed-mean(f=1)" and held["screening"]["max_norm"] == 1e4
    assert {*SECTIONS, "code", "rule"} == set(held)
    variants = [
        base.effective("code-2"),
        parse(table(run={"rounds": 11})).effective("code-1"),
        base.effective("code-1"),
    ]
    assert len(set(variants)) == 3
    assert decode(parse(table(screening={"max_norm": 1e17})).effective(""))["screening"]["max_norm"] == 1e17


def test_members_are_sorted_whatever_their_order_in_the_file() -> None:
    assert parse(table(federation={"members": ["b", "a", "c"]})).members == ("a", "b", "c")


# --------------------------------------------------------------------------------------------------------- unknown keys


@pytest.mark.parametrize(
    ("section", "key", "nearest"),
    [
        ("federation", "member", "members"),
        ("run", "round", "rounds"),
        ("learning", "learning-rate", "learning_rate"),
        ("aggregation", "clip", "clip_l2"),
        ("screening", "maxnorm", "max_norm"),
        ("privacy", "epsilonn", "epsilon"),
        ("gate", "signifcance", "significance"),
        ("floor", "refuse_rules", "refused_rules"),
        ("server", "optimizer", "optimiser"),
        ("selection", "polcy", "policy"),
        ("data", "schma", "schema"),
        ("data", "schema_file", "schema"),  # the code's own name for it is none in a file
        ("report", "baseline", "baselines"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(section: str, key: str, nearest: str) -> None:
    base = PRIVACY if section == "privacy" else {}
    error = refusal(**{section: base | {key: 1}})
    assert f"unknown key {section}.{key}, did you mean {nearest!r}?" in error.message and error.exit_code == 2


def test_an_unknown_table_is_refused_with_the_nearest_known_one() -> None:
    assert "unknown key agregation, did you mean 'aggregation'?" in refusal(agregation={}).message


def test_a_key_like_no_other_is_refused_with_the_list_of_known_ones() -> None:
    assert "unknown key gate.zzz; known here: f, ballot, vote_significance" in refusal(gate={"zzz": 1}).message
    assert "known here: federation, run, learning" in refusal(zzz={}).message


def test_every_complaint_is_named_at_once() -> None:
    error = refusal(run={"rounds": 0, "secs": 5}, gate={"f": -1})
    assert (
        all(place in error.message for place in ("run.rounds", "run.secs", "gate.f")) and error.message.count(";") >= 2
    )


def test_a_missing_table_or_value_is_named() -> None:
    with pytest.raises(ConfigError, match=r"federation: field required; run: field required; learning: field required"):
        parse({})
    with pytest.raises(ConfigError, match=r"privacy\.epsilon: field required"):
        parse(table(privacy={"unit": "example"}))


# --------------------------------------------------------------------------------------------------------- out of range

NO_COUNT: list[Any] = [0, -1, 2**31 + 1, 2**64, 10**400, 1 << 20_000, 1.0, "5", True, [1], {}, math.nan]
NOT_POSITIVE: list[Any] = [0, 0.0, -1.0, math.nan, math.inf, -math.inf, 10**400, 1 << 20_000, "1.0", True, [1.0], {}]
OUT_OF_RANGE: list[tuple[str, str, list[Any]]] = [
    ("federation", "name", ["", "Clinics", "a b", "a\n", "é", "a" * 64, 5, True, []]),
    ("federation", "members", [[], "abc", [1], [True], [None], {}, ["a"] * (MAX_MEMBERS + 1)]),
    ("federation", "profile", ["prod", "Lab", "", 1]),
    ("federation", "weight_cap", [*NOT_POSITIVE, 1.0001]),
    ("federation", "labels", [[], "north", {"site-0": "North"}, {"site-0": "a" * 64}, {"site-0": 1}, {"site-0": None}]),
    ("run", "rounds", [*NO_COUNT, MAX_ROUNDS + 1]),
    ("run", "missing_allowed", [-1, MAX_MEMBERS + 1, 1.0, True, "1"]),
    ("run", "max_refusals", NO_COUNT),
    ("run", "round_seconds", NO_COUNT),
    ("run", "threads", [0, -1, 1025, 1.0, True, "1"]),
    ("run", "lab_seed", [2**53, -(2**53), 1 << 20_000, 1.0, True, "7"]),
    ("learning", "module", [5, True, [], None]),
    ("learning", "held_out", [-0.1, 1.0, math.nan, "0.1", True]),
    ("learning", "learning_rate", NOT_POSITIVE),
    ("learning", "momentum", [-0.1, 1.0, math.nan, True]),
    ("learning", "local_steps", NO_COUNT),
    ("learning", "batch_size", NO_COUNT),
    ("learning", "algorithm", ["FedAvg", "fedadam", "", 1, None]),
    ("learning", "prox", NOT_POSITIVE),
    ("learning", "local", ["head.*", [1], [None], {}]),
    ("server", "optimiser", ["adagrad", "Adam", "", 1, None]),
    ("server", "learning_rate", NOT_POSITIVE),
    ("server", "momentum", [-0.1, 1.0, math.nan, "0.9", True]),
    ("server", "second_momentum", [0, 0.0, -0.1, 1.0, math.nan, "0.9", True]),
    ("server", "tau", NOT_POSITIVE),
    ("selection", "policy", ["random", "All", "", 1, None]),
    ("selection", "size", [0, -1, MAX_MEMBERS + 1, 1.0, "5", True, [1]]),
    ("selection", "rate", [*NOT_POSITIVE, 1.0001]),
    ("selection", "min_cohort", [0, -1, MAX_MEMBERS + 1, 1.0, "5", True, None]),
    ("aggregation", "rule", ["fedavg", "Mean", "", 1, None]),
    ("aggregation", "f", [-1, MAX_MEMBERS + 1, 1.0, True, "1", math.nan]),
    ("aggregation", "pre", ["nnm", ["krum"], [1], {}]),
    ("aggregation", "clip_l2", NOT_POSITIVE),
    ("aggregation", "steps", [0, -1, 101, 1.0, True, "1"]),
    ("screening", "max_norm", NOT_POSITIVE),
    ("screening", "max_examples", NO_COUNT),
    ("screening", "weighting", ["fair", "", 1]),
    ("screening", "unsafe_accept_all", [1, "true", None]),
    ("privacy", "unit", ["group", "", 1]),
    ("privacy", "epsilon", [*NOT_POSITIVE, 0.0099, 1000.1]),
    ("privacy", "delta", [*NOT_POSITIVE, 1e-300, 9e-13, 0.011, 0.99, 1.0]),
    ("privacy", "noise_multiplier", NOT_POSITIVE),
    ("privacy", "clip_l2", NOT_POSITIVE),
    ("privacy", "normaliser", NO_COUNT),
    ("gate", "f", [-1, MAX_MEMBERS + 1, 1.0, True]),
    ("gate", "ballot", ["count", "Votes", "", 1, None]),
    ("gate", "vote_significance", [*NOT_POSITIVE, 1e-7, 0.11, 1.0]),
    ("gate", "accuracy_buckets", [0, 1, -1, 1001, 20.0, "20", True]),
    ("gate", "significance", [*NOT_POSITIVE, 1.0, 1e-7]),
    ("gate", "class_significance", [*NOT_POSITIVE, 1.0, 1e-7]),
    ("gate", "unsafe_accept_all", [1, "false", None]),
    ("floor", "max_epsilon", NOT_POSITIVE),
    ("floor", "max_delta", [*NOT_POSITIVE, 0.011]),
    ("floor", "refused_rules", ["mean", ["meen"], [1]]),
    ("data", "schema", [5, True, [], {}]),
    ("data", "statistics", [5, True, [], {}]),
    ("report", "baselines", [1, "false", None]),
]


@pytest.mark.parametrize(("section", "key", "values"), OUT_OF_RANGE)
def test_a_value_out_of_range_or_of_another_type_is_refused_by_name(section: str, key: str, values: list[Any]) -> None:
    base = PRIVACY if section == "privacy" else {}
    for value in values:
        error = refusal(**{section: base | {key: value}})
        assert f"{section}.{key}" in error.message and ", found " in error.message, value
        assert error.exit_code == 2 and len(error.message) < 400


def test_every_setting_has_its_range_tested() -> None:
    known = {(name, key) for name in SECTIONS for key in _fields(name)}
    assert {(section, key) for section, key, _ in OUT_OF_RANGE} == known


def _fields(section: str) -> list[str]:
    annotation = Settings.model_fields[section].annotation
    models = [one for one in (annotation, *getattr(annotation, "__args__", ())) if hasattr(one, "model_fields")]
    return [field.alias or name for name, field in models[0].model_fields.items()]


def test_a_typo_in_a_floor_does_not_lower_it() -> None:
    """`refused_rules = ["meen"]` would refuse nothing, and nobody would ever know."""
    assert "'mean', 'krum'" in refusal(floor={"refused_rules": ["meen"]}).message
    assert parse(table(floor={"refused_rules": ["mean", "median"]})).floor.refused_rules == ("mean", "median")


# ------------------------------------------------------------------------------------------------------- what composes


@pytest.mark.parametrize(
    ("rule", "f", "missing", "lacking"),
    [("krum", 3, 1, 1), ("krum", 4, 0, 2), ("trimmed-mean", 4, 1, 1), ("caf", 1000, 0, 1992), ("mean", 0, 9, 1)],
)
def test_too_few_rows_are_refused_at_the_start_with_how_many_are_lacking(
    rule: str, f: int, missing: int, lacking: int
) -> None:
    error = refusal(RuleRefused, aggregation={"rule": rule, "f": f}, run={"rounds": 10, "missing_allowed": missing})
    assert f"{9 - missing}" in error.message and f"ask {lacking} more members" in error.hint and error.exit_code == 2


@pytest.mark.parametrize(
    ("rule", "f", "missing"), [("krum", 3, 0), ("krum", 2, 2), ("trimmed-mean", 4, 0), ("caf", 3, 2)]
)
def test_just_enough_rows_are_accepted(rule: str, f: int, missing: int) -> None:
    accepted = parse(table(aggregation={"rule": rule, "f": f}, run={"rounds": 10, "missing_allowed": missing}))
    assert accepted.screening_policy().min_rows == accepted.chain.min_rows <= 9 - missing


def test_the_rows_are_those_of_the_most_demanding_step() -> None:
    assert "needs 11" in refusal(RuleRefused, aggregation={"rule": "median", "f": 5, "pre": ["nnm"]}).message


def test_a_gate_needs_voters_for_the_liars_that_it_tolerates() -> None:
    assert "needs 11 voters" in refusal(RuleRefused, gate={"f": 5}).message
    away = {"rounds": 10, "missing_allowed": 1}
    assert "needs 9 voters" in refusal(RuleRefused, gate={"f": 4}, run=away).message
    assert parse(table(gate={"f": 4})).gate_policy(10).f == 4
    assert parse(table(gate={"f": 5, "unsafe_accept_all": True})).gate_policy(10).unsafe_accept_all


@pytest.mark.parametrize("rule", ROBUST)
def test_a_selection_rule_is_never_sold_as_central_privacy(rule: str) -> None:
    for aggregation in ({"rule": rule, "f": 1}, {"rule": rule, "f": 1, "pre": ["norm-clip"], "clip_l2": 1.0}):
        error = refusal(RuleRefused, privacy=CENTRAL, aggregation=aggregation)
        assert "l2 sensitivity" in error.message and 'privacy.unit = "example"' in error.hint


def test_central_privacy_needs_the_mean_of_clipped_updates() -> None:
    assert "l2 sensitivity" in refusal(RuleRefused, privacy=CENTRAL, aggregation={"rule": "mean"}).message
    stretched = CLIPPED_MEAN | {"pre": ["norm-clip", "nnm"], "f": 1}
    assert "l2 sensitivity" in refusal(RuleRefused, privacy=CENTRAL, aggregation=stretched).message
    assert isinstance(parse(table(privacy=CENTRAL, aggregation=CLIPPED_MEAN)).mechanism, MemberPrivacy)


def test_example_privacy_needs_its_clip_and_its_normaliser() -> None:
    for missing in ("clip_l2", "normaliser"):
        error = refusal(privacy={name: value for name, value in PRIVACY.items() if name != missing})
        assert "needs clip_l2 and normaliser" in error.message and "public number" in error.hint


def test_example_privacy_charges_one_step_a_round() -> None:
    error = refusal(privacy=PRIVACY, learning={"module": "m.py", "local_steps": 2})
    assert "local_steps = 2" in error.message and "one full step a round" in error.hint


@pytest.mark.parametrize("sigma", [1e-300, 5e-324, 0.01, 0.3])
def test_noise_too_small_for_even_one_round_is_refused(sigma: float) -> None:
    error = refusal(privacy=PRIVACY | {"noise_multiplier": sigma})
    assert "past the budget of 8" in error.message and "calibrated" in error.hint


def test_norm_clip_without_a_bound_is_refused() -> None:
    assert "aggregation.clip_l2" in refusal(RuleRefused, aggregation={"rule": "mean", "pre": ["norm-clip"]}).message


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"aggregation": {"clip_l2": 1.0}}, "nothing clips"),
        ({"aggregation": {"clip_l2": 1.0, "pre": ["nnm"]}}, "nothing clips"),
        ({"aggregation": {"rule": "mean", "f": 2}}, "tolerates nobody"),
        ({"aggregation": CLIPPED_MEAN | {"f": 2}}, "tolerates nobody"),
        ({"aggregation": CLIPPED_MEAN, "privacy": CENTRAL | {"clip_l2": 1.0}}, 'of unit "example"'),
        ({"aggregation": CLIPPED_MEAN, "privacy": CENTRAL | {"normaliser": 9}}, 'of unit "example"'),
    ],
)
def test_a_protection_that_is_set_and_would_do_nothing_is_refused(sections: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        parse(table(**sections))
    assert caught.value.hint and caught.value.exit_code == 2


def test_unsafe_acceptance_runs_the_plain_mean_without_privacy_or_not_at_all() -> None:
    unsafe = {"unsafe_accept_all": True}
    for sections in (
        {"aggregation": {"rule": "krum", "f": 1}},
        {"aggregation": CLIPPED_MEAN},
        {"aggregation": {"rule": "mean"}, "privacy": PRIVACY},
        {},
    ):
        error = refusal(RuleRefused, screening=unsafe, **sections)
        assert "plain federated averaging" in error.message and 'rule = "mean" alone' in error.hint
    assert parse(table(screening=unsafe, aggregation={"rule": "mean"})).chain == Chain((), Mean())


# --------------------------------------------------------------------------------------------------------------- who


@pytest.mark.parametrize("profile", ["consortium", "fleet"])
def test_a_profile_that_crosses_machines_is_not_available_yet(profile: str) -> None:
    error = refusal(NotAvailable, federation={"name": "clinics", "members": MEMBERS, "profile": profile})
    assert error.exit_code == 8 and profile in error.message and 'profile = "lab"' in error.hint


def test_an_organisation_named_twice_is_refused() -> None:
    error = refusal(federation={"name": "clinics", "members": [*MEMBERS, MEMBERS[3]]})
    assert "names an organisation twice" in error.message


@pytest.mark.parametrize("bad", ["", "Site", "a b", "a_b", "a\n", "é", "../etc", "a" * 64])
def test_a_member_id_that_is_none_is_refused(bad: str) -> None:
    error = refusal(federation={"name": "clinics", "members": [*MEMBERS, bad]})
    assert "a member id is 1 to 63" in error.message and repr(bad) in error.message


def test_a_lab_seed_is_part_of_what_every_member_is_bound_to() -> None:
    seeded = parse(table(run={"rounds": 10, "lab_seed": -(2**53) + 1}))
    assert decode(seeded.effective(""))["run"]["lab_seed"] == -(2**53) + 1
    assert seeded.effective("") != parse(table()).effective("")


# -------------------------------------------------------------------------------------------------------- hostile files


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not toml",
        b"\xff\xfe",
        b"a = 1\na = 2",
        b"[run]\nrounds = nan",
        b"[run]\nrounds = " + b"9" * 5000,
        b"[run]\nrounds = 0x" + b"f" * 5000,
        b"[run]\nrounds = [" + b"[" * 50_000,
        b"[run]\nrounds = 1979-05-27T07:32:00Z",
        b"[privacy]\nepsilon = 1e99999",
        b"[[privacy]]\nepsilon = 1",
        b"run = 5",
    ],
)
def test_a_file_that_is_no_configuration_is_refused(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "phalanx.toml"
    file.write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        read_config(file)
    assert len(caught.value.message) < 1000


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_config(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match="directory"):
        read_config(tmp_path)


_scalar = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.sampled_from([2**31, 2**53, 2**64, 10**400, -(10**400)])
    | st.floats()
    | st.sampled_from(["mean", "krum", "norm-clip", "nnm", "example", "member", "lab", "claimed", "equal", "a"])
    | st.text(max_size=5)
    | st.just(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
)
_value = st.recursive(
    _scalar,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
# Noise is stated, so that no example waits for a calibration.
_privacy = st.fixed_dictionaries(
    {"unit": st.sampled_from(["example", "member"]), "epsilon": st.floats(0.01, 1000)},
    optional={
        "noise_multiplier": st.floats(1e-300, 1e300),
        "delta": st.floats(1e-12, 0.01),
        "clip_l2": st.floats(5e-324, 1e308),
        "normaliser": st.integers(1, 2**31),
    },
).map(lambda privacy: {"noise_multiplier": 1.0} | privacy)
_section = st.sampled_from(SECTIONS).flatmap(
    lambda name: st.tuples(st.just(name), st.dictionaries(st.sampled_from([*_fields(name), "x"]), _value, max_size=3))
)


@settings(max_examples=300, deadline=None)
@given(changes=st.lists(_section, max_size=3), privacy=st.none() | _privacy, whole=st.none() | _value)
def test_any_table_is_a_configuration_that_can_be_assembled_or_an_error_of_ours(
    changes: list[tuple[str, Any]], privacy: dict[str, Any] | None, whole: Any
) -> None:
    sections = table(**({} if privacy is None else {"privacy": privacy}))
    for name, values in changes:
        sections[name] = {**sections.get(name, {"noise_multiplier": 1.0} if name == "privacy" else {}), **values}
    if whole is not None:
        sections["gate"] = whole
    try:
        found = parse(sections)
    except PhalanxError as error:
        assert isinstance(error, ConfigError | NotAvailable) and error.message
        return
    assert decode(found.effective("code"))["rule"] == str(found.chain)
    for build in (found.descent, found.screening_policy, lambda: found.gate_policy(10)):
        build()


# ------------------------------------------------------------------------------------------- what would protect nobody


@pytest.mark.parametrize("rule", ROBUST)
def test_every_rule_of_a_run_is_built_with_its_f(rule: str) -> None:
    chain = parse(table(aggregation={"rule": rule, "f": 1})).chain
    assert chain.rule.name == rule and f"{rule}(f=1" in str(chain)


def test_centered_clipping_needs_its_bound_and_is_no_second_way_to_central_privacy() -> None:
    clipping = {"rule": "centered-clipping", "f": 1, "clip_l2": 2.0}
    assert str(parse(table(aggregation=clipping)).chain) == "centered-clipping(2, steps=1, f=1)"
    assert (
        "needs aggregation.clip_l2" in refusal(RuleRefused, aggregation={"rule": "centered-clipping", "f": 1}).message
    )
    error = refusal(RuleRefused, privacy=CENTRAL, aggregation=clipping)
    assert "mean of clipped updates" in error.message and "norm-clip" in error.hint
    assert "only centered-clipping takes steps" in refusal(RuleRefused, aggregation={"f": 1, "steps": 2}).message


def test_mda_is_refused_where_it_could_not_be_exact() -> None:
    many = {"name": "clinics", "members": [f"m{i}" for i in range(21)]}
    assert "at most 20 updates" in refusal(RuleRefused, federation=many, aggregation={"rule": "mda", "f": 1}).message


@pytest.mark.parametrize("name", ["fltrust", "foolsgold", "monna"])
def test_what_only_the_library_can_run_is_said_to_be_not_available(name: str) -> None:
    error = refusal(NotAvailable, aggregation={"rule": name, "f": 1})
    assert error.message.startswith(f"not available: rule '{name}'") and "aggregate" in error.hint
    error = refusal(NotAvailable, aggregation={"f": 1, "pre": ["bucketing"]})
    assert error.message.startswith("not available: step 'bucketing'")


@pytest.mark.parametrize("rule", ROBUST)
def test_a_robust_rule_that_tolerates_nobody_is_refused(rule: str) -> None:
    """`trimmed-mean(f=0)` is the mean under another name, and gets past a floor that refuses the mean."""
    error = refusal(RuleRefused, aggregation={"rule": rule, "f": 0})
    assert "tolerates nobody" in error.message and "set f = 1" in error.hint


def test_without_a_number_of_its_own_the_gate_tolerates_as_many_liars_as_the_rule_hostile_members() -> None:
    assert parse(table(aggregation={"f": 3})).gate_policy(10).f == 3
    assert parse(table(aggregation={"f": 1}, gate={"f": 3})).gate_policy(10).f == 3
    assert "who is hostile votes as well" in refusal(RuleRefused, aggregation={"f": 3}, gate={"f": 1}).message


def test_weight_caps_that_cannot_make_a_whole_are_refused() -> None:
    members = {"name": "clinics", "members": MEMBERS, "weight_cap": 0.112}
    assert parse(table(federation=members)).federation.weight_cap == 0.112
    away = {"rounds": 10, "missing_allowed": 1}
    assert "less than the whole" in refusal(RuleRefused, federation=members, run=away).message


def test_a_test_that_would_never_refuse_anything_is_refused() -> None:
    for key in ("significance", "class_significance"):
        assert f"gate.{key}" in refusal(gate={key: 1e-300}).message


def test_members_without_held_out_examples_cannot_vote() -> None:
    assert "nothing to vote with" in refusal(learning={"held_out": 0.0}).message
    assert parse(table(learning={"held_out": 0.0}, gate={"unsafe_accept_all": True})).liars == 1


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"floor": {"refused_rules": ["trimmed-mean"]}}, "which is aggregation.rule"),
        ({"floor": {"max_epsilon": 8.0}}, "the run offers none"),
        ({"floor": {"max_epsilon": 8.0}, "privacy": CENTRAL, "aggregation": CLIPPED_MEAN}, "the run offers none"),
        ({"floor": {"max_epsilon": 7.9}, "privacy": PRIVACY}, "offers ε = 8 at δ = 1e-05"),
        ({"floor": {"max_epsilon": 8.0}, "privacy": PRIVACY | {"delta": 1e-4}}, "offers ε = 8 at δ = 0.0001"),
    ],
)
def test_a_run_that_its_own_members_would_decline_is_refused_at_the_start(sections: Any, expected: str) -> None:
    assert expected in refusal(**sections).message


# ------------------------------------------------------------------------------- steps, the server, who is asked, votes

STRATA = {"name": "clinics", "members": MEMBERS, "labels": {"site-0": "north"}}
STEPS = {"module": "member.py", "local_steps": 2}
VOTES = {"ballot": "votes"}
FIVE_OF_NINE = {"policy": "uniform", "size": 5}


@pytest.mark.parametrize(
    ("sections", "expected", "hint"),
    [
        ({"learning": STEPS | {"prox": 0.1}}, "found algorithm = 'fedavg' with prox", 'algorithm = "fedavg"'),
        ({"learning": STEPS | {"algorithm": "scaffold", "prox": 0.1}}, "'scaffold' with prox", "set prox"),
        ({"learning": STEPS | {"algorithm": "fedprox"}}, "found algorithm = 'fedprox' without prox", "0.01 to 1"),
        ({"learning": {"module": "m", "algorithm": "fedprox", "prox": 1.0}}, "no effect", "local_steps above 1"),
        ({"learning": STEPS | {"algorithm": "scaffold", "momentum": 0.9}}, "found momentum = 0.9", "momentum = 0"),
        ({"learning": {"module": "m", "algorithm": "scaffold"}, "privacy": PRIVACY}, "no drift", "one full step"),
        ({"learning": {"module": "m", "batch_size": 8}, "privacy": PRIVACY}, "found a batch_size", "one full step"),
        ({"server": {"tau": 0.1}}, 'found optimiser "sgd"', "leave them out"),
        ({"server": {"second_momentum": 0.9}}, 'found optimiser "sgd"', "leave them out"),
        ({"server": {"optimiser": "yogi", "momentum": 0.0}}, "server.momentum = 0", "leave it out"),
        ({"selection": {"policy": "uniform"}}, "selection.size is missing: policy is 'uniform'", "have size"),
        ({"selection": {"policy": "stratified"}}, "selection.size is missing", "have size"),
        ({"selection": {"policy": "poisson"}}, "selection.rate is missing", '"poisson" has rate'),
        ({"selection": {"size": 5}}, "selection.size does nothing: policy is 'all'", '"all" has none'),
        ({"selection": FIVE_OF_NINE | {"rate": 0.5}}, "selection.rate does nothing", "have size"),
        ({"selection": {"policy": "poisson", "rate": 0.5, "size": 5}}, "selection.size does nothing", "has rate"),
        ({"selection": FIVE_OF_NINE | {"min_cohort": 6}}, "no draw has more than 5", "lower min_cohort"),
        ({"selection": {"min_cohort": 10}}, "no draw has more than 9", "lower min_cohort"),
        ({"federation": STRATA}, "labels do nothing with selection.policy = 'all'", '"stratified"'),
        ({"federation": STRATA, "selection": FIVE_OF_NINE}, "labels do nothing", "leave them out"),
        (
            {"federation": STRATA | {"labels": {"site-99": "south"}}, "selection": {"policy": "stratified", "size": 9}},
            "labels names site-99", "federation.members",
        ),
    ],
)  # fmt: skip
def test_steps_servers_and_draws_that_cannot_be_run_are_refused_with_what_to_do(
    sections: Any, expected: str, hint: str
) -> None:
    error = refusal(**sections)
    assert expected in error.message and hint in error.hint and error.exit_code == 2


@pytest.mark.parametrize(
    "sections",
    [
        {"learning": STEPS | {"algorithm": "fedprox", "prox": 0.1}},
        {"learning": STEPS | {"algorithm": "scaffold"}, "server": {"momentum": 0.9}},
        {"server": {"optimiser": "adam", "momentum": 0.5, "second_momentum": 0.9, "tau": 0.1}},
        {"selection": FIVE_OF_NINE | {"min_cohort": 5}},
        {"selection": {"policy": "poisson", "rate": 0.5, "min_cohort": 3}},
        {"federation": STRATA, "selection": {"policy": "stratified", "size": 2}},
    ],
)
def test_off_twin_the_same_tables_without_the_mistake_are_accepted(sections: Any) -> None:
    found = parse(table(**sections))
    for build in (found.descent, lambda: found.optimiser, lambda: found.selection_policy):
        build()


def test_central_noise_for_members_that_are_drawn_is_not_available() -> None:
    error = refusal(NotAvailable, privacy=CENTRAL, aggregation=CLIPPED_MEAN, selection=FIVE_OF_NINE)
    assert "drawn by 'uniform'" in error.message and 'selection.policy = "all"' in error.hint and error.exit_code == 8


def test_the_rows_are_counted_over_the_smallest_cohort_and_not_over_all_members() -> None:
    """Nine members are enough for krum with f = 3; the five or three that a round asks are not."""
    krum = {"rule": "krum", "f": 3}
    assert parse(table(aggregation=krum)).smallest_cohort == 9
    for selection, asked in ((FIVE_OF_NINE, 5), ({"policy": "poisson", "rate": 0.9, "min_cohort": 3}, 3)):
        error = refusal(RuleRefused, aggregation=krum, selection=selection)
        assert f"needs 9 updates, and {asked} members" in error.message and "selection.size" in error.hint
    capped = {"name": "clinics", "members": MEMBERS, "weight_cap": 0.15}
    assert parse(table(federation=capped)).smallest_cohort == 9
    assert "members of a smallest round" in refusal(RuleRefused, federation=capped, selection=FIVE_OF_NINE).message


def test_the_voters_are_all_members_whoever_trains() -> None:
    """Nine voters are enough for four liars, also where a round asks five members."""
    assert parse(table(gate={"f": 4}, selection=FIVE_OF_NINE)).gate_policy(10).f == 4


def test_votes_need_more_voters_than_counts_and_say_so() -> None:
    assert parse(table(gate={"f": 4})).gate_policy(10).ballot == "counts"
    error = refusal(RuleRefused, gate=VOTES | {"f": 4})
    assert "f = 4 liars needs 11 voters" in error.message and 'gate.ballot = "counts"' in error.hint
    assert "counts" not in refusal(RuleRefused, gate=VOTES | {"f": 5}).hint  # they would not do either
    assert parse(table(gate=VOTES | {"f": 3})).gate_policy(10).ballot == "votes"


def test_trimmed_counts_are_refused_for_more_than_ten_liars() -> None:
    """`tests/gate/test_liars.py` shows what the liars would get: nearly every candidate refused."""
    crowd = {"name": "clinics", "members": [f"site-{number}" for number in range(100)]}
    asked: tuple[dict[str, Any], ...] = ({"gate": {"f": 11}}, {"gate": {"f": 33}}, {"aggregation": {"f": 11}})
    for sections in asked:
        error = refusal(RuleRefused, federation=crowd, **sections)
        liars = sections.get("gate", {"f": 11})["f"]
        assert f'gate.ballot = "counts" with f = {liars} liars' in error.message and "at most f = 10" in error.message
        assert error.hint == 'use gate.ballot = "votes"'
        voting = {name: values | (VOTES if name == "gate" else {}) for name, values in sections.items()}
        assert parse(table(federation=crowd, **{"gate": VOTES, **voting})).liars == liars
    assert parse(table(federation=crowd, gate={"f": 10})).liars == 10
    assert parse(table(federation=crowd, gate={"f": 11, "unsafe_accept_all": True})).liars == 11


# ------------------------------------------------------------------------------------------------------ secret cohorts

SECRET: dict[str, Any] = {
    "aggregation": {"rule": "mean", "pre": ["norm-clip"], "clip_l2": 1.0},
    "privacy": {"unit": "member", "epsilon": 2.0},
    "selection": {"policy": "poisson", "rate": 0.5},
}


def test_central_noise_for_drawn_members_counts_on_their_secrecy_and_is_calibrated_for_it() -> None:
    secret = parse(table(**SECRET))
    assert (secret.secret_rate, secret.expected_cohort) == (0.5, 4.5)
    assert secret.screening_policy().expected == 4.5
    all_of_them = parse(table(**SECRET | {"selection": {"policy": "all"}}))
    assert all_of_them.secret_rate is all_of_them.screening_policy().expected is None
    assert secret.mechanism is not None and all_of_them.mechanism is not None
    assert secret.mechanism.noise_multiplier < all_of_them.mechanism.noise_multiplier


def test_drawn_members_that_add_their_own_noise_are_no_secret() -> None:
    example = {"unit": "example", "epsilon": 8.0, "clip_l2": 1.0, "normaliser": 90}
    assert parse(table(**SECRET | {"privacy": example})).secret_rate is None


@pytest.mark.parametrize(
    ("changes", "expected", "found"),
    [
        ({"selection": {"policy": "uniform", "size": 4}}, NotAvailable, "drawn by 'uniform'"),
        ({"selection": {"policy": "stratified", "size": 4}}, NotAvailable, "drawn by 'stratified'"),
        ({"selection": {"policy": "poisson", "rate": 0.5, "min_cohort": 2}}, ConfigError, "min_cohort = 2"),
        (
            {"run": {"rounds": 9, "missing_allowed": 1}, "gate": {"unsafe_accept_all": True}},
            ConfigError,
            "run.missing_allowed does nothing",
        ),
        ({"learning": {"module": "m.py", "local": ["bn*"]}}, ConfigError, "ballot would tell whether it has trained"),
        ({"screening": {"weighting": "claimed"}}, ConfigError, "every member weighs the same"),
        ({"federation": {"name": "clinics", "members": MEMBERS, "weight_cap": 0.2}}, RuleRefused, "above federation"),
        ({"selection": {"policy": "poisson", "rate": 0.1}}, RuleRefused, "weight is 1 / (rate * members) = 1.11"),
    ],
)
def test_what_would_tell_of_a_secret_cohort_is_refused(
    changes: dict[str, Any], expected: type[PhalanxError], found: str
) -> None:
    error = refusal(expected, **SECRET | changes)
    assert found in error.message and error.hint


def test_members_may_be_missing_as_voters_from_a_run_with_secret_cohorts() -> None:
    assert parse(table(**SECRET, run={"rounds": 9, "missing_allowed": 2})).run.missing_allowed == 2


@pytest.mark.parametrize(
    ("found", "meant"),
    [("trimed-mean", "trimmed-mean"), ("Bulyan", "bulyan"), ("geometric_median", "geometric-median")],
)
def test_a_misspelt_rule_is_refused_with_the_nearest_one(found: str, meant: str) -> None:
    assert f"did you mean {meant!r}?" in refusal(aggregation={"rule": found, "f": 1}).message


def test_a_step_that_is_no_list_is_asked_for_as_one() -> None:
    assert "input should be a list, found 'arc'" in refusal(aggregation={"f": 1, "pre": "arc"}).message
