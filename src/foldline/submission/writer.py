"""The writer: predictions become the sample file with answers in it. Reads tables, returns a table of text.

Header, ids, order and index column are the sample's; joins are by id.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError, first_few
from foldline.core.tables import require_unique
from foldline.core.task import Array
from foldline.scoring.decide import Decision, decide, default_decision, expected_index, top_k
from foldline.scoring.metrics.for_task import metric_for
from foldline.submission.decimals import text_column, to_units, to_units_with_sum
from foldline.submission.sample import Shape, read_shape


@dataclass(frozen=True)
class Answers:
    """What a writer of cells gets, and what it means.

    Attributes:
        values: predictions [lines, outputs] in the sample's order; of long lines [entities, outputs], each once.
    """

    shape: Shape
    facts: Competition
    outputs: list[str]
    values: Array
    decision: Decision


Cells = dict[str, "pd.Series[str]"]


def build_submission(
    sample: pd.DataFrame,
    predictions: pd.DataFrame,
    facts: Competition,
    outputs: Sequence[str],
    *,
    decision: Decision | None = None,
    names: Mapping[str, str] | None = None,
    lines: pd.DataFrame | None = None,
    where: str = "the sample submission",
) -> pd.DataFrame:
    """The submission, every cell a string; write it with `core.tables.write_csv`.

    Args:
        sample: the sample submission, every cell a string.
        predictions: `id` (the row's or the entity's) and the columns of `core.task.prediction_columns`.
            Ids that the sample does not hold are left out.
        decision: how labels are decided; default: the largest probability, or >= 0.5 for sets.
        names: raw label -> class name, where they come from a file.
        lines: what the facts say of each line of the sample (`submission.sample.read_shape`).
        where: how errors call the sample.

    Raises:
        FoldlineError: an id without a prediction, two predictions for one id, a prediction that is not finite, or
            a sample that cannot be understood.
    """
    outputs = list(outputs)
    shape = read_shape(sample, facts, outputs, names=names, lines=lines, where=where)
    by_entity = shape.kind == "long"  # thousands of lines may share the outputs of one entity
    wanted = list(dict.fromkeys(shape.entities)) if by_entity else list(shape.entities)
    values = _aligned(wanted, predictions, facts.task.prediction_columns(outputs), where)
    answers = Answers(shape, facts, outputs, values, decision or default_decision(facts.task, len(outputs)))
    cells = WRITERS[shape.kind](answers)
    columns = {name: cells.get(name, sample[name].reset_index(drop=True)) for name in sample.columns}
    return pd.DataFrame(columns, columns=sample.columns)


def holds_labels(
    sample: pd.DataFrame,
    facts: Competition,
    outputs: Sequence[str],
    *,
    names: Mapping[str, str] | None = None,
    lines: pd.DataFrame | None = None,
    where: str = "the sample submission",
) -> bool:
    """Whether the submission's cells are decided labels and the metric reads such: only then a decision matters.

    The arguments are those of `build_submission`.
    """
    shape = read_shape(sample, facts, outputs, names=names, lines=lines, where=where)
    words = shape.kind in ("label", "labels") and _reads_labels(facts)
    return words or _whole_value(shape, facts) or _yes_no(shape, facts)


def _reads_labels(facts: Competition) -> bool:
    return metric_for(facts.metric, facts.task, where="setting 'metric'").input == "label"


def _whole_value(shape: Shape, facts: Competition) -> bool:
    """Whether a column of numbers holds whole ones: grades or counts that the metric compares as labels."""
    return shape.kind == "value" and (facts.task.ordered or not facts.task.has_classes) and _reads_labels(facts)


def _yes_no(shape: Shape, facts: Competition) -> bool:
    """Whether the cells of a column (or line) for each label are 0 or 1: what a metric of label sets compares."""
    return shape.kind in ("probabilities", "long") and facts.task.label_sets and _reads_labels(facts)


def _aligned(ids: list[str], predictions: pd.DataFrame, columns: list[str], where: str) -> Array:
    """[ids, outputs] each id's predictions, in the order of `ids`."""
    require_unique(predictions["id"], where="the predictions")
    place = pd.Index(predictions["id"]).get_indexer(pd.Index(ids))
    missing = [ids[i] for i in np.flatnonzero(place < 0)[:100]]
    if missing:
        raise FoldlineError(
            f"{int((place < 0).sum())} of its {len(ids)} ids have no prediction: {first_few(missing)}",
            where=where,
            next=f"predictions are for {first_few(predictions['id'].tolist())}; see test.row_id and test.entity",
        )
    values: Array = predictions[columns].to_numpy(dtype=np.float64)[place]
    if not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        raise FoldlineError(f"{len(bad)} predictions are not finite: {first_few([ids[i] for i in bad])}")
    return values


def _column_of(answers: Answers, column: str) -> int:
    """The output that a column is called after; else the positive class, or the only output."""
    for words in (answers.shape.words, answers.outputs):
        if column in words:
            return list(words).index(column)
    if answers.facts.task.two_classes or len(answers.outputs) == 1:
        return len(answers.outputs) - 1
    raise FoldlineError(
        f"one column '{column}' cannot hold {len(answers.outputs)} numbers ({first_few(answers.outputs)})",
        where="the sample submission",
        next="set submission.kind in the facts",
    )


def _texts(texts: list[str]) -> "pd.Series[str]":
    return pd.Series(texts, dtype=str)


