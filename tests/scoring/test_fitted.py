"""Fitted blends: what must hold for every entry of the dictionary, and what each one is."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.core.tables import write_parquet
from foldline.core.task import TASKS, Array, Task, task_from
from foldline.scoring.blend import BLENDS
from foldline.scoring.blender import ALL_NAMES, Blender, Fit, fit_blend
from foldline.scoring.entities import aggregate
from foldline.scoring.fitted import runs as reading
from foldline.scoring.fitted.catalogue import FITTED
from foldline.scoring.fitted.choose import chosen_fit, fit_in_words
from foldline.scoring.fitted.runs import OofRuns
from foldline.scoring.fitted.study import Study
from foldline.scoring.fitted.target import Target
from foldline.scoring.fitted.weights import SharedWeights, simplex
from foldline.scoring.metrics import metric_for, score
from tasks import PLAIN

Write = Callable[[Path], tuple[OofRuns, Competition]]
every_way = pytest.mark.parametrize("name", FITTED)
every_task = pytest.mark.parametrize("task", PLAIN)
METRICS = {
    "binary": "auc", "multiclass": "log_loss", "multilabel": "f1_macro", "ordinal": "quadratic_weighted_kappa",
    "regression": "rmse", "soft": "log_loss",
}  # fmt: skip
SPREADS = {"good": 0.3, "fair": 0.6, "noise": 30.0}


def made(task: Task, rows: int = 150, seed: int = 0) -> OofRuns:
    """Three runs that see the same signal through more or less noise."""
    rng = np.random.default_rng(seed)
    outputs = 2 if task.two_classes else 3 if task.has_classes else 1
    known = task.of([f"c{i}" for i in range(outputs)] if task.has_classes else [""])
    signal = 2 * rng.normal(size=(rows, outputs))

    def said(logits: Array) -> Array:
        if task.exclusive:
            logits = logits - logits.max(axis=1, keepdims=True)
            return np.asarray(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
        return np.asarray(1 / (1 + np.exp(-logits))) if task.has_classes else logits

    truth = signal if not task.has_classes else said(signal)
    if task.single_label:
        truth = (signal + rng.gumbel(size=signal.shape)).argmax(axis=1).astype(np.float64)
    elif task.label_sets:
        truth = (rng.random(truth.shape) < truth).astype(np.float64)
    values = {run: said(signal + spread * rng.normal(size=signal.shape)) for run, spread in SPREADS.items()}
    return OofRuns(values, Target(known, metric_for(METRICS[task.name], known), truth, np.arange(rows) % 3), rows)


@every_way
@every_task
def test_every_way(name: str, task: Task) -> None:
    oof = made(task)
    if name == "temperature" and not task.has_classes:
        with pytest.raises(FoldlineError, match="a temperature is for probabilities"):
            fit_blend(name, oof.values, oof.target)
        return
    blender = fit_blend(name, oof.values, oof.target)
    fit = blender.fit
    assert fit is not None
    again = Blender.of(name, json.loads(json.dumps(fit.record())), oof.target.task)
    found, nested = again(oof.values), again(oof.values, oof.target.folds)
    assert np.isfinite(found).all()
    if task.exclusive:
        assert np.abs(found.sum(axis=1) - 1).max() < 1e-9
        assert blender.sums_to_one
    if task.has_classes:
        assert (found >= 0).all()
        assert (found <= 1).all()
    order = np.random.default_rng(0).permutation(150)
    moved = {run: values[order] for run, values in oof.values.items()}
    assert again(moved) == pytest.approx(found[order], abs=1e-9), "a row is blended whatever the others are"
    assert again({run: oof.values[run] for run in ("noise", "fair", "good")}) == pytest.approx(found, abs=1e-12), (
        "by the runs' names"
    )
    metric = metric_for(METRICS[task.name], oof.target.task)
    scores = [
        score(metric, oof.target.truth, prob, task=oof.target.task)
        for prob in (nested, oof.values["noise"], Blender("mean", oof.target.task)(oof.values))
    ]
    assert metric.better(scores[0], scores[1])
    if name not in ("stack_lightgbm", "temperature"):  # trees want more rows; a temperature weighs nobody
        assert metric.better(scores[0], scores[2]), "a useless run counts for less than in the mean"


@every_way
def test_a_row_is_blended_without_its_own_fold(name: str) -> None:
    """Other labels in a fold change nothing of what is said of that fold's rows, and do change the other folds'."""
    oof = made(TASKS["binary"])
    folds, truth = oof.target.folds, oof.target.truth.copy()
    truth[folds == 1] = 1 - truth[folds == 1]
    turned = Target(oof.target.task, oof.target.metric, truth, folds)
    one, other = (fit_blend(name, oof.values, target)(oof.values, folds) for target in (oof.target, turned))
    assert (one[folds == 1] == other[folds == 1]).all()
    assert not np.allclose(one[folds != 1], other[folds != 1])


@every_way
def test_one_fold_alone_is_refused(name: str) -> None:
    oof = made(TASKS["binary"])
    target = Target(oof.target.task, oof.target.metric, oof.target.truth, np.zeros(150, dtype=np.int64))
    with pytest.raises(FoldlineError, match="predicted a single one"):
        fit_blend(name, oof.values, target)


@pytest.mark.parametrize("name", [way for way in FITTED if way != "temperature"])
def test_several_targets_have_weights_of_their_own(name: str) -> None:
    parts = {"kind": made(TASKS["multiclass"]), "kg": made(TASKS["regression"], seed=1)}
    task = task_from({"kind": "multiclass", "kg": "regression"}).of(["kind=a", "kind=b", "kind=c", "kg="])
    truth = np.stack([parts["kind"].target.truth, parts["kg"].target.truth[:, 0]], axis=1)
    swapped = {"good": "noise", "fair": "fair", "noise": "good"}  # who is good at one target is not at the other
    values = {
        run: np.concatenate([parts["kind"].values[run], parts["kg"].values[other]], axis=1)
        for run, other in swapped.items()
    }
    target = Target(task, metric_for("error(kind) + rmse(kg)", task), truth, parts["kind"].target.folds)
    blender = fit_blend(name, values, target)
    found = blender(values, target.folds)
    assert np.abs(found[:, :3].sum(axis=1) - 1).max() < 1e-9
    assert np.sqrt(((found[:, 3] - truth[:, 1]) ** 2).mean()) < 1
    weights = blender.weights()
    if weights:
        assert weights["good"][0] > 0.3 > 0.05 > weights["good"][-1]


@every_way
def test_who_lacks_and_who_is_unknown(name: str) -> None:
    oof = made(TASKS["multiclass"])
    blender = fit_blend(name, oof.values, oof.target)
    some = {run: oof.values[run] for run in ("good", "fair")}
    if blender.needs_all:
        with pytest.raises(FoldlineError, match="noise is not there"):
            blender(some)
    else:
        assert np.abs(blender(some).sum(axis=1) - 1).max() < 1e-9, "weights of those that are left sum to 1"
    with pytest.raises(FoldlineError, match="does not know other"):
        blender({**oof.values, "other": oof.values["good"]})
    with pytest.raises(FoldlineError, match="cannot be blended"):
        blender({**oof.values, "good": oof.values["good"][1:]})
    with pytest.raises(FoldlineError, match="fitted without fold 7"):
        blender(oof.values, np.full(150, 7))
    assert (blender(oof.values, np.full(150, -1)) == blender(oof.values)).all(), "rows whose label nobody has"


def test_every_blend_is_made_by_the_one_function() -> None:
    oof = made(TASKS["binary"])
    assert set(ALL_NAMES) == {*BLENDS, *FITTED}
    for name in BLENDS:
        assert Blender(name, oof.target.task)(oof.values).shape == (150, 2)
        assert Blender(name, oof.target.task).weights() == {}
    with pytest.raises(FoldlineError, match="unknown blend 'median'"):
        Blender("median", oof.target.task)
    with pytest.raises(FoldlineError, match="what was fitted is not there"):
        Blender("weights", oof.target.task)
    assert fit_blend("weights", oof.values, oof.target).fit == Fit.of_record(
        json.loads(json.dumps(fit_blend("weights", oof.values, oof.target).fit.record()))  # type: ignore[union-attr]
    )


def test_weights_are_those_of_the_smallest_loss() -> None:
    """Two independent errors: the least square is at weights inverse to their variances."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20_000, 1))
    stack = np.stack([truth + spread * rng.normal(size=truth.shape) for spread in (0.5, 1.0)])
    weights = simplex(stack, truth, TASKS["regression"], "square")
    assert weights == pytest.approx([0.8, 0.2], abs=0.02)
    absolute = simplex(stack, truth, TASKS["regression"], "absolute")
    assert absolute == pytest.approx([0.8, 0.2], abs=0.03)


