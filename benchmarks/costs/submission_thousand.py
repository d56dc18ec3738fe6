"""A submission of a thousand probabilities a row, from a run's predictions to the file behind both gates."""

from pathlib import Path

import made_predictions
from costs import submission_two
from costs.kit import Cost

COST = Cost(
    "submission of 1,000 classes: written, read back, checked, some rows graded", sizes=(2_000, 20_000, 200_000)
)
run = submission_two.run


def prepare(folder: Path, rows: int) -> None:
    """The project."""
    made_predictions.make(folder, rows, 1000)
