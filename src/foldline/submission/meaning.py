"""The gate for meaning: rows whose truth is known must score in the file what their predictions score as arrays.

They go through the writer of the submission, become CSV text, and are read by `grader`, which shares none of the
writer's code. A score that differs says that a number means something else in the file than in the predictions.
"""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pandas as pd

from foldline.core.csv_blocks import write_csv_blocks
from foldline.core.errors import FoldlineError
from foldline.core.task import Array, hot_truth
from foldline.scoring.choose import as_predictions
from foldline.scoring.decide import decide, default_decision
from foldline.scoring.metrics import score
from foldline.submission.form import Form
from foldline.submission.grader import CannotGradeError, Grader
from foldline.submission.known import Known, known_rows
from foldline.submission.long import Long
from foldline.submission.numbers import Columns

TOLERANCE = 1e-6  # of a score; of one above 1 relative to it
DECIMALS = 12  # of probabilities in a submission
REHEARSED = 2_000_000  # cells of a rehearsal at most
UNCHECKED = "NOT checked on validation rows what its numbers mean"


def require_same_meaning(form: Form, known: Known, where: str) -> str:
    """What the check found, in words.

    Args:
        where: the file that would be written.

    Raises:
        FoldlineError: the file scores something else; both numbers are named.
    """
    kind, cells = form.kind, handed_in(form, known)
    grader = Grader(kind.facts, kind.outputs, form.names, kind.lines.cells)
    try:
        asked = grader.asked(kind.name, list(cells.columns))
    except CannotGradeError as reason:
        return f"{UNCHECKED}: {reason}"
    table = known.table.set_index("id").loc[cells.index]
    parts = [np.ones(len(table), dtype=bool), *((table["fold"] == k).to_numpy() for k in sorted(known.decisions))]
    parts = parts[: len(known.scores)]
    found = np.array([grader.score(kind.name, cells[part], table[part], asked) for part in parts])
    wanted = np.array([np.nan if value is None else value for value in known.scores])
    if known.drawn_from or len(asked) < len(kind.outputs):
        wanted = np.array([_direct(form, table[part], known, asked) for part in parts])
    if np.isnan(found).all() and np.isnan(wanted).all():
        return f"{UNCHECKED}: {grader.metric.name} is undefined there"
    words = f"read back as a grader would, {grader.metric.name} is {found[0]:.6g} on {known.words}"
    if _same(found, wanted):
        return words + ("" if len(asked) == len(kind.outputs) else f" (of {len(asked)} of {len(kind.outputs)} outputs)")
    plain, limited = (
        np.array([_direct(form, table[part], known, asked, limited=limits) for part in parts])
        for limits in (False, True)
    )
    if _same(found, limited) and _same(wanted, plain):
        return f"{words}; without the submission's bounds, sums and decimals it is {wanted[0]:.6g}"
    at = int(np.argmax(~np.isclose(found, wanted, rtol=0, atol=_tolerance(wanted), equal_nan=True)))
    raise FoldlineError(
        f"the cells mean something else than the predictions: {grader.metric.name} of the validation rows"
        f"{f' of fold {sorted(known.decisions)[at - 1]}' if at else ''} is {wanted[at]:.9g} by their predictions, "
        f"and {found[at]:.9g} in a submission, read as a grader would",
        where=where,
        next=f"nothing was written. {'; '.join(form.meaning)}. Compare submission.kind, metric, classes and "
        "train.target.names with the competition's page: can such cells hold what the metric reads?",
    )


def handed_in(form: Form, known: Known) -> pd.DataFrame:
    """The answers as text as they stand in the file, a row for each id; of long lines a column for each word."""
    parts = []
    for fold, decision in known.decisions.items():
        rows = known.table[known.table["fold"] == fold]
        other = form.about(rows["id"].tolist())
        content = BytesIO()
        write_csv_blocks(content, [other.write(rows, decision)])
        content.seek(0)
        frame = pd.read_csv(content, dtype=str, keep_default_na=False, na_filter=False, index_col=False)
        frame.columns = pd.Index(other.kind.lines.header)
        parts.append(answers_of(other, frame))
    return pd.concat(parts)


