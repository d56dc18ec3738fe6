"""Which weights predict: the network's own, their moving average (EMA), or the mean of the last epochs' (SWA)."""

from collections.abc import Callable, Iterable

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

from foldline.core.run import Train
from foldline.engine.loop.checkpoint import State, load_state


class Averages:
    """Follows a network while it is trained.

    EMA: timm's, with warm-up of the decay. The mean of the last epochs: stochastic weight averaging (Izmailov et al.
    2018, https://arxiv.org/abs/1803.05407); its batch-norm statistics are taken anew, since a mean of weights has
    statistics of its own.

    Args:
        refresh: runs batches through a network in training mode, for its batch-norm statistics; None: they are frozen.
    """

    def __init__(self, model: nn.Module, settings: Train, refresh: Callable[[nn.Module], None] | None) -> None:
        self.model = model
        average = settings.average
        self.epochs, self.last = settings.epochs, average.options.get("epochs", 0)
        self.refresh = refresh
        self.ema = ModelEmaV3(model, use_warmup=True, **average.options) if average.name == "ema" else None
        self.mean = AveragedModel(model) if self.last else None

    def after_step(self, step: int) -> None:
        """To be called after each optimizer step."""
        if self.ema is not None:
            self.ema.update(self.model, step=step)

    def after_epoch(self, number: int) -> None:
        """To be called after each epoch, before it is scored; epochs count from 1."""
        if self.mean is None or number <= self.epochs - self.last:
            return
        self.mean.update_parameters(self.model)
        if number == self.epochs and self.refresh is not None:
            self.refresh(self.mean.module)

    def predicting(self, number: int) -> nn.Module:
        """The network that predicts after epoch `number`."""
        if self.ema is not None:
            module: nn.Module = self.ema.module
            module.train()  # some networks keep what they computed from their weights while they only predict
            return module
        if self.mean is not None and number == self.epochs:
            return self.mean.module
        return self.model

    def state(self) -> dict[str, State]:
        """What a resume point must hold."""
        parts: dict[str, State] = {} if self.ema is None else {"ema": self.ema.module.state_dict()}
        return parts if self.mean is None else parts | {"mean": self.mean.state_dict()}

    def load(self, parts: dict[str, State]) -> None:
        """Goes on from a resume point's parts."""
        if self.ema is not None:
            load_state(self.ema.module, parts["ema"])
        if self.mean is not None:
            load_state(self.mean, parts["mean"])


@torch.no_grad()
def refresh_batch_norm(model: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Takes the running statistics of all batch-norm layers anew, as plain means over the batches."""
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    if not layers:
        return
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a cumulative mean
    model.train()
    for inputs in batches:
        model(*inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
