"""The notebook's run on hidden rows: what home says of the same rows, and a valid file whatever is broken or slow."""

import shutil
import signal
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from bundles import raw_copy, write_bundle
from foldline.core.errors import FoldlineError
from foldline.core.records.bundle import Bundle
from foldline.core.records.offline import OfflineReport
from foldline.core.tables import read_csv, read_parquet, write_csv
from foldline.engine.finished import reading
from foldline.engine.finished.member import Member
from foldline.engine.finished.pictures import Source, Spec, load_picture
from foldline.engine.offline import passes
from foldline.engine.offline.answers import NO_NUMBER, NO_PICTURE, NO_ROW, NO_TIME
from foldline.engine.offline.members import OfflineMember
from foldline.stages.offline import offline
from tiny import FACTS, RUN, TinyProject

VIEWS = ["identity", "hflip"]
TEST = {"file": "test.csv", "row_id": "id", "image": "{id}.png", "metadata": ["age"]}
CHOICES: dict[str, Any] = {
    **RUN, "model": {**RUN["model"], "metadata": ["age"]}, "train": {**RUN["train"], "epochs": 1},
    "predict": {"views": VIEWS, "batch_size": 16},
}  # fmt: skip


@dataclass
class Kaggle:
    """A bundle, and inputs that a test may change."""

    bundle: Path
    inputs: Path
    out: Path

    @property
    def folder(self) -> Path:
        """The competition's."""
        return self.inputs / "tiny"

    def run(self, **options: Any) -> OfflineReport:
        """What the notebook does."""
        return offline(self.bundle, self.inputs, self.out, device="cpu", **options)

    def answers(self) -> "pd.Series[float]":
        """The submission's numbers by id."""
        table = read_csv(self.out)
        return table.set_index("id")["label"].astype(float)

    def change(self, name: str, **columns: Any) -> pd.DataFrame:
        """Other cells in a table of the competition."""
        table = read_csv(self.folder / name)
        for column, change in columns.items():
            table[column] = [change(i, cell) for i, cell in enumerate(table[column])]
        write_csv(self.folder / name, table)
        return table


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Two runs, of other sizes, that read a column beside the picture, and their ensemble; 20 test rows."""
    project = TinyProject(tmp_path_factory.mktemp("home"), rows=64)
    table = read_csv(project.root / "raw" / "train.csv").assign(age=[str(20 + i % 50) for i in range(64)])
    write_csv(project.root / "raw" / "train.csv", table[:44])
    write_csv(project.root / "raw" / "test.csv", table[44:][["id", "age", "patient"]])
    write_csv(project.root / "raw" / "sample_submission.csv", pd.DataFrame({"id": table["id"][44:], "label": "0.5"}))
    facts = {key: value for key, value in FACTS.items() if key != "holdout"} | {"folds": {"k": 2}, "test": TEST}
    facts["train"] = {**FACTS["train"], "metadata": ["age"]}
    project.write_yaml("competition", facts)
    project.blend_two(CHOICES)
    for run in ("quick", "small"):
        assert project.run("ensemble", "--run", run) == 0
    assert project.run("ensemble", "--runs", "quick small", "--name", "weighted", "--blend", "class_weights") == 0
    return project


@pytest.fixture(scope="module")
def bundles(home: TinyProject, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of one run, and of both; nothing in them can be written to."""
    root = tmp_path_factory.mktemp("bundles")
    paths = {
        "quick": write_bundle(home.layout, "tiny", ["quick"], root / "quick"),
        **{
            name: write_bundle(home.layout, "tiny", ["quick", "small"], root / name, ensemble=name)
            for name in ("both", "weighted")
        },
    }
    read_only(root)
    return paths


@pytest.fixture
def kaggle(home: TinyProject, bundles: dict[str, Path], tmp_path: Path) -> Kaggle:
    raw_copy(home.layout, "tiny", tmp_path / "inputs")
    (tmp_path / "working").mkdir()
    return Kaggle(bundles["both"], tmp_path / "inputs", tmp_path / "working" / "submission.csv")


