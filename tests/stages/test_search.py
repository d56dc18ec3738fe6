"""The stage `search`: with a fake training whose best settings are known, and once with the real one."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.run import Run, load_run
from foldline.core.search import OnEpoch, load_search
from foldline.core.tables import read_csv, read_json, write_csv, write_json
from foldline.core.task import TASKS
from foldline.core.yaml_models import load_yaml
from foldline.stages.search import search
from old_records import old
from report.made_runs import COMP, make_run
from tiny import TinyProject

BASE = {"optim": {"lr": 0.1}, "train": {"epochs": 6}}
RANGES = {
    "optim.lr": {"low": 1e-4, "high": 1.0, "log": True},
    "model.name": ["resnet18", "resnet34"],
    "model.drop_rate": {"low": 0.0, "high": 0.5, "step": 0.1},
}
SEARCH = {"base": "base", "trials": 20, "prune": {"method": "none"}, "ranges": RANGES}


class FakeTraining:
    """Writes what a training writes; the best score, 1, is at lr 0.01, drop_rate 0.2, resnet34."""

    def __init__(self, before: Callable[[str, int], None] = lambda name, epoch: None, sign: float = 1.0) -> None:
        self.before = before
        self.sign = sign
        self.trained: dict[str, Run] = {}
        self.epochs: dict[str, int] = {}

    def __call__(
        self, layout: Layout, comp: str, name: str, run: Run, folds: list[int], device: str, *, on_epoch: OnEpoch
    ) -> None:
        self.trained[name] = run
        for fold in folds:
            folder = layout.fold(comp, name, fold)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "model.safetensors").write_bytes(b"weights")
            (folder / "resume").write_bytes(b"resume")
            write_csv(folder / "log.csv", pd.DataFrame({"epoch": [0]}))
            for epoch in range(run.train.epochs + 1):
                self.before(name, epoch)
                self.epochs[name] = epoch
                on_epoch(fold, epoch, self.score(run) * epoch / run.train.epochs)
            write_json(folder / "meta.json", old("meta", score=self.score(run) - 0.01 * fold))

    def score(self, run: Run) -> float:
        away = (math.log10(run.optim.lr) + 2) ** 2 + 4 * (run.model.drop_rate - 0.2) ** 2
        return self.sign * (1 - 0.1 * away - (0.2 if run.model.name == "resnet18" else 0.0))


@pytest.fixture(autouse=True)
def _hasty_sqlite() -> Iterator[None]:
    """Thirty commits a trial that each wait for the disk are most of these tests' time."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def connected(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", connected)
    yield
    event.remove(Engine, "connect", connected)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = make_run(tmp_path, TASKS["binary"])
    write(layout, "base", BASE)
    return layout


def write(layout: Layout, name: str, content: dict[str, Any]) -> None:
    path = layout.run_config(COMP, name)
    path.write_text(yaml.safe_dump(content))


def write_search(layout: Layout, name: str = "tune", **changes: Any) -> None:
    write(layout, f"{name}.search", {**SEARCH, **changes})


def trials(layout: Layout, name: str = "tune") -> pd.DataFrame:
    return read_csv(layout.run(COMP, name) / "search.csv")


def test_finds_the_best_region_and_writes_a_run(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    write_search(layout)
    training = FakeTraining()
    search(layout, COMP, "tune", train=training)
    assert len(training.trained) == len(trials(layout)) == 20
    first = training.trained["tune-0"]
    assert (first.optim.lr, first.model.name) == (0.1, "resnet18"), "the base's own settings come first"
    won = load_run(layout, COMP, "tune", [])
    assert 0.002 < won.optim.lr < 0.05
    assert won.model.name == "resnet34"
    assert won.model.drop_rate in (0.0, 0.1, 0.2, 0.3, 0.4)
    assert won.train.epochs == 6, "what is not searched is the base's"
    scores = {name: training.score(run) for name, run in training.trained.items()}
    best = max(scores, key=lambda name: scores[name])
    assert training.trained[best] == won
    head = layout.run_config(COMP, "tune").read_text().splitlines()[:4]
    assert head[0].startswith("# Found by `make search SEARCH=tune` from base.yaml: trial ")
    assert "the best of 20 (0 given up early, 0 failed)" in head[0]
    assert f"auc {scores[best]:.4f} on fold 0; with base's own settings {scores['tune-0']:.4f}" in head[1]
    assert "optimistic" in head[2]
    assert "the winner: configs/made/tune.yaml" in capsys.readouterr().out


def test_less_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["regression"])
    write(layout, "base", BASE)
    write_search(layout, trials=8)
    training = FakeTraining(sign=-1.0)
    search(layout, COMP, "tune", train=training)
    assert load_run(layout, COMP, "tune", []) == min(training.trained.values(), key=training.score)