def _numbers(values: Array, bounds: tuple[float, float] | None) -> "pd.Series[str]":
    """The shortest text of each number, clipped to the bounds: the grader would refuse the file for one of them."""
    inside = values if bounds is None else np.clip(values, *bounds)
    return _texts([repr(number) for number in inside.tolist()])


def _probability_texts(prob: Array, bounds: tuple[float, float] | None) -> "pd.Series[str]":
    low, high = bounds or (0.0, 1.0)
    return text_column(to_units(np.clip(prob, low, high)))


def _probability(answers: Answers) -> Cells:
    column = answers.shape.columns[0]
    if not answers.facts.task.has_classes:
        return {column: _numbers(answers.values[:, 0], answers.shape.bounds)}
    return {column: _probability_texts(answers.values[:, _column_of(answers, column)], answers.shape.bounds)}


def _probabilities(answers: Answers) -> Cells:
    shape = answers.shape
    places = [shape.words.index(column) for column in shape.columns]
    if _yes_no(shape, answers.facts):
        said = decide(answers.decision, answers.values)[:, places]
        return {name: _texts([str(int(n)) for n in said[:, j].tolist()]) for j, name in enumerate(shape.columns)}
    prob = answers.values[:, places]
    if shape.row_sum is None:
        return {name: _probability_texts(prob[:, j], shape.bounds) for j, name in enumerate(shape.columns)}
    units = to_units_with_sum(np.clip(prob, 0.0, None), shape.row_sum)
    return {column: text_column(units[:, j]) for j, column in enumerate(shape.columns)}


def _label(answers: Answers) -> Cells:
    if not answers.facts.task.has_classes:
        return _whole(answers)
    labels, words = decide(answers.decision, answers.values), answers.shape.words
    return {answers.shape.columns[0]: _texts([words[int(label)] for label in labels.tolist()])}


def _whole(answers: Answers) -> Cells:
    """Decided numbers or class numbers, within the bounds."""
    low, high = answers.shape.bounds or (-np.inf, np.inf)
    numbers = np.clip(decide(answers.decision, answers.values), low, high)
    return {answers.shape.columns[0]: _texts([str(int(n)) for n in numbers.tolist()])}


def _joined(answers: Answers, rows: list[list[int]]) -> Cells:
    """Cells of several words; refuses words that hold the separator, since nobody could take them apart."""
    words, separator = answers.shape.words, answers.shape.separator
    broken = [word for word in words if separator in word]
    if broken:
        raise FoldlineError(
            f"class names hold the separator '{separator}': {first_few(broken)}", where="setting 'submission.separator'"
        )
    return {answers.shape.columns[0]: _texts([separator.join(words[i] for i in row) for row in rows])}


def _labels(answers: Answers) -> Cells:
    labels = decide(answers.decision, answers.values)
    if labels.ndim == 1:
        return _joined(answers, [[int(label)] for label in labels.tolist()])
    return _joined(answers, [np.flatnonzero(row).tolist() for row in labels])


def _ranked(answers: Answers) -> Cells:
    return _joined(answers, top_k(answers.values, answers.shape.top_k).tolist())


def _value(answers: Answers) -> Cells:
    column, task = answers.shape.columns[0], answers.facts.task
    if _whole_value(answers.shape, answers.facts):
        return _whole(answers)
    if task.ordered:
        return {column: _numbers(expected_index(answers.values), answers.shape.bounds)}
    return {column: _numbers(answers.values[:, _column_of(answers, column)], answers.shape.bounds)}


def _values(answers: Answers) -> Cells:
    places = {column: answers.shape.words.index(column) for column in answers.shape.columns}
    return {column: _numbers(answers.values[:, j], answers.shape.bounds) for column, j in places.items()}


def _label_score(answers: Answers) -> Cells:
    shape, task = answers.shape, answers.facts.task
    if not (task.single_label or task.soft):
        raise FoldlineError(
            f"a label with its confidence is for classes that exclude each other, not for the task {task.name}",
            where="setting 'submission.kind'",
        )
    labels = decide(answers.decision, answers.values).astype(np.int64)
    score = _probability_texts(answers.values[np.arange(len(labels)), labels], shape.bounds)
    cells = [f"{shape.words[j]}{shape.separator}{text}" for j, text in zip(labels.tolist(), score, strict=True)]
    return {shape.columns[0]: _texts(cells)}


def _long(answers: Answers) -> Cells:
    """One number for each line: the prediction of its entity for its output."""
    shape = answers.shape
    decided = _yes_no(shape, answers.facts)
    values = decide(answers.decision, answers.values) if decided else answers.values
    row = {entity: i for i, entity in enumerate(dict.fromkeys(shape.entities))}
    found = values[[row[entity] for entity in shape.entities], list(shape.places)]
    if decided:
        return {shape.columns[0]: _texts([str(int(n)) for n in found.tolist()])}
    if not answers.facts.task.has_classes:
        return {shape.columns[0]: _numbers(found, shape.bounds)}
    return {shape.columns[0]: _probability_texts(found, shape.bounds)}


WRITERS: dict[str, Callable[[Answers], Cells]] = {
    "probability": _probability,
    "probabilities": _probabilities,
    "label": _label,
    "label_score": _label_score,
    "labels": _labels,
    "long": _long,
    "ranked": _ranked,
    "value": _value,
    "values": _values,
}
