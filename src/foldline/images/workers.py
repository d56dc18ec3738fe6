"""Processes that make training pictures: the same ones for all epochs and folds of a command."""

import math
import multiprocessing.util
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.images.pictures import AugmentedPictures, Items

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
LONGEST_SOCKET = 107  # bytes of a Unix socket's path
PATIENCE_SECONDS = 600.0  # for one batch of a worker: then it hangs
AHEAD = 2  # batches that each worker makes before they are asked for
MOST_BY_ITSELF = 16  # processes that nobody asked for
HEADROOM = 2  # workers could make so many times more than the network takes: cores are shared, networks get compiled
TRIAL_SECONDS = 0.3


def require_short_paths() -> None:
    """Raises FoldlineError where the sockets by which workers hand over batches would have too long a path: they lie
    among the temporary files, and a worker that cannot open its own would say so to nobody (Linux: unix(7))."""
    folder = multiprocessing.util.get_temp_dir()
    over = len(os.fsencode(folder)) + len("/listener-12345678") - LONGEST_SOCKET
    if sys.platform.startswith("linux") and over > 0:
        raise FoldlineError(
            f"worker processes cannot hand over pictures: the path of temporary files is {counted(over, 'bytes')} too "
            "long for a socket",
            where=f"TMPDIR: {tempfile.gettempdir()}",
            next="export TMPDIR=/tmp, or leave the workers out: data.workers=0",
        )


class WorkerPool:
    """Worker processes, started at the first batch; they open the pictures' file by themselves.

    One iterator lives at a time: beginning another one drops what is left of the one before, and the workers go on.

    Args:
        method: how processes start (fork, forkserver, spawn); None: as usual on this system.

    Raises:
        FoldlineError: as `require_short_paths` says.
    """

    def __init__(self, pictures: AugmentedPictures, workers: int, method: str | None = None) -> None:
        require_short_paths()
        self.workers = workers
        self._wanted = _Wanted()
        self._loader: DataLoader[Tensor] = DataLoader(
            pictures,
            batch_sampler=self._wanted,  # type: ignore[arg-type]  # an index is an array
            num_workers=workers,
            collate_fn=_as_it_is,
            timeout=PATIENCE_SECONDS,
            worker_init_fn=_begin,
            multiprocessing_context=method,
            generator=torch.Generator(),  # else it draws a seed from the global state, once an iterator
            prefetch_factor=AHEAD,
            persistent_workers=True,
        )

    def batches(self, items: Iterable[Items]) -> Iterator[Tensor]:
        """[batch, channels, height, width] uint8 for each batch of items, in their order.

        Raises:
            FoldlineError: a worker ended or hangs.
        """
        self._wanted.batches = items
        _one_thread()
        try:
            yield from self._loader
        except (RuntimeError, ConnectionError, EOFError) as error:
            if isinstance(error, RuntimeError) and not died(error):  # an error of the work itself
                raise
            raise ended(error, self.workers) from error

    def close(self) -> None:
        """Ends the processes; whoever still holds an iterator does not keep them alive."""
        iterator, self._loader._iterator = self._loader._iterator, None
        if iterator is None:
            return
        try:
            iterator._shutdown_workers()  # type: ignore[attr-defined]
        except RuntimeError as error:  # one of them was killed before
            if not died(error):
                raise


def died(error: BaseException) -> bool:
    """Whether torch raised it since a worker ended or hangs: in the midst of anything that this process does."""
    return isinstance(error, RuntimeError) and bool(re.search(r"DataLoader (worker \(pid|timed out)", str(error)))


def ended(error: BaseException, workers: int) -> FoldlineError:
    """The same in words."""
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return FoldlineError(
        f"a worker that makes pictures ended or hangs: {reason}",
        where=f"data.workers: {workers}",
        next="free memory and space in /dev/shm, or lower data.workers, then the same command goes on",
    )


class _Wanted:
    """What the next iterator is asked for: a loader reads it anew each time."""

    batches: Iterable[Items] = ()

    def __iter__(self) -> Iterator[Items]:
        return iter(self.batches)


def _begin(worker: int) -> None:  # noqa: ARG001
    """A worker ends with the process that it works for: asked to end, that one finishes a step and saves it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _one_thread()


def _one_thread() -> None:
    """Leaves OpenCV one thread: those of several processes would only slow one another down.

    Before processes are forked, too: its other threads do not live in a fork, which would wait for their end for ever.
    """
    if "cv2" in sys.modules and sys.modules["cv2"].getNumThreads() != 1:
        sys.modules["cv2"].setNumThreads(1)


def _as_it_is(batch: Any) -> Any:
    return batch


def usable_workers(batch_bytes: int, workers: int) -> int:
    """So many workers, or none, which is said, where shared memory cannot hold their batches: they would wait for ever.

    A container has 64 MB of it unless it is told otherwise.
    """
    needed = (AHEAD * workers + 2) * batch_bytes
    if not workers or not SHARED_MEMORY.is_dir() or (free := shutil.disk_usage(SHARED_MEMORY).free) >= needed:
        return workers
    say(
        f"warning: data.workers: {workers} need {needed / 1e6:.0f} MB of {SHARED_MEMORY}, and {free / 1e6:.0f} MB are "
        "free: this process makes the pictures by itself, which is slower (docker run --shm-size=1g gives more)"
    )
    return 0


def workers_for(made_per_second: float, taken_per_second: float | None, cores: int) -> int:
    """How many worker processes keep a GPU busy; 0: this process makes the pictures.

    Args:
        made_per_second: pictures that one process augments.
        taken_per_second: pictures that the network trains on; None: not known, so all cores that are left work.
        cores: that this process may use; one is left to it.

    >>> workers_for(1800, 900, 8), workers_for(600, 3000, 16), workers_for(600, 3000, 4), workers_for(600, None, 8)
    (1, 10, 3, 7)
    """
    most = min(cores - 1, MOST_BY_ITSELF)
    wanted = most if taken_per_second is None else math.ceil(HEADROOM * taken_per_second / made_per_second)
    return max(min(wanted, most), 0)


def pictures_per_second(pictures: AugmentedPictures, items: Items, seconds: float = TRIAL_SECONDS) -> float:
    """How many pictures this process makes with one thread, measured for so long after one that is not counted."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        pictures[items[0]]
        begin, made = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            pictures[items[made % len(items)]]
            made += 1
        return made / (time.perf_counter() - begin)
    finally:
        cv2.setNumThreads(threads)
