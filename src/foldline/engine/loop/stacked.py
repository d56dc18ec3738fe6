"""A batch of pictures as a batch of entities: shapes, places, targets. Reads and writes nothing."""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldline.engine.problem import FoldJob
from foldline.engine.row_parts import training_rows
from foldline.images.batches import TrainingBatch
from foldline.images.stacks import StackRows
from foldline.models.entity_heads import MISSING


class StackedBatches:
    """The training rows' stacks on the device.

    Args:
        entities: of which each batch of this process holds pictures, as many of each.
        batch_size: of all processes.
        per_picture: whether the network gives each picture's logits.
    """

    def __init__(
        self, rows: StackRows, entities: int, batch_size: int, device: torch.device, *, per_picture: bool
    ) -> None:
        self.rows, self.entities, self.batch_size, self.per_picture = rows, entities, batch_size, per_picture
        self.sizes = rows.stacks.sizes[rows.stacks.of_row]
        self.place = torch.from_numpy(rows.stacks.place).to(device)
        self.size = torch.from_numpy(self.sizes).to(device)

    @classmethod
    def of(cls, job: FoldJob, *, per_picture: bool) -> Self | None:
        """Those of a job; None where each row is seen by itself."""
        if job.train.stacks is None:
            return None
        rows = training_rows(job)
        assert isinstance(rows, StackRows)
        whole = min(job.batch_size, rows.rows_per_epoch)
        own = whole if job.share is None else len(job.share.of(whole))
        return cls(rows, own, job.batch_size, job.device, per_picture=per_picture)

    def shaped(self, values: Tensor) -> Tensor:
        """[entities * pictures, ...] -> [entities, pictures, ...]."""
        return torch.unflatten(values, 0, (self.entities, -1))

    def places(self, batch: TrainingBatch) -> Tensor:
        """[entities, pictures] where in its stack each picture stands, 0 to 1; those that only fill up are missing."""
        place, size = self.shaped(self.place[batch.on_device]), self.shaped(self.size[batch.on_device])
        missing = torch.arange(place.shape[1], device=place.device) >= size
        return place.masked_fill(missing, MISSING)

    def there(self, batch: TrainingBatch) -> NDArray[np.bool_]:
        """[entities, pictures] false where a picture only fills up; on the host, so that no step waits for it."""
        size = self.sizes[batch.rows].reshape(self.entities, -1)
        return np.arange(size.shape[1]) < size

    def answers(self, epoch: int, batch: int) -> int:
        """How many pictures of a batch, in all ranks, have an answer of their own."""
        return self.rows.answers(epoch, batch, self.batch_size)

    def target(self, values: Tensor) -> Tensor:
        """What is learnt of each entity [entities, ...], or of each picture [entities, pictures, ...]."""
        shaped = self.shaped(values)
        return shaped if self.per_picture else shaped[:, 0]