def test_only_the_best_trial_keeps_its_weights(layout: Layout) -> None:
    write_search(layout, trials=8)
    training = FakeTraining()
    search(layout, COMP, "tune", train=training)
    scores = {name: training.score(run) for name, run in training.trained.items()}
    best = max(scores, key=lambda name: scores[name])
    kept = {path.parents[1].name for path in layout.runs(COMP).glob("tune-*/fold_0/model.safetensors")}
    assert kept == {best}
    assert len(list(layout.runs(COMP).glob("tune-*/fold_0/log.csv"))) == 8
    assert len(list(layout.runs(COMP).glob("tune-*/fold_0/resume"))) == 1


def test_a_stopped_search_goes_on(layout: Layout) -> None:
    write_search(layout, "whole", trials=14)
    undisturbed = FakeTraining()
    search(layout, COMP, "whole", train=undisturbed)
    write_search(layout, trials=14)

    def stop(name: str, epoch: int) -> None:
        if name == "tune-12" and epoch == 3:
            raise KeyboardInterrupt

    first, second = FakeTraining(stop), FakeTraining()
    with pytest.raises(KeyboardInterrupt):
        search(layout, COMP, "tune", train=first)
    assert not layout.run_config(COMP, "tune").is_file()
    search(layout, COMP, "tune", train=second)
    assert list(first.trained) == [f"tune-{i}" for i in range(13)]
    assert list(second.trained) == ["tune-13", "tune-14"]
    assert second.trained["tune-13"] == first.trained["tune-12"], "the same settings are tried again"
    states = trials(layout)["state"].tolist()
    assert (states.count("complete"), states.count("interrupted"), states[12]) == (14, 1, "interrupted")
    assert not (layout.fold(COMP, "tune-12", 0) / "resume").is_file()
    tried = [run for name, run in (first.trained | second.trained).items() if name != "tune-12"]
    assert tried == list(undisturbed.trained.values()), "being stopped changes nothing"
    third = FakeTraining()
    search(layout, COMP, "tune", train=third)
    assert third.trained == {}, "a search that is finished trains nothing"
    write_search(layout, trials=15)
    search(layout, COMP, "tune", train=third)
    assert len(third.trained) == 1


def test_the_base_is_tried_again_too(layout: Layout) -> None:
    def stop(name: str, epoch: int) -> None:
        raise KeyboardInterrupt

    write_search(layout, trials=2)
    for _ in range(2):  # stopped twice
        with pytest.raises(KeyboardInterrupt):
            search(layout, COMP, "tune", train=FakeTraining(stop))
    training = FakeTraining()
    search(layout, COMP, "tune", train=training)
    assert list(training.trained) == ["tune-2", "tune-3"]
    assert training.trained["tune-2"].optim.lr == 0.1
    assert "with base's own settings" in layout.run_config(COMP, "tune").read_text()


def test_trials_that_fall_behind_are_given_up(layout: Layout) -> None:
    write_search(layout, prune={"method": "median", "warmup": 2, "after_trials": 3})
    training = FakeTraining()
    search(layout, COMP, "tune", train=training)
    table = trials(layout)
    given_up = table[table["state"] == "given up"]
    assert len(given_up) >= 3
    assert (given_up["score"] == "").all()
    assert set(given_up["epochs"].astype(int)) == {3}, "not in the warm-up, and no later than seen"
    assert not [name for name in given_up["run"] if training.epochs[name] > 3]
    assert len(training.trained) == 20, "those count as trials"
    assert f"({len(given_up)} given up early" in layout.run_config(COMP, "tune").read_text()
    assert 0.002 < load_run(layout, COMP, "tune", []).optim.lr < 0.05


def test_hyperband_gives_up_too(layout: Layout) -> None:
    write_search(layout, prune={"method": "hyperband", "warmup": 1}, trials=12)
    search(layout, COMP, "tune", train=FakeTraining())
    assert (trials(layout)["state"] == "given up").any()


