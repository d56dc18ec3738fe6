"""LoRA: a network's linear layers learn a change of low rank, all else but the classifier stays as it was pretrained.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", https://arxiv.org/abs/2106.09685. Reads and writes
nothing. Each weight becomes W + scale x up @ down by torch's own parametrization; what is kept of a training is W with
its change added (`merged`), so that whatever reads a fold's weights finds a plain network.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from foldline.core.errors import FoldlineError, first_few
from foldline.engine.loop.checkpoint import State
from foldline.engine.loop.optim import classifier_names

INNER = ".parametrizations.weight."


class LowRank(nn.Module):
    """The change of one weight.

    Args:
        weight: [out, in].
        rank: of the change.
        scale: what it is multiplied with: alpha / rank.
        generator: of the numbers that it starts with; `up` starts at 0, so that the network starts as it was.
    """

    scale: Tensor

    def __init__(self, weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        bound = (1 / inputs) ** 0.5  # as torch's own linear layers
        down = (2 * torch.rand(rank, inputs, generator=generator) - 1) * bound
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(torch.zeros(outputs, rank).to(weight))
        self.register_buffer("scale", torch.tensor(scale).to(weight))

    def forward(self, weight: Tensor) -> Tensor:
        """[out, in] -> [out, in] with the change, in float32 as `merged` has it: what is validated is what is kept."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.scale * (self.up @ self.down)


def attach(model: nn.Module, rank: int, alpha: float, seed: int) -> None:
    """Changes the network in place: its linear layers but the classifier learn a change, and all else is frozen.

    Raises:
        FoldlineError: as `changed_layers`.
    """
    layers, head = changed_layers(model), _new(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in head)
    generator = torch.Generator().manual_seed(seed)
    for layer in layers:
        change = LowRank(layer.weight.detach(), min(rank, *layer.weight.shape), alpha / rank, generator)
        parametrize.register_parametrization(layer, "weight", change, unsafe=True)


def changed_layers(model: nn.Module) -> list[nn.Linear]:
    """The linear layers that learn a change: all but the classifier and what stands around a backbone.

    Raises:
        FoldlineError: there is none, or one has a parametrization of its own, to which no change can be added.
    """
    head = _new(model)
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not head & {f"{name}.{own}" for own, _ in module.named_parameters()}
    }
    if not layers:
        raise FoldlineError(
            "this network has no linear layers but its classifier: there is nothing for LoRA to change",
            where="train.lora",
            next="take a transformer or ConvNeXt, or leave train.lora out and set train.freeze",
        )
    own = [name for name, module in layers.items() if parametrize.is_parametrized(module)]
    if own:
        raise FoldlineError(
            f"these layers compute their weights from others (as weight_norm does), and LoRA cannot change them: "
            f"{first_few(own)}",
            where="train.lora",
            next="leave train.lora out and set train.freeze, or take plain layers",
        )
    return list(layers.values())


def _new(model: nn.Module) -> set[str]:
    """The parameters that no pretraining knows: the classifier's, and those around a backbone (metadata, entities)."""
    around = isinstance(getattr(model, "backbone", None), nn.Module)
    names = [name for name, _ in model.named_parameters()]
    return classifier_names(model) | {name for name in names if around and not name.startswith("backbone.")}


@torch.no_grad()
def merged(state: State) -> State:
    """The state dict of the plain network, each change added to its weight; one without changes as it is, whatever
    else its layers compute their weights from."""
    plain = {}
    for name, tensor in state.items():
        layer, inner, part = name.partition(INNER)
        if not inner or f"{layer}{INNER}0.down" not in state:
            plain[name] = tensor
        elif part == "original":
            scale, up, down = (state[f"{layer}{INNER}0.{key}"].float() for key in ("scale", "up", "down"))
            plain[f"{layer}.weight"] = (tensor.float() + scale * (up @ down)).to(tensor.dtype)
    return plain
