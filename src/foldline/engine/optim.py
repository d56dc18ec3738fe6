"""timm's optimizers, built from a run's settings."""

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

import torch
from timm.optim import (
    create_optimizer_v2,
    get_optimizer_class,
    get_optimizer_info,
    list_optimizers,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from torch import nn
from torch.optim import Optimizer

from foldline.core.errors import FoldlineError, unknown
from foldline.core.run import Optim
from foldline.engine.unfreeze import classifier_names

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
