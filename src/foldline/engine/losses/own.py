"""A loss of the user's own (`core.own_code`): a function (logits, target, **options) -> the mean over the batch."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from foldline.core import own_code
from foldline.core.errors import FoldlineError
from foldline.core.run import Loss
from foldline.core.task import Task
from foldline.engine.losses.spec import LossFunction


def own_loss(name: str, settings: Loss, task: Task, outputs: int) -> tuple[LossFunction, str]:
    """The function, and what turns logits into predictions: its attribute `activation`, else the task's usual one.

    It is tried on some rows of the task, so that one which does not fit is refused before training.

    Raises:
        FoldlineError: the function is not there, raises, or gives no mean; or a setting that only it could obey.
    """
    if settings.smoothing or settings.class_weights != "none":
        raise FoldlineError(
            "a loss of your own does its own smoothing and weighting",
            where="loss.smoothing, loss.class_weights",
            next="leave them out; numbers for the loss are loss.options",
        )
    function = partial(own_code.load(name, ("logits", "target"), where="loss.name"), **settings.options)
    rows = outputs + 1  # as many rows as outputs would hide that they are taken for each other
    logits = torch.linspace(-1, 1, rows * outputs).reshape(rows, outputs).requires_grad_()
    value: Any = own_code.attempt(name, lambda: function(logits, _target(task, rows, outputs)), where="loss.name")
    if not isinstance(value, Tensor) or value.shape != () or not value.requires_grad:
        shape = f"a tensor of {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise FoldlineError(
            f"'{name}' gives {shape} for a batch, not the mean over its rows as one number with a gradient",
            where="loss.name",
            next="end with .mean(), and compute with torch alone",
        )
    return function, getattr(function.func, "activation", task.activation)


def _target(task: Task, rows: int, outputs: int) -> Tensor:
    """Labels: class indices [rows], else [rows, outputs]."""
    if task.single_label:
        return torch.zeros(rows, dtype=torch.int64)
    return torch.full((rows, outputs), 1 / outputs if task.soft else 0.0)
