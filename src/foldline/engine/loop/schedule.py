"""The learning rate over the steps, by name. All but `plateau` are functions of the step: a resume needs no state.

timm's schedules where it has them; one-cycle is torch's, and plateau keeps its state as JSON. A new schedule is one
function, one line in `SCHEDULES` here and one in `core.choices.Schedule`.
Rates are of the group with scale 1; layer decay and the head's own rate are
scales of their groups, so all move in proportion.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from timm.scheduler import create_scheduler_v2
from torch.optim import Optimizer

from foldline.core.choices import Schedule


class Rates(ABC):
    """Moves the learning rates of an optimizer's parameter groups."""

    @abstractmethod
    def at_step(self, step: int) -> None:
        """Sets the rates of optimizer step `step`, counted from 0."""

    def after_epoch(self, valid_loss: float) -> None:  # noqa: B027 - only plateau listens
        """Tells how the fold's validation rows did."""

    def state(self) -> dict[str, float | None]:
        """What a resume point must keep, as a JSON value."""
        return {}

    def load(self, state: Mapping[str, float | None]) -> None:  # noqa: B027 - only plateau has a state
        """Goes on from a resume point."""


class _Timm(Rates):
    """One of timm's schedules, by step."""

    def __init__(
        self, optimizer: Optimizer, name: str, steps: int, warmup: float, *, lowest: float = 0.0, **more: Any
    ) -> None:
        self._schedule, _ = create_scheduler_v2(
            optimizer,
            sched=name,
            warmup_epochs=round(warmup * steps),
            warmup_lr=0.0,
            min_lr=lowest,
            step_on_epochs=False,
            updates_per_epoch=1,
            **({"num_epochs": max(steps, 1)} | more),
        )

    def at_step(self, step: int) -> None:
        self._schedule.step_update(step)


