"""The notebook's run of networks that see an entity's pictures together, and of those that see neighbours."""

import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds
from foldline.core.records.bundle import Bundle
from foldline.core.records.kernel import KernelEntry
from foldline.core.records.offline import OfflineReport
from foldline.core.tables import read_csv, read_parquet, write_csv
from foldline.engine.bundle import trial
from foldline.engine.offline.answers import NO_PICTURE, NO_TIME
from foldline.engine.offline.beside import placed, units
from foldline.engine.offline.members import OfflineMember, load_members
from foldline.engine.offline.passes import Passes
from foldline.stages.kernel import kernel
from foldline.stages.offline import offline
from stacks import STACK_FACTS, StackProject

RUNS = {
    "attention": "predict.views=[identity,hflip]",
    "alone": "model.entity=none",
    "between": "model.entity=none data.neighbours=1",
    "ordered": "model.entity=gru data.neighbours=1",
}
BATCH = 16  # several chunks, and larger than some scans alone


@dataclass
class Kaggle:
    """A bundle, and inputs that a test may change."""

    project: StackProject
    name: str
    inputs: Path
    out: Path

    @property
    def bundle(self) -> Path:
        """Its folder."""
        return self.project.layout.kernel("tiny", self.name) / "dataset"

    def run(self, **options: Any) -> OfflineReport:
        """What the notebook does."""
        return offline(self.bundle, self.inputs, self.out, device="cpu", **options)

    def answers(self) -> "pd.Series[float]":
        """The submission's numbers by id."""
        return numbers_of(self.out)

    def usual(self) -> "pd.Series[float]":
        """What home submits."""
        return numbers_of(self.project.layout.submission("tiny", self.name))


def numbers_of(path: Path) -> "pd.Series[float]":
    table = read_csv(path)
    return table.set_index(table.columns[0]).iloc[:, 0].astype(float)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProject]:
    """Scans, four runs of two folds and the blend of those two without neighbours; bundles with weights as they are."""
    project = StackProject(tmp_path_factory.mktemp("home"), 16, folds={"k": 2})
    project.prepare()
    for run, settings in RUNS.items():
        for stage in ("train", "predict", "ensemble"):
            assert project.run(stage, "--name", run, "--set", f"train.epochs=1 {settings}") == 0
    assert project.run("ensemble", "--runs", "attention alone", "--name", "both") == 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trial, "LARGEST_MOVE", 0.0)
        for name in ("attention", "between", "ordered", "both"):
            kernel(project.layout, "tiny", run=name, gpu="none", device="cpu")
            record = project.layout.kernel("tiny", name) / "dataset" / "bundle.json"
            Bundle.read(record).changed(batch_size=BATCH).write(record)
        yield project


@pytest.fixture
def kaggle(home: StackProject, tmp_path: Path) -> Kaggle:
    folder = tmp_path / "inputs" / "tiny"
    shutil.copytree(home.layout.input("tiny"), folder, ignore=shutil.ignore_patterns(".*", "manifest.json"))
    shutil.copyfile(home.layout.holdout_sample("tiny"), folder / "sample_submission.csv")
    (tmp_path / "working").mkdir()
    return Kaggle(home, "attention", tmp_path / "inputs", tmp_path / "working" / "submission.csv")


@pytest.mark.parametrize("name", ["attention", "between", "ordered", "both"])
def test_it_says_what_home_says_of_the_same_rows(kaggle: Kaggle, name: str) -> None:
    """Whatever the chunks: entities are whole in them, and neighbours are those of all rows."""
    kaggle.name = name
    report = kaggle.run()
    answers, usual = kaggle.answers(), kaggle.usual()
    assert answers.nunique() > 2
    assert answers[usual.index].to_numpy() == pytest.approx(usual.to_numpy(), abs=1e-5)
    rows = len(load_folds(kaggle.project.layout, "tiny").test)
    assert (report.rows, report.rows_predicted, report.priors, report.failed) == (rows, rows, {}, {})
    assert rows > 2 * BATCH


