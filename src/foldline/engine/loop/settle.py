"""What a training settles before it starts, by steps on a throw-away network: the number format, how many pictures a
batch has, in how many parts it goes through the network, and whether every operation is deterministic there.

The answers stand in `oof/<comp>/<run>/precision.json`, where the other folds and every resume find them.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from foldline.core.counted import counted
from foldline.core.processes import in_turn
from foldline.core.progress import say
from foldline.core.records.precision import StoredPrecision
from foldline.engine.loop.optim import layer_groups
from foldline.engine.loop.step import Learner, Place
from foldline.engine.machine.compiling import Seconds, settle_compile, timed
from foldline.engine.machine.device import describe, only_deterministic
from foldline.engine.machine.memory import Memory, more_parts
from foldline.engine.machine.precision import choose_precision
from foldline.engine.machine.ranks import Ranks
from foldline.engine.problem import FoldJob
from foldline.engine.row_parts import training_rows
from foldline.images.resize import side_at

LARGEST_BATCH, LEAST_STEPS = 512, 8  # of `train.batch_size: auto`: pictures; steps an epoch
TIMED_STEPS = 3
Start = Callable[[], nn.Module]


def settle(job: FoldJob, start: Start, path: Path, folds: int = 1, ranks: Ranks | None = None) -> FoldJob:
    """The job with its precision, batch size and parts, and whether its network is compiled.

    Processes that train several folds settle one after the other.

    Args:
        start: builds the network with its starting weights, on the job's device.
        path: `precision.json` of the run.
        folds: how many the run trains, which share a compiled network.
        ranks: that train the fold together; each looks what fits its device, and rank 0 decides all else.

    Raises:
        FoldlineError: not even one picture fits into the memory.
    """
    together = ranks or Ranks()
    with together.first_alone(), _alone(path):
        settled = _settled(job, start, path, folds, together.count)
    settled = _agreed(settled, together)

    def on_parts(count: int) -> None:
        with _alone(path):
            remember(path, replace(settled, parts=count))

    return replace(settled, on_parts=on_parts)


def _agreed(job: FoldJob, ranks: Ranks) -> FoldJob:
    """The job as all ranks do it."""
    if ranks.count == 1:
        return job
    precision, size, mode = ranks.told(lambda: (job.precision, job.batch_size, job.compile))
    if "batch_size" in job.made_from:
        job.made_from["batch_size"] = size
    precision.prepare(job.device)
    return replace(job, precision=precision, batch_size=size, compile=mode, parts=ranks.most(job.parts))


def _alone(path: Path) -> AbstractContextManager[None]:
    """Two that measure at once could find two number formats for one run, and a resume would take the other's."""
    return in_turn(path.with_name(f".{path.stem}.lock"), "what a training settles by trying is being tried")


