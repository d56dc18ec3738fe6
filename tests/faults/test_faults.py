"""The short form of `make faults`: some of each kind of fault, with the real command line."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from faults import damage, machine, trials
from faults.line import STAGES, States


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> States:
    """The undisturbed line."""
    return States(tmp_path_factory.mktemp("faults")).make(machine.counted)


@pytest.mark.parametrize("stage", STAGES)
def test_killed_anywhere_the_same_command_goes_on_to_the_same_bytes(states: States, stage: str) -> None:
    moment = states.moments(stage) * 2 // 3
    assert not trials.disturbed(stage, machine.ends_at(moment), trials.KILLED, (), states, "killed")


@pytest.mark.parametrize("stage", STAGES)
def test_asked_to_end_each_stage_says_how_to_go_on(states: States, stage: str) -> None:
    asked = machine.ends_at(states.moments(stage) // 2, signal.SIGTERM)
    words = [f"the same command goes on: foldline {stage} --comp tiny"]
    assert not trials.disturbed(stage, asked, 143, words, states, "asked")


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_fills_is_one_message(states: States, stage: str) -> None:
    full = machine.refused_at(states.moments(stage) // 2, 28)
    words = ["error: no space left on device", "free some space, then the same command goes on"]
    assert not trials.disturbed(stage, full, 1, words, states, "full")


def test_two_processes_and_one_fold(states: States) -> None:
    assert not trials.two_at_once(None, states, "two")


def test_the_harness_notices_files_that_are_written_in_place(states: States) -> None:
    """The negative control: a kill leaves half a file, which the same command does not survive."""
    kill = machine.both(machine.writing_in_place, machine.ends_inside("meta.json"))
    assert "not valid JSON" in trials.disturbed("train", kill, trials.KILLED, (), states, "in-place")


@pytest.mark.parametrize(
    ("stage", "file"), [("predict", "oof/tiny/quick/fold_0/model.safetensors"), ("ensemble", "oof/tiny/quick/cv.json")]
)
@pytest.mark.parametrize("harm", ["emptied", "cut"])
def test_damaged_files_are_refused_in_words(states: States, stage: str, file: str, harm: str) -> None:
    assert harm in damage.harms_of(file)
    assert not trials.damaged(stage, file, harm, states, "damaged")


def test_make_keeps_a_finished_file_whose_command_fails_afterwards(tmp_path: Path) -> None:
    """A report that fails, or Ctrl-C, is no reason to delete the submission."""
    shutil.copy(Path(__file__).parents[2] / "Makefile", tmp_path)
    for name in (
        "requirements.txt",
        "pyproject.toml",
        ".venv/ready",
        "input/elpv/manifest.json",
        "folds/elpv.csv",
        "oof/elpv/baseline/cv.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    program = tmp_path / ".venv" / "bin" / "foldline"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nmkdir -p submissions/elpv\necho 1 > submissions/elpv/baseline.csv\nexit 3\n")
    program.chmod(0o755)
    made = subprocess.run(["make", "score"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert made.returncode == 2, made.stdout + made.stderr
    assert (tmp_path / "submissions/elpv/baseline.csv").is_file()
