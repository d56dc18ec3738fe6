"""Scores of more predictions than are copied are those of all at once."""

import numpy as np
import pytest

from foldline.core.task import TASKS, Task
from foldline.scoring import intervals
from foldline.scoring.metrics import METRICS, metric_for, per_class_accuracy, portions, score, score_by_part
from foldline.scoring.metrics.forms import as_read_by
from tasks import PLAIN

ROWS, OUTPUTS = 400, 6


def example(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Truth and float32 predictions that are right more often than not, with ties."""
    rng = np.random.default_rng(0)
    outputs = 2 if task.two_classes else OUTPUTS
    classes = rng.integers(0, outputs - (not task.two_classes), ROWS)  # the last one has no row
    prob = rng.dirichlet(np.ones(outputs), ROWS) + 0.5 * np.eye(outputs)[classes]
    prob = (np.round(prob, 2) / np.round(prob, 2).sum(axis=1, keepdims=True)).astype(np.float32)
    if task.single_label:
        return classes.astype(float), prob
    if task.label_sets:
        return (rng.random(prob.shape) < prob).astype(float), prob
    if task.soft:
        return rng.dirichlet(np.ones(outputs), ROWS), prob
    return prob + rng.normal(0, 0.1, prob.shape), prob


CASES = [
    (name, task) for task in PLAIN for name, metric in METRICS.items()
    if task.fits(metric.kinds) and (task.has_classes or metric.input == "value")
]  # fmt: skip


@pytest.mark.parametrize(("name", "task"), CASES, ids=str)
def test_every_metric_in_portions(name: str, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, prob = example(task)
    parts = np.arange(ROWS) % 3 * 2
    metric, true, predicted = as_read_by(name, truth, prob, task)
    expected = metric.function(true, predicted)
    each = [metric.function(*as_read_by(name, truth[parts == k], prob[parts == k], task)[1:]) for k in (0, 2, 4)]
    monkeypatch.setattr(portions, "AT_A_TIME", 100)
    monkeypatch.setattr(portions, "TABLE", 30)
    assert score(name, truth, prob, task=task) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    pooled, found = score_by_part(name, truth, prob, parts, task=task)
    assert pooled == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert found == pytest.approx(each, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("task", [TASKS["multiclass"], TASKS["multilabel"]], ids=str)
def test_the_accuracy_of_each_class_in_portions(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, prob = example(task)
    whole = per_class_accuracy(truth, prob, task=task)
    monkeypatch.setattr(portions, "AT_A_TIME", 100)
    assert per_class_accuracy(truth, prob, task=task) == pytest.approx(whole, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", ["log_loss", "f1_macro", "auc", "average_precision", "map@3"])
@pytest.mark.parametrize("clusters", [None, np.arange(ROWS) // 2], ids=["rows", "groups"])
def test_the_jackknife_of_many_rows_is_about_the_bootstrap(
    name: str, clusters: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = TASKS["multiclass"]
    truth, prob = example(task)
    drawn = intervals.score_interval(name, truth, prob, task=task, clusters=clusters)
    assert drawn.method == "BCa"
    monkeypatch.setattr(intervals, "MANY", ROWS)
    monkeypatch.setattr(intervals, "ENOUGH", ROWS // 2)
    found = [intervals.score_interval(name, truth, prob, task=task, clusters=clusters)]
    monkeypatch.setattr(portions, "AT_A_TIME", 100)
    monkeypatch.setattr(portions, "TABLE", 30)
    found.append(intervals.score_interval(name, truth, prob, task=task, clusters=clusters))
    assert found[0][:2] == pytest.approx(found[1][:2], abs=1e-12)
    assert {one.method for one in found} == {"jackknife"}
    assert np.allclose(found[0][:2], drawn[:2], atol=0.3 * (drawn.high - drawn.low))


@pytest.mark.parametrize("name", ["log_loss", "auc"])
def test_the_difference_of_two_by_the_jackknife(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = TASKS["multiclass"]
    truth, prob = example(task)
    other = np.roll(prob, 1, axis=0) * 0.3 + prob * 0.7
    assert metric_for(name, task).name == name
    drawn = intervals.paired_difference(name, truth, prob, other, task=task)
    monkeypatch.setattr(intervals, "MANY", ROWS)
    monkeypatch.setattr(intervals, "ENOUGH", ROWS // 2)
    monkeypatch.setattr(portions, "AT_A_TIME", 100)
    found = intervals.paired_difference(name, truth, prob, other, task=task)
    assert found[0] == pytest.approx(drawn[0], abs=1e-12)
    assert np.allclose(found, drawn, atol=0.3 * (drawn[2] - drawn[1]))
