"""The score of a submission of 1,000 classes against known labels, after the gate."""

from pathlib import Path

import made_predictions
from costs import submission_thousand
from costs.kit import Cost
from foldline.core.paths import Layout
from foldline.stages.score import score_submission

COST = Cost("score of 1,000 classes: gate, file, labels", sizes=(2_000, 20_000, 200_000))


def prepare(folder: Path, rows: int) -> None:
    """The project and its submission."""
    submission_thousand.prepare(folder, rows)
    submission_thousand.run(folder, rows)


def run(folder: Path, rows: int) -> None:
    """The stage `score`."""
    scores = score_submission(Layout(folder), made_predictions.COMP, made_predictions.RUN)
    assert all(value is not None for value in scores.values())
