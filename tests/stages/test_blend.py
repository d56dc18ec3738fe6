"""Blends that are fitted, as files: `make blend`, and an ensemble whose score is of rows blended without their fold."""

import errno
import os
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from faults import machine
from faults.line import Fault
from foldline.core.errors import FoldlineError
from foldline.core.records.blend import BlendStudy, WithoutRun
from foldline.core.records.cv import Cv
from foldline.core.records.entry import Entry
from foldline.core.tables import read_parquet, write_json, write_parquet
from foldline.core.task import Array
from foldline.engine.bundle.members import _refuse_stack
from foldline.engine.finished.folder import FinishedRun
from foldline.report.run.facts import lede
from foldline.report.run.reported_run import read_run
from foldline.scoring.blender import Blender
from foldline.scoring.fitted.catalogue import FITTED
from foldline.stages.blend import _drop_words
from foldline.stages.ensemble import ensemble
from stages.test_ensemble import Predict, clueless, write_run
from tiny import RUN, TinyProject


def seeing(spread: float) -> Predict:
    def predict(truth: Array, rng: np.random.Generator) -> Array:
        positive = 1 / (1 + np.exp(-3 * (truth - 0.5) - spread * rng.normal(size=len(truth))))
        return np.stack([1 - positive, positive], axis=1)

    return predict


MEMBERS: dict[str, Predict] = {"one": seeing(1.4), "two": seeing(1.5), "noise": clueless}


@pytest.fixture
def three(project: TinyProject) -> TinyProject:
    project.prepare()
    for seed, (name, predict) in enumerate(MEMBERS.items()):
        project.write_yaml(name, RUN)
        write_run(project, name, predict, seed)
    return project


def cv_of(project: TinyProject, name: str) -> Cv:
    return Cv.read(project.layout.run("tiny", name) / "cv.json")


def oof_of(project: TinyProject, name: str, file: str = "oof") -> Array:
    table = read_parquet(project.layout.run("tiny", name) / f"{file}.parquet")
    return table[["prob_dark", "prob_bright"]].to_numpy(dtype=np.float64)


def blend_of(cv: Cv) -> Blender:
    return Blender.of(cv.blend or "", cv.blend_fit, cv.task.of(cv.outputs))


