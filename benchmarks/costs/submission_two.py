"""A submission of one probability a row, from a run's predictions to the file behind both gates."""

from pathlib import Path

import made_predictions
from costs.kit import Cost
from foldline.core.paths import Layout
from foldline.stages.ensemble import ensemble

COST = Cost("submission of 2 classes: written, read back, checked, graded", most_seconds=30.0)


def prepare(folder: Path, rows: int) -> None:
    """The project."""
    made_predictions.make(folder, rows, 2)


def run(folder: Path, rows: int) -> None:
    """The stage `ensemble` of one run."""
    _, written = ensemble(Layout(folder), made_predictions.COMP, [made_predictions.RUN])
    path = Layout(folder).submission(made_predictions.COMP, made_predictions.RUN)
    with path.open("rb") as handle:
        assert written
        assert sum(1 for _ in handle) == rows + 1
