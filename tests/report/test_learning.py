"""The figures of learning: what they draw of the logs, and when they are left out."""

import base64
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldline.core import tables
from foldline.core.paths import Layout
from foldline.core.task import TASKS, Task
from foldline.report.look.curves import limits, mean_curve, stretch, values_of
from foldline.report.look.palette import Picture
from foldline.report.run import facts, learning_figures
from foldline.report.run.page import build_report
from foldline.report.run.reported_run import ReportedRun, read_run
from report.made_runs import COMP, OUTPUTS, RUN, make_run, write_fold


def made(tmp_path: Path, task: Task = TASKS["binary"], **choices: object) -> tuple[Layout, ReportedRun]:
    layout = make_run(tmp_path, task, **choices)  # type: ignore[arg-type]
    return layout, read_run(layout, COMP, RUN)


def change_log(layout: Layout, fold: int, **columns: float) -> None:
    path = layout.fold(COMP, RUN, fold) / "log.csv"
    tables.write_csv(path, tables.read_csv(path).assign(**columns))


def lines(picture: Picture, role: str = "accent") -> list[str]:
    """The path of each line of one colour."""
    svg = base64.b64decode(picture.uri.partition(",")[2]).decode()
    found = re.findall(r'<path d="([^"]*)"[^>]*style="fill: none; [^"]*?stroke: var\(--(\w+)\)', svg)
    return [path for path, colour in found if colour == role]


@pytest.mark.parametrize(
    ("task", "titles"),
    [
        (TASKS["binary"], ["Loss", "AUC", "Accuracy", "Precision", "Recall", "F1", "Learning rate"]),
        (TASKS["multiclass"], ["Loss", "Accuracy", "Precision macro", "Recall macro", "F1 macro", "Learning rate"]),
        (TASKS["regression"], ["Loss", "RMSE", "MAE", "R²", "Learning rate"]),
        (TASKS["soft"], ["Loss", "KL divergence", "Log loss", "Learning rate"]),
    ],
)
def test_every_metric_has_its_curves(tmp_path: Path, task: Task, titles: list[str]) -> None:
    found = learning_figures.curves_over_epochs(made(tmp_path, task)[1])
    assert [picture.title for picture in found] == titles
    assert all(len(lines(picture)) == 3 + 1 for picture in found[:-1])  # three folds and their mean
    assert len(lines(found[-1])) == 1
    trained = [picture.title for picture in found if len(lines(picture, "muted")) >= 4]
    assert ("Accuracy" in trained) == task.single_label
    assert "Loss" in trained


def test_masks_that_were_learnt_are_drawn_and_said(tmp_path: Path) -> None:
    layout, run = made(tmp_path)
    assert facts.masks(run) == ""
    for fold in range(3):
        change_log(layout, fold, mask_loss=1.0, mask_dice=0.5 + 0.1 * fold)
    run = read_run(layout, COMP, RUN)
    titles = [picture.title for picture in learning_figures.curves_over_epochs(run)]
    assert titles == ["Loss", "AUC", "Accuracy", "Precision", "Recall", "F1", "Dice of masks", "Learning rate"]
    assert "last epoch, 0.6000, mean of 3 folds" in facts.masks(run)


def test_words_have_the_mean_of_the_folds(tmp_path: Path) -> None:
    layout, run = made(tmp_path)
    logs = [tables.read_csv(layout.fold(COMP, RUN, fold) / "log.csv") for fold in range(3)]
    last = np.mean([float(log["valid_loss"].iloc[-1]) for log in logs])
    first = np.mean([float(log["train_loss"].iloc[1]) for log in logs])
    alt = learning_figures.curves_over_epochs(run)[0].alt
    assert alt.startswith("Loss, mean of 3 folds: ")
    assert f"of the training rows from {first:.4f} in epoch 1 to" in alt
    assert f"to {last:.4f} in epoch 3." in alt


def test_accuracy_of_the_validation_rows_stands_beside_that_of_the_training_rows(tmp_path: Path) -> None:
    layout, _ = made(tmp_path)
    for fold in range(3):
        path = layout.fold(COMP, RUN, fold) / "log.csv"
        tables.write_csv(path, tables.read_csv(path).drop(columns="valid_accuracy"))
        change_log(layout, fold, accuracy_ok=1.0, accuracy_defective=0.0)
    run = read_run(layout, COMP, RUN)
    truth = run.truth[(run.oof["fold"] == 1).to_numpy()]
    log = learning_figures.epochs_of(run)[1]
    assert log[learning_figures.VALID_ACCURACY].tolist() == pytest.approx([(truth == 0).mean()] * 4)
    picture = next(it for it in learning_figures.curves_over_epochs(run) if it.title == "Accuracy")
    assert len(lines(picture)) == len(lines(picture, "muted")) == 4


def test_logs_without_the_newer_columns(tmp_path: Path) -> None:
    layout, _ = made(tmp_path)
    for fold in range(3):
        path = layout.fold(COMP, RUN, fold) / "log.csv"
        log = tables.read_csv(path)
        tables.write_csv(path, log[["epoch", "train_loss", "valid_loss", "score"]])
        path.with_name("steps.csv").unlink()
    found = learning_figures.curves_over_epochs(read_run(layout, COMP, RUN))
    assert [picture.title for picture in found] == ["Loss", "AUC"]


