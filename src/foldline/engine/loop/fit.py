"""Fine-tunes one fold. Killed at any moment and started again, it ends with the same bits.

Reads a prepared job; writes `resume`, `log.csv`, `steps.csv` (the rate and loss of each step), `latest.parquet`
(predictions of the validation rows) and `valid_losses.parquet` (their losses by epoch) into the fold's folder while
it trains, and returns the weights. A step depends on the weights, the optimizer, and (seed, fold, step) alone: the
order of the rows, the augmentation and dropout are functions of these, so a resume point is small and exact.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from math import isfinite

import numpy as np
from torch import Tensor, nn

from foldline.core.clock import in_steps
from foldline.core.errors import first_few
from foldline.core.predictions import predictions_table
from foldline.core.progress import Progress, doing, say
from foldline.core.row_losses import add_epoch
from foldline.core.stopping import Stop, later
from foldline.core.tables import write_parquet
from foldline.engine.evaluate import evaluate
from foldline.engine.loop.averages import Averages, before_changes, refresh_batch_norm
from foldline.engine.loop.checkpoint import State, cpu_copy, load_resume, load_state, save_resume
from foldline.engine.loop.log import LogRow, in_words, score_of, scores_of, write_log
from foldline.engine.loop.low_rank import merged
from foldline.engine.loop.masks import valid_dice
from foldline.engine.loop.position import Position
from foldline.engine.loop.shown import Seen, Shown
from foldline.engine.loop.step import Learner, Place
from foldline.engine.loop.steps_log import NoStepsLog, StepsLog
from foldline.engine.machine.device import memory_mb
from foldline.engine.machine.precision import not_finite
from foldline.engine.problem import FoldJob
from foldline.engine.row_parts import training_rows
from foldline.images.batches import TrainingBatch
from foldline.scoring.metrics import metric_for
from foldline.scoring.row_loss import row_loss

MOST_ODD = 30  # batches in a row whose loss fp16 could not hold


@dataclass(frozen=True)
class Fitted:
    """A fitted fold: the weights of its last epoch and of its best one, its log, and what the device made of it."""

    last: State
    best: State
    best_epoch: int
    log: list[LogRow]
    seconds: float
    parts: int = 1  # in which a batch went through the network at the end
    skipped: int = 0  # optimizer steps that fp16 left out


class _Training:
    """The moving parts of one fold."""

    def __init__(self, job: FoldJob, model: nn.Module) -> None:
        run = job.run
        self.job = job
        self.rows = training_rows(job)
        self.batches = self.rows.batches(job.batch_size)
        self.steps_per_epoch = -(-self.batches // run.optim.accumulate)
        self.rows_of_batch = min(job.batch_size, self.rows.rows_per_epoch)
        model = job.ranks.with_norms_of_all(model, run.train.batch_norm, job.device)
        self.model, plain = model, before_changes(model, run.train)
        self.learner = Learner(job, model, self.steps_per_epoch * run.train.epochs)
        trains_norms = run.train.batch_norm == "train"
        self.averages = Averages(model, run.train, self._refresh if trains_norms else None, plain)
        self.position = Position()
        self.best: State = {}
        self.shown = Shown(job.ranks)
        self.step_losses: list[float] = []  # of the batches of one step; a resume point always stands between two
        self.steps_log = (StepsLog if job.ranks.first else NoStepsLog)(job.folder / "steps.csv")
        self.clock = time.monotonic()

    def resume_or_start(self) -> None:
        """Goes on from the resume point, or scores the start as epoch 0."""
        job = self.job
        title = f"fold {job.fold}"
        found = load_resume(job.resume_path, self.learner.optimizer, job.made_from, title, job.ranks)
        if found is None:
            self.steps_log.cut(0)
            job.mirror.begin(self.steps_log.path)
            self._record(train_loss=None)
            return
        parts, position = found
        load_state(self.model, parts["model"])
        self.best = parts["best"]
        self.averages.load(parts)
        self.learner.load(parts)
        self.position = Position(**position)
        self.learner.go_on(self.position.scaler, self.position.skipped)
        self.learner.rates.load(self.position.rates)
        self.steps_log.cut(self.position.steps_logged)
        job.mirror.begin(self.steps_log.path, self.position.steps_logged, self.position.log)
        self.clock = time.monotonic()
        say(f"  fold {job.fold}: goes on in epoch {self.position.epoch + 1}, batch {self.position.batch}")

    def tick(self) -> float:
        """The seconds since it was called last; they are added to the fold's."""
        before, self.clock = self.clock, time.monotonic()
        self.position.seconds += self.clock - before
        return self.clock - before

    def save(self) -> None:
        """Writes the resume point; never one behind a loss that was no number, since all losses are read first."""
        self._read()
        self.tick()
        self.position.skipped = self.learner.skipped
        self.position.scaler = self.learner.scaler.state_dict()
        self.position.rates = self.learner.rates.state()
        self.position.steps_logged = self.steps_log.flush()
        parts = {"model": self.model.state_dict(), "best": self.best} | self.averages.state() | self.learner.state()
        if self.job.ranks.first:
            save_resume(self.job.resume_path, parts, self.learner.optimizer, asdict(self.position), self.job.made_from)
        self.job.ranks.wait()

    def train_epoch(self, progress: Progress, flag: Stop) -> None:
        """One epoch, or the rest of it after a resume."""
        job, position = self.job, self.position
        self.learner.training_mode(self._place().step)
        batches = job.feed.training(self.rows, position.epoch, job.batch_size, first=position.batch)
        teller = job.teller
        self.tick()
        saved = self.clock
        for batch in progress.over(batches, teller.title, total=self.batches, done=position.batch):
            whole_step = self._learn(batch)
            position.epoch_seconds += self.tick()
            teller.at(position.epoch, position.batch)
            if not whole_step or position.batch >= self.batches:
                continue
            due = self.clock - saved >= job.run.train.checkpoint_minutes * 60
            asked, due, pause = job.ranks.any_of(flag.asked, due, teller.pause_asked())
            if asked or due or pause:
                self.save()
                if pause:
                    if job.ranks.first:
                        teller.wait(lambda: flag.asked)
                    (asked,) = job.ranks.any_of(flag.asked)
                    self.clock = time.monotonic()  # of standing still nothing counts
                if asked:
                    raise KeyboardInterrupt
                self.tick()
                saved = self.clock

    def _place(self) -> Place:
        position, accumulate = self.position, self.job.run.optim.accumulate
        begun = position.batch // accumulate * accumulate
        group = min(accumulate, self.batches - begun)
        step = position.epoch * self.steps_per_epoch + position.batch // accumulate
        last = position.batch == begun + group - 1
        return Place(position.epoch, position.batch, step, group, last, self.rows_of_batch)

    def _learn(self, batch: TrainingBatch) -> bool:
        """One batch; whether an optimizer step was due."""
        place = self._place()
        learnt = self.learner.learn(batch, place)
        self.position.batch += 1
        if learnt.updated:
            self.averages.after_step(place.step - self.learner.skipped)
        alone = self.job.ranks.count == 1
        rows = batch.rows if alone else self.rows.whole(place.epoch, place.batch, self.job.batch_size)
        self.shown.add(place, rows, self._rate(), learnt)
        if self.shown.due:
            self._read()
        return place.last_of_group

    def _read(self) -> None:
        """Adds up what the batches showed since it was called last.

        Raises:
            NotFiniteError: a loss was no finite number, in the first batch where that is so.
        """
        position = self.position
        for seen in self.shown.read():
            self._require_finite(seen)
            position.loss_sum += seen.loss if isfinite(seen.loss) else 0.0
            position.rows += len(seen.rows)
            if seen.right is not None:
                position.right += seen.right
                position.judged += len(seen.rows)
            if seen.masks is not None:
                position.mask_sum += seen.masks
                position.mask_batches += 1
            self.step_losses.append(seen.loss)
            if seen.place.last_of_group:
                mean = sum(self.step_losses) / len(self.step_losses)
                self.steps_log.add(seen.place.step, seen.place.epoch + 1, seen.rate, mean)
                self.job.mirror.step(seen.place.step, seen.rate, mean)
                self.step_losses.clear()
        self.job.mirror.flush()

    def _require_finite(self, seen: Seen) -> None:
        """In fp16 a loss that is too large for it is no end: its step is left out. Many in a row are one."""
        position = self.position
        position.odd_in_a_row = 0 if isfinite(seen.loss) else position.odd_in_a_row + 1
        if position.odd_in_a_row:
            position.odd += 1
            if position.odd_in_a_row > (MOST_ODD if self.learner.scaler.is_enabled() else 0):
                place, job = seen.place, self.job
                raise not_finite(
                    f"the training loss became {seen.loss} on the rows {first_few(job.train.names(seen.rows))}",
                    where=f"fold {job.fold}, epoch {place.epoch + 1}, batch {place.batch}",
                )

    def finish_epoch(self) -> None:
        """Scores the fold's validation rows, logs, and moves on to the next epoch."""
        self._read()
        position = self.position
        position.epoch_seconds += self.tick()  # of what the device still had to do
        self.averages.after_epoch(position.epoch + 1)
        finite = self.batches - position.odd
        self._record(train_loss=position.loss_sum / finite if finite else np.inf)
        position.epoch += 1
        position.loss_sum = position.epoch_seconds = 0.0
        position.batch = position.rows = position.right = position.judged = position.odd = 0
        position.mask_sum, position.mask_batches = 0.0, 0
        self.save()

    def _record(self, train_loss: float | None) -> None:
        """One row of the log; keeps the weights when they are the best so far."""
        job, position = self.job, self.position
        number = 0 if train_loss is None else position.epoch + 1
        row: LogRow = {"epoch": number, "lr": None, "train_loss": train_loss, "train_accuracy": None}
        if train_loss is not None:
            row["lr"] = self._rate()
            row["train_accuracy"] = position.right / position.judged if position.judged else None
        looked = job.folds_of is None and (number == job.epochs or number % job.run.train.validate_every == 0)
        row |= self._validate(number) if looked else {"valid_loss": None, "score": None}
        if number and (looked or job.folds_of is not None) and self._joined(number, score_of(row)) and looked:
            row |= self._validate(number)
        self.tick()
        row |= {
            "images_per_second": position.rows / position.epoch_seconds if train_loss is not None else None,
            **({"skipped_steps": self.learner.skipped} if self.learner.scaler.is_enabled() else {}),
            **self._of_masks(number, looked=looked),
            "memory_mb": memory_mb(job.device),
            "seconds": position.seconds,
        }
        position.log.append(row)
        better = metric_for(job.metrics[0], job.task).better
        if number == 0 or (looked and better(score_of(row), score_of(position.log[position.best_epoch]))):
            position.best_epoch = number
            self.best = cpu_copy(self.averages.predicting(number).state_dict())
        loss = row["valid_loss"] if job.folds_of is None else job.folds_of.losses.get(number)
        if train_loss is not None and loss is not None:
            self.learner.rates.after_epoch(loss)
        if job.ranks.first:
            write_log(job.folder / "log.csv", position.log)
        job.mirror.epoch(row)
        say(f"  fold {job.fold}, epoch {number}: {in_words(row, job.metrics[0])}")
        if job.on_epoch is not None and number:
            job.on_epoch(job.fold, number, score_of(row))

    def _of_masks(self, number: int, *, looked: bool) -> LogRow:
        """The loss of the masks in training, and what the decoder makes of the validation rows' that have one."""
        learner, position = self.learner, self.position
        if learner.masks is None:
            return {}
        found = number and looked
        worth = (
            valid_dice(self.job, self.averages.predicting(number), learner.masks, learner.normaliser) if found else None
        )
        mean = position.mask_sum / position.mask_batches if number and position.mask_batches else None
        return {"mask_loss": mean, "mask_dice": worth}

    def _joined(self, number: int, newest: float) -> bool:
        """Whether the mean of the best epochs predicts from now on; on all rows those that were best in the folds."""
        better, known = metric_for(self.job.metrics[0], self.job.task).better, self.job.folds_of
        scores = scores_of(self.position.log) | {number: newest} if known is None else known.scores
        epochs = self.averages.judged(number, scores, better)
        if epochs:
            say(f"  fold {self.job.fold}: the mean of the weights of epochs {', '.join(map(str, epochs))} predicts")
        return bool(epochs)

    def _validate(self, number: int) -> LogRow:
        teller = self.job.teller
        teller.validating(True)
        with doing(f"fold {self.job.fold}: validating"):
            columns, predictions = evaluate(self.job, self.averages.predicting(number), start=number == 0)
        teller.validating(False)
        if not self.job.ranks.first:
            return columns
        teller.validated(self.job.valid.truth, predictions)
        table = predictions_table(self.job.valid_frame, predictions, self.job.task, self.job.outputs)
        write_parquet(self.job.folder / "latest.parquet", table)
        if number:
            losses = row_loss(self.job.task, self.job.valid.truth, predictions)
            add_epoch(self.job.folder, table["row_id"], number, losses)
        return columns

    def _rate(self) -> float:
        """The rate that layer decay and the head's own rate are multiples of."""
        groups = self.learner.optimizer.param_groups
        group = min(groups, key=lambda group: abs(group.get("lr_scale", 1.0) - 1))  # where 1, without rounding
        return float(group["lr"] / group.get("lr_scale", 1.0))

    def _refresh(self, model: nn.Module) -> None:
        """Batch-norm statistics from this epoch's training pictures, in the number format of training: on a GPU the
        pictures have it already."""
        with self.job.precision.autocast(self.job.device):
            refresh_batch_norm(model, self._inputs())

    def _inputs(self) -> Iterator[tuple[Tensor, ...]]:
        batches = self.job.feed.training(self.rows, self.position.epoch, self.job.batch_size)
        return map(self.learner.inputs, batches)

    def stops_early(self) -> bool:
        """Whether the metric has not become better for `patience` epochs; epochs without a look say nothing."""
        patience, every = self.job.run.train.patience, self.job.run.train.validate_every
        looked = self.position.epoch - self.position.epoch % every
        return bool(patience) and self.job.folds_of is None and looked - self.position.best_epoch >= patience