def test_the_score_is_the_mean_of_the_folds(layout: Layout) -> None:
    write_search(layout, folds=[2, 0], trials=1)
    training = FakeTraining()
    search(layout, COMP, "tune", train=training)
    assert float(trials(layout)["score"][0]) == pytest.approx(training.score(training.trained["tune-0"]) - 0.01)
    assert "on the mean of folds 2, 0" in layout.run_config(COMP, "tune").read_text()


def test_settings_are_not_trained_twice(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    write_search(layout, ranges={"model.name": ["resnet18", "resnet34"], "train.freeze": [[], ["fc"]]}, trials=12)
    training = FakeTraining()
    search(layout, COMP, "tune", train=training)
    assert len(training.trained) == 4
    assert len(trials(layout)) == 12
    assert "the same settings" in capsys.readouterr().out


def test_a_training_that_fails_is_a_lost_trial(layout: Layout) -> None:
    def fail(name: str, epoch: int) -> None:
        if name in ("tune-1", "tune-2", "tune-4"):
            raise FoldlineError("the loss is not finite", where="fold 0")

    write_search(layout, trials=6)
    search(layout, COMP, "tune", train=FakeTraining(fail))
    assert trials(layout)["state"].tolist()[1] == "failed: the loss is not finite"
    assert "3 failed" in layout.run_config(COMP, "tune").read_text()


def test_three_failures_in_a_row_stop_the_search(layout: Layout) -> None:
    def fail(name: str, epoch: int) -> None:
        raise FoldlineError("no pictures", where="input/", next="make download")

    write_search(layout, trials=6)
    broken, mended = FakeTraining(fail), FakeTraining()
    with pytest.raises(FoldlineError, match="3 trainings in a row failed, the last one: no pictures") as caught:
        search(layout, COMP, "tune", train=broken)
    assert caught.value.next == "make download"
    search(layout, COMP, "tune", train=mended)
    assert list(mended.trained.values())[:3] == list(broken.trained.values()), "they are tried again"


def test_a_bug_keeps_its_traceback(layout: Layout) -> None:
    def crash(name: str, epoch: int) -> None:
        raise ZeroDivisionError

    write_search(layout, trials=3)
    with pytest.raises(ZeroDivisionError):
        search(layout, COMP, "tune", train=FakeTraining(crash))
    search(layout, COMP, "tune", train=FakeTraining())
    assert trials(layout)["state"].tolist().count("complete") == 3


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ({"optim.lrr": [1]}, "unknown setting 'optim.lrr'"),
        ({"optm.lr": [1]}, "unknown setting 'optm.lr'"),
        ({"optim.lr": {"low": 0, "high": 1}}, "optim.lr': Input should be greater than 0"),
        ({"optim.lr": {"low": 0.0, "high": 1.0, "log": True}}, "log needs low above 0"),
        ({"optim.lr": {"low": 1.0, "high": 0.1}}, "low must be below high"),
        ({"optim.lr": {"low": 0.1}}, "needs low and high"),
        ({"optim.lr": {"low": 0.1, "hihg": 1.0}}, "hihg"),
        ({"optim.lr.max": {"low": 0.1, "high": 1.0}}, "optim.lr"),
        ({"model.name": {"low": 1, "high": 2}}, "'model.name' is no number"),
        ({"train.epochs": {"low": 1.0, "high": 2.5}}, "'train.epochs' takes whole numbers"),
        ({"train.batch_norm": ["train", "forzen"]}, "train.batch_norm"),
        ({"seed": [0, 1, 2]}, "the best seed of many is luck"),
        ({"train.folds": [[0], [1]]}, "train.folds"),
        ({}, "ranges"),
    ],
)
def test_a_broken_range_is_told_before_any_training(layout: Layout, ranges: dict[str, Any], words: str) -> None:
    write_search(layout, ranges=ranges)
    training = FakeTraining()
    with pytest.raises(FoldlineError) as caught:
        search(layout, COMP, "tune", train=training)
    assert words in str(caught.value)
    assert "tune.search.yaml" in str(caught.value)
    assert training.trained == {}
    assert not (layout.run(COMP, "tune") / "search.db").is_file()


def test_whole_numbers_and_fractions_follow_the_setting(layout: Layout) -> None:
    """{low: 0, high: 1} for a rate must not mean 0 or 1."""
    ranges: dict[str, Any] = {
        "optim.weight_decay": {"low": 0, "high": 1},
        "data.image_size": {"low": 32, "high": 70, "step": 16},
    }
    ranges |= {"optim.options.momentum": {"low": 0.1, "high": 0.9}}
    write_search(layout, ranges=ranges, trials=8)
    training = FakeTraining()
    search(layout, COMP, "tune", train=training)
    decays = {run.optim.weight_decay for run in training.trained.values()}
    assert len(decays - {0, 1}) > 3
    assert {run.data.image_size for run in training.trained.values()} <= {32, 48, 64}
    assert all(0.1 <= run.optim.options["momentum"] <= 0.9 for run in training.trained.values())


