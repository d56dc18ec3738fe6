"""The features of pictures before the classifier. Reads and writes nothing."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldline.engine.finished.networks import FoldNetworks, preprocessing_of
from foldline.images.normalise import Normaliser
from foldline.images.store import PictureStore
from foldline.models.heads import HeadedNetwork


@torch.inference_mode()
def pooled_features(
    folds: Sequence[FoldNetworks], pictures: PictureStore, positions: NDArray[np.int64], *, batch_size: int
) -> Annotated[NDArray[np.float32], "rows features"]:
    """What each network's backbone makes of each picture, pooled, one network's features behind the other's.

    Args:
        folds: of one run, at least one; metadata have no part in it.
        positions: [rows] which picture each row is; at least one.
    """
    first = folds[0]
    first.precision.prepare(first.device)
    scaling = preprocessing_of(first.meta)
    normaliser = Normaliser(scaling.mean, scaling.std, first.device)
    parts = []
    for images, _ in pictures.batches(positions, batch_size):
        x = normaliser(images)
        with first.precision.autocast(first.device):
            parts.append(torch.cat([_pooled(network, x) for fold in folds for network in fold.networks], dim=1))
    return torch.cat([part.float().cpu() for part in parts]).numpy()


def _pooled(network: nn.Module, x: Tensor) -> Tensor:
    backbone: Any = network.backbone if isinstance(network, HeadedNetwork) else network
    features: Tensor = backbone.forward_head(backbone.forward_features(x), pre_logits=True)
    return features.flatten(1).float()
