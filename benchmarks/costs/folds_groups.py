"""The stage `folds`, from the table to the written folds; its rows have groups."""

from pathlib import Path

import made_files
from costs.kit import Cost
from foldline.core.paths import Layout
from foldline.stages.folds import folds

COST = Cost("folds of 10 classes in groups of 5 rows, empty files listed", most_seconds=10.0)


def prepare(folder: Path, rows: int) -> None:
    """The raw files."""
    made_files.make(folder, rows, 10, max(rows // 5, 10))


def run(folder: Path, rows: int) -> None:
    """The stage."""
    assert folds(Layout(folder), made_files.COMP).rows == rows
