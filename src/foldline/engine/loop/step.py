"""One training step: pictures and labels of a batch in, changed weights out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldline.core.own_code import is_own
from foldline.engine.auxiliary import AuxiliaryHead
from foldline.engine.loop.checkpoint import State
from foldline.engine.loop.low_rank import attach
from foldline.engine.loop.masks import Marked, MaskLearner
from foldline.engine.loop.optim import build_optimizer, clip, freeze, layer_groups, set_trainable, trainable_groups
from foldline.engine.loop.row_tables import gathered, resident
from foldline.engine.loop.schedule import build_rates
from foldline.engine.loop.sharpness import climbed
from foldline.engine.loop.stacked import StackedBatches
from foldline.engine.losses import activate, compared, distillation_loss
from foldline.engine.machine.compiling import compiled
from foldline.engine.machine.memory import MorePartsError, loss_of_parts, more_parts, one_picture, slices
from foldline.engine.machine.precision import DTYPES, set_batch_norm
from foldline.engine.machine.ranks import own_pass
from foldline.engine.problem import FoldJob
from foldline.engine.row_parts import training_targets
from foldline.images.augment import key_seed
from foldline.images.batches import TrainingBatch
from foldline.images.mix import mix
from foldline.images.normalise import Normaliser
from foldline.images.resize import shrink, side_at

AUXILIARY = -5  # a part of the key, apart from all that others draw


@dataclass(frozen=True)
class Place:
    """Where in the training a batch stands, all from 0; `group` batches make one optimizer step.

    Attributes:
        rows: of the batch in all ranks; 0: there is one.
    """

    epoch: int
    batch: int
    step: int
    group: int
    last_of_group: bool
    rows: int = 0


@dataclass(frozen=True)
class Learnt:
    """What a batch showed, still on the device: whoever reads a number waits for all that was asked for before.

    Attributes:
        loss: its mean, float32; of several ranks this one's part, and theirs add up to it.
        right: how many of its rows were right, of this rank's; None where that is undefined.
        masks: the loss of its masks, float32; None: none of its rows has one.
        updated: whether the weights changed: in fp16 a step is left out whose gradients are not finite.
    """

    loss: Tensor
    right: Tensor | None
    masks: Tensor | None = None
    updated: bool = False


class Learner:
    """A network with its loss, optimizer and learning rates."""

    def __init__(self, job: FoldJob, model: nn.Module, steps: int) -> None:
        run = job.run
        self.job, self.model, self.steps = job, model, steps
        if run.train.lora is not None:
            attach(model, run.train.lora.rank, run.train.lora.alpha, run.seed)
        self.frozen = freeze(model, run.train.freeze)
        self.wrapped = job.ranks.wrapped(model, job.device)  # before some are frozen for a while: all take part
        self.groups = _trained(layer_groups(model), self.frozen) if run.train.unfreeze else []
        self.optimizer = build_optimizer(model, run.optim, job.device)
        self.auxiliary = self._auxiliary_head()
        self.masks = None if job.masks is None else MaskLearner(job.masks, model, job)
        if self.masks is not None:
            self._also_learns(self.masks.decoder)
        self.rates = build_rates(self.optimizer, run.optim.lr, run.schedule, steps)
        self.scaler = job.precision.scaler(job.device)
        self.parts, self.splits = job.parts, True  # whether a batch that does not fit goes in more parts
        self.forward = self._compiled()
        self.group: list[tuple[TrainingBatch, Place]] = []  # the batches since the last step
        self.scale = self.scaler.get_scale()  # after the newest step
        self.skipped = 0  # optimizer steps so far that fp16 left out; neither rates nor averages count them
        self.normaliser = Normaliser(job.preprocessing.mean, job.preprocessing.std, job.device, input_dtype(job))
        self.truth = resident(training_targets(job), job.device)
        metadata = job.train.metadata
        self.metadata = None if metadata is None else resident(torch.from_numpy(metadata), job.device)
        self.teacher = None if job.teacher is None else job.teacher()
        self.stacks = StackedBatches.of(job, per_picture=hasattr(model, "per_picture"))

    def _compiled(self) -> Callable[..., Any]:
        """The network as it is run; CUDA graphs only where a step has one backward pass."""
        network = self.model if self.wrapped is None else self.wrapped
        alone = self.parts * self.job.run.optim.accumulate == 1 and not self.job.run.optim.sam
        return compiled(network, self.job.compile, graphs=alone)

    def _auxiliary_head(self) -> AuxiliaryHead | None:
        """What learns the auxiliary targets."""
        job = self.job
        if job.auxiliary is None:
            return None
        head = AuxiliaryHead(job.auxiliary, self.model, job.device, key_seed(*job.key, AUXILIARY))
        self._also_learns(head.head)
        head.table = resident(head.table, job.device)
        return head

    def _also_learns(self, module: nn.Module) -> None:
        """Trains what is no part of the network too, with the peak rate and the weight decay of all else."""
        optim = self.job.run.optim
        group = {"params": list(module.parameters()), "lr": optim.lr, "weight_decay": optim.weight_decay}
        self.optimizer.add_param_group(group)

    def _beside(self) -> dict[str, nn.Module]:
        """What learns beside the network, by its name in a resume point."""
        heads = {} if self.auxiliary is None else {"auxiliary": self.auxiliary.head}
        return heads | ({} if self.masks is None else {"masks": self.masks.decoder})

    def state(self) -> dict[str, State]:
        """What a resume point holds of it beside the network and the optimizer."""
        return {name: module.state_dict() for name, module in self._beside().items()}

    def load(self, parts: Mapping[str, State]) -> None:
        """Takes what `state` gave."""
        for name, module in self._beside().items():
            module.load_state_dict(parts[name])

    def go_on(self, scaler: dict[str, Any], skipped: int) -> None:
        """Takes the scaler's state, and how many steps were left out, from a resume point."""
        if scaler:
            self.scaler.load_state_dict(scaler)
            self.scale = self.scaler.get_scale()
        self.skipped = skipped

    def training_mode(self, step: int) -> None:
        """Dropout and batch-norm as in training; frozen parts stay frozen."""
        self.model.train()
        set_batch_norm(self.model, self.job.run.train.batch_norm)
        self._unfreeze(step - self.skipped)

    def inputs(self, batch: TrainingBatch, side: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        """The batch's pictures, normalised and shrunk, of entities their places, and metadata where the network sees
        any."""
        x = self.normaliser(batch.images)
        x = x if side is None else shrink(x, side)
        beside = [] if self.metadata is None else [gathered(self.metadata, batch, self.job.device)]
        if self.stacks is None:
            return (x, *beside)
        return (self.stacks.shaped(x), self.stacks.places(batch), *map(self.stacks.shaped, beside))

    def units(self, batch: TrainingBatch) -> int:
        """The rows of a batch, or its entities."""
        return len(batch.rows) if self.stacks is None else self.stacks.entities

    def learn(self, batch: TrainingBatch, place: Place) -> Learnt:
        """Forward and backward for one batch, and the optimizer's step where it is the last of its group."""
        self.group.append((batch, place))
        learnt = self._backward_where_it_fits(self.group[-1:])
        updated = place.last_of_group and self._update(place.step)
        if place.last_of_group:
            self.group.clear()
        return replace(learnt, updated=updated)

    def _backward_where_it_fits(self, todo: list[tuple[TrainingBatch, Place]]) -> Learnt:
        """What the newest batch showed; where memory is too small for it, its group is done in more parts."""
        while True:
            try:
                return [self._backward(*one) for one in todo][-1]
            except torch.OutOfMemoryError:
                if not self.splits:
                    raise
                self.parts = more_parts(self.parts, self.units(self.group[-1][0]))
            except ValueError as error:
                if self.parts == 1 or "more than 1 value" not in str(error):  # torch's, of a batch-norm
                    raise
                raise one_picture(self.parts, self.units(self.group[-1][0])) from error
            if self.job.on_parts is not None:
                self.job.on_parts(self.parts)
            if self.wrapped is not None:  # the others wait for gradients that do not come
                raise MorePartsError(self.parts)
            self.optimizer.zero_grad(set_to_none=True)
            self.forward = self._compiled()
            if self.job.device.type == "cuda":
                torch.cuda.empty_cache()
            todo = self.group

    def _backward(self, batch: TrainingBatch, place: Place) -> Learnt:
        """Adds the batch's gradients, part by part, each by its share of the rows."""
        job = self.job
        drawn = [job.ranks.rank.number] if job.ranks.rank.number else []
        torch.manual_seed(key_seed(*job.key, place.epoch, place.batch, *drawn))  # dropout and stochastic depth
        (x, *metadata), target, marked = self._batch(batch, place)
        rows = place.rows or len(x)
        least = len(x) if job.share is None else job.share.least(rows)
        together = compared(job.run.augment.copies)
        parts = slices(len(x), min(self.parts, least // together), together)  # as many in every rank
        if len(parts) > 1 and job.objective.together:
            raise loss_of_parts(len(parts), job.run.loss.name)
        losses, rights, of_masks = list[Tensor](), list[Tensor | None](), list[Tensor]()
        beside = None if self.auxiliary is None else gathered(self.auxiliary.table, batch, job.device)
        there, answers = self._answering(batch, place)
        for part in parts:
            share, some = (part.stop - part.start) / rows, None
            if there is not None:
                share, some = int(there[part].sum()) / answers, np.flatnonzero(there[part])
            with own_pass(self.wrapped, syncs=place.last_of_group and part is parts[-1]):
                beside_x = tuple(values[part] for values in metadata)
                loss, right, maps = self._forward(x[part], target[part], beside_x, some)
                if self.auxiliary is not None and beside is not None:
                    loss = loss + self.auxiliary.loss(beside[part])
                if self.masks is not None and marked is not None:
                    own = self.masks.loss(maps, marked.part(part))
                    loss = loss if own is None else loss + self.masks.masks.weight * own / share
                    of_masks += [] if own is None else [own.detach()]
                # DDP takes the mean of the ranks' gradients, whose sum is the batch's
                self.scaler.scale(loss * share * job.ranks.count / place.group).backward()
            losses.append(loss.detach() * share)
            filled = rows * x.shape[1] / answers if there is not None else 1.0  # pictures that are counted as rows
            rights.append(None if right is None else right * filled)
        whole = None if rights[0] is None else torch.stack([right for right in rights if right is not None]).sum()
        return Learnt(torch.stack(losses).sum(), whole, torch.stack(of_masks).sum() if of_masks else None)

    def _answering(self, batch: TrainingBatch, place: Place) -> tuple[NDArray[np.bool_] | None, int]:
        """Where pictures have answers of their own, [entities, pictures] which are there, and how many in all ranks."""
        if self.stacks is None or not self.stacks.per_picture:
            return None, 0
        there = self.stacks.there(batch)
        alone = self.job.ranks.count == 1
        return there, int(there.sum()) if alone else self.stacks.answers(place.epoch, place.batch)

    def _forward(
        self, x: Tensor, target: Tensor, metadata: tuple[Tensor, ...], some: NDArray[np.int64] | None
    ) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """The loss of some pictures, how many of them are right, and the feature maps that masks are learnt from.

        Args:
            some: the answers that count, where each picture has one; the others are of pictures that only fill up.
        """
        job, maps = self.job, list[Tensor]()
        with job.precision.autocast(job.device):
            if self.masks is None:
                logits = self.forward(x, *metadata)
            else:
                logits, maps = self.masks.forward(self.model, x, *metadata)
        logits, counts = logits.float(), 1  # of each target so many pictures
        if some is not None:
            kept = torch.from_numpy(some).to(job.device, non_blocking=True)
            logits, target = logits.flatten(0, 1)[kept], target.flatten(0, 1)[kept]
        elif self.stacks is not None:
            counts = x.shape[1]
        loss = job.objective.function(logits, target)
        if self.teacher is not None:
            shown = self.normaliser.undo(x)
            with job.precision.autocast(job.device):
                teacher_logits = self.teacher.logits(shown, job.objective.activation)
            options = job.run.loss.teacher.options
            learnt = distillation_loss(
                logits, teacher_logits, job.objective.activation, options["temperature"], job.objective.shares
            )
            loss = (1 - options["weight"]) * loss + options["weight"] * learnt
        right = self._right(logits.detach(), target)
        return loss, None if right is None else right * counts, maps

    def _batch(self, batch: TrainingBatch, place: Place) -> tuple[tuple[Tensor, ...], Tensor, Marked | None]:
        """Normalised, shrunk, mixed pictures with their metadata; their targets, which mixed are no class indices; and
        their masks, where these are learnt."""
        job, run = self.job, self.job.run
        grows, data = run.data.grow_from < 1, run.data
        side = side_at(place.epoch, run.train.epochs, data.grow_from, data.height_width) if grows else None
        x, *metadata = self.inputs(batch, side)
        target = gathered(self.truth, batch, job.device)
        if self.stacks is not None:  # two entities have no pictures that belong together
            return (x, *metadata), self.stacks.target(target), None
        marked = None if self.masks is None else self.masks.of(batch, (x.shape[-2], x.shape[-1]))
        if place.epoch < run.train.epochs - run.augment.mix.options.get("off_epochs", 0):
            truth, key = target, (*job.key, place.epoch, place.batch)

            def mixed(pictures: Tensor) -> tuple[Tensor, Tensor]:
                return mix(pictures, truth, len(job.outputs), run.augment.mix, *key)

            if marked is None:
                x, target = mixed(x)
            else:
                x, target, marked = marked.mixed(x, mixed)
        return (x, *metadata), target, marked

    def _right(self, logits: Tensor, target: Tensor) -> Tensor | None:
        if target.ndim != 1 or not self.job.task.single_label:
            return None
        return (activate(logits, self.job.objective.activation).argmax(1) == target).sum()

    def _update(self, step: int) -> bool:
        """The optimizer's step; whether it was done."""
        self.rates.at_step(step - self.skipped)
        if self.job.run.optim.sam:
            with climbed(self.model, self.job.run.optim.sam):
                self.optimizer.zero_grad(set_to_none=True)
                self._backward_where_it_fits(self.group)
        if self.job.run.optim.clip.name != "none":
            self.scaler.unscale_(self.optimizer)
            clip(self.model, self.job.run.optim.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        skipped = self._scale_fell() if self.scaler.is_enabled() else False
        self.skipped += skipped
        self.optimizer.zero_grad(set_to_none=True)
        self._unfreeze(step + 1 - self.skipped)
        return not skipped

    def _scale_fell(self) -> bool:
        """Whether fp16 left the newest step out: its scale of the gradients falls then. The one wait of a step."""
        before, self.scale = self.scale, self.scaler.get_scale()
        return self.scale < before

    def _unfreeze(self, step: int) -> None:
        """Gradual unfreezing: from this step on so many of the last layer groups learn."""
        if self.groups:
            share = self.job.run.train.unfreeze
            count = trainable_groups(step, self.steps, share, len(self.groups))
            set_trainable(self.model, self.groups, count, self.frozen)


def _trained(groups: list[list[str]], frozen: set[str]) -> list[list[str]]:
    """The groups that have something to train, so that the first to learn is never one that is frozen for good."""
    kept = [[name for name in group if name not in frozen] for group in groups]
    return [group for group in kept if group]


def input_dtype(job: FoldJob) -> torch.dtype:
    """The type of normalised pictures: that of autocast on a GPU where nothing but the network reads them."""
    run = job.run
    read = run.augment.mix.name != "none" or run.loss.teacher.name or run.data.grow_from < 1 or is_own(run.model.name)
    return torch.float32 if read or job.device.type != "cuda" else DTYPES[job.precision.choice]
