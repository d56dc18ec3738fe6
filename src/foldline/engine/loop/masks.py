"""A step's masks: the decoder that learns them beside the network, and what it is worth. Reads and writes nothing."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from foldline.engine.masks import LearntMasks
from foldline.engine.problem import FoldJob
from foldline.images.augment import key_seed
from foldline.images.batches import TrainingBatch
from foldline.images.normalise import Normaliser
from foldline.models.mask_decoder import Maps, MaskDecoder, dice, maps_and_logits, maps_of, mask_loss

DECODER = -6  # a part of the key, apart from all that others draw
LIKELY = 0.0  # the logit from which on a px is found


@dataclass(frozen=True)
class Marked:
    """The masks of a batch.

    Attributes:
        target: [batch, height, width] float32, 0 to 1, where the network is.
        known: [batch] which rows have one, on the host.
        count: how many of the whole batch have one.
    """

    target: Tensor
    known: NDArray[np.bool_]
    count: int

    def part(self, rows: slice) -> "Marked":
        """Of some rows of the batch."""
        return replace(self, target=self.target[rows], known=self.known[rows])

    def mixed(self, x: Tensor, mix: Callable[[Tensor], tuple[Tensor, Tensor]]) -> "tuple[Tensor, Tensor, Marked]":
        """Pictures, targets and masks, joined in pairs alike; a row then has a mask where both of its pictures have.

        Args:
            x: [batch, channels, height, width].
            mix: joins pictures of any channels, and the batch's targets.
        """
        joined = torch.cat([x, self.target[:, None].to(x.dtype)], dim=1)
        done, target = mix(joined)
        if done is joined:  # not this batch
            return x, target, self
        known = self.known & self.known[::-1]
        pictures = done[:, :-1].contiguous(memory_format=torch.channels_last)
        return pictures, target, Marked(done[:, -1].float(), known, int(known.sum()))


class MaskLearner:
    """The decoder of one fold.

    Args:
        model: whose feature maps it sees.
    """

    def __init__(self, masks: LearntMasks, model: nn.Module, job: FoldJob) -> None:
        shape = (job.feed.store.channels, *job.run.data.height_width)
        self.masks, self.device = masks, job.device
        self.chosen, channels = maps_of(model, shape, job.device)
        torch.manual_seed(key_seed(*job.key, DECODER))
        self.decoder = MaskDecoder(channels).to(job.device)

    def of(self, batch: TrainingBatch, height_width: tuple[int, int]) -> Marked:
        """The batch's masks at the size of the pictures as the network sees them."""
        assert batch.masks is not None
        target = batch.masks.to(self.device, non_blocking=True).float()
        if target.shape[-2:] != height_width:
            target = functional.interpolate(target[:, None], height_width, mode="nearest-exact")[:, 0]
        known = self.masks.known[batch.rows]
        return Marked(target, known, int(known.sum()))

    def forward(self, model: nn.Module, x: Tensor, *metadata: Tensor) -> tuple[Tensor, Maps]:
        """The network's logits and the maps that the decoder sees."""
        maps, logits = maps_and_logits(model, x, self.chosen, *metadata)
        return logits, maps

    def loss(self, maps: Maps, marked: Marked) -> Tensor | None:
        """Of some rows, their share of the mean over the batch's rows that have a mask; None: none of them has one."""
        if not marked.known.any():
            return None
        rows = torch.from_numpy(np.flatnonzero(marked.known)).to(self.device, non_blocking=True)
        logits = self.decoder([x.index_select(0, rows) for x in maps], tuple(marked.target.shape[-2:]))
        return mask_loss(logits, marked.target.index_select(0, rows)).sum() / marked.count


@torch.no_grad()
def valid_dice(job: FoldJob, model: nn.Module, learner: MaskLearner, normaliser: Normaliser) -> float | None:
    """The mean Dice coefficient of the fold's validation rows that have a mask; None where none has one.

    Args:
        model: that predicts; the decoder is the newest.
    """
    rows = np.flatnonzero(learner.masks.looked_at)
    if not len(rows):
        return None
    positions, worth = job.valid.positions[rows], list[Tensor]()
    training = model.training
    model.eval()
    for images, part in job.tested.batches(positions, job.run.predict.batch_size):
        x = normaliser(images)
        own = [] if job.valid.metadata is None else [torch.from_numpy(job.valid.metadata[rows[part]]).to(job.device)]
        with job.precision.autocast(job.device):
            _, maps = learner.forward(model, x, *own)
            logits = learner.decoder(maps, tuple(x.shape[-2:]))
        marked = torch.from_numpy(learner.masks.valid.take(positions[part])[..., 0] > 0).to(job.device)
        worth.append(dice(logits > LIKELY, marked))
    model.train(training)
    return float(torch.cat(worth).mean())
