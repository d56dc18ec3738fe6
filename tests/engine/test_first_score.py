"""The first score, where a training stands, and a pause."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from foldline.core.records.first_score import FirstScore
from foldline.core.records.progress import RunProgress
from foldline.core.run import load_run
from foldline.core.tables import sha256_file
from foldline.engine import first_score, forecast, teller
from foldline.engine.first_score import in_words, probe_oof
from foldline.engine.problem import open_problem
from foldline.engine.starting_weights import make_starting_weights
from foldline.engine.teller import Teller
from tiny import RUN, TinyProject


@pytest.fixture
def ready(project: TinyProject) -> TinyProject:
    train = {**RUN["train"], "probe": {"c": 1e-4, "views": ["identity", "hflip"]}}
    project.write_yaml("quick", {**RUN, "train": train})
    project.prepare()
    return project


def test_the_first_score_is_that_of_the_start_out_of_fold(
    ready: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready.run("train", "--fold", "0", "--log", "json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    first, last = (event for event in events if event["event"] == "result")
    assert first["text"].endswith("after the start; fine-tuning goes on")
    assert "fold 0, in" in last["text"]
    record = FirstScore.read(ready.layout.first_score("tiny", "quick"))
    run = load_run(ready.layout, "tiny", "quick", [])
    problem = open_problem(ready.layout, "tiny", run, torch.device("cpu"))
    start = make_starting_weights(problem, [0, 1, 2])
    bright, truth = [], []
    for fold in range(3):
        logits = start.valid_logits(problem, fold)
        assert list(logits) == ["identity", "hflip"]
        bright.append(np.mean([torch.from_numpy(x).softmax(1)[:, 1].numpy() for x in logits.values()], axis=0))
        truth.append(problem.truth[problem.own(fold, train=False)])
    by_hand = roc_auc_score(np.concatenate(truth), np.concatenate(bright))
    assert record.score == pytest.approx(by_hand, abs=1e-6) == first["score"]
    assert (record.rows, record.of_rows, record.folds) == (72, 72, 3), "all folds, though one was trained"
    assert record.interval[0] is not None
    assert record.interval[0] <= by_hand
    assert sorted(probe_oof(problem, start, [1])["fold"].unique()) == [1]
    stands = RunProgress.now(ready.layout.progress("tiny", "quick"))
    assert stands is not None
    assert (stands.state, stands.folds, stands.folds_done, stands.metric) == ("finished", [0], [0], "auc")


def test_where_all_features_take_long_a_sample_is_scored_first(
    ready: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(first_score, "MOST_SECONDS", 0.0)
    monkeypatch.setattr(first_score, "FEWEST_ROWS", 30)
    monkeypatch.setattr(first_score, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(forecast, "FEWEST_STEPS", 0)
    assert ready.run("train", "--fold", "0") == 0
    some, whole = (line for line in capsys.readouterr().out.splitlines() if line.startswith("first score"))
    assert ", 30 of 72 rows, " in some
    assert some.endswith("after the start")
    assert ", 72 rows, " in whole
    assert FirstScore.read(ready.layout.first_score("tiny", "quick")).rows == 72


def test_the_words_say_how_many_rows_are_scored() -> None:
    record = FirstScore(metric="auc", score=0.87123, interval=(0.853, 0.888), rows=394, of_rows=1968, folds=1,
                        seconds=41.2, how="out of fold, frozen features + linear probe")  # fmt: skip
    assert in_words(record, goes_on=True) == (
        "first score: auc 0.8712 (95 % interval 0.8530 to 0.8880), out of fold, frozen features + linear probe, "
        "394 of 1,968 rows, 41 s after the start; fine-tuning goes on"
    )


def paused(monkeypatch: pytest.MonkeyPatch, project: TinyProject, what: Callable[[], object]) -> list[str]:
    """Somebody presses pause at once; `what` happens while training stands. Gives the states that were written."""
    states: list[str] = []
    file, wait = project.layout.pause("tiny", "quick"), Teller.wait

    def press(self: Teller) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    def waiting(self: Teller, asked_to_end: Callable[[], bool]) -> None:
        assert (project.fold(0) / "resume").is_file(), "a resume point comes before the pause"

        def sleep(_: float) -> None:
            found = RunProgress.now(project.layout.progress("tiny", "quick"))
            assert found is not None
            states.append(found.state)
            what()

        wait(self, asked_to_end, sleep)

    monkeypatch.setattr(teller, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(Teller, "forget_pause", press)
    monkeypatch.setattr(Teller, "wait", waiting)
    return states


def test_a_pause_changes_no_bit_and_a_kill_in_it_loses_nothing(
    ready: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ready.run("train", "--fold", "0") == 0
    plain = sha256_file(ready.fold(0) / "model.safetensors")
    (ready.fold(0) / "meta.json").unlink()
    file = ready.layout.pause("tiny", "quick")
    with monkeypatch.context() as patch:
        states = paused(patch, ready, file.unlink)
        assert ready.run("train", "--fold", "0") == 0
    assert states == ["paused"]
    assert sha256_file(ready.fold(0) / "model.safetensors") == plain
    (ready.fold(0) / "meta.json").unlink()
    with monkeypatch.context() as patch:
        paused(patch, ready, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert ready.run("train", "--fold", "0") == 143
    found: Any = RunProgress.now(ready.layout.progress("tiny", "quick"))
    assert found.state == "stopped"
    assert ready.run("train", "--fold", "0") == 0, "the old pause is over"
    assert not file.exists()
    assert sha256_file(ready.fold(0) / "model.safetensors") == plain
