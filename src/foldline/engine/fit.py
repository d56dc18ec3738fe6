"""Fine-tunes one fold. Killed at any moment and started again, it ends with the same bits.

Reads a prepared job; writes `resume` and `log.csv` into the fold's folder while it trains, and returns
the weights. A step depends on the weights, the optimizer, and (seed, fold, step) alone: the order of the
rows, the augmentation and dropout are functions of these numbers, so a resume point is small and exact.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from foldline.core.competition import Task
from foldline.core.progress import Progress, say
from foldline.core.run import Run
from foldline.core.tables import write_csv
from foldline.core.tasks import ACTIVATION, single_label
from foldline.engine.checkpoint import State, cpu_copy, load_resume, load_state, save_resume
from foldline.engine.device import memory_mb
from foldline.engine.infer import activate, predict
from foldline.engine.losses import build_loss
from foldline.engine.optim import build_optimizer, build_schedule, freeze
from foldline.engine.precision import Precision, require_finite, set_batch_norm
from foldline.images.augment import Augmenter, key_seed
from foldline.images.batches import TrainingRows, batches_per_epoch, normalise, training_batches
from foldline.models.backbone import Preprocessing
from foldline.scoring.metrics import metric_for, per_class_accuracy, score

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FoldJob:
    """All that fitting one fold needs. Arrays of truth are as `core.tasks.truth_array` gives them."""

    fold: int
    run: Run
    task: Task
    outputs: list[str]
    metric: str
    pixels: NDArray[np.uint8]
    train_positions: NDArray[np.int64]
    train_truth: Array
    valid_positions: NDArray[np.int64]
    valid_truth: Array
    prepare: Preprocessing
    device: torch.device
    precision: Precision
    folder: Path

    @property
    def key(self) -> tuple[int, int]:
        """What makes everything random: (seed, fold)."""
        return (self.run.seed, self.fold)

    @property
    def resume_path(self) -> Path:
        """The resume point; only training reads it."""
        return self.folder / "resume"


@dataclass
class Position:
    """Where training stands: all of it is in a resume point, as JSON."""

    epoch: int = 0  # the epoch that is being trained, from 0
    batch: int = 0  # its next batch
    loss_sum: float = 0.0  # over this epoch's batches so far
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    best_epoch: int = 0
    scaler: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, float | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Fitted:
    """A fitted fold: the weights of its last epoch and of its best one, and its log."""

    last: State
    best: State
    best_epoch: int
    log: list[dict[str, float | None]]
    seconds: float


class _Training:
    """The moving parts of one fold."""

    def __init__(self, job: FoldJob, model: nn.Module) -> None:
        self.job = job
        self.model = model
        run = job.run
        freeze(model, run.train.freeze)
        self.optimizer = build_optimizer(model, run.optim, job.device)
        self.batches = batches_per_epoch(len(job.train_positions), run.train.batch_size)
        steps_per_epoch = -(-self.batches // run.optim.accumulate)
        self.schedule = build_schedule(self.optimizer, run.optim, run.schedule, steps_per_epoch * run.train.epochs)
        self.steps_per_epoch = steps_per_epoch
        self.ema = ModelEmaV3(model, decay=run.train.ema_decay, use_warmup=True) if run.train.ema_decay else None
        self.scaler = job.precision.scaler(job.device)
        self.loss = build_loss(run.loss, job.task)
        self.truth = _target_tensor(job.train_truth, job.task)
        augmenter = Augmenter(run.augment.recipe, run.augment.strength, run.data.height_width)
        self.rows = TrainingRows(job.pixels, job.train_positions, augmenter, job.key)
        self.position = Position()
        self.best: State = {}

    def resume_or_start(self) -> None:
        """Goes on from the resume point, or scores the start as epoch 0."""
        if not self.job.resume_path.is_file():
            self._record(train_loss=None)
            return
        parts, position = load_resume(self.job.resume_path, self.optimizer)
        load_state(self.model, parts["model"])
        self.best = parts["best"]
        if self.ema is not None:
            load_state(self.ema.module, parts["ema"])
        self.position = Position(**position)
        if self.position.scaler:
            self.scaler.load_state_dict(self.position.scaler)
        say(f"  fold {self.job.fold}: goes on in epoch {self.position.epoch + 1}, batch {self.position.batch}")

    def save(self) -> None:
        """Writes the resume point."""
        self.position.scaler = self.scaler.state_dict()
        parts = {"model": self.model.state_dict(), "best": self.best}
        if self.ema is not None:
            parts["ema"] = self.ema.module.state_dict()
        save_resume(self.job.resume_path, parts, self.optimizer, asdict(self.position))

    def train_epoch(self, progress: Progress) -> None:
        """One epoch, or the rest of it after a resume."""
        job, position = self.job, self.position
        self.model.train()
        set_batch_norm(self.model, job.run.train.batch_norm)
        batches = training_batches(
            self.rows, position.epoch, job.run.train.batch_size,
            first=position.batch, workers=job.run.data.workers, pin=job.device.type == "cuda",
        )  # fmt: skip
        title = f"fold {job.fold}, epoch {position.epoch + 1}"
        saved = clock = time.monotonic()
        for images, rows in progress.over(batches, title, total=self.batches, done=position.batch):
            self._step(images, rows)
            now = time.monotonic()
            position.seconds, position.epoch_seconds = (
                position.seconds + now - clock,
                position.epoch_seconds + now - clock,
            )
            clock = now
            at_step = position.batch % job.run.optim.accumulate == 0 and position.batch < self.batches
            if at_step and now - saved >= job.run.train.checkpoint_minutes * 60:
                self.save()
                saved = clock = time.monotonic()

    def _step(self, images: Tensor, rows: NDArray[np.int64]) -> None:
        """One batch forward and backward, and an optimizer step where enough batches are added up."""
        job, position, optim = self.job, self.position, self.job.run.optim
        step = position.epoch * self.steps_per_epoch + position.batch // optim.accumulate
        torch.manual_seed(key_seed(*job.key, position.epoch, position.batch))  # dropout and stochastic depth
        x = normalise(images, job.prepare.mean, job.prepare.std, job.device)
        target = self.truth[torch.from_numpy(rows)].to(job.device, non_blocking=True)
        with job.precision.autocast(job.device):
            logits = self.model(x)
        group = min(optim.accumulate, self.batches - position.batch // optim.accumulate * optim.accumulate)
        loss = self.loss(logits.float(), target)
        self.scaler.scale(loss / group).backward()  # type: ignore[no-untyped-call]
        position.loss_sum += float(loss.detach())
        require_finite(loss, where=f"fold {job.fold}, epoch {position.epoch + 1}, batch {position.batch}")
        position.batch += 1
        if position.batch % optim.accumulate == 0 or position.batch == self.batches:
            self._update(step)

    def _update(self, step: int) -> None:
        self.schedule.step_update(step)
        if self.job.run.optim.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.job.run.optim.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.model, step=step)

    def finish_epoch(self) -> None:
        """Scores the fold's own rows, logs, and moves on to the next epoch."""
        self._record(train_loss=self.position.loss_sum / self.batches)
        self.position.epoch += 1
        self.position.batch, self.position.loss_sum, self.position.epoch_seconds = 0, 0.0, 0.0
        self.save()

    def _record(self, train_loss: float | None) -> None:
        """One row of the log; keeps the weights when they are the best so far."""
        job, position = self.job, self.position
        number = 0 if train_loss is None else position.epoch + 1
        module = self.ema.module if self.ema is not None else self.model
        found = evaluate(job, module)
        trained = self.batches * job.run.train.batch_size
        row: dict[str, float | None] = {
            "epoch": number,
            "lr": None if train_loss is None else max(group["lr"] for group in self.optimizer.param_groups),
            "train_loss": train_loss,
            **found,
            "images_per_second": trained / position.epoch_seconds if train_loss is not None else None,
            "memory_mb": memory_mb(job.device),
            "seconds": position.seconds,
        }
        position.log.append(row)
        better = metric_for(job.metric, job.task).better
        if number == 0 or better(_score(row), _score(position.log[position.best_epoch])):
            position.best_epoch, self.best = number, cpu_copy(module.state_dict())
        write_log(job.folder / "log.csv", position.log)
        say(f"  fold {job.fold}, epoch {number}: {_in_words(row, job.metric)}")

    def stops_early(self) -> bool:
        """Whether the metric has not become better for `patience` epochs."""
        patience = self.job.run.train.patience
        return bool(patience) and self.position.epoch - self.position.best_epoch >= patience