def test_a_changed_search_is_refused(layout: Layout) -> None:
    write_search(layout, trials=2)
    search(layout, COMP, "tune", train=FakeTraining())
    write_search(layout, trials=3, ranges=RANGES | {"model.name": ["resnet18"]})
    with pytest.raises(FoldlineError, match=r"the search began with other settings: search\.ranges\.model\.name"):
        search(layout, COMP, "tune", train=FakeTraining())
    write_search(layout, trials=3)
    write(layout, "base", BASE | {"seed": 4})
    with pytest.raises(FoldlineError, match=r"base\.seed: None -> 4"):
        search(layout, COMP, "tune", train=FakeTraining())


def test_a_persons_run_file_is_never_overwritten(layout: Layout) -> None:
    write_search(layout, trials=1)
    write(layout, "tune", {"seed": 3})
    with pytest.raises(FoldlineError, match="would overwrite this run file"):
        search(layout, COMP, "tune", train=FakeTraining())
    write_search(layout, "base", trials=1)
    with pytest.raises(FoldlineError, match="would overwrite this run file"):
        search(layout, COMP, "base", train=FakeTraining())


def test_folders_of_an_earlier_search_are_not_taken_over(layout: Layout) -> None:
    write_search(layout, trials=1)
    layout.run(COMP, "tune-3").mkdir()
    layout.run(COMP, "tune-wide").mkdir()
    with pytest.raises(FoldlineError, match=r"names that this search gives to its trials: tune-3\n"):
        search(layout, COMP, "tune", train=FakeTraining())


def test_folds_that_do_not_exist(layout: Layout) -> None:
    for folds in ([3], [0, 0]):
        write_search(layout, folds=folds)
        with pytest.raises(FoldlineError, match="no such folds"):
            search(layout, COMP, "tune", train=FakeTraining())


def test_search_files_are_no_runs(layout: Layout) -> None:
    write_search(layout)
    with pytest.raises(FoldlineError, match="unknown run 'nothing'") as caught:
        load_run(layout, COMP, "nothing", [])
    assert caught.value.next.startswith("known: base, baseline;")
    assert load_search(layout, COMP, "tune").ranges["optim.lr"].log
    assert "tune" not in load_yaml(layout.search_config(COMP, "tune"))


def test_through_the_real_training(project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained, stopped in the middle by its watcher, given up by the pruner, and the winner trained as a run."""
    from foldline.stages.search_book import Book

    project.prepare()
    ranges = {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    content = {"base": "quick", "trials": 3, "folds": [1], "ranges": ranges, "prune": {"warmup": 0, "after_trials": 1}}
    project.write_yaml("tune.search", content)
    seen: list[tuple[int, int]] = []

    def falls_behind(book: Book, trial: Any, epoch: int, score: float) -> bool:
        seen.append((trial.number, epoch))
        if trial.number == 0:
            raise KeyboardInterrupt
        return bool(trial.number == 2)

    monkeypatch.setattr(Book, "falls_behind", falls_behind)
    assert project.run("search", "--search", "tune") == 130
    assert project.run("search", "--search", "tune", "--device", "cpu") == 0
    assert seen == [(0, 1), (1, 1), (1, 2), (2, 1), (3, 1), (3, 2)]
    table = read_csv(project.layout.run("tiny", "tune") / "search.csv")
    assert table["state"].tolist() == ["interrupted", "complete", "given up", "complete"]
    assert len(read_csv(project.fold(1, "tune-2") / "log.csv")) == 2, "epoch 0 and 1 were logged"
    assert not list(project.fold(1, "tune-2").glob("*.safetensors"))
    assert not (project.fold(1, "tune-2") / "resume").is_file()
    assert project.run("train", "--run", "tune", "--fold", "1") == 0
    won = table[table["state"] == "complete"].astype({"score": float}).sort_values("score", kind="stable").iloc[-1]
    own = read_json(project.fold(1, "tune") / "meta.json")
    assert own["score"] == pytest.approx(float(won["score"]), abs=0), "the winner trained again scores the same"
