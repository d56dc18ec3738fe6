"""What fitting one fold needs: its rows, its network's surroundings, and where its files go."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldline.core.competition import Task
from foldline.core.run import Run
from foldline.core.tasks import single_label
from foldline.engine.distill import Teacher
from foldline.engine.losses import Objective
from foldline.engine.precision import Precision
from foldline.models.backbone import Preprocessing

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Rows as arrays: `positions` [rows] in the image cache, `truth` as `core.tasks.truth_array` gives it, and
    `metadata` [rows, features] float32, or None where the network does not see any."""

    positions: NDArray[np.int64]
    truth: Array
    metadata: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class FoldJob:
    """All that fitting one fold needs."""

    fold: int
    run: Run
    task: Task
    outputs: list[str]
    metrics: list[str]  # the competition's own first
    pixels: NDArray[np.uint8]
    train: Rows
    valid: Rows
    valid_frame: pd.DataFrame
    prepare: Preprocessing
    objective: Objective
    device: torch.device
    precision: Precision
    folder: Path
    teacher: Callable[[], Teacher] | None = None
    made_from: dict[str, Any] = field(default_factory=dict)  # hashes; a resume point of another training is refused
    on_epoch: Callable[[int, int, float], None] | None = None  # (fold, epoch, score), after each epoch's record

    @property
    def key(self) -> tuple[int, int]:
        """What makes everything random: (seed, fold)."""
        return (self.run.seed, self.fold)

    @property
    def resume_path(self) -> Path:
        """The resume point; only training reads it."""
        return self.folder / "resume"


def target_tensor(truth: Array, job: FoldJob) -> Tensor:
    """[rows] int64 class indices, or [rows, outputs] float32."""
    tensor = torch.from_numpy(truth)
    return tensor.long() if single_label(job.task) else tensor.float()
