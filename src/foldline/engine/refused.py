"""Settings that cannot work together, or not with the rows: refused in words before a picture is opened."""

import pandas as pd

from foldline.core.errors import FoldlineError, first_few
from foldline.core.run import Run
from foldline.models.metadata import Encoding


def require_metadata(encoding: Encoding, extra: pd.DataFrame) -> None:
    """Raises FoldlineError where further rows lack a column that the network sees, or hold a word for a number."""
    lacking = [name for name in encoding.names if name not in extra.columns]
    if len(extra) and lacking:
        raise FoldlineError(
            f"the further rows have no column {first_few(lacking)}, which model.metadata names",
            where="extra.rows",
            next="add it to these files (cells may be empty), or take it out of model.metadata",
        )
    if len(extra):
        encoding.encode(extra)


def require_one_head(run: Run) -> None:
    """Raises FoldlineError for settings of the head that exclude one another."""
    arcface = run.model.head.name == "arcface"
    if arcface != (run.loss.name == "arcface"):
        raise FoldlineError("the head 'arcface' and the loss 'arcface' need one another", where="model.head, loss.name")
    if run.train.probe is not None and (arcface or run.model.metadata):
        raise FoldlineError(
            "a probe is a linear head on the picture's features: it starts neither arcface nor a head with metadata",
            where="train.probe",
            next="leave train.probe out",
        )
