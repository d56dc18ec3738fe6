"""From truth and predictions to the form that a metric reads, with every check. Arrays in, arrays out.

Truth is [rows] class indices or [rows, outputs]; predictions are [rows, outputs] (columns as in
`core.task.Task.prediction_columns`; for two classes a single column is the positive one). A metric's function gets

| `input` | truth | prediction |
|---|---|---|
| prob | class indices, or [rows, outputs] | probabilities [rows, outputs] |
| label | class indices, or [rows, outputs] of 0 and 1 | the same: the largest probability, or each one >= 0.5 |
| rank | as for prob | [rows, outputs] dense ranks of each column |
| value | [rows, columns] | numbers [rows, columns]; of ordinal classes the expected number (`Task.class_numbers`) |
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Task
from foldline.scoring.metrics.for_task import metric_for
from foldline.scoring.metrics.metric import Metric, Predicted
from foldline.scoring.metrics.ranking import order_codes

Place = int | slice
CHECKED = 4_000_000  # numbers that are looked at together
ROUNDING = 1e-5  # float32 probabilities may leave [0, 1] by rounding


def check_arrays(truth: Array, prediction: Predicted) -> tuple[Array, Array]:
    """Both as float64; raises FoldlineError unless they have equal numbers of rows, at least one, all finite."""
    true, predicted = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    require_sound(true, predicted)
    return true, predicted


def require_sound(truth: Array, prediction: Predicted) -> None:
    """Raises FoldlineError unless they have equal numbers of rows, at least one, all finite."""
    if len(truth) == 0 or truth.size == 0 or prediction.size == 0:
        raise FoldlineError("there are no rows to score")
    if len(truth) != len(prediction):
        raise FoldlineError(f"{counted(len(truth), 'labels')} and {len(prediction)} predictions cannot be compared")
    for name, array in (("labels", truth), ("predictions", prediction)):
        step = max(1, CHECKED * len(array) // array.size)
        bad = np.concatenate([_odd_rows(array[i : i + step]) for i in range(0, len(array), step)])
        if bad.any():
            raise FoldlineError(f"{int(bad.sum())} {name} are not finite; the first is row {int(bad.argmax())}")


def _odd_rows(array: Predicted) -> NDArray[np.bool_]:
    """[rows] whether a number of a row is not finite."""
    return np.asarray(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))


def as_read_by(name: str | Metric, truth: Array, prediction: Predicted, task: Task) -> tuple[Metric, Array, Array]:
    """The metric, and the arrays in the form that its function reads. Resampling rows keeps the form.

    Raises:
        FoldlineError: unknown metric; no meaning for the task; no rows; not finite; not class indices or
            probabilities where these are needed.
    """
    truth, prediction = check_arrays(truth, prediction)
    metric = metric_for(name, task)
    if metric.parts:
        return _as_parts_read(metric, truth, prediction, task)
    if metric.input == "value":
        return metric, *_as_values(truth, prediction, task)
    if not task.has_classes:
        return metric, *_as_whole_numbers(truth, prediction, task)
    if task.ordered and truth.ndim == 1 and prediction.size == len(truth):
        prediction = _nearest(truth, prediction.reshape(-1), task)
    prediction = _two_columns(prediction) if truth.ndim == 1 else prediction
    check_classes(truth, prediction)
    if metric.input == "rank":
        return metric, truth, order_codes(prediction)
    _check_probabilities(metric.name, prediction)
    if metric.input == "label":
        return metric, *decided(truth, prediction, task)
    return metric, truth, np.clip(prediction, 0.0, 1.0)


def _as_parts_read(metric: Metric, truth: Array, prediction: Array, task: Task) -> tuple[Metric, Array, Array]:
    """Of several targets what each one's metric reads, side by side, so that rows can be drawn."""
    blocks = {block.name: block for block in task.blocks}
    terms = []
    truths: list[Array] = []
    predictions: list[Array] = []
    for part in metric.parts:
        block = blocks[part.target]
        form, true, predicted = as_read_by(part.metric, block.truth(truth), prediction[:, block.columns], block.task)
        terms.append((part.weight, form.function, _beside(truths, true), _beside(predictions, predicted)))
    function = partial(_weighted_mean, tuple(terms))
    return replace(metric, function=function), np.concatenate(truths, axis=1), np.concatenate(predictions, axis=1)


