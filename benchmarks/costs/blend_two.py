"""The predictions of three runs become one file."""

from pathlib import Path

import made_rows
from costs.kit import Cost
from foldline.core.prediction_blocks import PredictionBlocks, PredictionWriter
from foldline.scoring.blend import blended_blocks, rows_sum_to_one

COST = Cost("blend of 3 runs, 2 classes: mean, then rank mean")
MEMBERS = 3


def prepare(folder: Path, rows: int, classes: int = 2) -> None:
    """The runs' files."""
    frame = made_rows.frame(rows, classes)
    for member in range(MEMBERS):
        made_rows.write(folder / f"{member}.parquet", frame, classes, [], seed=member)


def run(folder: Path, rows: int, classes: int = 2, ways: tuple[str, ...] = ("mean", "rank_mean")) -> None:
    """As the stage `ensemble` does."""
    task, outputs = made_rows.task(classes), made_rows.outputs(classes)
    for how in ways:
        members = [PredictionBlocks(folder / f"{member}.parquet", task, outputs) for member in range(MEMBERS)]
        beside, sums = members[0].rows(), rows_sum_to_one(how, task, classes)
        with PredictionWriter.open(folder / "a.parquet", task, outputs, ids=beside["row_id"], sums=sums) as writer:
            for place, values in blended_blocks(how, members, task):
                writer.write(beside.iloc[place], values)
    assert len(beside) == rows
