"""Where a network looked: the part of the picture that speaks for an answer (Grad-CAM). Reads and writes nothing.

The heat map is taken where the last feature map enters the head, for convolutional networks and for transformers whose
tokens are averaged; where only the class token counts, before the last block's attention, which is the last place at
which the other tokens matter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldline.core.errors import FoldlineError
from foldline.engine.finished.networks import FoldNetworks, preprocessing_of
from foldline.engine.losses import activate
from foldline.images.normalise import Normaliser
from foldline.images.pictures import channels_last
from foldline.images.shards import Pixels
from foldline.models.fusing import alike
from foldline.models.together import UNFIT

HeatMap = Annotated[NDArray[np.float32], "height width"]
MIN_PLACES = 4  # of a map that is worth looking at
TINY = 1e-7  # as the slopes of what nothing speaks for
CERTAIN = 1e-15  # from a probability of 1, in float64: nearer, the log odds have no slope


@dataclass(frozen=True)
class Looked:
    """Where networks looked.

    Attributes:
        heat: [height, width] of the networks' pictures: 0 nothing, 1 most; 0 everywhere where nothing speaks for it.
        places: (height, width) of the map that it was made of.
    """

    heat: HeatMap
    places: tuple[int, int]


class _Tapped(nn.Module):
    """A network, and a place between its feature map and its head that can be watched."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network, self.tap = network, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[rows, channels, height, width] -> [rows, logits]."""
        logits: Tensor = self.network.forward_head(self.tap(self.network.forward_features(x)))
        return logits


def where_it_looked(folds: Sequence[FoldNetworks], pixels: Pixels, output: int, *, is_class: bool) -> Looked:
    """What of a picture speaks for an output: the mean over the folds' networks, each scaled to [0, 1].

    Method: Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391) of the class's log odds, or of the
    number, in the picture as it is (no other views).

    Args:
        folds: of one run.
        pixels: [height, width, channels] of the networks' size.
        output: whose evidence is looked for.

    Raises:
        FoldlineError: these networks have no feature map with places.
    """
    maps, places = [], (0, 0)
    for fold in folds:
        scaling = preprocessing_of(fold.meta)
        x = Normaliser(scaling.mean, scaling.std, fold.device)(channels_last(pixels[None]).to(fold.device))
        score = _score(output, fold.meta.activation, is_class=is_class)
        for network in fold.networks:
            heat, places = _heat_map(network, x, score)
            maps.append(heat)
    mean: HeatMap = np.mean(maps, axis=0, dtype=np.float32)
    return Looked(mean / mean.max() if mean.max() > 0 else mean, places)


def _score(output: int, activation: str, *, is_class: bool) -> Callable[[Tensor], Tensor]:
    """What is explained, as a function of a row's logits."""

    def score(logits: Tensor) -> Tensor:
        value = activate(logits.double()[None], activation)[0, output]
        return torch.logit(value, eps=CERTAIN) if is_class else value

    return score


def _heat_map(network: Any, x: Tensor, score: Callable[[Tensor], Tensor]) -> tuple[HeatMap, tuple[int, int]]:
    """One network's, and how many places its map has: the feature maps, each weighted by its mean slope."""
    network.requires_grad_(False)
    tapped = _Tapped(network).eval()
    layer, to_map = _watched(tapped, x)
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows may change its input in place

    handle = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            value = score(tapped(x.clone().requires_grad_())[0])
            slope = torch.autograd.grad(value, kept[-1])[0]
    finally:
        handle.remove()
    maps, slopes = (to_map(values) if to_map else values for values in (kept[-1].detach().float(), slope.float()))
    height, width = maps.shape[2:]
    if height * width < MIN_PLACES:
        raise FoldlineError(
            f"the last feature map of a {type(network).__name__} is {height} x {width} here: where it looked cannot "
            "be shown at this data.image_size"
        )
    speaks = (slopes.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).relu()
    speaks = nn.functional.interpolate(speaks, size=tuple(x.shape[2:]), mode="bilinear")[0, 0]
    found: HeatMap = torch.nan_to_num(speaks / speaks.max().clamp_min(TINY)).cpu().numpy().astype(np.float32)
    return found, (int(height), int(width))


def _watched(tapped: _Tapped, x: Tensor) -> tuple[nn.Module, Callable[[Tensor], Tensor] | None]:
    """The layer to watch, and what makes a map [rows, channels, height, width] of what it gives.

    Raises:
        FoldlineError: there is none.
    """
    network = tapped.network
    with torch.no_grad():
        features = network.forward_features(x)
        if not isinstance(features, Tensor) or features.ndim not in (3, 4) or not _is_all(tapped, x):
            raise _no_map(network)
    if features.ndim == 4:
        last = getattr(network, "num_features", 0)
        is_nhwc = features.shape[3] == last != features.shape[1]
        return tapped.tap, (lambda values: values.permute(0, 3, 1, 2)) if is_nhwc else None
    return _watched_tokens(tapped, features)


def _is_all(tapped: _Tapped, x: Tensor) -> bool:
    """Whether the network is its feature map and its head; one of the user's own may not be made for such a call."""
    try:
        return alike(tapped(x), tapped.network(x))
    except UNFIT:
        return False


def _watched_tokens(tapped: _Tapped, features: Tensor) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The same of a transformer: its tokens are a map, row by row, behind those that belong to no place."""
    network = tapped.network
    prefix = int(getattr(network, "num_prefix_tokens", 0))
    height, width = getattr(getattr(network, "patch_embed", None), "grid_size", None) or (0, 0)
    if height * width != features.shape[1] - prefix or not height:
        raise _no_map(network)

    def to_map(tokens: Tensor) -> Tensor:
        return tokens[:, prefix:].reshape(len(tokens), height, width, -1).permute(0, 3, 1, 2)

    if getattr(network, "global_pool", "") == "avg":
        return tapped.tap, to_map
    blocks: Any = getattr(network, "blocks", None)
    if not blocks or not hasattr(blocks[-1], "norm1"):
        raise _no_map(network)
    return blocks[-1].norm1, to_map


def _no_map(network: nn.Module) -> FoldlineError:
    return FoldlineError(
        f"a {type(network).__name__} has no last feature map whose places are places of the picture: "
        "where it looked cannot be shown"
    )
