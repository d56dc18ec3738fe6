"""The report of a run of 1,000 classes, without pictures and networks."""

from pathlib import Path

import made_predictions
from costs import submission_thousand
from costs.kit import Cost
from foldline.core.paths import Layout
from foldline.stages.report import report

COST = Cost("report of 1,000 classes, without pictures", sizes=(2_000, 20_000, 200_000))
MOST_BYTES = 10e6  # of the page

prepare = submission_thousand.prepare


def run(folder: Path, rows: int) -> None:
    """The stage `report`."""
    page = report(Layout(folder), made_predictions.COMP, made_predictions.RUN)
    assert page.stat().st_size < MOST_BYTES