def fit_fold(job: FoldJob, start: Callable[[], nn.Module]) -> Fitted:
    """Trains one fold from `start`, or from its resume point.

    Args:
        start: builds the network with its starting weights, on the job's device.
    """
    training = _Training(job, start())
    training.resume_or_start()
    with Progress() as progress:
        epochs = range(training.position.epoch, job.run.train.epochs)
        for _ in progress.over(epochs, f"fold {job.fold}", total=job.run.train.epochs, done=training.position.epoch):
            if training.stops_early():
                say(f"  fold {job.fold}: stops early, the best epoch was {training.position.best_epoch}")
                break
            training.train_epoch(progress)
            training.finish_epoch()
    module = training.ema.module if training.ema is not None else training.model
    position = training.position
    return Fitted(cpu_copy(module.state_dict()), training.best, position.best_epoch, position.log, position.seconds)


def evaluate(job: FoldJob, model: nn.Module) -> dict[str, float | None]:
    """Loss, the competition's metric and per-class accuracy on the fold's own rows, by one view."""
    logits = predict(
        [model], job.pixels, job.valid_positions, job.prepare, job.device, job.precision,
        views=["identity"], activation="identity", batch_size=job.run.predict.batch_size, title="validating",
    )[0]  # fmt: skip
    plain = build_loss(job.run.loss.model_copy(update={"smoothing": 0.0}), job.task)
    loss = plain(torch.from_numpy(logits).float(), _target_tensor(job.valid_truth, job.task))
    found = activate(torch.from_numpy(logits), ACTIVATION[job.task]).numpy()
    own = score(job.metric, job.valid_truth, found, task=job.task)
    row: dict[str, float | None] = {"valid_loss": float(loss), "score": _defined(own)}
    if single_label(job.task) or job.task == "multilabel":
        accuracy = per_class_accuracy(job.valid_truth, found, task=job.task)
        row |= {f"accuracy_{name}": _defined(value) for name, value in zip(job.outputs, accuracy, strict=True)}
    return row


