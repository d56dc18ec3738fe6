"""timm's optimizers, built from a run's settings."""

from collections.abc import Collection, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

import torch
from timm.models import group_parameters
from timm.optim import (
    create_optimizer_v2,
    get_optimizer_class,
    get_optimizer_info,
    list_optimizers,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from timm.utils import dispatch_clip_grad
from torch import nn
from torch.optim import Optimizer

from foldline.core.choices import Clip
from foldline.core.errors import FoldlineError, unknown
from foldline.core.run_training import Optim

_FUSED = {"adam", "adamw", "sgd", "nesterov", "momentum"}
_OWN_SETTINGS = {"lr", "weight_decay", "params"}


def build_optimizer(model: nn.Module, settings: Optim, device: torch.device) -> Optimizer:
    """timm's optimizer over the trainable parameters; biases and norms get no weight decay.

    Each group's `lr_scale` is its layer decay times, for the classifier, `head_lr`; schedules keep to it.

    Raises:
        FoldlineError: an unknown optimizer or option, one whose package is not installed or that needs CUDA, or
            one that needs second derivatives.
    """
    name = settings.name.lower().split("_")[-1]
    if name not in list_optimizers():
        raise unknown("optimizer", settings.name, list_optimizers(), where="optim.name")
    if get_optimizer_info(name).second_order:
        raise FoldlineError(
            f"the optimizer '{name}' needs second derivatives, which training does not compute",
            where="optim.name",
            next="choose another, as adamw",
        )
    fused = {"fused": True} if settings.name in _FUSED and device.type in ("cpu", "cuda") else {}
    try:
        options = fused | _options(name, settings.options)
        optimizer: Optimizer = create_optimizer_v2(
            model,
            opt=settings.name,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            param_group_fn=lambda network: _groups(network, settings),
            **options,
        )
    except (ValueError, AssertionError, TypeError, ImportError, RuntimeError) as error:
        raise FoldlineError(
            f"timm cannot build the optimizer: {error}",
            where=f"optim.name: {settings.name}",
            next="mend optim.options, or choose another optimizer",
        ) from error
    return optimizer


def _options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer's own arguments, as it takes them: a list is a tuple, and plain SGD has no Nesterov."""
    info = get_optimizer_info(name)
    parameters = signature(get_optimizer_class(name, bind_defaults=False)).parameters.values()
    known = {p.name for p in parameters if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)}
    known -= _OWN_SETTINGS
    for key, has in (("eps", info.has_eps), ("betas", info.has_betas), ("momentum", info.has_momentum)):
        if not has:
            known.discard(key)  # timm would leave it out in silence
    for key in given:
        if key in _OWN_SETTINGS:
            raise FoldlineError(f"'{key}' is no option", where="optim.options", next=f"set optim.{key}")
        if key not in known:
            raise unknown(f"option of the optimizer '{name}':", key, sorted(known), where="optim.options")
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    if options.get("momentum") == 0 and "nesterov" in known:
        options.setdefault("nesterov", False)
    return options


def _groups(model: nn.Module, settings: Optim) -> list[dict[str, Any]]:
    """timm's parameter groups; where the head has its own rate, its parameters stand in groups of their own."""
    spared: set[str] = getattr(model, "no_weight_decay", set)()
    if settings.layer_decay < 1:
        groups = param_groups_layer_decay(
            model, settings.weight_decay, no_weight_decay_list=spared, layer_decay=settings.layer_decay
        )
    else:
        groups = param_groups_weight_decay(model, settings.weight_decay, no_weight_decay_list=spared)
    if settings.head_lr == 1:
        return list(groups)
    names = classifier_names(model)
    head = {id(parameter) for name, parameter in model.named_parameters() if name in names}
    split = []
    for group in groups:
        scale = group.get("lr_scale", 1.0)
        for inside, factor in ((False, 1.0), (True, settings.head_lr)):
            parameters = [parameter for parameter in group["params"] if (id(parameter) in head) == inside]
            if parameters:
                split.append(group | {"params": parameters, "lr_scale": scale * factor})
    return split


def freeze(model: nn.Module, what: float | Sequence[str]) -> set[str]:
    """Parameters that are not trained; returns their names, and lets them have no gradient.

    Args:
        what: what their names begin with; or the share of the blocks that is frozen with the stem. The classifier is
            no block.

    Raises:
        FoldlineError: no parameter's name begins so.
    """
    names = _first_blocks(model, what) if isinstance(what, float) else _begin_so(model, what)
    for name, parameter in model.named_parameters():
        if name in names:
            parameter.requires_grad_(False)
    return names