def read_only(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))


def tree(root: Path) -> list[tuple[str, int]]:
    return sorted((path.relative_to(root).as_posix(), path.stat().st_mtime_ns) for path in root.rglob("*"))


@pytest.mark.parametrize("name", ["quick", "both", "weighted"])
def test_it_writes_what_home_wrote_of_the_same_rows(
    kaggle: Kaggle, home: TinyProject, bundles: dict[str, Path], name: str
) -> None:
    """To the last digit, whatever the chunks; nothing is written to the inputs or the bundle."""
    kaggle.bundle = bundles[name]
    read_only(kaggle.inputs)
    before = tree(kaggle.inputs), tree(kaggle.bundle)
    report = kaggle.run()
    assert kaggle.out.read_bytes() == home.layout.submission("tiny", name).read_bytes()
    assert (tree(kaggle.inputs), tree(kaggle.bundle)) == before
    planned = 4 if name == "quick" else 8
    assert (report.rows, report.rows_predicted, report.priors) == (20, 20, {})
    assert (report.passes_done, report.passes_planned) == (planned, planned)
    assert OfflineReport.read(kaggle.out.with_name("offline.json")) == report


def test_hidden_rows_that_home_never_saw(kaggle: Kaggle, home: TinyProject) -> None:
    """More of them, with new ids, a picture that is broken, one of another size, one that is missing, odd cells."""
    names = [f"new{i:02d}" for i in range(60)]
    raw = home.root / "raw"
    for i, name in enumerate(names):
        shutil.copy(raw / f"p{i:03d}.png", kaggle.folder / f"{name}.png")
    (kaggle.folder / "new03.png").write_bytes((raw / "p003.png").read_bytes()[:90])
    cv2.imwrite(str(kaggle.folder / "new04.png"), np.full((200, 90, 3), 77, np.uint8))
    (kaggle.folder / "new05.png").unlink()
    ages = ["", "old", *["30"] * 58]
    write_csv(kaggle.folder / "test.csv", pd.DataFrame({"id": names, "age": ages, "patient": "x"}))
    write_csv(kaggle.folder / "sample_submission.csv", pd.DataFrame({"id": names[::-1], "label": "0.5"}))
    report = kaggle.run()
    answers, prior = kaggle.answers(), Bundle.read(kaggle.bundle / "bundle.json").prior["bright"]
    assert answers.index.tolist() == names[::-1]
    assert report.prior_ids == {NO_PICTURE: ["new03"], NO_ROW: ["new05"]}
    assert answers[["new03", "new05"]].tolist() == pytest.approx([prior, prior])
    assert answers.nunique() == 59
    assert (report.rows, report.rows_predicted, report.mended_cells) == (59, 58, 1)
    assert list(report.bad_pictures) == ["new03.png"]


def test_rows_that_the_sample_does_not_ask_for_are_left_out(kaggle: Kaggle) -> None:
    sample = read_csv(kaggle.folder / "sample_submission.csv")
    write_csv(kaggle.folder / "sample_submission.csv", sample[5:])
    report = kaggle.run()
    assert (report.rows, report.rows_not_asked, report.lines) == (15, 5, 15)


@pytest.mark.parametrize("name", ["both", "weighted"])
def test_a_rehearsal_gives_the_oof_predictions(
    kaggle: Kaggle, home: TinyProject, bundles: dict[str, Path], name: str
) -> None:
    """Each training row by the fold that did not see it, and weights fitted without it; the others by all folds."""
    kaggle.bundle = bundles[name]
    train = read_csv(kaggle.folder / "train.csv")
    test = read_csv(kaggle.folder / "test.csv")
    asked = pd.concat([train[["id", "age", "patient"]], test])
    write_csv(kaggle.folder / "test.csv", asked)
    write_csv(kaggle.folder / "sample_submission.csv", asked[["id"]].assign(label="0"))
    oof = read_parquet(home.layout.run("tiny", name) / "oof.parquet").set_index("row_id")
    rehearsal = kaggle.out.with_name("rehearsal.csv")
    write_csv(rehearsal, oof.reset_index()[["row_id", "fold"]])
    report = kaggle.run(rehearsal=rehearsal)
    assert report.rehearsed == 44
    answers = kaggle.answers()
    assert np.allclose(answers[oof.index], oof["prob_bright"], atol=1e-6)
    usual = read_csv(home.layout.submission("tiny", name)).set_index("id")["label"].astype(float)
    assert np.allclose(answers[usual.index], usual, atol=1e-6)