def _settled(job: FoldJob, start: Start, path: Path, folds: int, ranks: int) -> FoldJob:
    name, device = describe(job.device), job.device
    precision = choose_precision(
        job.run.train.precision, device, name, path, lambda one: time_one_step(replace(job, precision=one), start())
    )
    precision.prepare(device)
    known = StoredPrecision.read_if_there(path)
    parts = known.parts if known is not None and known.device == name else 1
    size = known.batch_size if known is not None and known.batch_size else job.batch_size
    job = replace(job, precision=precision, batch_size=size, parts=parts)
    if _runs_out_of_memory(device):
        if job.run.train.batch_size == "auto" and (known is None or not known.batch_size):
            job = replace(job, batch_size=_largest(job, start))
        share = replace(job, batch_size=-(-job.batch_size // ranks))  # a rank's rows of a batch
        job = replace(job, parts=_that_fits(share, start).parts)
        if job.parts > 1 and job.objective.together:
            pictures = -(-job.batch_size // job.parts)
            say(f"warning: the loss '{job.run.loss.name}' is of the {pictures} pictures that fit, not of a whole batch")
    elif job.run.train.batch_size == "auto" and known is None:
        say(f"  train.batch_size: auto is {job.batch_size} where memory is the system's")
    if job.run.train.batch_size == "auto":
        job.made_from["batch_size"] = job.batch_size
    if job.run.train.batch_size == "auto" or job.parts != parts:
        remember(path, job)
    return _with_compiling(job, start, path, folds)


def _with_compiling(job: FoldJob, start: Start, path: Path, folds: int) -> FoldJob:
    """The job with the mode in which its network is compiled, as an earlier fold found or as is measured now."""
    known, train = StoredPrecision.read_if_there(path), job.run.train
    if train.compile == "off" or not train.epochs:
        return job
    if known is not None and known.compile and known.device == describe(job.device):
        return replace(job, compile=known.compile)

    def measured(mode: str) -> Seconds:
        return timed(time_one_step(replace(job, compile=mode), start())[0], job.device)

    mode, seconds = settle_compile(
        "train.compile", train.compile, job.device,
        plain=lambda: measured("off")[1], tried=measured,
        uses=folds * train.epochs * training_rows(job).batches(job.batch_size), compilations=_forms(job, start),
    )  # fmt: skip
    job = replace(job, compile=mode)
    remember(path, job, compile=mode, compile_seconds=seconds)
    return job


def _forms(job: FoldJob, start: Start) -> int:
    """How often a network is compiled in a training: for each size of pictures, and for what is trained of it."""
    run = job.run
    epochs, data = run.train.epochs, run.data
    sides = {side_at(epoch, epochs, data.grow_from, data.height_width) for epoch in range(epochs)}
    return len(sides) * (len(layer_groups(start())) if run.train.unfreeze else 1)


def remember(path: Path, job: FoldJob, **found: Any) -> None:
    """Writes what was settled, beside what stands there already."""
    size = {"batch_size": job.batch_size} if job.run.train.batch_size == "auto" else {}
    known, own, device = StoredPrecision.read_if_there(path), job.precision, describe(job.device)
    if known is None or known.device != device:
        known = StoredPrecision(choice=own.choice, device=device, images_per_second=own.images_per_second)
    content = known.model_dump(by_alias=True, exclude_unset=True)
    StoredPrecision(**content | size | found | {"parts": job.parts}).write(path)


def time_one_step(job: FoldJob, model: nn.Module) -> tuple[Callable[[], None], int]:
    """A function that does one training step on a throw-away network, and its batch size; for measuring."""
    rows = training_rows(job)
    learner = Learner(job, model, rows.batches(job.batch_size) * max(job.run.train.epochs, 1))
    learner.training_mode(learner.steps)  # all that is ever trained
    learner.splits = False
    batch = job.feed.sample(rows, job.batch_size)

    def step() -> None:
        last = max(job.run.train.epochs - 1, 0)  # whose pictures are the largest
        learner.learn(batch, Place(epoch=last, batch=0, step=learner.steps - 1, group=1, last_of_group=True))

    return step, len(batch.rows)


def _runs_out_of_memory(device: torch.device) -> bool:
    """Whether the device has a memory of its own, which says so when it is full."""
    return device.type == "cuda"


def _largest(job: FoldJob, start: Start) -> int:
    """The largest batch that fits: 16 pictures, doubled while they do."""
    most = min(LARGEST_BATCH, max(len(job.train) // LEAST_STEPS, 1))
    size = min(16, most)
    while size * 2 <= most and _fits(replace(job, batch_size=size * 2), start)[0]:
        size *= 2
    say(f"  train.batch_size: auto takes {counted(size, 'pictures')}")
    return size


def _that_fits(job: FoldJob, start: Start) -> FoldJob:
    """The job in as many parts as it takes, with a forecast of its memory."""
    while True:
        fits, memory = _fits(job, start)
        if fits:
            pictures = -(-job.batch_size // job.parts)
            if memory is not None:
                say(f"  memory: {pictures} at a time take {memory.in_words(pictures)}")
            return job
        job = replace(job, parts=more_parts(job.parts, job.batch_size))


def _fits(job: FoldJob, start: Start) -> tuple[bool, Memory | None]:
    """Whether two steps of a throw-away network fit, and what they took; the first makes the optimizer's memory."""
    if job.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(job.device)
    try:
        step, _ = time_one_step(job, start())
        _deterministic(step, job)
        step()
        _measure(step, job)
    except torch.OutOfMemoryError:
        return False, None
    memory = Memory.of(job.device)
    return memory is None or memory.fits, memory


def _measure(step: Callable[[], None], job: FoldJob) -> None:
    """Tells the feed how many pictures a GPU takes a second, by which `data.workers: auto` is chosen."""
    if job.device.type != "cuda":
        return
    torch.cuda.synchronize(job.device)
    begin = time.perf_counter()
    for _ in range(TIMED_STEPS):
        step()
    torch.cuda.synchronize(job.device)
    job.feed.taken_per_second = TIMED_STEPS * job.batch_size / (time.perf_counter() - begin)


def _deterministic(step: Callable[[], None], job: FoldJob) -> None:
    """A step, with deterministic operations alone where all of the network's can be so; says where they cannot."""
    if not job.run.train.deterministic or job.device.type != "cuda":
        step()
        return
    only_deterministic(True)
    try:
        step()
    except RuntimeError as error:
        if "determin" not in str(error):
            raise
        only_deterministic(False)
        say(f"warning: equal seeds may not give equal bits on this device: {str(error).split('.')[0]}")
        step()
