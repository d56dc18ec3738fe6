"""The score of a submission of 2 classes against known labels, after the gate."""

from pathlib import Path

import made_predictions
from costs import submission_two
from costs.kit import Cost
from foldline.core.paths import Layout
from foldline.stages.score import score_submission

COST = Cost("score of 2 classes: gate, file, labels")


def prepare(folder: Path, rows: int) -> None:
    """The project and its submission."""
    submission_two.prepare(folder, rows)
    submission_two.run(folder, rows)


def run(folder: Path, rows: int) -> None:
    """The stage `score`."""
    scores = score_submission(Layout(folder), made_predictions.COMP, made_predictions.RUN)
    assert all(value is not None for value in scores.values())
