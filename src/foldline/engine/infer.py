"""Inference: every picture is decoded and normalised once, then seen by all models in all views."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldline.core.progress import Progress
from foldline.engine.losses import activate
from foldline.engine.machine.memory import more_parts
from foldline.engine.machine.precision import Precision
from foldline.images.normalise import Normaliser
from foldline.images.store import PictureStore
from foldline.images.views import all_views
from foldline.models.architecture import Preprocessing
from foldline.models.together import Together

if TYPE_CHECKING:
    from foldline.engine.problem import RowArrays

Predictions = NDArray[np.float32]


@torch.inference_mode()
def predict(
    folds: Sequence[Sequence[nn.Module]],
    pictures: PictureStore,
    rows: "RowArrays",
    preprocessing: Preprocessing,
    device: torch.device,
    precision: Precision,
    *,
    views: Sequence[str],
    activation: str | Sequence[str],
    batch_size: int,
    title: str = "predicting",
) -> Annotated[Predictions, "folds rows outputs"]:
    """What the networks of each fold say of each row: the mean over them and the views, after the activation.

    Where a batch does not fit into the device's memory, it goes through the networks in parts, which is said.

    Args:
        folds: each fold's networks.
        pictures: of the competition, or of the rows.
        rows: which image each row is, and its metadata; the truth is not looked at. At least one.
        activation: of all folds, or of each.
        batch_size: images a batch, before views.

    Returns:
        [folds, rows, outputs] float32; computed in float64, batch by batch.
    """
    activations = [activation] * len(folds) if isinstance(activation, str) else activation
    forward = _Forward([model.eval() for own in folds for model in own])
    precision.prepare(device)
    normaliser = Normaliser(preprocessing.mean, preprocessing.std, device)
    result: Predictions = np.empty(0, dtype=np.float32)
    with Progress() as progress:
        batches = pictures.batches(rows.positions, batch_size)
        for images, place in progress.over(batches, title, total=-(-len(rows) // batch_size)):
            x = all_views(normaliser(images), views)
            with precision.autocast(device):
                logits = forward(x, *_metadata(rows, place, len(views), device))
            logits = logits.double() if device.type != "mps" else logits.float()
            parts = zip(torch.split(logits, [len(own) for own in folds]), activations, strict=True)
            prob = torch.stack([_mean(own, name, len(views)) for own, name in parts]).float().cpu().numpy()
            if not result.size:
                result = np.empty((len(folds), len(rows), prob.shape[2]), dtype=np.float32)
            result[:, place] = prob
    return result


def _mean(logits: Tensor, activation: str, views: int) -> Tensor:
    """[networks, views * images, logits] -> [images, outputs]."""
    prob = torch.stack([activate(own, activation) for own in logits])
    return prob.view(len(logits), views, -1, prob.shape[2]).mean((0, 1))


class _Forward:
    """Networks as one function of a batch, which goes through them in as many parts as their memory makes necessary."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models, self.parts = models, 1
        self.together: Together | None = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """[views * images, ...] -> [networks, views * images, logits]."""
        if self.together is None:
            self.together = Together(self.models, *(values[:2] for values in inputs))
        pictures = len(inputs[0])
        while True:
            size = -(-pictures // self.parts)
            try:
                parts = [self.together(*(values[i : i + size] for values in inputs)) for i in range(0, pictures, size)]
                return torch.cat(parts, dim=1)
            except torch.OutOfMemoryError:
                self.parts = more_parts(self.parts, pictures)
            if inputs[0].is_cuda:
                torch.cuda.empty_cache()


def _metadata(rows: "RowArrays", place: slice, views: int, device: torch.device) -> tuple[Tensor, ...]:
    """The batch's metadata once for each view; nothing where the network does not see any."""
    if rows.metadata is None:
        return ()
    return (torch.from_numpy(rows.metadata[place]).repeat(views, 1).to(device),)