def test_no_time_at_all_gives_a_valid_file(kaggle: Kaggle, capsys: pytest.CaptureFixture[str]) -> None:
    report = kaggle.run(limit_seconds=0)
    assert report.priors == {NO_TIME: 20}
    assert kaggle.answers().nunique() == 1
    assert "the time is up" in capsys.readouterr().out


def test_what_hangs_is_ended_by_the_alarm(kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that never comes back: the rows before it keep their answers."""
    real = OfflineMember.predict

    def slow(member: OfflineMember, share: Any, store: Any, places: Any, table: pd.DataFrame, *rest: Any) -> Any:
        if "p060" in table["row_id"].tolist():
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # the time is up
            time.sleep(60)
        return real(member, share, store, places, table, *rest)

    monkeypatch.setattr(OfflineMember, "predict", slow)
    report = kaggle.run()
    assert report.rows_predicted == 16
    assert report.priors == {NO_TIME: 4}


def test_a_decoder_that_fails_or_hangs_costs_its_rows_alone(kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    real, end = load_picture, threading.Event()

    def load(source: Source, specs: Sequence[Spec], *more: Any) -> Any:
        if source.name == "p050.png":
            raise ValueError("a bug in a library")
        if source.name == "p051.png":
            end.wait(60)
        return real(source, specs, *more)

    monkeypatch.setattr(reading, "load_picture", load)
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0.5)
    try:
        report = kaggle.run()
    finally:
        end.set()
    assert report.prior_ids == {NO_PICTURE: ["p050", "p051"]}
    assert report.bad_pictures == {
        "p050.png": "ValueError: a bug in a library",
        "p051.png": "it was not decoded in 0 s",
    }


def test_a_row_that_gives_no_finite_number_gets_the_prior(kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    """As half precision may; the member stays, and the others' rows too."""
    real = Member.predictions

    def predict(member: Member, *given: Any, **options: Any) -> Any:
        values = real(member, *given, **options)
        if member.run == "small" and options["metadata"]["row_id"].iloc[0] == "p060":
            values[0, 1] = np.nan
        return values

    monkeypatch.setattr(Member, "predictions", predict)
    report = kaggle.run()
    assert report.prior_ids == {NO_NUMBER: ["p061"]}
    assert report.failed == {}


class Slow:
    """A clock that only networks move: so many seconds a pass and picture."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.time, self.seconds, self.later = 0.0, seconds, seconds  # later: once some rows are predicted
        real = OfflineMember.predict
        monkeypatch.setattr(passes, "CHUNK_SHARE", 0.02)

        def predict(member: OfflineMember, share: Any, store: Any, places: Any, table: pd.DataFrame, *rest: Any) -> Any:
            self.time += self.seconds * share.passes * len(table)
            self.seconds = self.later if self.time > 1.2 else self.seconds
            return real(member, share, store, places, table, *rest)

        monkeypatch.setattr(OfflineMember, "predict", predict)
        monkeypatch.setattr("foldline.stages.offline.Clock", self.clock)
        monkeypatch.setattr("foldline.stages.offline.alarm", lambda _: nullcontext())  # it goes by the real time
        monkeypatch.setattr("foldline.engine.finished.reading.PictureReader.seconds_each", 0.0)

    def clock(self, limit: float, _: float) -> Any:
        from foldline.engine.offline.clock import Clock

        return Clock(limit, 0.0, lambda: self.time)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    return Slow(monkeypatch, 0.01)


@pytest.mark.parametrize(
    ("limit", "members"),
    [
        (100.0, "quick 2x2 small 2x2"),
        (2.2, "quick 2x2 small 2x1"),
        (1.7, "quick 2x1 small 2x1"),
        (1.2, "quick 2x1"),
        (0.95, "quick 1x1"),
    ],
)
def test_views_go_first_then_members_then_folds(kaggle: Kaggle, slow: Slow, limit: float, members: str) -> None:
    report = kaggle.run(limit_seconds=limit)
    said = {" ".join(f"{own.run} {own.folds}x{own.views}" for own in level.members) for level in report.levels}
    assert said == {members}
    assert report.priors == {}
    assert slow.time < limit


def test_views_come_back_where_the_first_rows_were_slow(
    kaggle: Kaggle, slow: Slow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.setattr(passes, "EARLY_SHARE", 0.9)
    slow.seconds, slow.later = 0.02, 0.01
    report = kaggle.run(limit_seconds=3.2)
    views = [[own.views for own in level.members] for level in report.levels]
    assert [2, 2] in views
    assert report.levels[views.index([2, 2])].rows == 4
    assert "the time reaches for more" in capsys.readouterr().out
    assert slow.time < 3.2


def test_rows_that_the_time_does_not_reach_get_the_prior(kaggle: Kaggle, slow: Slow) -> None:
    report = kaggle.run(limit_seconds=0.85)
    assert 0 < report.rows_predicted < 20
    assert report.priors == {NO_TIME: 20 - report.rows_predicted}
    assert kaggle.answers().nunique() == report.rows_predicted + 1
    assert slow.time < 0.85


def test_a_member_that_fails_is_left_out(
    kaggle: Kaggle, home: TinyProject, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """In its second chunk: what it said before does not count, so that all rows have the same members."""
    fail(monkeypatch, "quick", rows=["p060"])
    report = kaggle.run()
    assert list(report.failed) == ["quick"]
    assert "quick' failed and is left out" in capsys.readouterr().out
    answers = kaggle.answers()
    usual = read_csv(home.layout.submission("tiny", "small")).set_index("id")["label"].astype(float)
    assert np.allclose(answers[usual.index], usual, atol=1e-6)
    assert report.priors == {}


def test_where_nothing_can_be_predicted_it_ends_with_an_error(kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of priors is there, and valid; that it says nothing of the run is not kept quiet."""
    fail(monkeypatch, "quick", "small")
    with pytest.raises(FoldlineError, match="20 of 20 answers are training priors") as raised:
        kaggle.run()
    assert "RuntimeError: no such kernel" in raised.value.next
    assert kaggle.answers().nunique() == 1


def fail(monkeypatch: pytest.MonkeyPatch, *runs: str, rows: "list[str] | None" = None) -> None:
    real = OfflineMember.predict

    def predict(member: OfflineMember, share: Any, store: Any, places: Any, table: pd.DataFrame, *rest: Any) -> Any:
        if member.run in runs and (rows is None or set(rows) & set(table["row_id"])):
            raise RuntimeError("no such kernel")
        return real(member, share, store, places, table, *rest)

    monkeypatch.setattr(OfflineMember, "predict", predict)


def test_a_damaged_bundle_is_refused_and_leaves_a_valid_file(kaggle: Kaggle, tmp_path: Path) -> None:
    copy = shutil.copytree(kaggle.bundle, tmp_path / "bundle")
    weights = next(copy.rglob("model.safetensors"))
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-8])
    kaggle.bundle = copy
    with pytest.raises(FoldlineError, match="missing or damaged"):
        kaggle.run()
    assert kaggle.answers().nunique() == 1


def test_the_competition_is_found_or_what_is_there_is_named(kaggle: Kaggle) -> None:
    (kaggle.inputs / "competitions").mkdir()
    kaggle.folder.rename(kaggle.inputs / "competitions" / "tiny")
    assert kaggle.run(limit_seconds=0).lines == 20
    shutil.rmtree(kaggle.inputs / "competitions")
    (kaggle.inputs / "other").mkdir()
    with pytest.raises(FoldlineError, match="the competition's files are not there") as raised:
        kaggle.run()
    assert "other" in raised.value.where
