"""Settings that cannot work together, or not with the rows: refused in words before a picture is opened."""

from collections.abc import Sequence

import pandas as pd
from torch import nn

from foldline.core.errors import FoldlineError, first_few
from foldline.core.run import Run
from foldline.images.views import ADAPTED
from foldline.models.metadata import Encoding
from foldline.models.norms import batch_norms


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


def require_adaptable(network: nn.Module, name: str, views: Sequence[str]) -> None:
    """Raises FoldlineError where the view `adapted` is among these, and the network has nothing to adapt."""
    if ADAPTED in views and not batch_norms(network):
        raise FoldlineError(
            f"'{name}' has no batch-norms, which view '{ADAPTED}' adapts",
            where="predict.views",
            next=f"leave {ADAPTED} out of the views",
        )


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
    if run.model.entity.name != "none" and ADAPTED in run.predict.views:
        raise FoldlineError(
            f"view '{ADAPTED}' adapts networks that see pictures one by one, and this one sees those of an entity",
            where="predict.views, model.entity",
            next=f"leave {ADAPTED} out of the views",
        )
