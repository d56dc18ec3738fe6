"""What training minimises, by name. Each is built with the run's loss settings and the task.

A loss takes logits [batch, outputs] float32 and a target: class indices [batch] int64 for single-label
tasks, [batch, outputs] float32 otherwise; it returns the mean over the batch.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from foldline.core.competition import Task
from foldline.core.errors import FoldlineError, unknown
from foldline.core.run import Loss
from foldline.core.tasks import single_label

LossFunction = Callable[[Tensor, Tensor], Tensor]


def _cross_entropy(settings: Loss, task: Task) -> LossFunction:
    """Softmax cross-entropy, of class indices or of soft labels."""
    if not (single_label(task) or task == "soft"):
        raise _does_not_fit("cross_entropy", task)
    return nn.CrossEntropyLoss(label_smoothing=settings.smoothing)


def _binary_cross_entropy(settings: Loss, task: Task) -> LossFunction:
    """Sigmoid cross-entropy, each output by itself; smoothing moves 0 and 1 towards 1/2."""

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        hot = F.one_hot(target, logits.shape[1]).to(logits.dtype) if target.ndim == 1 else target
        hot = hot * (1 - settings.smoothing) + settings.smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, hot)

    if task == "regression":
        raise _does_not_fit("bce", task)
    return loss


def _mean_squared_error(settings: Loss, task: Task) -> LossFunction:  # noqa: ARG001
    """The squared difference."""
    if task != "regression":
        raise _does_not_fit("mse", task)
    return nn.MSELoss()


def _huber(settings: Loss, task: Task) -> LossFunction:  # noqa: ARG001
    """Squared near 0, linear beyond 1: outliers weigh less."""
    if task != "regression":
        raise _does_not_fit("huber", task)
    return nn.SmoothL1Loss()


LOSSES: dict[str, Callable[[Loss, Task], LossFunction]] = {
    "cross_entropy": _cross_entropy,
    "bce": _binary_cross_entropy,
    "mse": _mean_squared_error,
    "huber": _huber,
}
_DEFAULT: dict[Task, str] = {
    "binary": "cross_entropy",
    "multiclass": "cross_entropy",
    "ordinal": "cross_entropy",
    "soft": "cross_entropy",
    "multilabel": "bce",
    "regression": "mse",
}


def build_loss(settings: Loss, task: Task) -> LossFunction:
    """The loss that the run names; `auto` takes the task's usual one."""
    name = _DEFAULT[task] if settings.name == "auto" else settings.name
    if name not in LOSSES:
        raise unknown("loss", name, list(LOSSES), where="loss.name")
    return LOSSES[name](settings, task)


def _does_not_fit(name: str, task: Task) -> FoldlineError:
    return FoldlineError(
        f"the loss '{name}' does not fit the task '{task}'", where="loss.name", next=f"use loss.name={_DEFAULT[task]}"
    )
