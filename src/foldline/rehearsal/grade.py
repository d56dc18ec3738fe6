"""Grades the file of a rehearsal: the gate, then its score against that of the OOF predictions of the same rows.

Both go through the writer as CSV text, and a grader that shares none of its code reads both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.tables import read_csv
from foldline.rehearsal.hidden import Hidden, Home
from foldline.scoring.decide import Decision
from foldline.submission.form import Form
from foldline.submission.grader import CannotGradeError, Grader
from foldline.submission.known import known_rows
from foldline.submission.meaning import answers_of

TOLERANCE = 0.005  # of a score, of one above 1 relative to it: half precision moves predictions by a thousandth or so
FLIPS = 0.01  # of the lines: labels and ranks that hang on such a thousandth; of a rare class one moves a score more
FEWEST_LINES = 20  # of which a single one may differ


@dataclass(frozen=True)
class Grade:
    """What a file is worth.

    Attributes:
        score: of the file by the competition's metric; None where it is undefined, or reads more than the file holds.
        expected: of the OOF predictions of the same rows, written alike.
        largest: the largest difference of any prediction that was read back.
        lines: how many were compared; differing: how many of them have another text.
    """

    score: float | None
    expected: float | None
    largest: float
    lines: int
    differing: int

    @property
    def difference(self) -> float:
        """Of the two scores; infinite where one is undefined; where both are, the largest one of a prediction."""
        if self.score is None or self.expected is None:
            return self.largest if self.score == self.expected else float("inf")
        return abs(self.score - self.expected)

    @property
    def allowed(self) -> float:
        """The difference that is accepted."""
        return TOLERANCE * max(1.0, abs(self.expected or 0.0))

    @property
    def holds(self) -> bool:
        """Whether the file scores what OOF says, or is the same but for single lines."""
        single = self.lines >= FEWEST_LINES and self.differing <= max(1.0, FLIPS * self.lines)
        return self.difference <= self.allowed or single


def pass_gate(home: Home, root: Path, submission: Path) -> tuple[Form, pd.DataFrame]:
    """The form of the hidden sample below `root`, and the file; raises FoldlineError where a grader would refuse it."""
    form = home.form(root, root / home.sample_name)
    frame = read_csv(submission)
    form.check(frame, submission.name)
    return form, frame


def grade(
    home: Home, hidden: Hidden, form: Form, frame: pd.DataFrame, oof: pd.DataFrame, decision: Decision | None
) -> Grade:  # fmt: skip
    """Compares a file that passed the gate with what OOF says.

    Args:
        oof: the predictions of the training rows.
        decision: how labels are decided; None: the default.
    """
    table = _predicted(home, hidden, oof)
    counted = sorted(set(hidden.rows["line"]) - set(hidden.rows.loc[~hidden.rows["counts"], "line"]))
    wanted = form.write(table, decision)
    grader = Grader(form.kind.facts, form.kind.outputs, form.names, form.kind.lines.cells)
    found, expected = (_score(grader, form, each, table, counted) for each in (frame, wanted))
    ids, said = form.read_back(frame)
    _, right = form.read_back(wanted)
    own = pd.Index(ids).isin(counted)
    cells, right_cells = (answers_of(form, each).loc[counted] for each in (frame, wanted))
    differing = int((cells != right_cells).any(axis=1).sum())
    return Grade(found, expected, float(np.abs(said - right)[own].max()), len(counted), differing)


def _predicted(home: Home, hidden: Hidden, oof: pd.DataFrame) -> pd.DataFrame:
    """What OOF says of the hidden rows or entities: `id`, `fold`, the target columns, the prediction columns."""
    columns = home.facts.task.of(home.outputs).prediction_columns(home.outputs)
    predicted = oof.set_index("row_id").loc[hidden.rows["known"], columns].reset_index(drop=True)
    predicted = predicted.assign(row_id=hidden.rows["row_id"].tolist(), fold=hidden.rows["fold"].tolist())
    if "entity" in home.train.columns:
        predicted = predicted.assign(entity=hidden.rows["line"].tolist())
    rows = home.train.set_index("row_id").loc[hidden.rows["known"]].assign(row_id=hidden.rows["row_id"].tolist())
    return known_rows(predicted, rows, home.facts, home.outputs)


def _score(
    grader: Grader, form: Form, frame: pd.DataFrame, table: pd.DataFrame, ids: Sequence[str]
) -> float | None:  # fmt: skip
    """The score of some lines of a file; None where it is undefined or cannot be told."""
    cells = answers_of(form, frame).loc[list(ids)]
    try:
        asked = grader.asked(form.kind.name, list(cells.columns))
    except CannotGradeError:
        return None
    score = grader.score(form.kind.name, cells, table.set_index("id").loc[list(ids)], asked)
    return float(score) if np.isfinite(score) else None
