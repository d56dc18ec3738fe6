"""timm's optimizers and schedules, built from a run's settings."""

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer

from foldline.core.errors import FoldlineError
from foldline.core.run import Optim, Schedule

_FUSED = {"adam", "adamw", "sgd", "nesterov", "momentum"}


def freeze(model: nn.Module, prefixes: list[str]) -> None:
    """Parameters whose name begins with one of `prefixes` are not trained."""
    for prefix in prefixes:
        found = [parameter for name, parameter in model.named_parameters() if name.startswith(prefix)]
        if not found:
            tops = sorted({name.split(".")[0] for name, _ in model.named_parameters()})
            raise FoldlineError(
                f"no parameter's name begins with '{prefix}'",
                where="train.freeze",
                next=f"they begin with: {', '.join(tops)}",
            )
        for parameter in found:
            parameter.requires_grad_(False)


def build_optimizer(model: nn.Module, settings: Optim, device: torch.device) -> Optimizer:
    """timm's optimizer over the trainable parameters; biases and norms get no weight decay."""
    fused = {"fused": True} if settings.name in _FUSED and device.type in ("cpu", "cuda") else {}
    layer_decay = settings.layer_decay if settings.layer_decay < 1 else None
    try:
        optimizer: Optimizer = create_optimizer_v2(
            model,
            opt=settings.name,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            layer_decay=layer_decay,
            **fused,
        )
    except (ValueError, AssertionError, TypeError) as error:
        raise FoldlineError(
            f"timm cannot build the optimizer: {error}",
            where=f"optim.name: {settings.name}",
            next="see timm.optim.list_optimizers() for the names",
        ) from error
    return optimizer


def build_schedule(optimizer: Optimizer, optim: Optim, settings: Schedule, steps: int) -> Scheduler:
    """timm's schedule, moved by `step_update(step)`: a function of the step alone, so it has no state to save."""
    warmup = round(settings.warmup * steps)
    smallest = optim.lr * (settings.min_lr_fraction if settings.name == "cosine" else 1.0)
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=max(steps, 1),
        warmup_epochs=warmup,
        warmup_lr=0.0,
        min_lr=smallest,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return schedule
