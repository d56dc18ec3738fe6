"""Variables that make is given: one that nothing reads is no small thing, it is a night of another training."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def planned(place: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", "-n", *words]
    return subprocess.run(command, cwd=place, env=alone, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "unread"),
    [
        (["train", "FOLD=1", "EPOCHS=3"], "EPOCHS"),
        (["train", "fold=1"], "fold"),
        (["predict", "RUNS=a b", "COMP=x"], "RUNS"),
        (["train-all", "MEMORY=3"], "MEMORY"),
        (["train", "train.epochs=3"], "train.epochs"),
    ],
)
def test_a_variable_that_no_goal_reads_stops_it(place: Path, words: list[str], unread: str) -> None:
    made = planned(place, *words)
    assert made.returncode == 2
    assert made.stdout.startswith(f"error: {unread}: nothing in 'make {words[0]}' reads it")
    assert "foldline train" not in made.stdout


@pytest.mark.parametrize(
    ("words", "begun"),
    [
        (["train", "FOLD=1", 'SET=train.epochs=3 "a b"', "NAME=it's"], "--fold 1"),
        (["ensemble", "RUNS=a b", "JOBS=auto"], "--jobs auto"),
        (["train-all", "ON=ray", "MEMORY=3"], "--memory 3"),
        (["ledger", "COMP=x"], "ledger --comp x"),
        (["install", "CPU=1"], "venv"),
    ],
)
def test_what_is_read_passes(place: Path, words: list[str], begun: str) -> None:
    made = planned(place, *words)
    assert made.returncode == 0, made.stderr
    assert begun in made.stdout


def test_what_is_planned_already_does_not_count(place: Path, tmp_path: Path) -> None:
    """The fold is trained and predicted, so that nothing is left that would read JOBS: it is no mistake."""
    done = tmp_path / "done"
    shutil.copytree(place, done)
    for name in ("oof/elpv/baseline/cv.json", "folds/elpv.csv", "input/elpv/manifest.json"):
        (done / name).parent.mkdir(parents=True, exist_ok=True)
        (done / name).touch()
    made = planned(done, "ensemble", "JOBS=2")
    assert made.returncode == 0
    assert "foldline train" not in made.stdout


def test_an_unknown_goal_is_what_is_wrong(place: Path) -> None:
    assert "No rule to make target 'trian'" in planned(place, "trian", "FOLD=1").stderr