def test_a_temperature_mends_what_is_too_sure() -> None:
    """Logits three times too large: the temperature is 3, and log loss, nested, is as of the right ones."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=4000)
    truth = (rng.random(4000) < 1 / (1 + np.exp(-logits))).astype(np.float64)
    sure = 1 / (1 + np.exp(-3 * logits))
    task = TASKS["binary"].of(["no", "yes"])
    target = Target(task, metric_for("log_loss", task), truth, np.arange(4000) % 5)
    blender = fit_blend("temperature", {"sure": np.stack([1 - sure, sure], axis=1)}, target)
    assert blender.fit is not None
    assert blender.fit.whole[0]["temperature"] == pytest.approx(3, abs=0.2)
    found = blender({"sure": np.stack([1 - sure, sure], axis=1)}, target.folds)
    assert found[:, 1] == pytest.approx(1 / (1 + np.exp(-logits)), abs=0.03)


def test_hill_climbing_is_by_the_metric() -> None:
    """A run in the right order but with wild probabilities: log loss leaves it out, AUC takes it."""
    rng = np.random.default_rng(0)
    truth = (rng.random(400) < 0.5).astype(np.float64)
    vague, sharp = truth + 1.5 * rng.normal(size=400), truth + 0.3 * rng.normal(size=400)
    positive = [1 / (1 + np.exp(-(vague - 0.5))), np.clip(0.002 + 0.001 * sharp, 0, 1)]
    values = {run: np.stack([1 - p, p], axis=1) for run, p in zip(("vague", "sharp"), positive, strict=True)}
    task = TASKS["binary"].of(["no", "yes"])
    target = Target(task, metric_for("auc", task), truth, np.arange(400) % 4)
    assert fit_blend("hill_climb", values, target).weights()["sharp"][0] > 0.9
    assert fit_blend("weights", values, target).weights()["sharp"][0] < 0.6


def test_class_weights_are_used_where_they_are_better_nested() -> None:
    """Each run knows one label of two: weights for each find that; on noise the common ones stay."""
    rng = np.random.default_rng(0)
    truth = (rng.random((600, 2)) < 0.5).astype(np.float64)
    sure, unsure = 0.2 + 0.6 * truth, np.full(truth.shape, 0.5)
    values = {
        "left": np.where([True, False], sure, unsure) + 0.1 * rng.random(truth.shape),
        "right": np.where([False, True], sure, unsure) + 0.1 * rng.random(truth.shape),
    }
    task = TASKS["multilabel"].of(["a", "b"])
    target = Target(task, metric_for("log_loss", task), truth, np.arange(600) % 5)
    found = chosen_fit("class_weights", OofRuns(values, target, 600))
    assert found.blender.name == "class_weights"
    assert not found.instead
    assert found.blender.weights()["left"] == pytest.approx([1, 0], abs=0.05)
    alike = {run: np.clip(sure + 0.3 * rng.normal(size=truth.shape), 0.01, 0.99)[:60] for run in values}
    plain = chosen_fit("class_weights", OofRuns(alike, target.where(np.arange(60)), 60))
    assert (plain.blender.name, plain.instead) == ("weights", "class_weights")
    assert any("not used" in line for line in fit_in_words(plain, "log_loss"))


def test_entities_are_scored_as_one_and_sampled_whole() -> None:
    oof = made(TASKS["binary"])
    units = np.repeat(np.arange(30), 5)
    positive = np.repeat(oof.target.truth[::5], 5)
    target = Target(oof.target.task, oof.target.metric, positive, np.repeat(np.arange(30) % 3, 5), None, units, "max")
    frame = pd.DataFrame(oof.values["good"], columns=["prob_c0", "prob_c1"]).assign(entity=units)
    one = aggregate(frame, "entity", "max", task=target.task, outputs=["c0", "c1"])
    assert np.allclose(target.scored(oof.values["good"]), one[["prob_c0", "prob_c1"]])
    assert len(target.as_scored()) == 30
    chosen = target.sample(40)
    assert len(chosen) == 40
    assert all((units[chosen] == unit).sum() == 5 for unit in np.unique(units[chosen]))
    assert target.value(oof.values["good"]) == score("auc", one_truth(target), target.scored(oof.values["good"]),
                                                     task=target.task)  # fmt: skip


def one_truth(target: Target) -> Array:
    return target.as_scored().truth


def test_many_rows_are_fitted_on_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than a way takes are evenly spaced ones, and that is said."""
    oof = made(TASKS["binary"])
    monkeypatch.setitem(FITTED, "weights", SharedWeights(most=100))
    found = chosen_fit("weights", oof)
    assert found.blender.fit is not None
    assert found.blender.fit.rows == (50, 150)
    assert "on 50 of 150 rows" in fit_in_words(found, "auc")[-1]


