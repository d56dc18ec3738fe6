"""The metric of a task: checked to have a meaning there; of several targets the weighted mean of a metric of each.

`2*recall_macro(grapheme_root) + recall_macro(vowel_diacritic)` names each target's metric; `recall_macro` alone is
its plain mean over all targets. Weights are divided by their sum.
"""

import re
from collections.abc import Mapping

import numpy as np

from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.core.task import Array, Task
from foldline.scoring.metrics.catalogue import METRICS, SET_TWIN, metric_named
from foldline.scoring.metrics.metric import Metric, Part

TERM = re.compile(r"(?:(?P<weight>\d+(?:\.\d+)?)\s*\*)?\s*(?P<metric>[^\s()]+)\((?P<target>[^()]+)\)")


def brief(name: str) -> str:
    """A metric's name for a line of text: of several targets' metrics only how many they are.

    >>> brief("auc(side)"), brief("2*auc(side) + r2(age)")
    ('auc(side)', 'weighted mean of 2 targets')
    """
    terms = name.count("(")
    return f"weighted mean of {terms} targets" if terms > 1 else name


def metric_for(name: "str | Metric", task: Task, *, where: str = "") -> Metric:
    """The metric, checked to have a meaning for the task; raises FoldlineError that lists those which have.

    >>> from foldline.core.task import TASKS
    >>> metric_for("log_loss", TASKS["multilabel"]).name
    'column_log_loss'
    """
    if task.targets and isinstance(name, str):
        return _combined(name, task, where or "metric")
    metric = metric_named(name, where=where) if isinstance(name, str) else name
    if task.label_sets and metric.name in SET_TWIN:
        metric = METRICS[SET_TWIN[metric.name]]
    if not task.fits(metric.kinds):
        fitting = [known for known, other in METRICS.items() if task.fits(other.kinds)]
        raise FoldlineError(
            f"metric '{metric.name}' has no meaning for the task {task.name}",
            where=where,
            next=f"use {', '.join(fitting)}",
        )
    return metric


def _combined(name: str, task: Task, where: str) -> Metric:
    """The metric of all targets that the text names.

    Raises:
        FoldlineError: the text is no weighted mean; an unknown target or metric; a metric that does not fit its
            target; metrics of which not all are better when larger, or when smaller.
    """
    targets = dict(task.targets)
    terms = _terms(name, targets, where)
    parts: list[Part] = []
    for weight, metric, target in terms:
        if target not in targets:
            raise unknown("target", target, list(targets), where=where)
        if weight <= 0 or target in [part.target for part in parts]:
            raise FoldlineError(f"'{name}': each target stands once, its weight above 0", where=where)
        parts.append(Part(weight, metric_for(metric, targets[target], where=where), target))
    directions = {part.metric.direction for part in parts}
    if len(directions) > 1:
        raise FoldlineError(
            f"'{name}' adds metrics of which larger is better and others of which smaller is better",
            where=where,
            next="choose metrics of one direction, for example log_loss and mae, or accuracy and r2",
        )
    shares = np.array([part.weight for part in parts]) / sum(part.weight for part in parts)
    low, high = (float(shares @ [part.metric.range[end] for part in parts]) for end in (0, 1))
    reads = {part.metric.input for part in parts}
    return Metric(
        name, _unprepared, directions.pop(), "label" if reads == {"label"} else "prob", ("several",), (low, high),
        parts=tuple(parts),
    )  # fmt: skip


def reach(name: str, task: Task) -> tuple[float, float]:
    """The smallest and the largest score that the metric can give, for axes; infinite where nobody knows.

    >>> from foldline.core.task import TASKS
    >>> reach("auc", TASKS["binary"]), reach("partial_auc@0.8", TASKS["binary"])[1], reach("gone.py:f", TASKS["soft"])
    ((0.0, 1.0), 0.2, (-inf, inf))
    """
    try:
        low, high = metric_for(name, task).range
    except FoldlineError:  # a metric of the user's own whose file is not there any more: its scores still are
        return -np.inf, np.inf
    return round(low, 12), round(high, 12)


def target_metrics(metric: Metric) -> list[str]:
    """Each target's own part by its name, where there are several."""
    return [f"{part.metric.name}({part.target})" for part in metric.parts] if len(metric.parts) > 1 else []


def without_score(metric: Metric, truth: Array, task: Task) -> list[str]:
    """Why the metric is undefined for this truth (`Task.truth`): numbers that it cannot take.

    >>> from foldline.core.task import TASKS
    >>> without_score(METRICS["rmsle"], np.array([[-2.0], [3.0]]), TASKS["regression"])
    ['1 of 2 labels are -1 or less, which rmsle cannot take: it is undefined']
    """
    truths = {block.name: block.truth(truth) for block in task.blocks}
    found = []
    for part in metric.parts or (Part(1.0, metric, ""),):
        low = int((truths[part.target] <= part.metric.above).any(axis=-1).sum()) if part.metric.above > -np.inf else 0
        what = f"labels of {part.target}" if part.target else "labels"
        if low:
            found.append(
                f"{low} of {len(truth)} {what} are {part.metric.above:g} or less, which {part.metric.name} cannot "
                "take: it is undefined"
            )
    return found


def _unprepared(truth: Array, prediction: Array) -> float:  # noqa: ARG001 - as every metric's function
    raise AssertionError("the arrays of several targets must go through `forms.as_read_by`")


def _terms(name: str, targets: Mapping[str, Task], where: str) -> list[tuple[float, str, str]]:
    """(weight, metric, target) of each term."""
    if "(" not in name:
        return [(1.0, name, target) for target in targets]
    texts = [f"{text})" for text in re.split(r"\)\s*\+\s*", name.strip().removesuffix(")"))]
    matches = [TERM.fullmatch(text) for text in texts]
    if not all(matches):
        first, *_ = targets
        raise FoldlineError(
            f"'{name}' is no mean of the targets' metrics",
            where=where,
            next=f"for example 2*accuracy({first}) + ...; the targets: {first_few(list(targets))}",
        )
    return [(float(match["weight"] or 1), match["metric"], match["target"]) for match in matches if match]
