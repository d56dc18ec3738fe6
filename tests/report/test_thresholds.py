"""Thresholds: the counts behind the curve and the table, and what the page holds of them."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_score, recall_score

from foldline.core.task import TASKS, Task
from foldline.report.run import thresholds
from foldline.report.run.page import build_report
from foldline.report.run.reported_run import read_run
from report.made_runs import COMP, RUN, change_scores, make_run
from tasks import PLAIN


def test_counts_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    is_class = rng.random(500) < 0.3
    prob = np.clip(0.35 * is_class + rng.random(500) * 0.65, 0, 1).astype(np.float32)
    prob[:40] = 0.5  # a threshold that is a probability takes its rows in
    curve = thresholds.curve_of("x", is_class, prob)
    for i, threshold in enumerate(curve.threshold):
        taken = prob >= threshold
        assert curve.recall[i] == pytest.approx(recall_score(is_class, taken))
        if taken.any():
            assert curve.precision[i] == pytest.approx(precision_score(is_class, taken))
    assert curve.area == pytest.approx(average_precision_score(is_class, prob))
    assert (np.diff(curve.threshold) < 0).all()
    points = [point.split(":") for point in curve.packed().split()]
    assert [float(threshold) for threshold, _, _ in points] == pytest.approx(curve.threshold.tolist())
    assert len(curve.packed()) < 2000


@pytest.mark.parametrize("task", [task for task in PLAIN if task.has_classes])
def test_each_task_has_its_classes_to_choose_from(tmp_path: Path, task: Task) -> None:
    layout = make_run(tmp_path, task, trained=False)
    names = [curve.name for curve in thresholds.curves(read_run(layout, COMP, RUN))]
    page = build_report(layout, COMP, RUN)
    assert re.findall(r"<option data-points=[^>]*>(.*?)</option>", page) == names
    classes = len(read_run(layout, COMP, RUN).outputs)
    assert len(names) == (1 if task.two_classes else classes - task.ordered)
    assert not task.ordered or names[0] == "at least 1"


def test_a_hundred_of_many_classes_and_none_of_ranks(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["multiclass"], [f"c{i}" for i in range(130)], rows=260, trained=False)
    assert len(thresholds.curves(read_run(layout, COMP, RUN))) == 100
    assert "the 100 with the lowest F1 of 130 classes" in build_report(layout, COMP, RUN)
    change_scores(layout, blend="rank_mean")
    assert "figure-precision-recall" not in build_report(layout, COMP, RUN)
