"""Inference: every picture is decoded and normalised once, then seen by all models in all views."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import torch
from torch import nn

from foldline.core.progress import Progress
from foldline.core.task import Array
from foldline.engine.losses import activate
from foldline.engine.machine.precision import Precision
from foldline.images.normalise import Normaliser
from foldline.images.store import PictureStore
from foldline.images.views import all_views
from foldline.models.architecture import Preprocessing

if TYPE_CHECKING:
    from foldline.engine.problem import RowArrays


@torch.inference_mode()
def predict(
    models: Sequence[nn.Module],
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
) -> Annotated[Array, "models rows outputs"]:
    """What each model says of each row, averaged over the views after the activation.

    Args:
        pictures: of the competition, or of the rows.
        rows: which image each row is, and its metadata; the truth is not looked at.
        activation: of all models, or of each.
        batch_size: images a batch, before views.

    Returns:
        [models, rows, outputs] float64.
    """
    activations = [activation] * len(models) if isinstance(activation, str) else activation
    for model in models:
        model.eval()
    normaliser = Normaliser(preprocessing.mean, preprocessing.std, device)
    parts = []
    batches = -(-len(rows) // batch_size)
    with Progress() as progress:
        watched = progress.over(pictures.batches(rows.positions, batch_size), title, total=batches)
        for images, place in watched:
            x = all_views(normaliser(images), views)
            metadata = _metadata(rows, place, len(views), device)
            with precision.autocast(device):
                logits = torch.stack([model(x, *metadata) for model in models])
            logits = logits.double() if device.type != "mps" else logits.float()
            prob = torch.stack([activate(own, name) for own, name in zip(logits, activations, strict=True)])
            parts.append(prob.view(len(models), len(views), len(images), -1).mean(1).cpu())
    return torch.cat(parts, dim=1).double().numpy()


def _metadata(rows: "RowArrays", place: slice, views: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """The batch's metadata once for each view; nothing where the network does not see any."""
    if rows.metadata is None:
        return ()
    return (torch.from_numpy(rows.metadata[place]).repeat(views, 1).to(device),)
