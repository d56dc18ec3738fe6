"""foldline's own parts, taken out of a command: a fold's job, its learner, one epoch's speed.

The only file here that knows foldline's inner functions; all else goes through the command line.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import nn

from foldline.core.paths import Layout
from foldline.core.records.precision import StoredPrecision
from foldline.core.run import load_run
from foldline.core.tables import read_csv
from foldline.engine.fold_job import make_job, settled
from foldline.engine.loop.fit import fit_fold
from foldline.engine.loop.settle import settle
from foldline.engine.loop.step import Learner, Place
from foldline.engine.machine.device import pick_device, prepare_device
from foldline.engine.machine.precision import DTYPES
from foldline.engine.problem import FoldJob, Problem, open_problem
from foldline.engine.row_parts import training_rows
from foldline.engine.starting_weights import StartingWeights, make_starting_weights
from gpu.kit import Setting
from gpu.project import COMP, RUN


@dataclass(frozen=True)
class Opened:
    """Fold 0 of a run with some settings, ready to be trained."""

    problem: Problem
    start: StartingWeights
    job: FoldJob

    @property
    def scale(self) -> "tuple[list[float], list[float]]":
        """The mean and std of each channel that the network expects."""
        return self.job.preprocessing.mean, self.job.preprocessing.std

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the processes that make its pictures."""
        self.job.feed.close()

    @property
    def compile_seconds(self) -> dict[str, float]:
        """What was measured to choose `train.compile`, by name."""
        known = StoredPrecision.read_if_there(self.job.folder / "precision.json")
        return {} if known is None else known.compile_seconds

    def losses(self, steps: int, *, compile: str) -> list[float]:
        """Of the first steps, all on one batch, in a mode of `train.compile`; several batches a step where the run
        adds them up."""
        job, group = replace(self.job, compile=compile), self.job.run.optim.accumulate
        learner = Learner(job, self.network(), 10_000)
        learner.training_mode(0)
        batch = job.feed.sample(training_rows(job), job.batch_size)
        places = [Place(0, i, i // group, group, i % group == group - 1) for i in range(steps * group)]
        return [float(learner.learn(batch, place).loss) for place in places]

    def network(self) -> nn.Module:
        """A fresh network on the device, the same bits each time."""
        return self.start.for_fold(self.problem, 0)

    def learner(self) -> Callable[[int], object]:
        """A training step by its number, always on the same batch, which is on the device."""
        rows = training_rows(self.job)
        learner = Learner(self.job, self.network(), 10_000)
        learner.training_mode(0)
        batch = self.job.feed.sample(rows, self.job.batch_size)
        batch = replace(batch, images=batch.images.to(self.job.device))

        def step(number: int) -> object:
            return learner.learn(batch, Place(epoch=0, batch=number, step=number, group=1, last_of_group=True))

        return step


def open_run(setting: Setting, settings: str, precision: str = "auto", folds: int = 1) -> Opened:
    """The generated project's run with `settings` laid over it.

    Args:
        precision: fp32, tf32, bf16, fp16; auto: what the device does best.
        folds: that would be trained, for what is chosen by the steps of a run.
    """
    device = pick_device(setting.device)
    layout = Layout(setting.folder)
    chosen = best_precision(setting.device) if precision == "auto" else precision
    choices = load_run(layout, COMP, RUN, [*settings.split(), f"train.precision={chosen}"])
    prepare_device(device, deterministic=choices.train.deterministic)
    problem = settled(open_problem(layout, COMP, choices, device))
    start = make_starting_weights(problem, [0])
    folder = Path(tempfile.mkdtemp(prefix="fold-", dir=setting.folder))
    job = make_job(problem, start, 0, folder)
    return Opened(problem, start, settle(job, lambda: start.for_fold(problem, 0), folder / "precision.json", folds))


def best_precision(device: str) -> str:
    """bf16 where the GPU has it, else fp16; fp32 on a CPU."""
    if not device.startswith("cuda"):
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def dtype_of(precision: str) -> torch.dtype:
    """What autocast computes in."""
    return DTYPES[precision]


def epoch_speeds(opened: Opened) -> list[float]:
    """Trains the fold anew with foldline's loop: images/s of each epoch after the first, which starts the workers."""
    folder = Path(tempfile.mkdtemp(prefix="fold-", dir=opened.job.folder.parent))
    fit_fold(replace(opened.job, folder=folder), opened.network)
    log = read_csv(folder / "log.csv")
    shutil.rmtree(folder)
    return [float(speed) for speed in log["images_per_second"][2:]]
