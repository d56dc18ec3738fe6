"""The scores of OOF predictions: pooled, of each fold, the interval."""

from pathlib import Path

import made_rows
from costs.kit import Cost
from foldline.core.competition import Competition
from foldline.core.prediction_blocks import PredictionBlocks
from foldline.scoring.cv import cross_validation

COST = Cost("cv, 2 classes: auc with its interval, log loss, F1")


def prepare(folder: Path, rows: int, classes: int = 2) -> None:
    """The predictions."""
    made_rows.write(folder / "oof.parquet", made_rows.frame(rows, classes), classes, ["fold", "target"])


def run(
    folder: Path, rows: int, classes: int = 2, metric: str = "auc", further: tuple[str, ...] = ("log_loss", "f1")
) -> None:
    """What stands in `cv.json`."""
    named = {"file": "table.csv", "row_id": "id", "image": "{id}.png"}
    made = {"source": {"kind": "folder", "name": "."}, "submission": {"kind": "probabilities"}, "metric": metric}
    made |= {"task": made_rows.task(classes).name, "train": {**named, "target": "label"}, "test": named}
    facts = Competition.model_validate(made)
    oof = PredictionBlocks(folder / "oof.parquet", facts.task, made_rows.outputs(classes))
    found = cross_validation(oof.rows(), facts, oof.outputs, prob=oof.values(), metrics=further)
    assert found["rows"] == rows
    assert None not in found["interval"]
