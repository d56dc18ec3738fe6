"""Batch-norms folded into the convolutions before them: for inference, and for training where they are frozen.

Reads and writes nothing.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.layers.conv2d_same import conv2d_same
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
    inputs = random_inputs(plain, architecture)
    fused = deepcopy(plain)
    pairs, before = _watch(fused, inputs)
    for conv, norm in pairs:
        _fold(fused, conv, norm)
    after = fused(*inputs)
    return fused if alike(after, before) else plain


def random_inputs(model: nn.Module, architecture: Architecture) -> tuple[Tensor, ...]:
    """One picture, and metadata where the network sees any, of standard normal numbers in the network's own type."""
    generator = torch.Generator().manual_seed(0)
    like = next(model.parameters())
    shapes: list[tuple[int, ...]] = [(1, architecture.channels, architecture.height, architecture.width)]
    shapes += [(1, architecture.metadata_features)] if architecture.metadata_features else []
    return tuple(torch.randn(shape, generator=generator).to(like) for shape in shapes)


def alike(after: Tensor, before: Tensor) -> bool:
    """Whether logits are the same up to rounding."""
    return bool((after - before).abs().max() <= TOLERANCE * before.abs().max().clamp(min=1e-3))


@torch.no_grad()
def fold_frozen(model: nn.Module, architecture: Architecture) -> int:
    """Makes the network's frozen batch-norms part of the convolutions before them, in place; how many of them.

    Parameters, buffers and their names stay, and so do the gradients, up to rounding: each forward pass computes the
    folded weights anew, and autograd goes through that. A batch-norm in training mode works as ever. What can be
    folded is found as in `fuse`, once as in training and once as after it; where a random picture's logits are not
    the same, nothing is.
    """
    was = {module: module.training for module in model.modules()}
    if not any(type(module) in NORMS for module in was):
        return 0
    inputs = random_inputs(model, architecture)
    (trained, before), (after_it, predicted) = (_watch_frozen(model, training, inputs) for training in (True, False))
    pairs = [
        (model.get_submodule(conv), model.get_submodule(norm)) for conv, norm in trained if (conv, norm) in after_it
    ]
    for conv, norm in pairs:
        _join(conv, norm)
    if not all(
        alike(_watch_frozen(model, on, inputs)[1], logits) for on, logits in ((True, before), (False, predicted))
    ):
        for conv, norm in pairs:
            _part(conv, norm)
        pairs = []
    for module, training in was.items():
        module.training = training
    return len(pairs)


def _watch_frozen(model: nn.Module, training: bool, inputs: tuple[Tensor, ...]) -> tuple[list[tuple[str, str]], Tensor]:
    """`_watch` with all but the batch-norms as in training, or as after it; no random number is used up."""
    for module in model.train(training).modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    with torch.random.fork_rng([inputs[0].device] if inputs[0].is_cuda else []):
        torch.manual_seed(0)
        return _watch(model, inputs)


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


class _FoldedConv2d(nn.Conv2d):
    """A convolution that does the work of the batch-norm behind it while that one is frozen."""

    behind: Sequence[nn.BatchNorm2d]  # one; in a list it is no part of this layer, and a copy has the copy's

    def forward(self, input: Tensor) -> Tensor:
        """As any convolution's."""
        result: Tensor = self._conv_forward(input, *_folded(self, self.behind[0]))
        return result


class _FoldedConv2dSame(Conv2dSame):  # type: ignore[misc]
    """The same of timm's convolution with TensorFlow's padding."""

    behind: Sequence[nn.BatchNorm2d]

    def forward(self, x: Tensor) -> Tensor:
        """As timm's."""
        weight, bias = _folded(self, self.behind[0])
        result: Tensor = conv2d_same(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        return result


class _FoldedNorm(nn.BatchNorm2d):
    """Nothing, while it is frozen."""

    def forward(self, input: Tensor) -> Tensor:
        """As any batch-norm's."""
        return super().forward(input) if self.training else input


class _FoldedNormAct(BatchNormAct2d):  # type: ignore[misc]
    """Its activation alone, while it is frozen."""

    def forward(self, x: Tensor) -> Tensor:
        """As timm's."""
        if self.training:
            result: Tensor = super().forward(x)
            return result
        x = self.drop(x)
        result = _clamped(x) if type(self.act) is nn.ReLU6 else self.act(x)
        return result


class _Clamp(torch.autograd.Function):
    """ReLU6 in place, whose gradient asks for its result alone: torch's own keeps a copy of what came in as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Any shape."""
        ctx.mark_dirty(x)
        ctx.save_for_backward(x.clamp_(0, 6))
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """0 where the result is at either end."""
        result: Tensor = torch.ops.aten.hardtanh_backward(grad, ctx.saved_tensors[0], 0, 6)
        return result


def _clamped(x: Tensor) -> Tensor:
    result: Tensor = _Clamp.apply(x)
    return result


_FOLDED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: _FoldedConv2d,
    Conv2dSame: _FoldedConv2dSame,
    nn.BatchNorm2d: _FoldedNorm,
    BatchNormAct2d: _FoldedNormAct,
}
_PLAIN = {folded: plain for plain, folded in _FOLDED.items()}


def unfold(model: nn.Module) -> None:
    """Undoes `fold_frozen`: all layers are of their own class again."""
    for module in list(model.modules()):
        if type(module) in (_FoldedConv2d, _FoldedConv2dSame):
            _part(module, module.behind[0])  # type: ignore[arg-type,index]


def _join(conv: nn.Module, norm: nn.Module) -> None:
    """They stay the same objects with the same parameters, and change their class."""
    conv.__class__, norm.__class__ = _FOLDED[type(conv)], _FOLDED[type(norm)]
    conv.__dict__["behind"] = [norm]


def _part(conv: nn.Module, norm: nn.Module) -> None:
    conv.__class__, norm.__class__ = _PLAIN[type(conv)], _PLAIN[type(norm)]
    del conv.__dict__["behind"]


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor | None]:
    """The convolution's weight and bias with the batch-norm in them; its own while the batch-norm is in training."""
    if norm.training:
        return conv.weight, conv.bias
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    scale = (var + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
    below = mean if conv.bias is None else mean - conv.bias
    bias = -below * scale if norm.bias is None else torch.addcmul(norm.bias, below, scale, value=-1)
    return conv.weight * scale[:, None, None, None], bias