@pytest.mark.parametrize("name", [way for way in FITTED if way != "class_weights"])
def test_the_score_is_nested(three: TinyProject, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """OOF rows by what was fitted without their fold, test rows by what was fitted on all; cv.json says both."""
    assert three.run("ensemble", "--runs", "one two noise", "--name", name, "--blend", name) == 0
    said = capsys.readouterr().out
    assert "nested (each row by a fit without its fold)" in said
    cv = cv_of(three, name)
    assert (cv.blend, cv.members) == (name, ["one", "two", "noise"])
    assert cv.pooled == pytest.approx(cv.blend_scores["nested"], abs=1e-6)
    blender = blend_of(cv)
    folds = read_parquet(three.layout.run("tiny", name) / "oof.parquet")["fold"].to_numpy()
    members = {run: oof_of(three, run) for run in MEMBERS}
    assert oof_of(three, name) == pytest.approx(blender(members, folds), abs=1e-6)
    if name != "hill_climb":  # a bag of few members may be the same without a fold
        assert not np.allclose(oof_of(three, name), blender(members), atol=1e-5)
    tests = {run: oof_of(three, run, "test") for run in MEMBERS}
    assert oof_of(three, name, "test") == pytest.approx(blender(tests), abs=1e-6)
    capsys.readouterr()
    assert three.run("ensemble", "--runs", "one two noise", "--name", name, "--blend", name) == 0
    assert "up to date" in capsys.readouterr().out
    words = lede(read_run(three.layout, "tiny", name))
    assert "Each row is blended by what was fitted without its fold" in words


def test_a_single_run_is_calibrated_under_a_name_of_its_own(
    three: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert three.run("ensemble", "--runs", "one", "--blend", "temperature") == 2
    assert "NAME" in capsys.readouterr().err
    assert three.run("ensemble", "--runs", "one", "--blend", "weights", "--name", "x") == 2
    assert "needs two runs" in capsys.readouterr().err
    assert three.run("ensemble", "--runs", "one", "--blend", "temperature", "--name", "calm") == 0
    cv, folds = cv_of(three, "calm"), read_parquet(three.layout.run("tiny", "one") / "oof.parquet")["fold"].to_numpy()
    assert (cv.members, cv.blend) == (["one"], "temperature")
    assert oof_of(three, "calm") == pytest.approx(blend_of(cv)({"one": oof_of(three, "one")}, folds), abs=1e-6)
    assert lede(read_run(three.layout, "tiny", "calm")).startswith(
        "The geometric mean at a fitted temperature of 1 run"
    )


def test_test_rows_are_corrected_for_their_shares(three: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several runs and of one; OOF and its score stay as they are."""
    assert three.run("ensemble", "--runs", "one two", "--name", "plain") == 0
    capsys.readouterr()
    assert three.run("ensemble", "--runs", "one two", "--name", "moved", "--prior", "em") == 0
    said = capsys.readouterr().out
    assert "shares of classes among the test rows" in said
    assert "if they are as in training" in said
    plain, moved = cv_of(three, "plain"), cv_of(three, "moved")
    assert plain.pooled == moved.pooled
    assert np.array_equal(oof_of(three, "plain"), oof_of(three, "moved"))
    blender = Blender.of("mean", None, moved.task.of(moved.outputs), moved.prior_shift)
    expected = blender({run: oof_of(three, run, "test") for run in ("one", "two")})
    assert oof_of(three, "moved", "test") == pytest.approx(expected, abs=1e-6)
    assert not np.allclose(oof_of(three, "moved", "test"), oof_of(three, "plain", "test"), atol=1e-4)
    assert three.run("ensemble", "--runs", "one", "--name", "alone", "--prior", "em") == 0
    assert cv_of(three, "alone").members == ["one"]
    assert "PRIOR=em" in (three.layout.run("tiny", "moved") / "report.html").read_text()
    assert three.run("ensemble", "--runs", "one two", "--blend", "rank_mean", "--prior", "em") == 2
    assert "ranks are no probabilities" in capsys.readouterr().err


def test_class_weights_that_are_no_better_are_not_used(three: TinyProject) -> None:
    assert three.run("ensemble", "--runs", "one two noise", "--name", "each", "--blend", "class_weights") == 0
    cv = cv_of(three, "each")
    assert cv.blend in ("weights", "class_weights")
    other = Cv.read(three.layout.run("tiny", "each") / "cv.json")
    assert three.run("ensemble", "--runs", "one two noise", "--name", "common", "--blend", "weights") == 0
    common = cv_of(three, "common").blend_scores["nested"]
    assert other.blend_scores["nested"] is not None
    assert common is not None
    assert (cv.blend == "class_weights") == (other.blend_scores["nested"] > common)


def test_a_mean_says_nothing_of_a_fit(three: TinyProject) -> None:
    assert three.run("ensemble", "--runs", "one two", "--name", "plain") == 0
    content = (three.layout.run("tiny", "plain") / "cv.json").read_text()
    assert "blend_fit" not in content
    assert "blend_scores" not in content


def test_an_ensemble_of_ensembles_is_one_blend_of_another(three: TinyProject) -> None:
    assert three.run("ensemble", "--runs", "one noise", "--name", "inner", "--blend", "weights") == 0
    assert three.run("ensemble", "--runs", "inner two", "--name", "outer", "--blend", "weights") == 0
    folds = read_parquet(three.layout.run("tiny", "outer") / "oof.parquet")["fold"].to_numpy()
    finished = {run: FinishedRun(Path(run), run, cv_of(three, run)) for run in ("one", "two", "noise")}
    inner = FinishedRun(Path("inner"), "inner", cv_of(three, "inner"), members=(finished["one"], finished["noise"]))
    task = inner.cv.task.of(inner.cv.outputs) if inner.cv else None
    assert task is not None
    own = blend_of(cv_of(three, "inner"))({run: oof_of(three, run) for run in ("one", "noise")}, folds)
    both = blend_of(cv_of(three, "outer"))({"inner": own, "two": oof_of(three, "two")}, folds)
    assert oof_of(three, "outer") == pytest.approx(both, abs=1e-6)


def test_nothing_that_turns_predictions_around_is_fitted_to_what_was_fitted(
    three: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stack's OOF errors follow the labels of the fold that it lacks: of noise a stack of it and its members makes
    an AUC of 0.6 (docs/blends.md)."""
    assert three.run("ensemble", "--runs", "one noise", "--name", "inner", "--blend", "stack") == 0
    assert three.run("ensemble", "--runs", "inner two", "--name", "around") == 0
    for member in ("inner", "around"):
        capsys.readouterr()
        assert three.run("ensemble", "--runs", f"{member} one two", "--name", "outer", "--blend", "stack") == 2
        said = capsys.readouterr().err
        assert f"'{member}' was fitted to the OOF predictions of one, noise" in said
        assert three.run("blend", "--runs", f"{member} one two") == 0
        study = BlendStudy.read(three.layout.run("tiny", "blend.json"))
        assert {way for way, why in study.left_out.items() if "scores too well" in why} == {"stack", "stack_lightgbm"}
    assert three.run("ensemble", "--runs", "inner one two", "--name", "outer", "--blend", "weights") == 0


def test_a_mean_has_nothing_of_its_first_member(three: TinyProject) -> None:
    """A member's fit, shares and heads are no matter of the ensemble, whose cells they would change once more."""
    assert three.run("ensemble", "--runs", "one two", "--name", "in", "--blend", "weights", "--prior", "em") == 0
    path = three.layout.run("tiny", "in") / "cv.json"
    cv_of(three, "in").changed(head="linear", chosen=[{"fold": 0}]).write(path)
    assert three.run("ensemble", "--runs", "in noise", "--name", "mean") == 0
    cv = cv_of(three, "mean")
    assert (cv.blend, cv.blend_fit, cv.blend_scores, cv.prior_shift) == ("mean", None, {}, None)
    assert (cv.head, cv.chosen) == ("", [])
    members = {run: oof_of(three, run, "test") for run in ("in", "noise")}
    found = Blender.of("mean", cv.blend_fit, cv.task.of(cv.outputs), cv.prior_shift)(members)
    assert oof_of(three, "mean", "test") == pytest.approx(found, abs=1e-6)


def test_a_blend_that_was_killed_inside_another_of_its_name_is_made_again(
    three: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = three.layout.run("tiny", "both")
    assert three.run("ensemble", "--runs", "one two", "--name", "both") == 0
    whole = (folder / "oof.parquet").read_bytes()
    (folder / "oof.parquet").write_bytes((three.layout.run("tiny", "one") / "oof.parquet").read_bytes())
    assert three.run("ensemble", "--runs", "one two", "--name", "both") == 0
    assert (folder / "oof.parquet").read_bytes() == whole
    capsys.readouterr()
    assert three.run("ensemble", "--runs", "one two", "--name", "both") == 0
    assert "is up to date" in capsys.readouterr().out


def test_what_is_of_another_blend_of_the_name_is_never_taken_for_this_ones(
    three: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where the other one died before its report, or before its submission: what lacks is made, and said."""
    submission, page = three.layout.submission("tiny", "both"), three.layout.run("tiny", "both") / "report.html"
    mean = ("ensemble", "--runs", "one noise", "--name", "both")
    assert three.run(*mean) == 0
    assert three.run("score", "--name", "both") == 0
    before = {file: file.read_bytes() for file in (submission, submission.with_suffix(".json"), page)}
    assert three.run(*mean, "--blend", "weights") == 0
    after = page.read_bytes()
    page.write_bytes(before[page])
    assert three.run(*mean, "--blend", "weights") == 0
    assert page.read_bytes() == after != before[page]
    assert "older than the predictions" not in capsys.readouterr().out
    for file, content in before.items():
        file.write_bytes(content)
    assert three.run("score", "--name", "both") == 0
    assert "both.csv is older than the predictions that 'both' has now" in capsys.readouterr().out
    assert three.run(*mean) == 0
    assert cv_of(three, "both").blend == "mean"
    assert submission.read_bytes() == before[submission]


def test_a_blend_that_dies_or_finds_no_room_leaves_the_one_before(
    three: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, runs = three.layout, ["one", "noise"]
    submission, folder = layout.submission("tiny", "both"), layout.run("tiny", "both")
    both = [folder / name for name in ("oof.parquet", "test.parquet", "cv.json")]
    both += [submission, submission.with_suffix(".json")]

    def in_a_child(fault: Fault) -> int:
        process = os.fork()
        if process == 0:
            fault(three.root)
            with suppress(OSError):
                ensemble(layout, "tiny", runs, name="both", blend="weights")
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    ensemble(layout, "tiny", runs, name="both")
    mean = [path.read_bytes() for path in both]
    assert in_a_child(machine.unwritable_at(r"open .*/\.test\.parquet\.", errno.ENOSPC)) == 0
    assert [path.read_bytes() for path in both] == mean
    assert not [path for path in three.root.rglob("*.tmp") if path.parent.name == "both"]
    assert in_a_child(machine.ends_before(r"os.rename .*/\.both\.csv\.")) == -signal.SIGKILL
    assert [path.read_bytes() == old for path, old in zip(both, mean, strict=True)] == [False] * 3 + [True, False]
    assert three.run("score", "--name", "both") == 2  # the entry is there first, and knows that the file is another
    assert "damaged, or was changed" in capsys.readouterr().err
    assert ensemble(layout, "tiny", runs, name="both", blend="weights") == ("both", True)
    Entry.read(submission.with_suffix(".json")).require_file(submission)
    assert cv_of(three, "both").blend == "weights"


def test_an_ensemble_is_never_written_over_a_trained_run(
    three: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(three.layout.run("tiny", "noise") / "run.json", {})
    before = oof_of(three, "noise")
    assert three.run("ensemble", "--runs", "one two", "--name", "noise") == 2
    assert "'noise' is a trained run, whose predictions" in capsys.readouterr().err
    assert np.array_equal(before, oof_of(three, "noise"))


def test_an_ensemble_of_what_its_members_said_before_is_refused(
    three: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert three.run("ensemble", "--runs", "one noise", "--name", "inner", "--blend", "weights") == 0
    write_run(three, "one", seeing(1.0), 9)
    capsys.readouterr()
    assert three.run("ensemble", "--runs", "inner two", "--name", "outer") == 2
    said = capsys.readouterr().err
    assert "its member 'one' has other predictions" in said
    assert 'RUNS="one noise" BLEND=weights NAME=inner' in said
    assert three.run("blend", "--runs", "inner two") == 2
    assert three.run("ensemble", "--runs", "one noise", "--name", "inner", "--blend", "weights") == 0
    assert three.run("ensemble", "--runs", "inner two", "--name", "outer") == 0


def test_a_run_that_is_there_twice_is_named(three: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(three, "again", MEMBERS["one"], 0)
    assert three.run("blend", "--runs", "one two again") == 0
    assert "note: one says what again says: the mean counts it 2 times" in capsys.readouterr().out


def test_blend_compares_all_ways(three: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert three.run("ensemble", "--runs", "one two", "--name", "plain") == 0
    capsys.readouterr()
    assert three.run("blend") == 0
    said = capsys.readouterr().out
    study = BlendStudy.read(three.layout.run("tiny", "blend.json"))
    assert "left out: plain (an ensemble of one, two)" in said
    assert {way.name for way in study.ways} | set(study.left_out) >= set(FITTED) | {"mean", "gmean"}
    assert list(study.runs) == ["noise", "one", "two"]
    assert study.without[0].run == "noise" or study.best != "mean"
    assert "correlation of errors" in said
    assert "as fitted" in said
    assert study.command in said
    assert three.run(*study.command.split()[1:2], "--runs", "one two", "--name", "proposed") == 0
    for way in study.ways:
        assert way.interval[0] is not None
        assert way.interval[0] <= (way.nested or 0) <= (way.interval[1] or 0)
        assert (way.fitted is None) == (way.name in ("mean", "gmean", "rank_mean"))


def test_two_runs_with_a_useless_one(three: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert three.run("blend", "--runs", "one two") == 0
    study = BlendStudy.read(three.layout.run("tiny", "blend.json"))
    assert study.without == []
    assert 'RUNS="one two"' in study.command


@pytest.mark.parametrize(
    ("runs", "words"), [("one", "a blend is of two runs or more"), ("one one", "named twice"), ("one gone", "gone")]
)
def test_what_cannot_be_compared(
    three: TinyProject, runs: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    assert three.run("blend", "--runs", runs) == 2
    assert words in capsys.readouterr().err


def test_runs_of_a_single_fold_cannot_be_fitted(three: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        path = three.layout.run("tiny", name) / "oof.parquet"
        table = read_parquet(path)
        write_parquet(path, table[table["fold"] == 0].reset_index(drop=True))
    assert three.run("blend", "--runs", "one two") == 2
    assert "a single fold" in capsys.readouterr().err
    assert three.run("ensemble", "--runs", "one two", "--name", "x", "--blend", "weights") == 2
    assert "predicted a single one" in capsys.readouterr().err


def test_a_notebook_takes_weights_and_no_stack(three: TinyProject) -> None:
    for name in ("weights", "stack"):
        assert three.run("ensemble", "--runs", "one two noise", "--name", name, "--blend", name) == 0
    _refuse_stack(three.layout, cv_of(three, "weights"))
    with pytest.raises(FoldlineError, match="may have to leave members out"):
        _refuse_stack(three.layout, cv_of(three, "stack"))


def test_all_of_several_equal_runs_are_named() -> None:
    """Leaving out each of them by itself loses nothing; which of them comes first is chance."""

    def words(drop: str, **gains: float) -> str:
        without = [WithoutRun(run=run, gain=gain, gain_interval=(-0.1, 0.1)) for run, gain in gains.items()]
        study = BlendStudy(
            comp="x", metric="auc", runs={}, rows=1, of_rows=1, scored=1, resamples=1, ways=[], errors=[],
            without=without, best="mean", drop=drop,
        )  # fmt: skip
        return _drop_words(study)

    assert words("", a=0.0, b=0.0, c=-0.1).startswith("each of a, b adds nothing beside the others")
    assert words("", a=0.01, c=-0.1).startswith("a adds nothing")
    assert words("", c=-0.1) == "each run adds something"
    assert "as true of each of: b;" in words("a", a=0.0, b=0.0, c=-0.1)
    assert words("a", a=0.1, b=0.0) == "leave out a: the ensemble is no worse without it"
