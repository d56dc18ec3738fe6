"""Batch-norms folded into the convolutions before them, for faster inference. Reads and writes nothing."""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

from foldline.models.architecture import Architecture

# Exact types: a subclass may change its weights on the way (weight standardisation), which folding would miss.
CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
NORMS = (nn.BatchNorm2d, BatchNormAct2d)
TOLERANCE = 1e-4  # of the largest logit: folding only changes the order of rounding


@torch.no_grad()
def fuse(model: nn.Module, architecture: Architecture) -> nn.Module:
    """A copy in eval mode that gives the same logits with fewer layers; the network itself is left alone.

    One random picture goes through the network to see which batch-norm takes what a convolution gave, and nothing
    else takes it. These pairs become one convolution, and the picture goes through again: where the logits are not
    the same, an unfused copy is given back. For float32: half precision rounds differently.

    Args:
        architecture: what the network was built from; the random picture has its size and channels.
    """
    plain = deepcopy(model).eval()
    inputs = _random_inputs(plain, architecture)
    fused = deepcopy(plain)
    pairs, before = _watch(fused, inputs)
    for conv, norm in pairs:
        _fold(fused, conv, norm)
    after = fused(*inputs)
    same = (after - before).abs().max() <= TOLERANCE * before.abs().max().clamp(min=1e-3)
    return fused if bool(same) else plain


def _random_inputs(model: nn.Module, architecture: Architecture) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    shapes: list[tuple[int, ...]] = [(1, architecture.channels, architecture.height, architecture.width)]
    shapes += [(1, architecture.metadata_features)] if architecture.metadata_features else []
    return tuple(torch.randn(shape, generator=generator).to(device) for shape in shapes)


class _Watch(TorchFunctionMode):
    """While it is on: which batch-norm takes which convolution's output, and how often that output is used at all."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[int, tuple[str, Tensor]] = {}  # the tensor is kept, so that its id stays its own
        self.uses: Counter[str] = Counter()  # of a convolution's output
        self.runs: Counter[str] = Counter()  # of a layer
        self.pairs: list[tuple[str, str]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every call of torch: one that takes an output and gives a tensor uses it; `x.shape` does not."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, (Tensor, tuple, list)) and not isinstance(result, torch.Size):
            for value in _tensors((args, kwargs)):
                if id(value) in self.given:
                    self.uses[self.given[id(value)][0]] += 1
        return result

    def after_convolution(self, name: str) -> Any:
        """A forward hook."""

        def note(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            self.runs[name] += 1
            self.given[id(output)] = (name, output)

        return note

    def before_norm(self, name: str) -> Any:
        """A hook before the forward pass."""

        def note(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            self.runs[name] += 1
            if id(args[0]) in self.given:
                self.pairs.append((self.given[id(args[0])][0], name))

        return note

    def foldable(self) -> list[tuple[str, str]]:
        """The pairs of which either ran once, and whose convolution gave its output to nothing else."""
        return [(a, b) for a, b in self.pairs if self.runs[a] == self.runs[b] == self.uses[a] == 1]


def _tensors(values: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list, dict)):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _tensors(value)


def _watch(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[list[tuple[str, str]], Tensor]:
    """The names of each convolution and the batch-norm that alone takes its output, and the network's logits."""
    watch, hooks = _Watch(), []
    for name, module in model.named_modules():
        if type(module) in CONVOLUTIONS:
            hooks.append(module.register_forward_hook(watch.after_convolution(name)))
        elif type(module) in NORMS and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(watch.before_norm(name)))
    with watch:
        logits: Tensor = model(*inputs)
    for hook in hooks:
        hook.remove()
    return watch.foldable(), logits


def _fold(model: nn.Module, conv_name: str, norm_name: str) -> None:
    """The convolution takes the batch-norm's scale and shift over; the batch-norm's activation stays."""
    conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, mean, var, norm.eps, norm.weight, norm.bias)
    model.set_submodule(norm_name, norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity())
