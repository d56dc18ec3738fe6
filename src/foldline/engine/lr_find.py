"""Sweeps the learning rate over a fold's first steps. Reads rows and images; writes nothing, drops the weights."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.engine.fold_job import make_job, require_low_rank, require_trainable, settled
from foldline.engine.loop.schedule import RatesByStep
from foldline.engine.loop.step import Learner, Place
from foldline.engine.machine.device import pick_device, prepare_device
from foldline.engine.problem import FoldJob, open_problem
from foldline.engine.row_parts import training_rows
from foldline.engine.starting_weights import make_starting_weights
from foldline.images.batches import TrainingBatch, TrainingRows


def sweep_fold(
    layout: Layout, comp: str, run: Run, fold: int, device_name: str, *, low: float, high: float, steps: int
) -> list[tuple[float, float]]:
    """(rate, loss) of each step of a training whose rate grows from `low` to `high`, in fp32.

    Every group keeps its own scale: layer decay and the head's rate are multiples of the swept one.
    """
    device = pick_device(device_name)
    prepare_device(device, deterministic=run.train.deterministic)
    problem = settled(open_problem(layout, comp, run, device))
    require_trainable(problem, fold)
    require_low_rank(problem)
    start = make_starting_weights(problem, [fold])
    job = make_job(problem, start, fold, layout.runs(comp))  # nothing is written there
    learner = Learner(job, start.for_fold(problem, fold), steps)
    swept = low
    learner.rates = RatesByStep(learner.optimizer, 1.0, lambda _: swept)
    learner.training_mode(0)
    batches = _endless(job, training_rows(job))

    def step(rate: float) -> float:
        nonlocal swept
        swept = rate
        place, batch = next(batches)
        return float(learner.learn(batch, place).loss)

    with problem.feed:
        return sweep(step, low, high, steps)


def _endless(job: FoldJob, rows: TrainingRows) -> Iterator[tuple[Place, TrainingBatch]]:
    """Epoch after epoch; each batch makes a step."""
    steps = count()
    for epoch in count():
        for number, batch in enumerate(job.feed.training(rows, epoch, job.batch_size)):
            yield Place(epoch, number, next(steps), group=1, last_of_group=True), batch


_NEWEST = 0.1  # what the newest loss counts in the running mean, so about ten steps are seen together
_GIVE_UP = 4.0  # times the best smoothed loss
_FEWEST = 5


def sweep(step: Callable[[float], float], low: float, high: float, steps: int) -> list[tuple[float, float]]:
    """Trains at rates that grow by a constant factor from `low` to `high`.

    Args:
        step: does one training step at a rate and returns its loss.
        steps: at least 2; fewer are done where the smoothed loss exceeds 4 times its best, or is no number.

    Returns:
        (rate, loss) of each step whose loss was a number.
    """
    if not (0 < low < high and steps >= 2):
        raise FoldlineError(
            f"a sweep from {low:g} to {high:g} in {counted(steps, 'steps')} is none", next="low < high, 2 steps"
        )
    curve: list[tuple[float, float]] = []
    best = math.inf
    for i in range(steps):
        rate = low * (high / low) ** (i / (steps - 1))
        loss = step(rate)
        if not math.isfinite(loss):
            break
        curve.append((rate, loss))
        now = float(smoothed([loss for _, loss in curve])[-1])
        best = min(best, now)
        if now > _GIVE_UP * best:
            break
    return curve


def smoothed(losses: Sequence[float]) -> NDArray[np.float64]:
    """The running mean of the losses so far, without a pull to 0 at the start (as Adam corrects its moments).

    >>> smoothed([2.0, 2.0, 2.0]).round(6).tolist()
    [2.0, 2.0, 2.0]
    """
    return pd.Series(losses, dtype=np.float64).ewm(alpha=_NEWEST).mean().to_numpy()


def suggest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate at which the smoothed loss falls most steeply over the logarithm of the rate, before its least.

    Raises:
        FoldlineError: fewer than 5 steps, or a loss that never fell.

    >>> rates = [10 ** (-5 + i / 20) for i in range(101)]
    >>> losses = [2 - 1 / (1 + (1e-3 / rate) ** 2) for rate in rates]
    >>> 5e-4 < suggest(rates, losses) < 4e-3
    True
    """
    curve = smoothed(losses)
    least = int(curve.argmin())
    if len(curve) < _FEWEST or least == 0:
        raise FoldlineError(
            "the loss never fell, so no rate can be suggested" if len(curve) >= _FEWEST else "too few steps",
            where="the learning-rate sweep",
            next="begin at a smaller rate, or take more steps",
        )
    first = min(_FEWEST, least)  # a mean of fewer losses moves by chance
    slope = np.gradient(curve, np.log(rates))[first : least + 1]
    return float(rates[first + int(slope.argmin())])
