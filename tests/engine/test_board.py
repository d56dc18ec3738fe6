"""The display of many units: what it says of each, and how the command ends."""

import json

import pytest

from foldline.core.errors import FoldlineError
from foldline.core.printer import printing
from foldline.engine.scale.board import Board, event_of
from foldline.engine.scale.unit import Unit

UNITS = [Unit("elpv", "baseline", 0), Unit("elpv", "baseline", 1), Unit("elpv", "big", 0, name="big-2")]


def test_all_units_in_one_display(capsys: pytest.CaptureFixture[str]) -> None:
    with printing(), Board(UNITS, finished=UNITS[2:]) as board:
        board.begin(UNITS[0], "cuda:0")
        board.begin(UNITS[1])
        board.hear(UNITS[0], {"event": "line", "text": "warning: slow"})
        board.hear(UNITS[0], {"event": "progress", "job": {"epoch": 2, "epochs": 5, "seconds_left": 120.0}})
        assert board.words() == "2 at work (baseline/0 epoch 2 of 5, 2.0 min left, baseline/1) · 1 of 3 folds done"
        board.end(UNITS[0], "done")
        board.wait_again(UNITS[1], "its machine was lost")
        assert board.words() == "0 at work · 2 of 3 folds done"
        board.elsewhere(UNITS[1], "process 7 on gpu07")
        assert board.words() == "0 at work, 1 at work elsewhere · 2 of 3 folds done"
        board.end(UNITS[1], "failed", FoldlineError("a label is missing", next="mend it"))
        assert board.facts()["units"]["big-2/0"]["state"] == "finished before"
        board.say_end()
        with pytest.raises(FoldlineError, match="baseline/1: a label is missing"):
            board.require_done("make train-all")
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == ["baseline/0: begins on cuda:0", "baseline/1: begins", "warning: baseline/0: slow"]
    assert said[-1].split() == ["big-2/0", "finished", "before"]
    assert sum("failed" in line for line in said) == 2


def test_what_was_stopped_ends_as_by_a_signal_and_several_failures_are_one() -> None:
    with printing(quiet=True), Board(UNITS[:2]) as board:
        board.end(UNITS[0], "failed", FoldlineError("too few rows"))
        with pytest.raises(KeyboardInterrupt):  # the other one never began
            board.require_done("again")
        board.end(UNITS[1], "failed", FoldlineError("too few rows"))
        with pytest.raises(FoldlineError, match="2 of 2 failed: too few rows"):
            board.require_done("again")


def test_lines_of_programs_come_with_their_unit(capsys: pytest.CaptureFixture[str]) -> None:
    with printing(as_json=True), Board(UNITS[:1]) as board:
        board.hear(UNITS[0], event_of('{"event": "line", "text": "  fold 0, epoch 1"}'))
    found = json.loads(capsys.readouterr().out)
    assert (found["text"], found["run"], found["fold"]) == ("baseline/0: fold 0, epoch 1", "baseline", 0)
    assert event_of("Traceback (most recent call last):") == {} == event_of('"event"')
