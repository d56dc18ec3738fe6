"""Where a fold's training stands."""

from dataclasses import dataclass, field
from typing import Any

from foldline.engine.loop.log import LogRow


@dataclass
class Position:
    """Where training stands: all of it is in a resume point, as JSON."""

    epoch: int = 0  # the epoch that is being trained, from 0
    batch: int = 0  # its next batch
    loss_sum: float = 0.0  # over this epoch's batches so far
    right: int = 0  # rows whose class was right, and rows of which that can be said
    judged: int = 0
    odd: int = 0  # of this epoch's batches, those whose loss was no finite number, which fp16 leaves out
    odd_in_a_row: int = 0
    skipped: int = 0  # optimizer steps of the fold that fp16 left out
    rows: int = 0  # of this epoch's batches so far
    mask_sum: float = 0.0  # of the losses of masks, over this epoch's batches that have some
    mask_batches: int = 0
    seconds: float = 0.0  # of the whole fold: training, validation, resume points
    epoch_seconds: float = 0.0  # of this epoch's batches alone
    best_epoch: int = 0
    steps_logged: int = 0
    scaler: dict[str, Any] = field(default_factory=dict)
    rates: dict[str, Any] = field(default_factory=dict)
    log: list[LogRow] = field(default_factory=list)
