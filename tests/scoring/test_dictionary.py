"""What must hold for every metric of the dictionary, for every task that it names."""

import numpy as np
import pytest

from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Task
from foldline.scoring.metrics import METRICS, metric_for, metric_named, score
from foldline.scoring.metrics.forms import as_read_by
from tasks import PLAIN, fitting

OUTPUTS: dict[str, int] = {
    "binary": 2,
    "multiclass": 4,
    "ordinal": 5,
    "multilabel": 3,
    "soft": 4,
    "regression": 2,
}
MORE = [
    "map@7",
    "top_accuracy@2",
    "top_error@4",
    "partial_auc@0.5",
    "weighted_log_loss@1,2,3,4,5",
    "fbeta@0.5",
    "fbeta_macro@0.5",
    "fbeta_micro@2",
    "fbeta_weighted@3",
    "fbeta_samples@2",
]


def outputs_of(name: str, task: Task) -> int:
    """Metrics of whole numbers read one number a row; weights are for five classes."""
    if name.startswith("weighted_log_loss"):
        return 5
    return 1 if not task.has_classes and METRICS.get(name, METRICS["rmse"]).input == "label" else OUTPUTS[task.name]


def example(task: Task, outputs: int, rows: int = 60, seed: int = 0) -> tuple[Array, Array]:
    """Truth, and predictions that know something of it. Every class and every label occurs, and each row has one."""
    rng = np.random.default_rng(seed)
    if not task.has_classes:
        truth = rng.integers(0, 5, (rows, outputs)).astype(float)
        return truth, np.abs(truth + rng.normal(0, 1, truth.shape))
    if task.label_sets:
        truth = (rng.random((rows, outputs)) < 0.4).astype(float)
        truth[np.arange(rows), np.arange(rows) % outputs] = 1
        truth[0], truth[1] = np.eye(outputs)[0], np.eye(outputs)[-1]
        return truth, np.clip(truth * 0.3 + rng.random(truth.shape) * 0.7, 0.01, 0.99)
    if task.soft:
        truth = rng.dirichlet(np.ones(outputs), rows)
        return truth, rng.dirichlet(np.ones(outputs), rows) * 0.5 + truth * 0.5
    index = np.concatenate([np.arange(outputs), rng.integers(0, outputs, rows - outputs)])
    return index.astype(float), rng.dirichlet(np.ones(outputs), rows) * 0.7 + np.eye(outputs)[index] * 0.3


def perfect(task: Task, truth: Array, outputs: int) -> Array:
    """Predictions that cannot be better."""
    return np.eye(outputs)[truth.astype(int)] if truth.ndim == 1 else truth.copy()


CASES = [(name, task) for name in [*METRICS, *MORE] for task in fitting(metric_named(name).kinds)]
every_metric = pytest.mark.parametrize(("name", "task"), CASES)


def score_of(name: str, task: Task, truth: np.ndarray, prediction: np.ndarray) -> float:
    return score(name, truth, prediction, task=task)


def test_names_and_twins() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
    assert {metric_named(name).name for name in MORE} == set(MORE)


@every_metric
def test_rows_in_another_order_score_the_same(name: str, task: Task) -> None:
    truth, prediction = example(task, outputs_of(name, task))
    order = np.random.default_rng(1).permutation(len(truth))
    found = score_of(name, task, truth, prediction)
    assert np.isfinite(found)
    assert score_of(name, task, truth[order], prediction[order]) == pytest.approx(found, abs=1e-12)


@every_metric
def test_perfect_is_best_and_scores_stay_in_range(name: str, task: Task) -> None:
    metric = metric_for(name, task)
    outputs = outputs_of(name, task)
    truth, prediction = example(task, outputs)
    found = score_of(name, task, truth, prediction)
    best = score_of(name, task, truth, perfect(task, truth, outputs))
    assert metric.range[0] <= found <= metric.range[1]
    assert metric.better(best, found) or best == pytest.approx(found)
    if not (task.soft and name == "log_loss"):  # the best log loss of soft labels is their entropy
        assert best == pytest.approx(metric.best, abs=1e-9)


@every_metric
def test_worse_predictions_score_worse(name: str, task: Task) -> None:
    metric = metric_for(name, task)
    if name.startswith("top_") and int(name.partition("@")[2]) >= OUTPUTS[task.name]:
        pytest.skip("the true class is always among so many")
    truth, prediction = example(task, outputs_of(name, task), rows=400)
    shuffled = prediction[np.random.default_rng(2).permutation(len(prediction))]
    assert metric.better(score_of(name, task, truth, prediction), score_of(name, task, truth, shuffled))


