"""Masks that are learnt beside the target (`loss.masks`): whose they are, and what cannot work.

Reads the files of masks; writes nothing but their cache.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few, refuse_together
from foldline.core.folds import MASK
from foldline.core.own_code import located
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.images.cache import ImageCache
from foldline.images.masks import Masks, open_masks
from foldline.models.framing import framing_of, trained_frame

WHERE = "loss.masks"


@dataclass(frozen=True)
class LearntMasks:
    """What a fold learns of masks.

    Attributes:
        weight: of their loss; the target's own has 1.
        known: [training rows] whether a row has one.
        valid: those of the pictures that are tested.
        looked_at: [validation rows] whether a row has one.
    """

    weight: float
    known: NDArray[np.bool_]
    valid: Masks
    looked_at: NDArray[np.bool_]


def files_of(frame: pd.DataFrame) -> dict[str, str]:
    """Picture -> its mask, of the training rows that have one.

    Raises:
        FoldlineError: the facts name none, or rows with one picture have different masks.
    """
    if MASK not in frame.columns:
        raise FoldlineError(
            "the rows have no masks",
            where=WHERE,
            next="name them in the facts (train.mask) and make the folds anew, or leave loss.masks out",
        )
    pairs = frame[["image", MASK]].drop_duplicates()
    torn = pairs.loc[pairs["image"].duplicated(), "image"].tolist()
    if torn:
        raise FoldlineError(
            f"{counted(len(torn), 'pictures have')} rows with different masks: {first_few(torn)}",
            where=f"{WHERE}, train.mask",
            next="give all rows of a picture the same mask, or none of them",
        )
    return {image: mask for image, mask in pairs.itertuples(index=False) if mask}


def opened_masks(
    layout: Layout, comp: str, run: Run, frame: pd.DataFrame, cache: ImageCache, *, trained: bool
) -> Masks | None:
    """The masks of a cache's pictures; None: the run learns none, or nothing.

    Args:
        frame: the training rows.
        trained: the pictures are those that training sees or cuts from; else those that are tested.
    """
    if not run.loss.masks or not run.train.epochs:
        return None
    own, data = located(layout, comp, run), run.data
    framing = trained_frame(own)[1] if trained else framing_of(own)
    places = layout.input(comp), layout.cache(comp)
    return open_masks(*places, files_of(frame), cache, data.channels, intensity=data.intensity, framing=framing)


def require_masks(run: Run, ranks: int = 1) -> None:
    """Raises FoldlineError for what does not go together with masks."""
    if not run.loss.masks:
        return
    refused = {
        "model.entity": (run.model.entity.name != "none", "they are of each picture, the answer is an entity's"),
        "model.checkpointing": (run.model.checkpointing, "the maps that it does not keep are looked at"),
        "train.compile": (run.train.compile != "off", "they look into the network while it runs"),
        "--ranks": (ranks > 1, "their decoder is in no process but one"),
    }
    refuse_together(WHERE, refused)
