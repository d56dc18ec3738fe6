"""Folds side by side: the same bytes as one after another; who fails, who is stopped, and what is told of all."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from foldline.core.cores import SHARE
from foldline.core.paths import Layout
from foldline.core.processes import lock
from foldline.core.records.progress import RunProgress, forget, tell
from foldline.core.run import Run
from foldline.core.stopping import TIED, signals
from foldline.core.tables import read_json
from foldline.engine.scale import side_by_side
from foldline.engine.scale.child import THREADS, Child, environment
from foldline.engine.scale.devices import VISIBLE
from foldline.engine.scale.sharing import WINDOW_SECONDS, Trial
from foldline.engine.scale.side_by_side import FoldsFailedError, Pool, needs_a_trial, places_for
from foldline.engine.scale.unit import Unit
from foldline.report.live.standing import clock, standing
from tiny import RUN, TinyProject

NOT_THE_SAME = ("seconds", "images_per_second", "memory_mb")
OLD_META = Path(__file__).parents[1] / "old_format" / "meta.json"


def test_the_same_bytes_as_one_after_another(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    choices = {**RUN, "train": {**RUN["train"], "folds": [0, 1]}}
    for name in ("one", "two"):
        project.write_yaml(name, choices)
    project.prepare()
    assert project.run("train", "--run", "one") == 0
    alone = capsys.readouterr().out
    assert project.run("train", "--run", "two", "--jobs", "2") == 0
    said = capsys.readouterr().out
    assert "two/0: begins" in said
    assert "trained tiny/two, 2 of 2 folds, 2 at once" in said
    pooled = re.compile(r"[0-9.]+ \(validation rows so far, pooled\)")
    assert pooled.findall(said) == pooled.findall(alone)[-1:], "once, at the end, and as one after another say it"
    folds = [read_json(project.fold(fold, "two") / "meta.json")["score"] for fold in (0, 1)]
    assert "two/0: done in" in said
    assert all(f"; auc {score:.4f}\n" in said for score in folds)
    for name in ("one", "two"):
        assert project.run("predict", "--run", name) == 0
    for file in ("fold_0/model.safetensors", "fold_1/model.safetensors", "fold_0/valid.parquet", "oof.parquet"):
        parts = [(project.layout.run("tiny", name) / file).read_bytes() for name in ("one", "two")]
        assert parts[0] == parts[1], file
    for fold in (0, 1):
        logs = [pd.read_csv(project.fold(fold, name) / "log.csv") for name in ("one", "two")]
        same = [column for column in logs[0] if column not in NOT_THE_SAME]
        assert len(same) > 4
        pd.testing.assert_frame_equal(logs[0][same], logs[1][same], check_exact=True)
        assert "epoch 1: train loss" in (project.fold(fold, "two") / "train.out").read_text()
    assert not list(project.layout.run("tiny", "two").glob("*/progress.json"))


# A child that trains nothing: what it does stands in its folder's `does`.
CHILD = """
import json, os, signal, sys, time
from pathlib import Path
from foldline.core.processes import owner
from foldline.core.stopping import end_with_parent, signals
fold, root, meta = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
folder = root / f"fold_{fold}"
does = (root / f"does_{fold}").read_text().split()
def say(state, steps=10):
    part = {"schema": 1, "process": owner(), "state": state, "fold": fold, "folds": [fold], "epoch": 1, "epochs": 3,
            "step": 2, "steps": steps, "seconds_left": 5.0 + fold, "best": 0.5}
    (folder / "progress.json").write_text(json.dumps(part))
with signals():
    end_with_parent()
    (folder / "began").write_text(f"{time.monotonic()} {os.getpid()}")
    try:
        for one in does:
            if one == "prepares":
                say("preparing", 0)
                time.sleep(0.5)
            elif one == "trains":
                say("training")
                (folder / "trains").write_text(f"{time.monotonic()}")
                time.sleep(0.5)
            elif one == "warns":
                print("warning: the pictures are dark", flush=True)
            elif one == "busy":
                raise SystemExit(2)
            elif one == "lasts":
                time.sleep(60)
            elif one == "fails":
                print("error: the loss is no finite number", file=sys.stderr, flush=True)
                print("\\n".join(f"epoch {i}" for i in range(20)), flush=True)
                raise SystemExit(3)
        (folder / "meta.json").write_text(Path(meta).read_text())
    except KeyboardInterrupt:
        (folder / "resume").write_text("")
        raise SystemExit(143)
