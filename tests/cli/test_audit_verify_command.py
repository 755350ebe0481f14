"""`phalanx audit verify` on folders that somebody else made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import lab

FILES = ("checkpoint", "config.json", "federation.json", "log.jsonl", "releases/0000.json", "releases/0002.safetensors")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run's folder, and its operator's fingerprint."""
    config = lab.write(tmp_path_factory.mktemp("made") / "lab")
    data = lab.run(config).envelope["data"]
    return config.with_name("run"), data["paths"]["fingerprint"]


@pytest.fixture
def public(made: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the public folder alone, as an auditor gets it."""
    shutil.copytree(made[0] / "public", tmp_path / "audit")
    return tmp_path / "audit"


def _verify(folder: Path, *trust: str) -> lab.Result:
    options = ("--trust", *trust) if trust else ()
    return lab.phalanx("audit", "verify", folder, *options, "--format", "json")


def test_an_untouched_run_under_its_operators_fingerprint_is_verified(made: tuple[Path, str], public: Path) -> None:
    for folder in (made[0], public):
        result = _verify(folder, made[1])
        assert (result.exit_code, result.envelope["status"]) == (0, "ok")
        assert result.envelope["data"]["finished"] is True
        assert "verified" in result.stderr


def test_the_command_that_a_run_prints_verifies_it(made: tuple[Path, str]) -> None:
    data = lab.run(made[0].with_name("phalanx.toml"), "--resume").envelope["data"]
    words = data["verify"].split()
    assert words[0] == "phalanx"
    assert lab.phalanx(*words[1:]).exit_code == 0


def test_without_a_fingerprint_nothing_is_established(made: tuple[Path, str], public: Path) -> None:
    result = _verify(public)
    assert (result.exit_code, result.envelope["error_code"]) == (1, "OriginNotEstablished")
    assert result.envelope["data"]["operator"] == made[1]
    assert "--trust" in result.envelope["hint"]


def test_another_fingerprint_is_refused(public: Path) -> None:
    result = _verify(public, "sha256:" + "0" * 64)
    assert (result.exit_code, result.envelope["error_code"]) == (5, "BadSignature")


@pytest.mark.parametrize("trust", ["nonsense", "", "sha256:82cd", "SHA256:" + "0" * 64, "0" * 64])
def test_what_is_no_fingerprint_is_a_typing_error_and_no_fraud(trust: str, public: Path) -> None:
    result = _verify(public, trust)
    assert (result.exit_code, result.envelope["error_code"]) == (2, "ConfigError")


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_found_and_the_file_is_named(name: str, made: tuple[Path, str], public: Path) -> None:
    data = bytearray((public / name).read_bytes())
    data[len(data) // 2] ^= 1
    (public / name).write_bytes(bytes(data))
    result = _verify(public, made[1])
    assert result.exit_code == 5
    assert name in result.envelope["message"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_is_named(name: str, made: tuple[Path, str], public: Path) -> None:
    (public / name).unlink()
    result = _verify(public, made[1])
    assert (result.exit_code, f"{name}: missing" in result.envelope["message"]) == (5, True)


def test_a_folder_that_is_not_there_is_a_mistake_of_the_callers(tmp_path: Path) -> None:
    result = _verify(tmp_path / "nothing")
    assert (result.exit_code, result.envelope["error_code"]) == (2, "ConfigError")
    assert "nothing" in result.envelope["message"]


def test_a_folder_with_nothing_in_it_is_no_run(tmp_path: Path) -> None:
    result = _verify(tmp_path)
    assert (result.exit_code, result.envelope["message"]) == (5, "federation.json: missing")


def test_a_link_in_the_folder_is_refused(made: tuple[Path, str], public: Path) -> None:
    (public / "checkpoint").rename(public.parent / "elsewhere")
    (public / "checkpoint").symlink_to(public.parent / "elsewhere")
    result = _verify(public, made[1])
    assert (result.exit_code, result.envelope["message"]) == (5, "checkpoint is not a plain file")


def test_a_file_name_cannot_send_escape_codes_to_the_auditors_terminal(made: tuple[Path, str], public: Path) -> None:
    (public / "\x1b[2J\udcff").write_bytes(b"")
    result = _verify(public, made[1])
    assert result.exit_code == 5
    assert r"'\x1b[2J\udcff' is not a file that a run has" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def test_a_reader_that_has_gone_is_not_told_that_all_went_well(made: tuple[Path, str]) -> None:
    command = [sys.executable, "-c", "from phalanx.cli import main; main()", "audit", "verify", str(made[0])]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [*command, "--trust", made[1], "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=buffered,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 141


def test_secret_cohorts_are_checked_where_the_openings_are_given_and_said_to_be_unchecked_where_not(
    tmp_path: Path,
) -> None:
    central = {"unit": "member", "epsilon": 50.0, "noise_multiplier": 1.0}
    clipped = {"rule": "mean", "pre": ["norm-clip"], "clip_l2": 1.0}
    poisson = {"policy": "poisson", "rate": 0.7}
    config = lab.write(tmp_path / "lab", privacy=central, aggregation=clipped, selection=poisson)
    trust = lab.run(config).envelope["data"]["paths"]["fingerprint"]
    folder = config.with_name("run")
    told = "--openings", str(folder / "state" / "openings.jsonl")
    for options, opened in (((), False), (told, True)):
        result = lab.phalanx("audit", "verify", folder, "--trust", trust, *options, "--format", "json")
        assert result.exit_code == 0
        assert result.envelope["data"]["opened"] is result.envelope["data"]["selection_proven"] is opened
        assert ("no openings were given" in result.stderr) is not opened
    missing = lab.phalanx("audit", "verify", folder, "--openings", tmp_path / "none", "--format", "json")
    assert missing.exit_code == 2 and "cannot read" in missing.envelope["message"]
