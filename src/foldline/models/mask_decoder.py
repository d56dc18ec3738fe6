"""A small decoder on a backbone's feature maps says which px show an object: in training alone, beside the classifier.

Reads and writes nothing.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from foldline.core.errors import FoldlineError
from foldline.models.heads import HeadedNetwork

WIDTH = 64  # channels of the decoder
GROUPS = 8
FINEST = 8  # px of the picture that one of the finest map shows which is looked at: detail, and not yet edges alone
Maps = list[Tensor]
Logits = Annotated[Tensor, "batch height width"]


class MaskDecoder(nn.Module):
    """The maps are brought to `WIDTH` channels and added up from the deepest on (as feature pyramids are: Lin et al.
    2017, https://arxiv.org/abs/1612.03144); two convolutions make logits of them, which grow to the picture's size.

    No row's logits depend on another row.

    Args:
        channels: of each map, the finest first.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, WIDTH, 1) for count in channels)
        self.joined = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.GroupNorm(GROUPS, WIDTH), nn.GELU(), nn.Conv2d(WIDTH, 1, 1)
        )

    def forward(self, maps: Maps, height_width: tuple[int, int]) -> Logits:
        """Maps [batch, channels, height, width], the finest first, -> a logit for each px of the picture, float32.

        All of it is in float32, whatever the maps were computed in: it is small.
        """
        with torch.autocast(maps[0].device.type, enabled=False):
            first, *finer = [lateral(x.float()) for lateral, x in zip(self.lateral, maps, strict=True)][::-1]
            for x in finer:
                first = x + functional.interpolate(first, x.shape[-2:], mode="nearest")
            logits = self.joined(first)
        return functional.interpolate(logits, height_width, mode="bilinear", align_corners=False)[:, 0]


def maps_and_logits(model: nn.Module, x: Tensor, chosen: list[int], *metadata: Tensor) -> tuple[Maps, Tensor]:
    """The feature maps, by their numbers, and what the network's own forward pass gives.

    Args:
        x: [batch, channels, height, width].
    """
    backbone: Any = model.backbone if isinstance(model, HeadedNetwork) else model
    features, maps = backbone.forward_intermediates(x, indices=chosen)
    logits: Tensor = model.forward_head(features, *metadata)  # type: ignore[operator]
    return maps, logits


@torch.no_grad()
def maps_of(model: nn.Module, shape: tuple[int, int, int], device: torch.device) -> tuple[list[int], list[int]]:
    """(the numbers of the maps that a decoder looks at, the finest first; the channels of each).

    Of maps of one size, as all of a transformer are, the deepest; none finer than `FINEST`, unless all are.

    Args:
        shape: channels, height and width of the pictures.

    Raises:
        FoldlineError: the network does not give its feature maps.
    """
    backbone: Any = model.backbone if isinstance(model, HeadedNetwork) else model
    if not hasattr(backbone, "forward_intermediates"):
        raise FoldlineError(
            f"the network ({type(backbone).__name__}) gives no feature maps, as timm's `forward_intermediates` do",
            where="loss.masks, model.name",
            next="leave loss.masks out, or take one of timm's backbones",
        )
    training = backbone.training
    backbone.eval()
    _, maps = backbone.forward_intermediates(torch.zeros(2, *shape, device=device))
    backbone.train(training)
    deepest = {x.shape[-2:]: number for number, x in enumerate(maps)}
    chosen = [number for number in deepest.values() if maps[number].shape[-1] * FINEST <= shape[2]]
    chosen = chosen or [len(maps) - 1]
    return chosen, [int(maps[number].shape[1]) for number in chosen]


def mask_loss(logits: Logits, target: Logits) -> Annotated[Tensor, "batch"]:
    """Of each row: the mean cross-entropy of its px, and one less the Dice coefficient of what is predicted and marked,
    which counts a small object as much as a large one (Milletari et al. 2016, https://arxiv.org/abs/1606.04797).

    Args:
        target: 0 to 1.
    """
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((1, 2))
    prob = logits.sigmoid()
    both, sizes = (prob * target).sum((1, 2)), prob.sum((1, 2)) + target.sum((1, 2))
    result: Tensor = each + 1 - (2 * both + 1) / (sizes + 1)
    return result


def dice(found: Tensor, marked: Tensor) -> Annotated[Tensor, "batch"]:
    """2 |A and B| / (|A| + |B|) of each row's px; 1 where neither shows anything.

    Args:
        found, marked: [batch, height, width] booleans.

    >>> one, other = torch.tensor([[[1, 1, 0]], [[0, 0, 0]]]), torch.tensor([[[1, 0, 0]], [[0, 0, 0]]])
    >>> [round(float(x), 3) for x in dice(one > 0, other > 0)]
    [0.667, 1.0]
    """
    both, sizes = (found & marked).sum((1, 2)), found.sum((1, 2)) + marked.sum((1, 2))
    return torch.where(sizes > 0, 2 * both / sizes.clamp(min=1), 1.0)
