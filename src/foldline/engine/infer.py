"""Inference: every picture is decoded and normalised once, then seen by all models in all views."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldline.core.progress import Progress
from foldline.engine.precision import Precision
from foldline.images.batches import evaluation_batches, normalise
from foldline.images.views import all_views
from foldline.models.backbone import Preprocessing

Array = NDArray[np.float64]


def activate(logits: Tensor, activation: str) -> Tensor:
    """Logits [..., outputs] -> probabilities by "softmax" or "sigmoid"; "identity" leaves values alone."""
    if activation == "softmax":
        return logits.softmax(-1)
    return logits.sigmoid() if activation == "sigmoid" else logits


@torch.inference_mode()
def predict(
    models: Sequence[nn.Module],
    pixels: NDArray[np.uint8],
    positions: NDArray[np.int64],
    prepare: Preprocessing,
    device: torch.device,
    precision: Precision,
    *,
    views: Sequence[str],
    activation: str,
    batch_size: int,
    title: str = "predicting",
) -> Array:
    """What each model says of each row, averaged over the views after the activation.

    Args:
        pixels: [images, height, width, channels] uint8.
        positions: [rows] which image each row is.
        batch_size: images a batch, before views.

    Returns:
        [models, rows, outputs] float64.
    """
    for model in models:
        model.eval()
    parts = []
    batches = -(-len(positions) // batch_size)
    with Progress() as progress:
        for images, _ in progress.over(evaluation_batches(pixels, positions, batch_size), title, total=batches):
            x = all_views(normalise(images, prepare.mean, prepare.std, device), views)
            with precision.autocast(device):
                logits = torch.stack([model(x) for model in models])
            found = activate(logits.double() if device.type != "mps" else logits.float(), activation)
            parts.append(found.view(len(models), len(views), len(images), -1).mean(1).cpu())
    return torch.cat(parts, dim=1).double().numpy()