@pytest.mark.parametrize("most", [reading.MOST, 4 * 3 * 2])
def test_reading_runs(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:  # fmt: skip
    monkeypatch.setattr(reading, "MOST", most)
    oof, facts = write(tmp_path)
    read = reading.read_oof({run: tmp_path / run for run in SPREADS}, facts, ["no", "yes"])
    rows = np.arange(150) if most == reading.MOST and not read.is_sample else np.linspace(0, 149, 4).round().astype(int)
    assert len(read.target) == len(rows)
    assert read.of_rows == 150
    for run, values in oof.values.items():
        assert np.allclose(read.values[run], values[rows], atol=1e-6)


@pytest.fixture
def write() -> Write:
    def files(folder: Path) -> tuple[OofRuns, Competition]:
        oof = made(TASKS["binary"])
        for run, values in oof.values.items():
            table = pd.DataFrame({"row_id": [f"r{i:03}" for i in range(150)], "fold": oof.target.folds})
            table["target"] = np.array(["no", "yes"])[oof.target.truth.astype(int)]
            table[["prob_no", "prob_yes"]] = values.astype(np.float32)
            write_parquet(folder / run / "oof.parquet", table if run != "fair" else table[::-1].reset_index(drop=True))
        facts = Competition.parse(
            {"source": {"kind": "folder", "name": "x"}, "task": "binary", "classes": ["no", "yes"], "metric": "auc",
             "train": {"target": "target"}, "holdout": {"fraction": 0.2}}, where="",
        )  # fmt: skip
        return oof, facts

    return files


def test_the_study_finds_the_useless_run() -> None:
    """One of three runs is noise: weights beat the mean surely, and the mean is better without it."""
    study = Study(made(TASKS["binary"], rows=400))
    ways = study.ways(["mean", "gmean", "rank_mean", "weights", "hill_climb"])
    assert study.left_out == {}
    assert study.best(ways) in ("weights", "hill_climb")
    by_name = {way.name: way for way in ways}
    assert (by_name["weights"].gain_interval[0] or 0) > 0
    assert by_name["weights"].weights["noise"][0] < 0.1
    without = study.without("mean")
    assert without[0].run == "noise"
    assert (without[0].gain_interval[0] or 0) > 0
    assert all((one.gain or 0) < 0 for one in without[1:])
    errors = study.errors()
    assert np.allclose(np.diag(errors), 1)
    assert errors[0, 1] > errors[0, 2]


def test_runs_that_are_alike_are_blended_by_the_mean() -> None:
    rng, oof = np.random.default_rng(0), made(TASKS["binary"], rows=300)
    positive = [np.clip(oof.values["good"][:, 1] + 0.05 * rng.normal(size=300), 0.001, 0.999) for _ in range(3)]
    values = {f"seed-{i}": np.stack([1 - p, p], axis=1) for i, p in enumerate(positive)}
    study = Study(OofRuns(values, oof.target, 300))
    assert study.best(study.ways(["mean", "weights", "hill_climb", "stack"])) == "mean"


def test_what_has_no_meaning_is_left_out() -> None:
    study = Study(made(TASKS["regression"]))
    ways = study.ways(["mean", "gmean", "rank_mean"])
    assert [way.name for way in ways] == ["mean"]
    assert "numbers above 0" in study.left_out["gmean"]
    assert "ranks are no predictions for rmse" in study.left_out["rank_mean"]
