"""The report of a run of 2 classes, without pictures and networks."""

from pathlib import Path

import made_predictions
from costs import submission_two
from costs.kit import Cost
from foldline.core.paths import Layout
from foldline.stages.report import report

COST = Cost("report of 2 classes, without pictures")
MOST_BYTES = 10e6  # of the page

prepare = submission_two.prepare


def run(folder: Path, rows: int) -> None:
    """The stage `report`."""
    page = report(Layout(folder), made_predictions.COMP, made_predictions.RUN)
    assert page.stat().st_size < MOST_BYTES
