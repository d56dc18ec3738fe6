"""How long a run will take on this machine, by a few real steps of its network. Reads rows and a few pictures; writes
nothing, and fetches nothing: the network that is timed has random weights."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch
from torch import nn

from foldline.core.clock import FoldPlan, in_minutes
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.core.run_folder import run_sha256, wanted_folds
from foldline.core.run_training import usual_batch
from foldline.engine.fold_job import make_job, settled
from foldline.engine.frozen import FEATURE_BATCH
from foldline.engine.infer import predict
from foldline.engine.loop.step import Learner, Place
from foldline.engine.machine.device import describe, pick_device, prepare_device
from foldline.engine.machine.precision import Precision, has_bf16
from foldline.engine.problem import FoldJob, Problem, open_problem
from foldline.engine.row_arrays import RowArrays
from foldline.engine.row_parts import training_rows
from foldline.engine.starting_weights import StartingWeights
from foldline.images.batches import TrainingBatch
from foldline.images.glance import Glance
from foldline.images.resize import side_at
from foldline.images.views import of_pictures
from foldline.models.backbone import build, classifier, set_checkpointing
from foldline.models.fusing import fold_frozen, fuse
from foldline.models.probe import FIT_SECONDS

ENOUGH_SECONDS = 1.0  # of one measurement, after its first call
MOST_CALLS = 3
WRITE_BYTES = 1.5e8  # a second: a resume point with its hash, on the disk
START_SECONDS = 5.0  # imports, weights, the rows


@dataclass(frozen=True)
class Forecast:
    """What a run takes on this machine, in seconds.

    Attributes:
        decode_s: reading all pictures; 0 where they lie in the cache.
        probe_s: frozen features of all rows and the heads on them; 0 without a probe.
        folds: how many are trained, each as `fold` says.
        predict_s: the test rows by all folds, in the stage predict.
        how: what was measured, in words.
        view_s: a picture in one view through the network as it predicts.
    """

    decode_s: float
    probe_s: float
    fold: FoldPlan
    folds: int
    predict_s: float
    how: str
    view_s: float = 0.0

    @property
    def fold_s(self) -> float:
        """Of one fold."""
        return self.fold.seconds

    @property
    def train_s(self) -> float:
        """Of the stage train."""
        return START_SECONDS + self.decode_s + self.probe_s + self.folds * self.fold_s

    @property
    def total_s(self) -> float:
        """Of training and prediction."""
        return self.train_s + START_SECONDS + self.predict_s

    def shared(self, ranks: int) -> "Forecast":
        """Of so many ranks together, if each does its part as fast as one process alone."""
        if ranks == 1:
            return self
        plan = self.fold
        plan = replace(plan, step_s=plan.step_s / ranks, epoch_end_s=plan.epoch_end_s / ranks, end_s=plan.end_s / ranks)
        return replace(self, fold=plan, how=f"{self.how}, if {ranks} ranks are {ranks} times as fast")

    def in_words(self) -> str:
        """Such as `about 6 min: 5 folds x 1.0 min, frozen features 25 s, prediction 12 s`; parts of a moment are left
        out."""
        parts = {
            "pictures": self.decode_s, "frozen features": self.probe_s, "prediction": self.predict_s,
        }  # fmt: skip
        folds = f"{self.folds} folds x" if self.folds != 1 else "1 fold,"
        named = [f"{name} {in_minutes(seconds)}" for name, seconds in parts.items() if seconds >= 1]
        return f"about {in_minutes(self.total_s)}: {', '.join([f'{folds} {in_minutes(self.fold_s)}', *named])}"


def forecast(layout: Layout, comp: str, run: Run, *, device: str = "auto", folds: list[int] | None = None) -> Forecast:
    """What training and predicting the run would take, whatever is finished of it; some seconds.

    The folds must be made; pictures that are not in the cache are decoded for a few rows.

    Args:
        device: as `--device` says it.
        folds: those that would be trained; None: all that the run wants.

    Raises:
        FoldlineError: as a training would, for settings that cannot work.
        NoForecastError: a step of the network fails.
    """
    on = pick_device(device)
    prepare_device(on, deterministic=run.train.deterministic)
    glance = Glance()
    problem = settled(open_problem(layout, comp, run, on, glance))
    with problem.feed:
        chosen = wanted_folds(run, problem.folds.k) if folds is None else folds
        made = of_problem(problem, chosen, decode_s=glance.seconds)
    _MADE[_key(problem, chosen)] = made
    return made


_MADE: dict[tuple[object, ...], Forecast] = {}  # of this process: what was said needs no second measurement


def forecast_before(problem: Problem, folds: list[int]) -> Forecast | None:
    """What `forecast` gave for these folds in this process."""
    return _MADE.get(_key(problem, folds))


def _key(problem: Problem, folds: list[int]) -> tuple[object, ...]:
    return problem.layout.root, problem.comp, problem.folds.sha256, run_sha256(problem.run), str(problem.device), *folds


class NoForecastError(FoldlineError):
    """A step of the network fails; training finds what fits into memory, or says which setting cannot work."""


def of_problem(problem: Problem, folds: list[int], *, decode_s: float = 0.0) -> Forecast:
    """The forecast of a problem whose pictures are open.

    Args:
        folds: that are trained; at least one.
        decode_s: what its pictures still take.

    Raises:
        NoForecastError: a step of the network fails.
    """
    begin = time.perf_counter()
    job, model = _job(problem, folds[0])
    built_s = time.perf_counter() - begin
    try:
        step_s = _step_seconds(job, model)
        view_s = _view_seconds(problem, job, model)
    except (ValueError, RuntimeError) as error:  # torch's: too little memory, or what the settings ask of the network
        why = " ".join(str(error).split())
        raise NoForecastError(f"the minutes cannot be measured, since a step of the network fails: {why}") from error
    run, members = problem.run, 2 if problem.run.train.keep_start else 1
    views, rows = len(run.predict.views), training_rows(job)
    known = run.train.probe is not None and job.precision.choice == "fp32"  # what the start predicts, by its features
    looks = _looks(run)
    written = 4 * sum(tensor.nbytes for tensor in model.state_dict().values()) / WRITE_BYTES  # two moments, the best
    plan = FoldPlan(
        start_s=2 * built_s + (0 if known else len(job.valid) * view_s),
        epochs=job.epochs,
        steps=rows.batches(job.batch_size),
        step_s=step_s * _area(run),
        epoch_end_s=looks * len(job.valid) * view_s + written,
        end_s=built_s + len(job.valid) * views * view_s * (1 if known else members) + written,
    )
    starts = 0 if members == 1 else 1 if run.train.probe is not None else len(folds)  # one pass serves all probes
    test_s = len(problem.folds.test) * views * (len(folds) + starts) * view_s
    what = f"{job.precision.choice} on {describe(job.device)}"
    how = f"by steps of {job.batch_size} pictures, {job.batch_size / step_s:.0f} images/s, {what}"
    probe_s = _probe_seconds(problem, model, view_s)
    return Forecast(decode_s, probe_s, plan, len(folds), test_s, how, view_s)


FEWEST_STEPS = 40  # of a whole training, which is over before a forecast of it


def is_worth_it(problem: Problem, folds: list[int]) -> bool:
    """Whether the training of these folds is long enough to be forecast."""
    run, rows = problem.run, len(problem.own(folds[0], train=True))
    return len(folds) * run.train.epochs * max(rows // usual_batch(run.train.batch_size), 1) >= FEWEST_STEPS


def _job(problem: Problem, fold: int) -> tuple[FoldJob, nn.Module]:
    """The fold's job on the competition's own rows, and its network as it trains, with random weights."""
    run, device = problem.run, problem.device
    model = build(problem.architecture)
    start = StartingWeights(model, problem.preprocessing(model), "", None)
    job = make_job(problem, start, fold, problem.layout.runs(problem.comp))  # nothing is written there
    if run.model.checkpointing:
        set_checkpointing(model)
    model = model.to(device)
    if run.train.batch_norm == "frozen":
        fold_frozen(model, problem.architecture)
    return replace(job, precision=Precision(_format(run, device), describe(device), {})), model


def _format(run: Run, device: torch.device) -> str:
    """The number format; `auto` is fp32 on a CPU, where only a trial would tell whether bf16 is faster."""
    if run.train.precision != "auto":
        return run.train.precision
    return "fp32" if device.type != "cuda" else "bf16" if has_bf16() else "fp16"


def _step_seconds(job: FoldJob, model: nn.Module) -> float:
    """Of a step and, where this process makes them, of its pictures."""
    rows = training_rows(job)
    learner = Learner(job, model, rows.batches(job.batch_size) * max(job.run.train.epochs, 1))
    learner.training_mode(learner.steps)  # all that is ever trained
    batches = _batches(job)
    place = Place(max(job.run.train.epochs - 1, 0), 0, learner.steps - 1, group=1, last_of_group=True)
    return _seconds(lambda: learner.learn(next(batches), place), job.device)


def _batches(job: FoldJob) -> Iterator[TrainingBatch]:
    """Batches of a training: on a GPU always the same, since there other processes make them."""
    rows = training_rows(job)
    if job.device.type == "cuda":
        same = job.feed.sample(rows, job.batch_size)
        while True:
            yield same
    while True:
        yield from job.feed.training(rows, 0, job.batch_size)


def _view_seconds(problem: Problem, job: FoldJob, model: nn.Module) -> float:
    """Of a picture in one view through a network that predicts."""
    on_cpu, choices = problem.device.type == "cpu", problem.run.predict
    ready = fuse(model, problem.architecture) if on_cpu and job.precision.choice == "fp32" else model.eval()
    valid = job.valid if job.folds_of is None else problem.valid_rows(0, problem.encoding_of(0))
    count, views = min(FEATURE_BATCH if on_cpu else choices.batch_size, len(valid)), of_pictures(choices.views)
    metadata = valid.metadata
    rows = RowArrays(valid.positions[:count], np.empty(0), None if metadata is None else metadata[:count])

    def call() -> None:
        predict(
            [[ready]], job.tested, rows, job.preprocessing, job.device, job.precision,
            views=views, activation="identity", batch_size=count,
        )  # fmt: skip

    return _seconds(call, job.device) / (count * len(views))


def _probe_seconds(problem: Problem, model: nn.Module, view_s: float) -> float:
    """Of the frozen features of all rows, kept ones too, and of a head for each fold."""
    probe, rows, folds = problem.run.train.probe, len(problem.folds.frame), problem.folds
    if probe is None:
        return 0.0
    numbers = rows * len(probe.views) * classifier(model).in_features * max(len(folds.outputs) - 1, 1)
    return rows * len(probe.views) * view_s + folds.k * numbers * FIT_SECONDS


def _looks(run: Run) -> float:
    """The share of epochs behind which the validation rows are predicted."""
    epochs, every = run.train.epochs, run.train.validate_every
    return -(-epochs // every) / epochs if epochs else 0.0


def _area(run: Run) -> float:
    """How large the pictures of an epoch are in the mean, beside the last one's (`data.grow_from`)."""
    epochs, (height, width) = run.train.epochs, run.data.height_width
    sides = [side_at(epoch, epochs, run.data.grow_from, (height, width)) for epoch in range(epochs)]
    return sum(high * wide for high, wide in sides) / (len(sides) * height * width) if sides else 1.0


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Of a call, in the middle of some; the first one, which picks kernels, counts only where it is slow."""
    found: list[float] = []
    while len(found) < 1 + MOST_CALLS and sum(found[1:]) < ENOUGH_SECONDS and sum(found) < 2 * ENOUGH_SECONDS:
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - start)
    return median(found[1:] or found)
