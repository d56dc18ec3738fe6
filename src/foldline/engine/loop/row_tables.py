"""What is known of all training rows, and what of it a batch needs, where the network is. Reads and writes nothing."""

import torch
from torch import Tensor

from foldline.images.batches import TrainingBatch

RESIDENT = 2**30  # bytes of labels or metadata that are kept on a GPU; more stay on the host


def resident(table: Tensor, device: torch.device) -> Tensor:
    """Labels or metadata of all training rows: where small on the device, so that no step waits for a copy of them."""
    return table.to(device) if table.nbytes <= RESIDENT else table


def gathered(table: Tensor, batch: TrainingBatch, device: torch.device) -> Tensor:
    """The table's lines of the batch's rows, on the device."""
    if table.device == batch.on_device.device:
        return table[batch.on_device]
    return table[torch.from_numpy(batch.rows)].to(device, non_blocking=True)