class RatesByStep(Rates):
    """Rates of a function of the step: what the run's rate is multiplied with."""

    def __init__(self, optimizer: Optimizer, lr: float, share: Callable[[int], float]) -> None:
        self.optimizer = optimizer
        self._lr, self._share = lr, share
        self.at_step(0)

    def at_step(self, step: int) -> None:
        """Sets each group's rate, times its own scale."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr * self._share(step) * group.get("lr_scale", 1.0)


class _Plateau(RatesByStep):
    """After a warm-up the rate stays until the valid loss has not become better for `patience` epochs, then falls.

    Better is by more than 1e-4 of the best, as torch's ReduceLROnPlateau has it.
    """

    def __init__(
        self, optimizer: Optimizer, lr: float, steps: int, warmup: float,
        *, min_lr_fraction: float, decay: float, patience: int,
    ) -> None:  # fmt: skip
        self.lowest, self.decay, self.patience = min_lr_fraction, decay, patience
        self.factor, self.waited = 1.0, 0
        self.best: float | None = None
        rise = round(warmup * steps)
        super().__init__(optimizer, lr, lambda step: step / rise if step < rise else self.factor)

    def after_epoch(self, valid_loss: float) -> None:
        if self.best is None or valid_loss < self.best * (1 - 1e-4):
            self.best, self.waited = valid_loss, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.factor, self.waited = max(self.factor * self.decay, self.lowest), 0

    def state(self) -> dict[str, float | None]:
        return {"factor": self.factor, "waited": self.waited, "best": self.best}

    def load(self, state: Mapping[str, float | None]) -> None:
        self.factor = float(state["factor"] or 0.0)
        self.waited, self.best = int(state["waited"] or 0), state["best"]


def one_cycle(step: int, steps: int, rise: float, lowest: float) -> float:
    """torch's OneCycleLR as a share of the peak: from 1/25 up to 1 and down to `lowest`, both by a half cosine.

    Momentum is not cycled. Smith and Topin 2018, https://arxiv.org/abs/1708.07120.

    Args:
        rise: the share of the steps in which the rate rises; 0.3 is usual.

    >>> [round(one_cycle(step, 11, 0.3, 0.0), 3) for step in (0, 2, 10)]
    [0.04, 0.96, 0.0]
    """
    top = rise * steps - 1  # torch counts so: the peak is the last step of the rise
    if step <= top:
        return _half_cosine(1 / 25, 1.0, step / top if top else 1.0)
    return _half_cosine(1.0, lowest, min((step - top) / max(steps - 1 - top, 1e-9), 1.0))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _cosine(
    optimizer: Optimizer, lr: float, steps: int, warmup: float,
    *, min_lr_fraction: float, cycles: int, cycle_decay: float = 1.0,
) -> Rates:  # fmt: skip
    """Half a cosine down; `cycles` of them after one another (https://arxiv.org/abs/1608.03983), each from the peak
    times `cycle_decay` for each one before it."""
    length = max(math.ceil(steps / cycles), 1)
    repeats = {"num_epochs": length, "cycle_limit": cycles, "cycle_decay": cycle_decay}
    return _Timm(optimizer, "cosine", steps, warmup, lowest=lr * min_lr_fraction, **repeats)


def _constant(optimizer: Optimizer, lr: float, steps: int, warmup: float) -> Rates:  # noqa: ARG001
    """The peak after the warm-up."""
    return _Timm(optimizer, "step", steps, warmup, decay_epochs=1, decay_rate=1.0)


def _poly(
    optimizer: Optimizer, lr: float, steps: int, warmup: float, *, min_lr_fraction: float, power: float = 1.0
) -> Rates:
    """(1 - step / steps)^power, by 1 a straight line; timm hands the power over as `decay_rate`."""
    return _Timm(optimizer, "poly", steps, warmup, lowest=lr * min_lr_fraction, decay_rate=power)


def _tanh(optimizer: Optimizer, lr: float, steps: int, warmup: float, *, min_lr_fraction: float) -> Rates:
    """A hyperbolic tangent down: longer high, then faster (Hsueh et al. 2019, https://arxiv.org/abs/1806.01593)."""
    return _Timm(optimizer, "tanh", steps, warmup, lowest=lr * min_lr_fraction)


def _step(optimizer: Optimizer, lr: float, steps: int, warmup: float, *, decay: float, every: float) -> Rates:  # noqa: ARG001
    """Times `decay` after each `every` of the steps."""
    return _Timm(optimizer, "step", steps, warmup, decay_epochs=max(round(every * steps), 1), decay_rate=decay)


def _multistep(
    optimizer: Optimizer, lr: float, steps: int, warmup: float, *, decay: float, milestones: Sequence[float]
) -> Rates:
    """Times `decay` from each of these shares of the steps on; timm's own falls a step before, in some versions."""
    at, rise = sorted(max(round(share * steps), 1) for share in milestones), round(warmup * steps)
    return RatesByStep(optimizer, lr, lambda step: step / rise if step < rise else decay ** bisect_right(at, step))


def _one_cycle(optimizer: Optimizer, lr: float, steps: int, warmup: float, *, min_lr_fraction: float) -> Rates:
    """Rises over the warm-up's share from 1/25 of the peak, falls to `min_lr_fraction`, by default 1/250,000."""
    return RatesByStep(optimizer, lr, lambda step: one_cycle(step, steps, warmup, min_lr_fraction))


# Each takes the optimizer, the peak rate, the steps of the whole training, the share of the warm-up, and as keywords
# the options that `core.choices.Schedule` says of it.
SCHEDULES: dict[str, Callable[..., Rates]] = {
    "cosine": _cosine,
    "constant": _constant,
    "one_cycle": _one_cycle,
    "linear": _poly,
    "poly": _poly,
    "tanh": _tanh,
    "step": _step,
    "multistep": _multistep,
    "plateau": _Plateau,
}


def build_rates(optimizer: Optimizer, lr: float, schedule: Schedule, steps: int) -> Rates:
    """The schedule that the run names.

    Args:
        lr: the peak.
        steps: optimizer steps of the whole training.
    """
    return SCHEDULES[schedule.name](optimizer, lr, steps, schedule.warmup, **schedule.options)