def _beside(before: list[Array], array: Array) -> Place:
    """Puts an array beside those before it; the column or columns where it stands among them."""
    start = sum(other.shape[1] for other in before)
    before.append(array.reshape(len(array), -1))
    return start if array.ndim == 1 else slice(start, start + array.shape[1])


def _weighted_mean(
    terms: Sequence[tuple[float, Callable[[Array, Array], float], Place, Place]], truth: Array, prediction: Array
) -> float:
    """The weighted mean of the targets' scores; nan where one of them is undefined."""
    scores = [
        weight * function(truth[:, true], prediction[:, predicted]) for weight, function, true, predicted in terms
    ]
    return float(sum(scores) / sum(weight for weight, *_ in terms))


def decided(truth: Array, prob: Array, task: Task) -> tuple[Array, Array]:
    """Labels by the default rule: each output >= 0.5 for multi-label, else the largest (the first of equals)."""
    labels = task.default_labels(prob)
    return (truth if truth.ndim == labels.ndim else truth.argmax(axis=1).astype(np.float64)), labels


def _two_columns(prob: Array) -> Array:
    """A single column becomes that of the second class, with its complement before it."""
    column = prob.reshape(len(prob), -1)
    return np.concatenate([1 - column, column], axis=1) if column.shape[1] == 1 else prob


def check_classes(truth: Array, prediction: Predicted) -> None:
    """Raises FoldlineError unless the truth is of the predicted classes: indices, or a number for each output."""
    if truth.ndim == 2:
        if truth.shape != prediction.shape:
            raise FoldlineError(f"labels of shape {truth.shape} and predictions of {prediction.shape} do not match")
        return
    if (truth != np.round(truth)).any() or truth.min() < 0 or truth.max() >= prediction.shape[1]:
        raise FoldlineError(f"labels must be class indices from 0 to {prediction.shape[1] - 1}")


def _check_probabilities(name: str, prob: Array) -> None:
    low, high = float(prob.min()), float(prob.max())
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise FoldlineError(f"metric '{name}' needs probabilities; these numbers go from {low:.6g} to {high:.6g}")


def _nearest(truth: Array, values: Array, task: Task) -> Array:
    """[rows, classes] 1 for the class whose number is nearest to each of [rows] numbers."""
    classes = len(task.known) or int(truth.max()) + 1
    return np.asarray(np.eye(classes)[task.nearest_class(values, classes).astype(np.int64)])


def _as_values(truth: Array, prediction: Array, task: Task) -> tuple[Array, Array]:
    """Both as [rows, columns]; classes become their numbers, and probabilities of ordinal ones the expected number."""
    value = prediction.reshape(len(prediction), -1)
    if truth.ndim == 1 and task.single_label:
        numbers = task.class_numbers(max(value.shape[1], int(truth.max()) + 1, len(task.known)))
        truth = numbers[truth.astype(np.int64)]
        value = value @ numbers[:, None] if value.shape[1] > 1 else value
    truth = truth.reshape(len(truth), -1)
    if truth.shape != value.shape:
        raise FoldlineError(f"labels of shape {truth.shape} and predictions of {value.shape} do not match")
    return truth, value


def _as_whole_numbers(truth: Array, prediction: Array, task: Task) -> tuple[Array, Array]:
    """One column each, rounded half up: what a grader of whole numbers is given."""
    truth, value = _as_values(truth, prediction, task)
    if truth.shape[1] != 1:
        raise FoldlineError("a metric of labels needs one number a row")
    return np.floor(truth[:, 0] + 0.5), np.floor(value[:, 0] + 0.5)
