"""Which weights predict: the network's own, their moving average (EMA), or the mean of the last (SWA) or best ones.

Of LoRA it is the weights with their changes that are averaged: the product of two factors' means is not the mean of
their products.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from functools import cmp_to_key

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from foldline.core.run_training import Train
from foldline.engine.loop.checkpoint import State, cpu_copy, load_state
from foldline.engine.loop.low_rank import merged
from foldline.models.norms import batch_norms, counted_anew

KEPT = "kept_"  # begins what a resume point calls the weights of an epoch; its number follows


class Averages:
    """Follows a network while it is trained.

    EMA: timm's, with warm-up of the decay. The mean of the last epochs: stochastic weight averaging (Izmailov et al.
    2018, https://arxiv.org/abs/1803.05407); its batch-norm statistics are taken anew, since a mean of weights has
    statistics of its own. The mean of the best epochs: the same of those that score best, as timm's
    `avg_checkpoints.py` does it of the files that its trainer keeps.

    Args:
        refresh: runs batches through a network in training mode, for its batch-norm statistics; None: they are frozen.
        plain: the network as it was before LoRA's changes were attached, which takes the weights with these added;
            None: nothing is attached.
    """

    def __init__(
        self, model: nn.Module, settings: Train, refresh: Callable[[nn.Module], None] | None,
        plain: nn.Module | None = None,
    ) -> None:  # fmt: skip
        self.model, self.plain = model, model if plain is None else plain
        average = settings.average
        self.epochs, self.last = settings.epochs, average.options["epochs"] if average.name == "swa" else 0
        self.refresh = refresh
        self.ema = ModelEmaV3(self.plain, use_warmup=True, **average.options) if average.name == "ema" else None
        self.mean = AveragedModel(self.plain) if average.name in ("swa", "best") else None
        self.most_kept = average.options["epochs"] if average.name == "best" else 0
        self.kept: dict[int, State] = {}  # of the best epochs so far, in main memory

    def _now(self) -> nn.Module:
        """The network whose weights are averaged, as it is now."""
        if self.plain is not self.model:
            load_state(self.plain, merged(self.model.state_dict()))
        return self.plain

    def after_step(self, step: int) -> None:
        """To be called after each optimizer step."""
        if self.ema is not None:
            self.ema.update(self._now(), step=step)

    def after_epoch(self, number: int) -> None:
        """To be called after each epoch, before it is scored; epochs count from 1."""
        if self.mean is None or self.most_kept or number <= self.epochs - self.last:
            return
        self.mean.update_parameters(self._now())
        if number == self.epochs and self.refresh is not None:
            self.refresh(self.mean.module)

    def judged(self, number: int, scores: Mapping[int, float], better: Callable[[float, float], bool]) -> list[int]:
        """To be called after an epoch was scored; keeps its weights where it is one of the best.

        Args:
            scores: of every epoch that was scored so far, by its number, the start's not among them.
            better: whether the first of two scores is.

        Returns:
            The epochs whose mean predicts from now on; empty until the last one was judged.
        """
        if not self.most_kept or number not in scores:
            return []
        best = _best(scores, better)[: self.most_kept]
        if number in best:
            self.kept[number] = cpu_copy(self._now().state_dict())
        self.kept = {epoch: state for epoch, state in self.kept.items() if epoch in best}
        if number != self.epochs:
            return []
        self._join()
        return sorted(self.kept)

    def _join(self) -> None:
        """Makes the mean of the kept weights, in the order of their epochs."""
        assert self.mean is not None
        own = cpu_copy(self.plain.state_dict())
        for epoch in sorted(self.kept):
            load_state(self.plain, self.kept[epoch])
            self.mean.update_parameters(self.plain)
        load_state(self.plain, own)
        if self.refresh is not None:
            self.refresh(self.mean.module)

    def predicting(self, number: int) -> nn.Module:
        """The network that predicts after epoch `number`."""
        if self.ema is not None:
            module: nn.Module = self.ema.module
            module.train()  # some networks keep what they computed from their weights while they only predict
            return module
        if self.mean is not None and number == self.epochs and int(self.mean.n_averaged):
            return self.mean.module
        return self.model

    def state(self) -> dict[str, State]:
        """What a resume point must hold."""
        parts: dict[str, State] = {} if self.ema is None else {"ema": self.ema.module.state_dict()}
        parts |= {f"{KEPT}{epoch}": state for epoch, state in self.kept.items()}
        return parts if self.mean is None else parts | {"mean": self.mean.state_dict()}

    def load(self, parts: dict[str, State]) -> None:
        """Goes on from a resume point's parts."""
        if self.ema is not None:
            load_state(self.ema.module, parts["ema"])
        if self.mean is not None:
            load_state(self.mean, parts["mean"])
        self.kept = {int(name.removeprefix(KEPT)): state for name, state in parts.items() if name.startswith(KEPT)}


def before_changes(model: nn.Module, settings: Train) -> nn.Module | None:
    """A copy of the network, for `Averages`, where LoRA's changes will be attached to it and averages are made."""
    return deepcopy(model) if settings.lora is not None and settings.average.name != "none" else None


def _best(scores: Mapping[int, float], better: Callable[[float, float], bool]) -> list[int]:
    """The epochs, the best first; of those that score alike the earlier one."""

    def order(left: int, right: int) -> int:
        ahead, behind = better(scores[left], scores[right]), better(scores[right], scores[left])
        return -1 if ahead else 1 if behind else left - right

    return sorted(scores, key=cmp_to_key(order))


@torch.no_grad()
def refresh_batch_norm(model: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Takes the running statistics of all batch-norm layers anew, as plain means over the batches."""
    if not batch_norms(model):
        return
    with counted_anew(model):
        model.train()
        for inputs in batches:
            model(*inputs)