def time_one_step(job: FoldJob, model: nn.Module) -> tuple[Callable[[], None], int]:
    """A function that does one training step on a throw-away network, and its batch size; for measuring."""
    training = _Training(job, model)
    model.train()
    set_batch_norm(model, job.run.train.batch_norm)
    images, rows = next(iter(training_batches(training.rows, 0, job.run.train.batch_size)))

    def step() -> None:
        training.position.batch = 0
        training._step(images, rows)

    return step, len(rows)


def write_log(path: Path, log: list[dict[str, float | None]]) -> None:
    """Writes `log.csv`: one row an epoch, epoch 0 is the start before training."""
    write_csv(path, pd.DataFrame(log))


def _target_tensor(truth: Array, task: Task) -> Tensor:
    """[rows] int64 class indices, or [rows, outputs] float32."""
    return torch.from_numpy(truth).long() if single_label(task) else torch.from_numpy(truth).float()


def _defined(value: float) -> float | None:
    """A float; None where the metric has no answer (one class in the fold, a class without rows)."""
    return None if np.isnan(value) else float(value)


def _score(row: dict[str, float | None]) -> float:
    """The metric of a log's row; undefined is NaN."""
    value = row["score"]
    return np.nan if value is None else value


def _in_words(row: dict[str, float | None], metric: str) -> str:
    train = "" if row["train_loss"] is None else f"train loss {row['train_loss']:.4f}, "
    speed = "" if row["images_per_second"] is None else f", {row['images_per_second']:.0f} images/s"
    shown = "undefined" if row["score"] is None else f"{row['score']:.4f}"
    return f"{train}valid loss {row['valid_loss']:.4f}, {metric} {shown}{speed}"
