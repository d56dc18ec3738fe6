"""A network of the user's own (`core.own_code`): a function (outputs, channels, height_width, **options) -> nn.Module.

It has the surface of timm's networks as far as foldline uses it: `forward_features`, `forward_head` and
`get_classifier`, which `models.classic.SmallNetwork` gives. `pretrained_cfg` says how pictures are scaled (`mean` and
`std`; without it ImageNet's), `group_matcher` what a layer is, for layer decay.
"""

from typing import Any

import torch
from torch import Tensor, nn

from foldline.core import own_code
from foldline.core.errors import FoldlineError
from foldline.models.architecture import Architecture

SURFACE = ("forward_features", "forward_head", "get_classifier")


def own_network(architecture: Architecture) -> nn.Module:
    """The network, tried on two black pictures. Dropout rates and pooling reach the function where a run sets them.

    Raises:
        FoldlineError: the function is not there, raises, or does not give such a network.
    """
    name, size = architecture.name, (architecture.height, architecture.width)
    function = own_code.load(name, ("outputs", "channels", "height_width"), where="model.name")
    options: dict[str, Any] = {
        key: rate for key in ("drop_rate", "drop_path_rate") if (rate := getattr(architecture, key))
    }
    if architecture.pool not in ("default", "gem"):
        options["global_pool"] = architecture.pool
    model = own_code.attempt(
        name,
        lambda: function(architecture.outputs, architecture.channels, size, **options, **architecture.options),
        where="model.name, model.options, model.pool",
    )
    lacking = [method for method in SURFACE if not hasattr(model, method)]
    if not isinstance(model, nn.Module) or lacking:
        raise FoldlineError(
            f"'{name}' gives a {type(model).__name__}, which has no {', '.join(lacking)}",
            where="model.name",
            next="give an nn.Module with these methods: foldline.models.classic.SmallNetwork has them",
        )
    if not hasattr(model, "pretrained_cfg"):
        model.pretrained_cfg = {}  # type: ignore[assignment]
    _try(model, architecture)
    return model


@torch.no_grad()
def _try(model: nn.Module, architecture: Architecture) -> None:
    pictures = torch.zeros(2, architecture.channels, architecture.height, architecture.width)
    try:
        logits = model.eval()(pictures)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        raise FoldlineError(
            f"'{architecture.name}' fails on pictures of {architecture.height} x {architecture.width} px: "
            f"{' '.join(str(error).split())}",
            where="data.image_size, data.channels",
            next="mend the network, or choose another size",
        ) from error
    finally:
        model.train()
    if not isinstance(logits, Tensor) or logits.shape != (2, architecture.outputs):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise FoldlineError(
            f"'{architecture.name}' gives {shape} for two pictures, not logits of [2, {architecture.outputs}]",
            where="model.name",
        )
