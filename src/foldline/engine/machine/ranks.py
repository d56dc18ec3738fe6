"""The processes that train one fold together, each on a GPU of its own: what they tell one another.

torch's process groups: `nccl` between GPUs (`gloo` between CPUs) for gradients, and `gloo` for what the hosts say. For
one process everything here does nothing, so that nobody has to ask how many there are.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.rank import ONE, LostRankError, Rank, by_slurm
from foldline.core.stopping import is_asked

STEP = timedelta(minutes=30)  # that ranks may be apart within a step
# One decodes a million pictures, or is paused, and the others wait. A rank that ends is noticed at once: its
# connections close, and torchrun ends the others.
WORK = timedelta(days=7)
Value = TypeVar("Value")
Number = TypeVar("Number", np.float32, np.float64)


@dataclass(frozen=True)
class Ranks:
    """This process among those that train a fold together.

    Attributes:
        hosts: the group by which the hosts speak; None: there is one process.
    """

    rank: Rank = ONE
    hosts: Any = None

    @property
    def count(self) -> int:
        """How many there are."""
        return self.rank.count

    @property
    def first(self) -> bool:
        """Whether this one speaks and writes."""
        return self.rank.number == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            dist.barrier(group=self.hosts)

    @contextmanager
    def machine_by_machine(self) -> Iterator[None]:
        """The first rank of each machine does the block, then its others: what is kept in a cache is made once."""
        if self.rank.local:
            self.wait()
        yield
        if not self.rank.local:
            self.wait()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Rank 0 does the block, then the others: what is measured is not disturbed by them."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def told(self, make: Callable[[], Value]) -> Value:
        """What rank 0 makes, in every rank."""
        if self.count == 1:
            return make()
        box: list[Any] = [make() if self.first else None]
        dist.broadcast_object_list(box, src=0, group=self.hosts)
        value: Value = box[0]
        return value

    def any_of(self, *flags: bool) -> list[bool]:
        """Of each flag, whether it is set in any rank."""
        if self.count == 1:
            return list(flags)
        values = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(values, op=dist.ReduceOp.MAX, group=self.hosts)
        return [bool(value) for value in values.tolist()]

    def most(self, number: int) -> int:
        """The largest of the ranks' numbers."""
        if self.count == 1:
            return number
        value = torch.tensor(number)
        dist.all_reduce(value, op=dist.ReduceOp.MAX, group=self.hosts)
        return int(value)

    def summed(self, numbers: list[float]) -> list[float]:
        """The sums over the ranks, which have equally many."""
        if self.count == 1:
            return numbers
        values = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(values, group=self.hosts)
        return [float(value) for value in values.tolist()]

    def part(self, rows: int) -> slice:
        """This rank's of so many rows, each of which is in exactly one rank's part; some parts may be empty."""
        number = self.rank.number
        return slice(rows * number // self.count, rows * (number + 1) // self.count)

    def gathered(self, part: NDArray[Number]) -> NDArray[Number]:
        """[rows, ...] in rank 0 the parts of all ranks, in their order; in the others their own."""
        if self.count == 1:
            return part
        parts: list[Any] | None = [None] * self.count if self.first else None
        dist.gather_object(part, parts, dst=0, group=self.hosts)
        return part if parts is None else np.concatenate(parts)

    def wrapped(self, model: nn.Module, device: torch.device) -> DistributedDataParallel | None:
        """The network whose gradients become the ranks' mean; None: there is one process.

        Parameters that a step does not use (frozen for a while, or for good) are found anew in each step.
        """
        if self.count == 1:
            return None
        on = [device] if device.type == "cuda" else None
        known = signature(DistributedDataParallel).parameters
        newest = "forward_sync_buffers"  # since torch 2.14
        buffers: dict[str, Any] = {newest if newest in known else "broadcast_buffers": False}
        return DistributedDataParallel(model, device_ids=on, find_unused_parameters=True, **buffers)

    def with_norms_of_all(self, model: nn.Module, mode: str, device: torch.device) -> nn.Module:
        """The network with batch-norms whose statistics are of the whole batch, where they train (`SyncBatchNorm`)."""
        if self.count == 1 or mode == "frozen" or not _has_norms(model):
            return model
        require_norms(model, mode, device)
        from timm.layers import convert_sync_batchnorm

        converted: nn.Module = convert_sync_batchnorm(model)
        return converted

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the block runs, that another rank has ended is said in words.

        Raises:
            LostRankError: an exchange with another rank failed.
            KeyboardInterrupt: so it did after this process was asked to end, as the others were.
        """
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not _is_lost(error):
                raise
            if is_asked():
                raise KeyboardInterrupt from error
            raise LostRankError(
                "another rank of this training has ended",
                next="its own error says why; mend that, then the same command goes on from the last resume point",
            ) from error


def own_pass(wrapped: DistributedDataParallel | None, *, syncs: bool) -> AbstractContextManager[Any]:
    """The context of a forward and backward pass; gradients are exchanged behind the last one of a step alone."""
    return nullcontext() if wrapped is None or syncs else wrapped.no_sync()


def _has_norms(model: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def require_norms(model: nn.Module, mode: str, device: torch.device) -> None:
    """Raises FoldlineError where batch-norms train and torch cannot make their statistics those of all ranks."""
    if mode == "train" and device.type != "cuda" and _has_norms(model):
        raise FoldlineError(
            f"the network's batch-norms train, and torch takes their statistics over several ranks on CUDA alone, not "
            f"on '{device.type}'",
            where="train.batch_norm, --ranks",
            next="set train.batch_norm=frozen, or train in one process (without --ranks)",
        )


def _is_lost(error: RuntimeError) -> bool:
    """Whether an exchange failed: torch has a class for nccl's errors and words for gloo's."""
    if isinstance(error, dist.DistError):
        return True
    return bool(re.search(r"gloo/|connection (closed|reset)|broken pipe|socket", str(error), re.IGNORECASE))


def device_of(rank: Rank, name: str) -> str:
    """The device that a rank takes, as `--device` says it: of several GPUs the one with its number on its machine.

    Raises:
        FoldlineError: there are fewer GPUs than ranks on this machine, or `name` is one GPU.
    """
    if rank.count == 1 or name == "cpu":
        return name
    gpus = torch.cuda.device_count()
    if name == "auto" and not gpus:
        return "cpu"
    if name not in ("auto", "cuda"):
        raise FoldlineError(
            f"{counted(rank.count, 'ranks cannot')} share '{name}'",
            where="--device",
            next="give auto or cpu: each takes its own",
        )
    if gpus == 1 and by_slurm(os.environ):  # which shows each task its own alone (--gpus-per-task)
        return "cuda:0"
    if rank.beside > gpus:
        raise FoldlineError(
            f"{counted(rank.beside, 'ranks')} on this machine, and {counted(gpus, 'GPUs')}",
            where="--ranks",
            next=f"give at most {gpus}",
        )
    return f"cuda:{rank.local}"


@contextmanager
def joined(rank: Rank, device: torch.device) -> Iterator[Ranks]:
    """The ranks, while the block runs; each must be asked for the same things in the same order."""
    if rank.count == 1:
        yield Ranks()
        return
    os.environ.update({name: value for name, value in by_slurm(os.environ).items() if name not in os.environ})
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        rank=rank.number, world_size=rank.count, timeout=STEP,
    )  # fmt: skip
    ranks = Ranks(rank, dist.new_group(backend="gloo", timeout=WORK))
    with ranks.watched():
        yield ranks
        ranks.wait()
    dist.destroy_process_group()