def answers_of(form: Form, frame: pd.DataFrame) -> pd.DataFrame:
    """The cells of answers in a file, a row for each id; of long lines a column for each word."""
    lines = form.kind.lines
    line = pd.Index(lines.ids(frame)).get_indexer(pd.Index(lines.ids(form.sample)))
    answers = frame[list(lines.columns)].iloc[line].reset_index(drop=True)
    if not lines.places:
        return answers.set_axis(pd.Index(lines.entities))
    words = [lines.words[place] for place in lines.places]
    table = answers.assign(row=lines.entities, word=words)
    return table.pivot(index="row", columns="word", values=lines.columns[0])


def rehearse(form: Form, rows: pd.DataFrame, where: str) -> list[str]:
    """The gate before anything is trained: what would be refused with any predictions is refused with made-up ones.

    Args:
        rows: the training rows with their folds.

    Returns:
        What the cells mean, a line each, and what cannot be checked.
    """
    facts, outputs, task = form.kind.facts, form.kind.outputs, form.kind.task
    rows = rows.iloc[:: max(1, len(rows) * len(outputs) // REHEARSED)].reset_index(drop=True)
    truth = hot_truth(task.truth(rows, outputs, where="the training rows"), task, len(outputs))
    noise, values = np.random.default_rng(0).random(truth.shape), truth.astype(np.float64)
    for block in task.blocks:
        part = values[:, block.columns]
        if block.task.has_classes:  # some are wrong
            part *= 0.6
            part += noise[:, block.columns]
            part /= part.sum(axis=1, keepdims=True) if block.task.exclusive else 1.6
        else:
            part += (noise[:, block.columns] - 0.5) * part.std(axis=0)
    columns = task.prediction_columns(outputs)
    keep = rows[[name for name in ("row_id", "entity", "group") if name in rows.columns]].assign(fold=0)
    table = known_rows(pd.concat([keep, pd.DataFrame(values, columns=columns)], axis=1), rows, facts, outputs)
    known = Known(table, {0: default_decision(task, len(outputs))}, [])
    every = list(range(len(outputs)))
    expected = _direct(form, table, known, every)
    found = require_same_meaning(form, Known(table, known.decisions, [expected]), where)
    lines = form.about(table["id"].tolist())
    lines.check(lines.write(table, known.decisions[0]), where)
    return [*form.meaning, *([found] if found.startswith(UNCHECKED) else [])]


def _direct(form: Form, table: pd.DataFrame, known: Known, asked: Sequence[int], *, limited: bool = False) -> float:
    """The score of the predictions as arrays; `limited` to what the cells can hold."""
    outputs, task = form.kind.outputs, form.kind.task
    truth = task.truth(table.rename_axis("row_id").reset_index(names="row_id"), outputs, where="the folds")
    values = table[task.prediction_columns(outputs)].to_numpy(dtype=np.float64)
    if form.holds_labels:
        values = _labels(values, table["fold"].to_numpy(), known, form)
    values = _limits(values, form) if limited else values
    if len(asked) < len(outputs):
        truth, values, task = truth[:, asked], values[:, asked], task.of([outputs[j] for j in asked])
    return score(form.kind.metric, truth, values, task=task)


def _labels(values: Array, folds: Array, known: Known, form: Form) -> Array:
    answers = values.copy()
    for fold, decision in known.decisions.items():
        inside = folds == fold
        answers[inside] = as_predictions(decide(decision, values[inside]), form.kind.task, values.shape[1])
    return answers


def _limits(values: Array, form: Form) -> Array:
    """Within the bounds, with the row sum, with the decimals that a cell has."""
    kind = form.kind.wide if isinstance(form.kind, Long) else form.kind
    if kind is form.kind and isinstance(kind, Columns) and kind.row_sum is not None:
        values = values / values.sum(axis=1, keepdims=True)
    elif kind.bounds is not None:
        values = np.clip(values, *kind.bounds)
    return np.asarray(np.round(values, DECIMALS) if kind.probabilities else values)


def _tolerance(wanted: Array) -> Array:
    return np.asarray(TOLERANCE * np.maximum(1.0, np.nan_to_num(np.abs(wanted))))


def _same(found: Array, wanted: Array) -> bool:
    return bool(np.isclose(found, wanted, rtol=0, atol=_tolerance(wanted), equal_nan=True).all())
