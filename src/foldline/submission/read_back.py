"""A submission read back into predictions, to grade it as a leaderboard would. Reads tables, returns an array.

The other direction of `submission.writer`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError, first_few
from foldline.core.task import Array
from foldline.scoring.choose import as_predictions
from foldline.scoring.metrics.for_task import metric_for
from foldline.submission.sample import Shape, label_and_score, read_shape


def read_answers(
    frame: pd.DataFrame,
    sample: pd.DataFrame,
    facts: Competition,
    outputs: Sequence[str],
    *,
    names: Mapping[str, str] | None = None,
    lines: pd.DataFrame | None = None,
) -> tuple[list[str], Array]:
    """What the lines are about (rows or entities), and what was answered as predictions [ids, outputs].

    A label becomes probability 1 of its class, or its confidence where it has one (no answer: all 0), a set 1 for each
    of its labels, a ranked list 1, 1/2, 1/3 ...; one number of an ordinal task stays one column, unless the metric
    reads labels. Check the file with `check_submission` before.
    """
    shape = read_shape(sample, facts, outputs, names=names, lines=lines)
    line = {name: i for i, name in enumerate(shape.line_ids(sample))}
    order = [line[name] for name in shape.line_ids(frame)]
    ids = [shape.entities[i] for i in order]
    cells = frame[shape.columns[0]]
    if shape.kind == "long":
        return _from_long(order, cells, shape, len(outputs))
    if shape.kind in ("probabilities", "values"):
        values = np.zeros((len(frame), len(outputs)))
        for column in shape.columns:
            values[:, shape.words.index(column)] = frame[column].astype(np.float64)
        return ids, values
    if shape.kind in ("probability", "value") or not facts.task.has_classes:
        return ids, _from_number(cells.to_numpy(dtype=np.float64), shape, facts, len(outputs))
    return ids, _from_words(cells.tolist(), shape)


def _from_number(number: Array, shape: Shape, facts: Competition, outputs: int) -> Array:
    if facts.task.ordered and metric_for(facts.metric, facts.task).input == "label":
        return as_predictions(np.clip(np.floor(number + 0.5), 0, outputs - 1), facts.task, outputs)
    if not facts.task.two_classes:
        return number[:, None]
    first = shape.columns[0] == shape.words[0]  # the column is called after the negative class
    return np.stack([number, 1 - number] if first else [1 - number, number], axis=1)


def _from_words(cells: list[str], shape: Shape) -> Array:
    place = {word: j for j, word in enumerate(shape.words)}
    values = np.zeros((len(cells), len(shape.words)))
    for i, cell in enumerate(cells):
        words = [cell] if shape.kind == "label" else [word for word in cell.split(shape.separator) if word]
        if shape.kind == "label_score" and cell.strip():
            word, score = label_and_score(cell, shape.separator)
            values[i, place[word]] = float(score)
            continue
        for rank, word in enumerate(words):
            values[i, place[word]] = 1 / (rank + 1) if shape.kind == "ranked" else 1.0
    return values


def _from_long(lines: list[int], cells: "pd.Series[str]", shape: Shape, outputs: int) -> tuple[list[str], Array]:
    """The entities, and their numbers; raises FoldlineError where an output is asked of some entities only."""
    row = {entity: i for i, entity in enumerate(dict.fromkeys(shape.entities))}
    at = [row[shape.entities[i]] for i in lines], [shape.places[i] for i in lines]
    values, asked = np.zeros((len(row), outputs)), np.zeros((len(row), outputs), dtype=bool)
    values[at], asked[at] = cells.astype(np.float64), True
    torn = np.flatnonzero(asked.any(axis=0) & ~asked.all(axis=0))
    if len(torn):
        lacking = [entity for entity, i in row.items() if not asked[i, torn[0]]]
        raise FoldlineError(
            f"the sample asks for '{shape.words[torn[0]]}' of some entities only (not of {first_few(lacking)}), "
            "so it cannot be graded here",
            where="the sample submission",
        )
    return list(row), values
