"""Rows or entities whose truth is known, with what is predicted of them: what the gate for meaning grades."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import Competition
from foldline.core.prediction_blocks import PredictionBlocks, block_rows
from foldline.core.records.cv import Cv
from foldline.core.row_groups import read_groups
from foldline.scoring.choose import stored_decision
from foldline.scoring.cv import per_entity
from foldline.scoring.decide import Decision, decisions_by_fold, default_decision
from foldline.submission.form import Form

GRADED = 2_000_000  # cells that are graded at most; of more rows some are drawn
SEED = 0  # of the draw


@dataclass(frozen=True)
class Known:
    """Rows or entities whose truth is known, and what is predicted of them.

    Attributes:
        table: `id`, `fold`, the target columns as text, the prediction columns.
        decisions: of each fold, how the labels of its rows are decided.
        scores: of all rows, then of each fold or of none; None is undefined.
        drawn_from: how many there are, where these are drawn from more; 0: these are all.
    """

    table: pd.DataFrame
    decisions: Mapping[int, Decision]
    scores: Sequence[float | None]
    drawn_from: int = 0

    @property
    def words(self) -> str:
        """Which rows these are."""
        if not self.drawn_from:
            return "the validation rows"
        return f"{len(self.table)} of {self.drawn_from} validation rows, drawn evenly from the folds with seed {SEED}"


def validation_rows(form: Form, path: Path, rows: pd.DataFrame, cv: Cv) -> Known:
    """The validation rows of a run, with the scores of its `cv.json`; of more than `GRADED` cells some rows.

    Where labels are decided by a fitted rule, cv.json scores each row as decided without its own fold: so do these,
    unless they are drawn.

    Args:
        path: the run's predictions of them, `oof.parquet`.
        rows: the rows of the folds.
    """
    facts, outputs, task = form.kind.facts, form.kind.outputs, form.kind.task
    blocks = PredictionBlocks(path, task, outputs)
    keys = ("fold", *(("entity",) if "entity" in blocks.beside else ()))
    beside = pd.concat(list(read_groups(path, block_rows(len(keys)), keys)), ignore_index=True)
    units = beside.get("entity", blocks.ids)
    drawn = draw(pd.factorize(units)[0].astype(np.int64), beside["fold"].to_numpy(), GRADED // max(1, len(outputs)))
    parts, start = [], 0
    for frame in blocks.tables():
        parts.append(frame[drawn[start : start + len(frame)]])
        start += len(frame)
    table = known_rows(pd.concat(parts, ignore_index=True), rows, facts, outputs)
    folds = table["fold"].to_numpy()
    stated = stored_decision(cv.decision) or default_decision(task, len(outputs))
    decisions = dict.fromkeys(np.unique(folds).tolist(), stated)
    if not drawn.all():
        return Known(table, decisions, [cv.pooled, *cv.per_fold], units.nunique())
    if cv.fitted:
        truth = task.truth(table.rename(columns={"id": "row_id"}), outputs, where="the folds")
        prob = table[task.prediction_columns(outputs)].to_numpy(dtype=np.float64)
        decisions = decisions_by_fold(facts.metric, truth, prob, folds, task)
    return Known(table, decisions, [cv.pooled, *cv.per_fold])


def draw(units: NDArray[np.int64], folds: NDArray[np.int64], most: int, seed: int = SEED) -> NDArray[np.bool_]:
    """[rows] whether a row is among `most` units (entities, or rows), as many of each fold: whole units.

    >>> draw(np.array([0, 0, 1, 2, 2, 3]), np.array([0, 0, 0, 1, 1, 1]), 2).sum() in (2, 3, 4)
    True
    """
    names, first = np.unique(units, return_index=True)
    if len(names) <= most:
        return np.ones(len(units), dtype=bool)
    parts, rng = np.unique(folds).tolist(), np.random.default_rng(seed)
    each = max(1, most // len(parts))
    taken = [names[rng.permutation(np.flatnonzero(folds[first] == part))[:each]] for part in parts]
    return np.isin(units, np.concatenate(taken))


def known_rows(predicted: pd.DataFrame, rows: pd.DataFrame, facts: Competition, outputs: Sequence[str]) -> pd.DataFrame:
    """`Known.table` of predictions by `row_id`; the truth is the text of the folds' rows."""
    targets = facts.task.target_columns(outputs)
    truth = rows.set_index("row_id").loc[predicted["row_id"], targets].reset_index(drop=True)
    table = predicted.reset_index(drop=True).assign(**{name: truth[name] for name in targets})
    table = per_entity(table, facts, outputs) if "entity" in table.columns else table
    return table.rename(columns={"row_id": "id"})
