"""The dictionary of metrics: names, directions, and what each one reads. Arrays in, one number out.

Name a metric in the facts: `auc`, `map@5`, `f1_macro`, or a function of your own as `file.py:name` or
`module:name`. Undefined cases have a stated answer in each metric's docstring; `nan` means undefined,
and whoever compares scores leaves it out.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from foldline.core.errors import FoldlineError, unknown
from foldline.core.task import CLASSES, EXCLUSIVE, Array
from foldline.scoring.metrics import classification, probability, ranking, regression
from foldline.scoring.metrics.custom import custom_metric
from foldline.scoring.metrics.metric import Input, Metric

BINARY = ("two_classes",)
LABELS = ("class", "set")
NUMBERS = ("numbers", "ordered", "shares")


def _mean_of(rows: Callable[[Array, Array], Array], truth: Array, prediction: Array) -> float:
    return float(rows(truth, prediction).mean())


def _mean(name: str, rows: Callable[[Array, Array], Array], reads: Input, *kinds: str) -> Metric:
    """A metric that is the mean of each row's part; 0 to 1, larger is better."""
    return Metric(name, partial(_mean_of, rows), "max", reads, kinds, rows=rows)


def _loss(
    name: str, rows: Callable[[Array, Array], Array], reads: Input, *kinds: str, largest: float = np.inf
) -> Metric:
    """A metric that is the mean of each row's part; 0 is the best."""
    return Metric(name, partial(_mean_of, rows), "min", reads, kinds, (0.0, largest), rows)


def _label(name: str, function: Callable[[Array, Array], float], kinds: tuple[str, ...], low: float = 0.0) -> Metric:
    """A metric of decided labels; 1 is the best."""
    return Metric(name, function, "max", "label", kinds, (low, 1.0))


def _error(name: str, function: Callable[[Array, Array], float], above: float = -np.inf) -> Metric:
    """A metric of numbers; 0 is the best."""
    return Metric(name, function, "min", "value", NUMBERS, (0.0, np.inf), above=above)


def _agreement(name: str, function: Callable[[Array, Array], float], low: float) -> Metric:
    """A metric of numbers; 1 is the best."""
    return Metric(name, function, "max", "value", NUMBERS, (low, 1.0))


def _fbeta(name: str, average: str, beta: float) -> Metric:
    if average == "samples":
        return _mean(name, partial(classification.fbeta_samples_rows, beta=beta), "label", "set")
    function = {
        "binary": classification.fbeta,
        "macro": classification.fbeta_macro,
        "micro": classification.fbeta_micro,
        "weighted": classification.fbeta_weighted,
    }[average]
    kinds = BINARY if average == "binary" else LABELS
    return _label(name, partial(function, beta=beta), kinds)


def _parametrised(name: str) -> Metric:
    """The metric `family@parameter`; raises FoldlineError for a parameter out of range."""
    family, _, text = name.partition("@")
    make, example = FAMILIES[family]
    try:
        return make(name, np.array([float(part) for part in text.split(",")]))
    except ValueError as error:
        raise FoldlineError(
            f"metric '{name}': '{text}' is no parameter of {family}", next=f"for example {family}@{example}"
        ) from error


def _whole(numbers: Array) -> int:
    if len(numbers) != 1 or numbers[0] != round(numbers[0]) or numbers[0] < 1:
        raise ValueError("not a whole number from 1 on")
    return int(numbers[0])


def _within(numbers: Array, low: float, high: float) -> float:
    if len(numbers) != 1 or not low < numbers[0] < high:
        raise ValueError(f"not inside {low} to {high}")
    return float(numbers[0])


def _weights(numbers: Array) -> Array:
    if (numbers < 0).any() or not np.isfinite(numbers).all() or numbers.sum() <= 0:
        raise ValueError("not weights")
    return numbers


def _partial_auc(name: str, numbers: Array) -> Metric:
    rate = _within(numbers, 0.0, 1.0)
    return Metric(name, partial(ranking.partial_auc, rate=rate), "max", "rank", BINARY, (0.0, 1.0 - rate))


def _weighted_log_loss(name: str, numbers: Array) -> Metric:
    function = partial(probability.weighted_log_loss, weights=_weights(numbers))
    return Metric(name, function, "min", "prob", LABELS, (0.0, np.inf))


def _fbeta_family(average: str) -> Callable[[str, Array], Metric]:
    return lambda name, numbers: _fbeta(name, average, _within(numbers, 0.0, np.inf))