def test_epochs_that_were_not_validated_are_bridged(tmp_path: Path) -> None:
    _, run = made(tmp_path, epochs=10, validate_every=3)
    loss = learning_figures.curves_over_epochs(run)[0]
    paths = lines(loss)
    assert len(paths) == 4
    for path in paths:
        assert path.count("M") == 1  # one stroke
        assert path.count("L") == 4  # epochs 0, 3, 6, 9, 10
    assert lines(loss, "muted")[0].count("L") == 9


def test_folds_that_stopped_early_leave_the_mean_to_shared_epochs() -> None:
    logs = [pd.DataFrame({"epoch": range(n), "x": np.full(n, float(n))}) for n in (3, 5)]
    mean = mean_curve(values_of(logs, "x"))
    assert mean.to_dict() == {0: 4.0, 1: 4.0, 2: 4.0}


def test_a_loss_that_exploded_does_not_flatten_the_others() -> None:
    found = limits([np.append(np.linspace(0.2, 1.0, 200), 1e6)])
    assert found is not None
    assert found[1] < 2
    assert limits([np.array([np.nan])]) is None


@pytest.mark.parametrize(("epochs", "parts"), [(24, 0), (25, 5)])
def test_many_epochs_are_shown_in_five_parts(tmp_path: Path, epochs: int, parts: int) -> None:
    layout, run = made(tmp_path, epochs=epochs)
    found = learning_figures.loss_in_parts(run)
    assert len(found) == parts
    assert ("The loss in five parts" in build_report(layout, COMP, RUN)) == bool(parts)
    if parts:
        assert [it.title.removeprefix("Epochs ") for it in found] == [
            "1 to 5", "5 to 10", "10 to 15", "15 to 20", "20 to 25",
        ]  # fmt: skip
        first, last = (_ticks(it) for it in (found[0], found[-1]))
        assert np.diff(np.unique(last)).min() < 0.5 * np.diff(np.unique(first)).min()  # scales of their own


def _ticks(picture: Picture) -> list[float]:
    """The numbers of the y axes: those with a point."""
    svg = base64.b64decode(picture.uri.partition(",")[2]).decode()
    return [float(text) for text in re.findall(r">(\d+\.\d+)</text>", svg)]


def test_a_part_between_two_validated_epochs_has_its_line() -> None:
    curve = pd.Series([1.0, 0.0], index=[0, 10])
    assert stretch(curve, 4, 6).to_dict() == {4: pytest.approx(0.6), 6: pytest.approx(0.4)}
    assert stretch(curve, 8, 12).index.tolist() == [8, 10]
    assert len(stretch(curve, 11, 12)) == 0


@pytest.mark.parametrize(("classes", "shown"), [(20, 20), (21, 0)])
def test_classes_have_curves_as_long_as_one_can_look_at_them(tmp_path: Path, classes: int, shown: int) -> None:
    names = [f"class {i}" for i in range(classes)]
    found = learning_figures.class_curves(made(tmp_path, TASKS["multiclass"], outputs=names)[1])
    assert [it.title for it in found] == names[:shown]


def test_rates_that_differ_between_folds_are_all_drawn(tmp_path: Path) -> None:
    layout, run = made(tmp_path)
    assert "36 steps" in learning_figures.curves_over_epochs(run)[-1].alt
    path = layout.fold(COMP, RUN, 1) / "steps.csv"
    steps = tables.read_csv(path)
    tables.write_csv(path, steps.assign(lr=0.5 * steps["lr"].astype(float)))
    found = learning_figures.curves_over_epochs(read_run(layout, COMP, RUN))[-1]
    assert len(lines(found)) == 3
    tables.write_csv(path, steps.iloc[:-2])
    found = learning_figures.curves_over_epochs(read_run(layout, COMP, RUN))[-1]
    assert len(lines(found)) == 3
    assert "34 to 36 steps" in found.alt


def test_rates_are_thinned_and_end_where_training_ends() -> None:
    steps = pd.DataFrame({"step": range(5000), "epoch": np.arange(5000) // 500 + 1, "lr": np.linspace(1, 0, 5000)})
    place, rate = learning_figures.rate_curve(steps)
    assert len(place) == len(rate) == 300
    assert (place[0], place[-1], rate[-1]) == (1 / 500, 10, 0)


def test_the_epoch_used_is_marked_where_it_was_picked(tmp_path: Path) -> None:
    layout, run = made(tmp_path)
    assert ("dot", "epoch used") not in learning_figures.legend(run)
    write_fold(layout, TASKS["binary"], OUTPUTS["binary"], 1, select="best", selected_epoch=2)
    run = read_run(layout, COMP, RUN)
    assert ("dot", "epoch used") in learning_figures.legend(run)
    assert (2, run.logs[1]["score"][2]) in learning_figures.chosen_epochs(run, run.logs)


def test_a_hundred_epochs_of_ten_classes_stay_small(tmp_path: Path) -> None:
    layout, _ = made(tmp_path, TASKS["multiclass"], outputs=[f"class {i}" for i in range(10)], epochs=100)
    assert len(build_report(layout, COMP, RUN)) < 700_000
