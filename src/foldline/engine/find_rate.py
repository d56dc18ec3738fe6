"""Sweeps the learning rate over a fold's first steps. Reads rows and images; writes nothing, drops the weights."""

import math
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from torch.optim import Optimizer

from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.engine.device import pick_device, prepare_device
from foldline.engine.fit import training_rows
from foldline.engine.lr_find import sweep
from foldline.engine.precision import NotFiniteError
from foldline.engine.prepare import open_problem
from foldline.engine.run_folds import make_job, require_trainable
from foldline.engine.schedule import Rates
from foldline.engine.start import make_start
from foldline.engine.step import Learner, Place
from foldline.images.batches import Batch, TrainingRows, training_batches


class _Swept(Rates):
    """The rate that the sweep says, times each group's scale."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer, self.rate = optimizer, 0.0

    def at_step(self, step: int) -> None:  # noqa: ARG002 - the sweep says when
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group.get("lr_scale", 1.0)


def sweep_fold(
    layout: Layout, comp: str, run: Run, fold: int, device_name: str, *, low: float, high: float, steps: int
) -> list[tuple[float, float]]:
    """(rate, loss) of each step of a training whose rate grows from `low` to `high`, in fp32.

    Every group keeps its own scale: layer decay and the head's rate are multiples of the swept one.
    """
    device = pick_device(device_name)
    prepare_device(device)
    problem = open_problem(layout, comp, run, device)
    require_trainable(problem, fold)
    start = make_start(problem, [fold])
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(problem, start, fold, Path(folder))
        learner = Learner(job, start.for_fold(problem, fold), steps)
        learner.rates = swept = _Swept(learner.optimizer)
        learner.training_mode(0)
        batches = _endless(training_rows(job), run.train.batch_size)

        def step(rate: float) -> float:
            place, (images, rows) = next(batches)
            swept.rate = rate
            try:
                return learner.learn(images, rows, place).loss
            except NotFiniteError:
                return math.inf  # the end of the sweep

        return sweep(step, low, high, steps)


def _endless(rows: TrainingRows, batch_size: int) -> Iterator[tuple[Place, Batch]]:
    """Epoch after epoch; each batch makes a step."""
    steps = count()
    for epoch in count():
        for batch, found in enumerate(training_batches(rows, epoch, batch_size)):
            yield Place(epoch, batch, next(steps), group=1, last_of_group=True), found