ORDERED = ("quadratic_weighted_kappa", "weighted_log_loss@1,2,3,4,5")


@every_metric
def test_classes_in_another_order_score_the_same(name: str, task: Task) -> None:
    """Except where the order has a meaning: positive class, ordinal distances, weights."""
    if task.two_classes or task.ordered or name in ORDERED:
        pytest.skip("the order of the classes has a meaning here")
    outputs = outputs_of(name, task)
    truth, prediction = example(task, outputs)
    order = np.random.default_rng(3).permutation(outputs)
    moved = np.argsort(order)[truth.astype(int)].astype(float) if truth.ndim == 1 else truth[:, order]
    found = score_of(name, task, truth, prediction)
    assert score_of(name, task, moved, prediction[:, order]) == pytest.approx(found, abs=1e-12)


@every_metric
@pytest.mark.parametrize("broken", ["nan prediction", "infinite prediction", "nan truth", "empty", "other rows"])
def test_broken_input_is_refused(name: str, task: Task, broken: str) -> None:
    truth, prediction = example(task, outputs_of(name, task))
    if broken == "empty":
        truth, prediction = truth[:0], prediction[:0]
    elif broken == "other rows":
        prediction = prediction[1:]
    else:
        array = truth if "truth" in broken else prediction
        array[3] = np.inf if "infinite" in broken else np.nan
    with pytest.raises(FoldlineError, match=r"no rows|not finite|cannot be compared"):
        score_of(name, task, truth, prediction)


@every_metric
@pytest.mark.parametrize("rows", [1, 2, 30])
@pytest.mark.parametrize("flat", [False, True])
def test_one_class_and_flat_predictions_have_an_answer(name: str, task: Task, rows: int, flat: bool) -> None:
    """A number in the metric's range, or nan; never an exception, and never a warning (pytest makes them errors)."""
    metric = metric_for(name, task)
    outputs = outputs_of(name, task)
    for truth, prediction in _narrow(task, outputs, rows, flat):
        found = score_of(name, task, truth, prediction)
        assert np.isnan(found) or metric.range[0] - 1e-12 <= found <= metric.range[1] + 1e-12


def _narrow(task: Task, outputs: int, rows: int, flat: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    whole, prediction = example(task, outputs, rows=60)
    prediction = np.repeat(prediction[:1], rows, axis=0) if flat else prediction[:rows]
    if whole.ndim == 1:
        return [(np.full(rows, float(only)), prediction) for only in range(outputs)]
    values = (0.0, 1.0) if not task.soft else ()
    cases = [(np.full((rows, outputs), value), prediction) for value in values]
    return [*cases, (np.repeat(np.eye(outputs)[:1], rows, axis=0), prediction)]


@every_metric
def test_resampling_the_prepared_arrays_is_resampling_the_rows(name: str, task: Task) -> None:
    """The bootstrap decides, ranks and sums once, and only then draws."""
    truth, prediction = example(task, outputs_of(name, task))
    metric, ready_truth, ready = as_read_by(name, truth, prediction, task)
    index = np.random.default_rng(4).integers(0, len(truth), len(truth))
    expected = score_of(name, task, truth[index], prediction[index])
    assert metric.function(ready_truth[index], ready[index]) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    if metric.rows is not None:
        assert metric.rows(ready_truth, ready)[index].mean() == pytest.approx(expected, abs=1e-12)


@every_metric
def test_a_task_without_meaning_is_refused(name: str, task: Task) -> None:
    kinds = metric_named(name).kinds
    for other in PLAIN:
        if other.fits(kinds) or (other.label_sets and name == "log_loss"):
            continue
        with pytest.raises(FoldlineError, match="no meaning for the task"):
            metric_for(name, other)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(FoldlineError, match="unknown metric 'acuracy'") as caught:
        metric_named("acuracy")
    assert "did you mean 'accuracy'" in caught.value.next
    assert "map@..." in caught.value.next


@pytest.mark.parametrize(
    "name", ["map@0", "map@x", "map@1.5", "top_accuracy@", "partial_auc@1", "fbeta@-1", "weighted_log_loss@0,0"]
)
def test_parameters_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(FoldlineError, match="is no parameter of"):
        metric_named(name)


def test_a_defined_score_beats_nan() -> None:
    for metric in METRICS.values():
        assert metric.better(0.1, float("nan"))
        assert not metric.better(float("nan"), 0.1)
        assert not metric.better(float("nan"), float("nan"))