def test_pictures_that_cannot_be_read_are_none_of_their_entity(kaggle: Kaggle) -> None:
    """As if these rows were not there; an entity of which nothing can be read gets the training prior."""
    test = load_folds(kaggle.project.layout, "tiny").test
    first, second = test["entity"].drop_duplicates()[:2]
    one, whole = test[test["entity"] == first][1:4], test[test["entity"] == second]
    for image in [*one["image"], *whole["image"]]:
        (kaggle.inputs / "tiny" / image).write_bytes(b"no picture")
    report = kaggle.run()
    broken, usual, prior = kaggle.answers(), kaggle.usual(), Bundle.read(kaggle.bundle / "bundle.json").prior["1"]
    assert report.prior_ids == {NO_PICTURE: [second]}
    assert len(report.bad_pictures) == len(one) + len(whole)
    assert broken[second] == pytest.approx(prior)
    others = [name for name in usual.index if name not in (first, second)]
    assert broken[others].to_numpy() == pytest.approx(usual[others].to_numpy(), abs=1e-5)
    lines = read_csv(kaggle.inputs / "tiny" / "train.csv")
    gone = (lines["scan"] + "_" + lines["slice"]).isin([*one["row_id"], *whole["row_id"]])
    write_csv(kaggle.inputs / "tiny" / "train.csv", lines[~gone])
    kaggle.run()
    assert kaggle.answers()[first] == pytest.approx(broken[first], abs=1e-5)
    assert abs(broken[first] - usual[first]) > 1e-6