def fit_fold(job: FoldJob, start: Callable[[], nn.Module]) -> Fitted:
    """Trains one fold from `start`, or from its resume point.

    Args:
        start: builds the network with its starting weights, on the job's device.

    Raises:
        KeyboardInterrupt: the process was asked to end (SIGTERM, Ctrl-C); a resume point is written.
    """
    training = _Training(job, start())
    training.resume_or_start()
    epochs, position = job.epochs, training.position
    plan = in_steps(epochs, training.batches) if job.plan is None else replace(job.plan, steps=training.batches)
    job.teller.begin(job.fold, plan, position.epoch, position.batch)
    with Progress() as progress, later() as flag:
        for _ in range(position.epoch, epochs):
            if training.stops_early():
                say(f"  fold {job.fold}: stops early, the best epoch was {training.position.best_epoch}")
                break
            training.train_epoch(progress, flag)
            training.finish_epoch()
            if job.ranks.any_of(flag.asked)[0]:
                raise KeyboardInterrupt
    training.tick()
    last = training.averages.predicting(position.epoch).state_dict()
    learner = training.learner
    return Fitted(
        merged(cpu_copy(last)), merged(training.best), position.best_epoch, position.log, position.seconds,
        learner.parts, learner.skipped,
    )  # fmt: skip