def _ranked_family(make: Callable[..., Metric], rows: Callable[..., Array], *kinds: str) -> Callable[..., Metric]:
    """Metrics of the k most probable classes; `make` is `_mean` or `_loss`."""
    return lambda name, numbers: make(name, partial(rows, k=_whole(numbers)), "prob", *kinds)


AVERAGES = {"": "binary", "_macro": "macro", "_micro": "micro", "_weighted": "weighted", "_samples": "samples"}
# what makes the metric of a parameter, and an example of one
FAMILIES: dict[str, tuple[Callable[[str, Array], Metric], str]] = {
    "top_accuracy": (_ranked_family(_mean, probability.top_rows, "class"), "3"),
    "top_error": (_ranked_family(partial(_loss, largest=1.0), probability.missed_rows, "class"), "1"),
    "map": (_ranked_family(_mean, probability.average_precision_at_rows, *LABELS), "5"),
    "partial_auc": (_partial_auc, "0.8"),
    "weighted_log_loss": (_weighted_log_loss, "2,1 (a weight for each class)"),
    **{f"fbeta{end}": (_fbeta_family(average), "2") for end, average in AVERAGES.items()},
}
_LIST = [
    _mean("accuracy", classification.right_rows, "label", *CLASSES),
    _loss("error", classification.wrong_rows, "label", *CLASSES, largest=1.0),
    _label("precision", classification.precision, BINARY),
    _label("recall", classification.recall, BINARY),
    _label("precision_macro", classification.precision_macro, LABELS),
    _label("recall_macro", classification.recall_macro, LABELS),
    _label("balanced_accuracy", classification.balanced_accuracy, EXCLUSIVE),
    *(_fbeta(f"f{beta}{end}", average, beta) for beta in (1, 2) for end, average in AVERAGES.items()),
    _label("matthews", classification.matthews, ("class",), -1.0),
    _label("cohen_kappa", classification.cohen_kappa, ("class",), -1.0),
    _label("quadratic_weighted_kappa", classification.quadratic_weighted_kappa, ("class", "numbers"), -1.0),
    *(_parametrised(f"top_accuracy@{k}") for k in (3, 5)),
    *(_parametrised(f"top_error@{k}") for k in (1, 3, 5)),
    *(_parametrised(f"map@{k}") for k in (1, 3, 5, 10)),
    _loss("log_loss", probability.log_loss_rows, "prob", *EXCLUSIVE),
    _loss("column_log_loss", probability.column_log_loss_rows, "prob", "set"),
    _loss("kl_divergence", probability.kl_divergence_rows, "prob", *EXCLUSIVE),
    _loss("brier", probability.brier_rows, "prob", *CLASSES, largest=1.0),
    Metric("gap", probability.global_average_precision, "max", "prob", ("class",)),
    Metric("probabilistic_f1", probability.probabilistic_f1, "max", "prob", BINARY),
    Metric("auc", ranking.auc, "max", "rank", LABELS, counts=ranking.auc_of_counts),
    Metric("mean_column_auc", ranking.auc, "max", "rank", LABELS, counts=ranking.auc_of_counts),
    Metric("weighted_auc", ranking.weighted_auc, "max", "rank", BINARY),
    _parametrised("partial_auc@0.8"),
    *(
        Metric(name, ranking.average_precision, "max", "rank", LABELS, counts=ranking.average_precision_of_counts)
        for name in ("average_precision", "mean_average_precision")
    ),
    _error("rmse", regression.rmse),
    _error("mean_column_rmse", regression.mean_column_rmse),
    _error("rmsle", regression.rmsle, above=-1.0),
    _loss("mae", regression.absolute_error_rows, "value", *NUMBERS),
    _agreement("r2", regression.r2, -np.inf),
    _agreement("pearson", regression.pearson, -1.0),
    _agreement("spearman", regression.spearman, -1.0),
]
METRICS: dict[str, Metric] = {metric.name: metric for metric in _LIST}

# What a metric's name means for sets of labels, where its formula is another one.
SET_TWIN = {"log_loss": "column_log_loss"}


def metric_named(name: str, *, where: str = "") -> Metric:
    """The metric that the facts name: an entry of METRICS, `family@parameter`, or a function of your own.

    >>> metric_named("map@7").direction
    'max'

    Raises:
        FoldlineError: nobody knows the name; the known ones are listed.
    """
    if name in METRICS:
        return METRICS[name]
    if ":" in name:
        return custom_metric(name, where=where)
    if name.partition("@")[0] in FAMILIES and "@" in name:
        return _parametrised(name)
    raise unknown("metric", name, METRICS, where=where, more="some take numbers, as map@... and fbeta@... do")
