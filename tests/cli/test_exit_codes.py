"""Every way in which a command ends: its exit code, its envelope, and its sentence for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from numpy.exceptions import AxisError
from typer.testing import CliRunner

import phalanx
from phalanx import errors
from phalanx.cli.app import app
from phalanx.entropy import system_entropy
from phalanx.errors import PhalanxError
from phalanx.federation import Federation
from phalanx.store import RunStore
from tests.cli import lab

EXAMPLE = {"unit": "example", "epsilon": 5.0, "clip_l2": 1.0, "normaliser": 150, "noise_multiplier": 1.0}


def _all(kind: type[PhalanxError]) -> Iterator[type[PhalanxError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _all(one)


def _failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(Federation, "from_config", fail)


def _failed(result: lab.Result, exit_code: int, error_code: str) -> dict[str, Any]:
    """The envelope of a failure, which is whole and says the same as the exit code."""
    envelope = result.envelope
    assert set(envelope) == {"schema_version", "status", "exit_code", "error_code", "message", "hint", "data"}
    assert (envelope["schema_version"], envelope["status"]) == ("1", "error")
    assert (result.exit_code, envelope["exit_code"], envelope["error_code"]) == (exit_code, exit_code, error_code)
    assert envelope["message"] in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr
    return envelope


# The table at the top of errors.py, told again by hand.
TABLE = {
    "PhalanxError": 70, "ConfigError": 2, "RuleRefused": 2, "NotAdmitted": 3, "QuorumError": 4, "IntegrityError": 5,
    "BadSignature": 5, "NotCanonical": 5, "LogInconsistent": 5, "ReplayDiverged": 5, "RollbackError": 5,
    "PolicyError": 6, "BudgetExhausted": 6, "SensitivityUnknown": 6, "FloorRefused": 6, "ConflictError": 7,
    "NotAvailable": 8, "GateRefusal": 1, "LogUnavailable": 70,
}  # fmt: skip


def test_the_table_of_exit_codes_has_every_error() -> None:
    assert {one.__name__ for one in _all(PhalanxError) if one.__module__ == errors.__name__} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_every_error_of_ours_becomes_its_exit_code_a_sentence_and_a_hint(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _failing(monkeypatch, getattr(errors, name)("what was found [and not markup]", hint="what to do"))
    result = lab.run(Path("phalanx.toml"))
    envelope = _failed(result, TABLE[name], name)
    assert (envelope["message"], envelope["hint"]) == ("what was found [and not markup]", "what to do")
    assert "→ what to do" in result.stderr


@pytest.mark.parametrize(
    ("error", "exit_code", "name"),
    [
        (RuntimeError("unforeseen"), 70, "Bug"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (AxisError("a library's"), 70, "Bug"),
    ],
)
def test_what_is_not_ours_has_its_own_exit_code(
    error: BaseException, exit_code: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _failing(monkeypatch, error)
    envelope = _failed(lab.run(Path("phalanx.toml")), exit_code, name)
    assert ("PHALANX_TRACEBACK" in envelope["hint"]) == (name == "Bug")


def test_a_bug_shows_its_traceback_to_whoever_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, RuntimeError("unforeseen"))
    monkeypatch.setenv("PHALANX_TRACEBACK", "1")
    result = CliRunner().invoke(app, ["run", "phalanx.toml"])
    assert isinstance(result.exception, RuntimeError)


def test_escape_codes_in_a_message_do_not_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, errors.IntegrityError("file \x1b[2J\x9b1m\udcff: changed", hint="\x1b]0;title\x07"))
    result = lab.run(Path("phalanx.toml"))
    assert result.exit_code == 5
    assert "file ?[2J?1m?: changed" in result.stderr
    assert not {"\x1b", "\x9b", "\x07"} & set(result.stdout + result.stderr)


# --------------------------------------------------------------------------------------------- as a user reaches them


def test_0_a_run_that_ends_well(tmp_path: Path) -> None:
    result = lab.run(lab.write(tmp_path / "lab"))
    envelope = result.envelope
    assert set(envelope) == {"schema_version", "status", "exit_code", "data"}
    assert (result.exit_code, envelope["status"], envelope["exit_code"]) == (0, "ok", 0)
    assert (envelope["data"]["rounds"], envelope["data"]["version"]) == (2, 2)
    assert "released version 2 after 2 of 2 rounds" in result.stderr


def test_0_a_run_says_what_python_says_of_its_result_and_when_it_trains_comparisons(tmp_path: Path) -> None:
    said = lab.run(lab.write(tmp_path / "lab")).stderr
    rounds, comparisons, table = (said.index(words) for words in ("round 2/2", "training the comparisons", "site  "))
    assert rounds < comparisons < said.index("the median site") < table
    assert re.search(r"site +held out +alone +without controls +with controls +pooled +gain, points\n", said)
    assert "training the comparisons" not in lab.run(lab.write(tmp_path / "no", report={"baselines": False})).stderr


def test_0_the_sites_that_the_table_has_no_room_for_are_counted(tmp_path: Path) -> None:
    names = [f"m-{i}" for i in range(32)]
    federation = {"name": "lab", "members": names}
    said = lab.run(lab.write(tmp_path / "lab", federation=federation, run={"rounds": 1})).stderr
    assert "and 2 more in the report, none of them worse" in said


def test_0_columns_of_unlike_scales_are_warned_of_before_the_first_round(tmp_path: Path) -> None:
    unlike = lab.MODULE.replace("    return x, labels", "    x[:, 2] *= 3000\n    return x, labels")
    config = lab.write(tmp_path / "lab", unlike, screening={"max_norm": 1e6})
    said = lab.phalanx("run", config).stderr
    assert 0 < said.index("WARNING: columns differ in scale by") < said.index("round 1")
    assert "columns differ in scale" in (tmp_path / "lab" / "phalanx-run" / "report.html").read_text(encoding="utf-8")
    assert "WARNING" not in lab.run(lab.write(tmp_path / "like")).stderr


def test_0_a_run_whose_events_are_wanted_as_json_lines(tmp_path: Path) -> None:
    result = lab.run(lab.write(tmp_path / "lab"), "--jsonl", tmp_path / "events.jsonl")
    assert result.exit_code == 0
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["event"] for event in events] == ["run.started", "round.closed", "round.closed", "run.ended"]
    assert events[-1]["accuracy"] == result.envelope["data"]["accuracy"]


def test_text_goes_to_stderr_only(tmp_path: Path) -> None:
    config = lab.write(tmp_path / "lab")
    result = lab.phalanx("run", config)
    assert (result.exit_code, result.stdout) == (0, "")
    assert (config.with_name("phalanx-run") / "public" / "checkpoint").is_file()  # the folder that has no --out


WORSENS = lab.MODULE.replace(
    'return (x @ model["weight"]).argmax(axis=1)',
    'return (x[:, 0] > 0) * 1 if not model["weight"].any() else (x[:, 0] <= 0) * 1',
)
RAISES = lab.MODULE.replace("    logits = ", "    raise OSError('the scanner is away')\n    logits = ")
# The rehearsal has one call of each member.
CALLS = "    CALLS.append(1)\n    if len(CALLS) > 3:\n        raise OSError('the scanner is away')\n    logits = "
RAISES_LATER = lab.MODULE.replace("CLASSES = 2", "CLASSES = 2\nCALLS = []").replace("    logits = ", CALLS)


def test_1_a_gate_that_refuses_too_often(tmp_path: Path) -> None:
    config = lab.write(tmp_path / "lab", WORSENS, run={"rounds": 5, "max_refusals": 2})
    envelope = _failed(lab.run(config), 1, "GateRefusal")
    assert "version 0 stays released" in envelope["hint"]
    page = (tmp_path / "lab" / "run" / "report.html").read_text(encoding="utf-8")
    assert "Stopped: the gate refused 2 candidates in a row" in page
    again = _failed(lab.run(config, "--resume"), 1, "GateRefusal")
    assert "has stopped" in again["message"]


def test_the_model_that_is_named_is_the_one_that_was_released(tmp_path: Path) -> None:
    worse_in_the_end = WORSENS.replace('if not model["weight"].any()', 'if abs(model["weight"]).max() < 0.15')
    config = lab.write(tmp_path / "lab", worse_in_the_end, learning={"module": "member.py", "learning_rate": 0.1})
    data = lab.run(config).envelope["data"]
    assert (data["rounds"], data["version"], data["gate_refusals"]) == (2, 1, 1)
    manifest = json.loads((tmp_path / "lab" / "run" / "public" / "releases" / "0001.json").read_bytes())
    assert data["model"] == manifest["body"]["parameters"]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"run": {"runds": 2}}, "did you mean 'rounds'"),
        ({"aggregation": {"rule": "krum", "f": 1}}, "needs 5 updates"),
        ({"learning": {"module": "nowhere.py"}}, "nowhere.py: No such file"),
    ],
)
def test_2_a_configuration_that_cannot_be_run(tables: dict[str, Any], words: str, tmp_path: Path) -> None:
    result = lab.run(lab.write(tmp_path / "lab", **tables))
    assert result.exit_code == 2
    assert words in result.envelope["message"] + result.envelope["hint"]
    assert not (tmp_path / "lab" / "run").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("CLASSES = 2", "CLASSES = 1 / 0", "raised ZeroDivisionError"),
        ("import numpy as np", "import numpy as np\nimport nothing_of_that_name", "raised ModuleNotFoundError"),
        (
            "def load(member):",
            "def load(member):\n    open('/nowhere')",
            "load('m-0') raised FileNotFoundError (member.py:12)",
        ),
        ('{"weight": np.zeros((3, 2), "f4")}', "[1, 2]", "initial_model must give arrays by name, found a list"),
        ("def predict", "def predicts", "missing: predict"),
    ],
)
def test_2_a_module_of_the_users_that_fails_is_said_to_be_the_users(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    result = lab.run(lab.write(tmp_path / "lab", lab.MODULE.replace(old, new)))
    assert words in _failed(result, 2, "ConfigError")["message"]


def test_2_resuming_what_was_never_begun(tmp_path: Path) -> None:
    _failed(lab.run(lab.write(tmp_path / "lab"), "--resume"), 2, "ConfigError")


@pytest.mark.parametrize("words", [["--nonsense"], ["run"], ["nonsense"], ["run", "x", "--format", "xml"]])
def test_2_words_that_the_command_line_does_not_know(words: list[str]) -> None:
    result = lab.phalanx(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage" in result.stderr


def test_4_too_few_members_that_can_train(tmp_path: Path) -> None:
    config = lab.write(tmp_path / "lab", RAISES_LATER)
    envelope = _failed(lab.run(config), 4, "QuorumError")
    assert "m-0 declined" in envelope["message"]
    assert envelope["hint"].count("the scanner is away") == 1 and "m-0, m-1, m-2: " in envelope["hint"]
    assert "the scanner is away" in envelope["hint"]  # on the terminal of whoever runs all members, and not in the log
    assert b"scanner" not in (tmp_path / "lab" / "run" / "public" / "log.jsonl").read_bytes()


def test_2_a_function_that_fails_is_found_before_any_budget_is_charged(tmp_path: Path) -> None:
    config = lab.write(tmp_path / "lab", RAISES, privacy=EXAMPLE)
    envelope = _failed(lab.run(config), 2, "ConfigError")
    assert "training, for m-0, raised OSError (member.py:" in envelope["message"]
    assert not (tmp_path / "lab" / "phalanx-ledger.db").exists()


def test_2_a_missing_value_in_a_members_data_is_named(tmp_path: Path) -> None:
    """The off twin is a gradient of zeros: the member sends noise alone, and nobody is told."""
    config = lab.write(
        tmp_path / "lab", lab.MODULE.replace("    return x, labels", "    x[7, 1] = np.nan\n    return x, labels")
    )
    message = _failed(lab.run(config), 2, "ConfigError")["message"]
    assert "the examples of m-0: 1 of 200 examples hold a value that is not finite, first in row 7" in message


def test_7_a_run_that_would_go_on_with_another_ledger(tmp_path: Path) -> None:
    config = lab.write(tmp_path / "lab", privacy=EXAMPLE)
    _failed(lab.run(config), 6, "BudgetExhausted")
    (tmp_path / "lab" / "phalanx-ledger.db").unlink()
    assert "another privacy ledger" in _failed(lab.run(config, "--resume"), 7, "ConflictError")["message"]


def test_6_a_second_run_on_data_whose_budget_is_used_up(tmp_path: Path) -> None:
    config = lab.write(tmp_path / "lab", privacy=EXAMPLE, run={"rounds": 1})
    assert lab.run(config).exit_code == 0
    second = lab.phalanx("run", config, "--out", tmp_path / "lab" / "second", "--format", "json")
    envelope = _failed(second, 6, "BudgetExhausted")
    assert "past its budget of 5" in envelope["message"]
    assert "phalanx-ledger.db" in envelope["hint"] and "by earlier runs too" in envelope["hint"]


def test_6_a_run_whose_own_budget_ends_keeps_its_last_release(tmp_path: Path) -> None:
    config = lab.write(tmp_path / "lab", privacy=EXAMPLE)
    envelope = _failed(lab.run(config), 6, "BudgetExhausted")
    assert "last released model stands" in envelope["hint"]
    assert _failed(lab.run(config, "--resume"), 6, "PolicyError")["message"].endswith("past the budget of 5")


def test_7_a_folder_that_holds_a_run(tmp_path: Path) -> None:
    config = lab.write(tmp_path / "lab")
    assert lab.run(config).exit_code == 0
    assert "--resume" in _failed(lab.run(config), 7, "ConflictError")["hint"]
    assert lab.run(config, "--resume").exit_code == 0


def test_7_a_folder_that_another_process_runs_on(tmp_path: Path) -> None:
    config = lab.write(tmp_path / "lab")
    store = RunStore(tmp_path / "lab" / "run", system_entropy)
    _failed(lab.run(config, "--resume"), 7, "ConflictError")
    store.close()


@pytest.mark.parametrize("change", ["rounds", "code"])
def test_7_a_run_that_is_resumed_as_something_else(change: str, tmp_path: Path) -> None:
    config = lab.write(tmp_path / "lab", run={"rounds": 1})
    assert lab.run(config).exit_code == 0
    if change == "rounds":
        lab.write(tmp_path / "lab", run={"rounds": 2})
    else:
        lab.write(tmp_path / "lab", lab.MODULE + "\n# changed\n", run={"rounds": 1})
    _failed(lab.run(config, "--resume"), 7, "ConflictError")


def test_8_a_profile_that_this_version_does_not_have(tmp_path: Path) -> None:
    config = lab.write(tmp_path / "lab", federation={**lab.TABLES["federation"], "profile": "consortium"})
    _failed(lab.run(config), 8, "NotAvailable")


def test_70_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> NoReturn:
        raise OSError(28, "No space left on device")

    config = lab.write(tmp_path / "lab")
    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full)
        envelope = _failed(lab.run(config), 70, "LogUnavailable")
    assert "No space left on device" in envelope["message"]
    assert "resume" in envelope["hint"]
    assert lab.run(config, "--resume").exit_code == 0


def test_the_version_is_the_packages() -> None:
    result = lab.phalanx("--version")
    assert (result.exit_code, result.stdout) == (0, f"phalanx {phalanx.__version__}\n")


def test_the_examples_are_short() -> None:
    for folder in (Path(__file__).parents[2] / "examples").iterdir():
        if folder.is_dir():
            texts = [path.read_text(encoding="utf-8") for path in folder.iterdir() if path.suffix in (".py", ".toml")]
            lines = [line for text in texts for line in text.splitlines()]
            most = 60 if folder.name == "digits" else 100  # digits is the one to start from
            assert 0 < sum(bool(line.partition("#")[0].strip()) for line in lines) < most, folder.name