def test_entities_that_the_time_does_not_reach_get_the_prior_as_a_whole(
    kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    last, real = load_folds(kaggle.project.layout, "tiny").test["entity"].max(), OfflineMember.predict

    def slow(member: OfflineMember, share: Any, store: Any, places: Any, table: pd.DataFrame, *rest: Any) -> Any:
        if last in set(table["entity"]):
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # the time is up
            time.sleep(60)
        return real(member, share, store, places, table, *rest)

    monkeypatch.setattr(OfflineMember, "predict", slow)
    report = kaggle.run()
    late = report.prior_ids[NO_TIME]
    answers, usual = kaggle.answers(), kaggle.usual()
    done = [name for name in usual.index if name not in late]
    assert last in late
    assert done
    assert answers[done].to_numpy() == pytest.approx(usual[done].to_numpy(), abs=1e-5)
    assert answers[late].nunique() == 1


def test_an_entity_that_comes_again_is_another_one(kaggle: Kaggle) -> None:
    """Rows are repeated to measure the speed: then as many pictures go through the heads, in as many entities."""
    kaggle.name = "ordered"
    bundle = Bundle.read(kaggle.bundle / "bundle.json")
    layout = Bundle.project(kaggle.bundle)
    rows = pd.DataFrame({"row_id": list("abc"), "entity": ["x", "x", "y"], "order": list("123")})
    (member,) = load_members(layout, bundle, 3, "cpu")
    once, twice = (member._among(places, rows.iloc[places], np.zeros(len(places), bool))
                   for places in (np.arange(3), np.tile(np.arange(3), 2)))  # fmt: skip
    assert once is not None
    assert twice is not None
    assert (len(once.stacks), len(twice.stacks)) == (2, 4)
    assert twice.stacks.sizes.tolist() == [2, 1, 2, 1]


def test_a_chunk_ends_where_an_entity_ends() -> None:
    unit = np.repeat([0, 1, 2, 3], [3, 2, 9, 1])
    work = Passes(pd.DataFrame({"row_id": range(15)}), [], None, 4, np.full(15, -1), unit)  # type: ignore[arg-type]
    ends = []
    while work.position < 15:
        work._wanted_rows = lambda most: 4  # type: ignore[method-assign]
        work.position += work._chunk_rows(99)
        ends.append(work.position)
    assert ends == [3, 5, 14, 15]


def test_rows_that_others_tie_together_are_one_unit() -> None:
    rows = pd.DataFrame(
        {"row_id": list("vwxyz"), "breast": ["aL", "aR", "bL", "aL", "cL"], "patient": ["a", "a", "", "a", ""]}
    )
    assert units(rows, []).tolist() == [0, 1, 2, 3, 4]
    assert units(rows, ["breast"]).tolist() == [0, 1, 2, 0, 3]
    assert units(rows, ["breast", "patient"]).tolist() == [0, 0, 1, 0, 2]
    assert units(rows, ["patient"]).tolist() == [0, 0, 1, 0, 2], "whose patient nobody knows stands alone"


def test_an_odd_place_is_the_last_and_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    numbered, odd = placed(pd.DataFrame({"order": ["10", " 9", "", "x"]}))
    assert (numbered["order"].astype(float).rank(method="min").tolist(), odd) == ([2, 1, 3, 3], 2)
    assert "2 of 4 rows have no place in their entity, and stand last: '', 'x'" in capsys.readouterr().out
    worded, odd = placed(pd.DataFrame({"order": ["MLO", "7", "CC", ""]}))
    assert (worded["order"].astype(float).tolist(), odd) == ([2, 0, 1, 3], 1)
    plain, odd = placed(pd.DataFrame({"order": ["1", "1.5"]}))
    assert (plain["order"].astype(float).tolist(), odd) == ([1, 1.5], 0)


def test_members_of_other_neighbours_are_refused(home: StackProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert home.run("ensemble", "--runs", "attention between", "--name", "torn") == 0
    with pytest.raises(FoldlineError, match="attention: none") as raised:
        kernel(home.layout, "tiny", name="torn", gpu="none", device="cpu")
    assert "between: 1 of the same entity" in raised.value.what
    assert "with the same neighbours" in (raised.value.next or "")
    assert home.run("ensemble", "--runs", "between ordered", "--name", "alike") == 0
    kernel(home.layout, "tiny", name="alike", gpu="none", device="cpu")
    assert Bundle.read(home.layout.kernel("tiny", "alike") / "dataset" / "bundle.json").neighbours == 1


def test_a_rehearsal_scores_what_oof_says(
    home: StackProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """With weights in half precision; slices whose places are parts of their new ids keep their order."""
    monkeypatch.setattr(trial, "LARGEST_MOVE", 0.01)
    shutil.rmtree(home.layout.kernel("tiny", "ordered"))
    kernel(home.layout, "tiny", run="ordered", gpu="none", device="cpu")
    assert home.run("rehearse", "--run", "ordered", "--fast") == 0
    entry = KernelEntry.read(home.layout.kernel("tiny", "ordered") / "kernel.json")
    assert entry.half == ["ordered"]
    assert "hidden lines" in capsys.readouterr().out
    assert entry.rehearsal is not None
    assert entry.rehearsal.passed
    assert entry.rehearsal.score == pytest.approx(entry.rehearsal.expected, abs=0.005)


def test_rows_that_nobody_asks_for_are_seen_beside_those_that_are(tmp_path: Path) -> None:
    """Lines are rows here, and their group is what the head sees."""
    train = {key: value for key, value in STACK_FACTS["train"].items() if key != "entity"} | {"group": "scan"}
    project = StackProject(tmp_path / "home", 8, train=train, folds={"k": 2})
    project.prepare()
    settings = "train.epochs=1 model.entity.options.by=group"
    for stage in ("train", "predict", "ensemble"):
        assert project.run(stage, "--name", "grouped", "--set", settings) == 0
    kernel(project.layout, "tiny", run="grouped", gpu="none", device="cpu")
    folder = tmp_path / "inputs" / "tiny"
    shutil.copytree(project.layout.input("tiny"), folder, ignore=shutil.ignore_patterns(".*", "manifest.json"))
    sample = read_csv(project.layout.holdout_sample("tiny"))
    write_csv(folder / "sample_submission.csv", sample[::3])
    kaggle = Kaggle(project, "grouped", tmp_path / "inputs", tmp_path / "submission.csv")
    report, usual = kaggle.run(), kaggle.usual()
    answers = kaggle.answers()
    assert (report.lines, report.rows) == (len(sample[::3]), len(sample))
    assert answers.index.tolist() == sample.iloc[::3, 0].tolist()
    assert answers.to_numpy() == pytest.approx(usual[answers.index].to_numpy(), abs=5e-3)
    table = read_parquet(project.layout.run("tiny", "grouped") / "test.parquet")
    assert report.rows_not_asked == len(load_folds(project.layout, "tiny").frame) + len(table) - report.lines