def _begin_so(model: nn.Module, prefixes: Sequence[str]) -> set[str]:
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise FoldlineError(
                f"no parameter's name begins with '{prefix}'",
                where="train.freeze",
                next=f"they begin with: {', '.join(sorted({name.split('.')[0] for name in names}))}",
            )
    return {name for name in names if name.startswith(tuple(prefixes))}


def _first_blocks(model: nn.Module, share: float) -> set[str]:
    """The names of the stem's parameters and of those in this share of the blocks, rounded down, from the input on."""
    stem, *blocks = layer_groups(model, coarse=False)[:-1]
    frozen = [stem, *blocks[: int(share * len(blocks) + 1e-9)]] if share else []
    return {name for block in frozen for name in block}


def classifier_names(model: nn.Module) -> set[str]:
    """The names of the last layer's parameters, by timm's `get_classifier`, and of the head over an entity's pictures;
    some networks have two last layers."""
    heads = model.get_classifier()  # type: ignore[operator]
    heads = list(heads) if isinstance(heads, tuple | list) else [heads]
    heads += [model.entity_head] if hasattr(model, "entity_head") else []
    last = {id(parameter) for head in heads for parameter in head.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in last}


def layer_groups(model: nn.Module, *, coarse: bool = True) -> list[list[str]]:
    """Parameter names, grouped from the input to the output: stem, stages or blocks, neck; the classifier is the last.

    The groups are timm's (`group_matcher`); where a network has none, its top-level modules.

    Args:
        coarse: a stage of several blocks is one group.
    """
    head = classifier_names(model)
    if hasattr(model, "group_matcher"):
        by_depth = group_parameters(model, model.group_matcher(coarse=coarse))  # type: ignore[operator]
        groups = [by_depth[i] for i in sorted(by_depth)]
    else:
        tops: dict[str, list[str]] = {}
        for name, _ in model.named_parameters():
            tops.setdefault(name.split(".")[0], []).append(name)
        groups = list(tops.values())
    groups = [[name for name in group if name not in head] for group in groups]
    return [group for group in [*groups, [name for name, _ in model.named_parameters() if name in head]] if group]


def trainable_groups(step: int, steps: int, share: float, groups: int) -> int:
    """How many of the last groups are trained at a step: the head alone first, then one more after equal times.

    Args:
        step, steps: optimizer steps, from 0; how many the training has.
        share: the share of the steps at whose end all are trained; 0: all from the start.

    Source: gradual unfreezing, Howard and Ruder 2018, https://arxiv.org/abs/1801.06146.

    >>> [trainable_groups(step, 10, 0.6, 4) for step in range(10)]
    [1, 1, 2, 2, 3, 3, 4, 4, 4, 4]
    """
    if step >= share * steps:
        return groups
    return min(groups, 1 + int(step * (groups - 1) / (share * steps) + 1e-9))


def set_trainable(model: nn.Module, groups: Sequence[Sequence[str]], count: int, frozen: Collection[str] = ()) -> None:
    """Trains the last `count` groups; the others have no gradient, so an optimizer leaves them alone.

    The optimizer must be built before, over everything that is trained some time. Batch-norm statistics of
    frozen groups still move: `train.batch_norm: frozen` keeps them.

    Args:
        groups: what `layer_groups` gives.
        frozen: the names of parameters that are never trained.
    """
    trained = {name for group in list(groups)[len(groups) - count :] for name in group}
    for name, parameter in model.named_parameters():
        on = name in trained and name not in frozen
        parameter.requires_grad_(on)
        if not on:
            parameter.grad = None


def clip(model: nn.Module, settings: Clip) -> None:
    """Clips the gradients in place, by timm's dispatcher.

    norm: all gradients together are scaled down to a norm of at most `limit`. value: each number is cut off at
    +- limit. agc: each unit's gradient is at most `limit` times its weights' norm (Brock et al. 2021,
    https://arxiv.org/abs/2102.06171; 0.01 to 0.16 there), but for the classifier, as the paper says.
    """
    if settings.name == "none":
        return
    left_out = classifier_names(model) if settings.name == "agc" else set()
    parameters = [parameter for name, parameter in model.named_parameters() if name not in left_out]
    dispatch_clip_grad(parameters, settings.options["limit"], mode=settings.name)