"""


@pytest.fixture
def pool_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pool]:
    """A pool of children that do what the words say."""
    monkeypatch.setattr(side_by_side, "WRITE_SECONDS", 0.1)
    monkeypatch.setattr(side_by_side, "LOOK_SECONDS", 0.05)
    folder = Layout(tmp_path).run("tiny", "quick")

    def command(unit: Unit, *_: object) -> list[str]:
        return [sys.executable, "-c", CHILD, str(unit.fold), str(folder), str(OLD_META)]

    monkeypatch.setattr(Unit, "command", command)

    def make(does: list[str], places: int = 2, **options: Any) -> Pool:
        folder.mkdir(parents=True, exist_ok=True)
        for fold, words in enumerate(does):
            (folder / f"does_{fold}").write_text(words)
        units = [Unit("tiny", "quick", fold) for fold in range(len(does))]
        return Pool(Layout(tmp_path), units, [""] * places, **options)

    return make


def test_a_fold_that_fails_ends_no_other(
    tmp_path: Path, pool_of: Callable[..., Pool], capsys: pytest.CaptureFixture[str]
) -> None:
    pool = pool_of(["warns trains", "warns fails", "trains"], alone=False)
    with pytest.raises(FoldsFailedError) as raised:
        pool.train()
    assert raised.value.exit_code == 3
    assert raised.value.what.startswith("1 of 3 folds failed, 2 are finished\n    fold 1, the loss is no ")
    assert "the loss is no finite number (exit code 3 after " in raised.value.what
    assert "error: the loss is no finite number" not in raised.value.what, "its last lines are epochs alone"
    assert "      epoch 19" in raised.value.what
    assert raised.value.where == str(tmp_path / "oof" / "tiny" / "quick" / "fold_1" / "train.out")
    said = capsys.readouterr().out
    assert said.count("the pictures are dark") == 1, "two folds say so alike"
    told = RunProgress.read(pool.folder / "progress.json")
    assert (told.state, told.folds_done, told.running) == ("failed", [0, 2], [])


def test_a_fold_that_another_process_trains_is_waited_for_and_not_failed(
    pool_of: Callable[..., Pool], capsys: pytest.CaptureFixture[str]
) -> None:
    """Fold 0 is held before it begins, fold 1 while its child makes ready; fold 2 is held and then given up."""
    pool = pool_of(["fails", "prepares busy", "trains"], places=1, alone=False)
    folders = [pool.folder / f"fold_{fold}" for fold in range(3)]

    def other() -> None:
        with ExitStack() as held:
            for fold in (0, 2):
                held.enter_context(lock(folders[fold] / ".lock", "is being trained"))
            held_all.set()
            while not (folders[1] / "began").is_file():
                time.sleep(0.01)
            held.enter_context(lock(folders[1] / ".lock", "is being trained"))
            while len(pool.elsewhere) < 3:
                time.sleep(0.01)
            for folder in folders[:2]:
                (folder / "meta.json").write_text(OLD_META.read_text())
                (folder / "model.safetensors").write_text("")

    held_all = threading.Event()
    trains = threading.Thread(target=other)
    trains.start()
    assert held_all.wait(10)
    pool.train()
    trains.join(10)
    assert not (folders[0] / "began").exists(), "no child was started"
    assert ([unit.fold for unit in pool.theirs], [child.unit.fold for child in pool.done]) == ([0, 1], [2])
    said = capsys.readouterr().out
    for fold in range(3):
        assert f"quick/{fold}: is trained by process {os.getpid()} on " in said
    assert "warning: quick/2: the process that trained it has ended before the fold was finished" in said
    assert "; by other processes: fold 0, 1" in said
    assert "failed" not in said
    assert RunProgress.read(pool.folder / "progress.json").folds_done == [0, 1, 2]


def test_what_a_child_says_is_its_own_where_another_command_starts_one_of_the_same_fold(tmp_path: Path) -> None:
    def started(word: str) -> Child:
        says = f"import time; print('{word} 1', flush=True); input(); print('{word} 2'); input()"
        unit = SimpleNamespace(command=lambda _: [sys.executable, "-c", says])
        return Child(unit, tmp_path, tmp_path / "fold_0", dict(os.environ))  # type: ignore[arg-type]

    one = started("first")
    heard: list[str] = []
    while heard != ["first 1"]:
        heard += one.news()
    other = started("second")
    while not other.out.stat().st_size:
        time.sleep(0.01)
    for child in (one, other):
        child._process.communicate(b"\n\n")
        child.wait()
    assert (one.news(), one.last_lines().split()) == (["first 2"], ["first", "1", "first", "2"])
    assert other.news() == ["second 1", "second 2"]
    assert other.out.read_text() == "second 1\nsecond 2\n"


def test_what_is_timed_is_timed_by_a_fold_that_is_alone(pool_of: Callable[..., Pool]) -> None:
    pool = pool_of(["prepares trains", "trains", "trains"], places=3)
    pool.train()
    begun = [float((pool.folder / f"fold_{fold}" / "began").read_text().split()[0]) for fold in range(3)]
    assert min(begun[1:]) > float((pool.folder / "fold_0" / "trains").read_text()) > begun[0]


def test_one_progress_for_all_that_train(pool_of: Callable[..., Pool]) -> None:
    pool = pool_of(["trains trains trains", "trains trains trains"], alone=False)
    seen: list[Any] = []

    def watch() -> None:
        while not seen:
            found = RunProgress.now(pool.folder / "progress.json")
            if found is not None and len(found.running) == 2:
                seen.append(found)
                seen.append(standing(pool.layout, "tiny", "quick", [], [0, 1], True))
                seen.append(clock(pool.layout, "tiny", "quick"))
            time.sleep(0.02)

    watching = threading.Thread(target=watch)
    watching.start()
    pool.train()
    watching.join(10)
    told, stands, shown = seen
    assert [(one.fold, one.epoch, one.best) for one in told.running] == [(0, 1, 0.5), (1, 1, 0.5)]
    assert told.folds == [0, 1]
    assert told.seconds_left == 6.0
    assert stands.kind == "training"
    assert stands.can_pause
    assert [one["fold"] for one in shown["running"]] == [0, 1]


def test_a_signal_stops_all_children_politely(pool_of: Callable[..., Pool]) -> None:
    pool = pool_of(["trains lasts", "trains lasts", "trains"], alone=False)

    def asked() -> None:
        while not all((pool.folder / f"fold_{fold}" / "trains").is_file() for fold in (0, 1)):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    asks = threading.Thread(target=asked)
    asks.start()
    with signals(), pytest.raises(KeyboardInterrupt):
        pool.train()
    asks.join()
    assert all((pool.folder / f"fold_{fold}" / "resume").is_file() for fold in (0, 1))
    assert not (pool.folder / "fold_2").exists()
    assert RunProgress.read(pool.folder / "progress.json").state == "stopped"


PARENT = """
import sys
from pathlib import Path
from foldline.core.paths import Layout
from foldline.engine.scale.side_by_side import Pool
from foldline.engine.scale.unit import Unit
child, root, meta = sys.argv[1:]
layout = Layout(Path(root))
folder = layout.run("tiny", "quick")
Unit.command = lambda unit, *_: [sys.executable, "-c", child, str(unit.fold), str(folder), meta]
Pool(layout, [Unit("tiny", "quick", fold) for fold in (0, 1)], ["", ""], alone=False).train()
"""


def test_children_end_where_their_parent_is_killed(tmp_path: Path, pool_of: Callable[..., Pool]) -> None:
    folder = pool_of(["trains lasts", "trains lasts"]).folder
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD, str(tmp_path), str(OLD_META)])
    marks = [folder / f"fold_{fold}" / "trains" for fold in (0, 1)]
    until = time.monotonic() + 60
    while not all(mark.is_file() for mark in marks) and time.monotonic() < until:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while not all(mark.with_name("resume").is_file() for mark in marks) and time.monotonic() < until:
        time.sleep(0.05)
    assert all(mark.with_name("resume").is_file() for mark in marks)


def test_a_child_is_told_its_part_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(THREADS, raising=False)
    told = environment("GPU-1", 2, 9)
    assert (told[VISIBLE], told[THREADS], told[SHARE], told[TIED]) == ("GPU-1", "4", "4", "1")
    assert THREADS not in environment("", 1, 9)
    assert environment("", 4, 2)[THREADS] == "1"
    monkeypatch.setenv(THREADS, "3")
    assert environment("", 2, 9)[THREADS] == "3", "bytes depend on it, so the user's word counts"


def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    def places(jobs: int | str, gpus: list[str], folds: int = 5) -> tuple[list[str], bool]:
        monkeypatch.setattr(side_by_side, "gpus_for", lambda _: gpus)
        found, trial = places_for(jobs, "auto", folds)
        return found, trial is not None

    assert places("auto", []) == ([""], False)
    assert places("auto", ["a", "b"]) == (["a", "b"], False)
    assert places("auto", list("abcdefg")) == (list("abcde"), False)
    assert places("auto", ["a"]) == (["a"] * 4, True)
    assert places(3, ["a", "b"]) == (["a", "b", "a"], False)
    assert places(3, [], folds=2) == (["", ""], False)
    assert places(1, ["a", "b"]) == places("auto", ["a", "b"], folds=1) == ([""], False)


def test_what_needs_a_trial(tmp_path: Path) -> None:
    layout, fixed = Layout(tmp_path), Run.model_validate(RUN)
    auto = Run.model_validate({**RUN, "train": {**RUN["train"], "precision": "auto"}})
    assert needs_a_trial(layout, "tiny", "quick", auto, on_gpu=False)
    assert needs_a_trial(layout, "tiny", "quick", fixed, on_gpu=True)
    assert not needs_a_trial(layout, "tiny", "quick", fixed, on_gpu=False)
    known = layout.run("tiny", "quick") / "precision.json"
    known.parent.mkdir(parents=True)
    known.write_text("{}")
    assert not needs_a_trial(layout, "tiny", "quick", auto, on_gpu=True)


@pytest.mark.parametrize(("together", "allowed"), [((10.0, 9.0, 8.0), 4), ((10.0, 9.0, 3.0), 2), ((10.0, 5.1), 1)])
def test_a_gpu_takes_so_many_folds_as_pay(together: tuple[float, ...], allowed: int) -> None:
    """Each of so many folds at once does so many steps a second; where three pay, a fourth is tried."""
    trial, now, steps = Trial(), 0.0, [0.0] * 4
    for _ in range(200):
        running = min(trial.allowed, len(together))
        for fold in range(running):
            steps[fold] += 2 * together[running - 1]
        now += 2.0
        trial.see({fold: int(steps[fold]) for fold in range(running)}, now, lambda: 0.1 * len(together))
    assert trial.allowed == allowed
    assert trial.rates[0] == pytest.approx(10.0, rel=0.05)
    assert WINDOW_SECONDS > 2


def test_two_processes_that_nobody_joins_tell_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def says(who: str, fold: int, state: str = "training") -> None:
        monkeypatch.setattr("foldline.core.records.progress.owner", lambda: who)
        mine = {"process": who, "state": state, "fold": fold, "folds": [fold], "seconds_left": 10.0 * fold, "epoch": 1}
        tell(tmp_path, RunProgress.model_validate(mine), tmp_path / f"fold_{fold}")

    alive = {"first", "second"}
    monkeypatch.setattr("foldline.core.records.progress.is_gone", lambda _, who: who not in alive)
    says("first", 1)
    says("second", 2)
    says("first", 1)
    told = json.loads((tmp_path / "progress.json").read_text())
    assert (told["process"], told["folds"], told["seconds_left"]) == ("first", [1, 2], 20.0)
    assert [one["fold"] for one in told["running"]] == [1, 2]
    alive.remove("first")
    now = RunProgress.now(tmp_path / "progress.json")
    assert now is not None
    assert (now.state, now.fold, now.folds) == ("training", 2, [2]), "the other one goes on"
    says("second", 2)
    told = json.loads((tmp_path / "progress.json").read_text())
    assert (told["process"], told.get("running", [])) == ("second", [])
    assert not (tmp_path / "fold_2" / "progress.json").exists()
    forget(tmp_path / "fold_1")
