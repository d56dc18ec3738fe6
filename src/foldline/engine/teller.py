"""Where a training stands, for people, programs and the live page: the clock of the whole job, the best score so far,
and whether somebody asked for a pause. Writes `progress.json` into the run's folder; reads `pause` there.

Nothing here waits for the device: it is told numbers that the host has anyway.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from foldline.core.clock import FoldPlan, JobClock, in_minutes
from foldline.core.counted import counted
from foldline.core.printer import printer
from foldline.core.processes import owner
from foldline.core.progress import result, say
from foldline.core.records.progress import AT_WORK, RunProgress, State, forget, tell
from foldline.core.task import Array, Task
from foldline.scoring.metrics import brief, metric_for, score

WRITE_SECONDS = 2.0  # between two writings of progress.json
LOOK_SECONDS = 0.25  # between two looks for a pause


class Teller:
    """Tells where a job stands. Without a folder it writes nothing, and nobody can pause it.

    Args:
        clock: of the job.
        folder: the run's.
        metric: of the competition.
    """

    def __init__(
        self,
        clock: JobClock | None = None,
        folder: Path | None = None,
        metric: str = "",
        task: Task | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock, self.folder, self.metric, self.task, self.now = clock, folder, metric, task, now
        self.state: State = "preparing"
        self.what = ""
        self.fold: int | None = None
        self.epoch = self.epochs = self.step = self.steps = 0
        self.best: float | None = None
        self._started = datetime.now(UTC)
        self._written = self._looked = -float("inf")
        self._finished: dict[int, tuple[Array, Array]] = {}  # truth and predictions of folds that are done
        self._newest: tuple[Array, Array] | None = None  # of the fold's best epoch
        self._place: Path | None = None  # the folder where this process says what another one shows

    # What happens

    def prepare(self, what: str) -> None:
        """Something is made ready before the folds are trained."""
        self.state, self.what = "preparing", what
        self.write()

    def begin(self, fold: int, plan: FoldPlan, epoch: int = 0, step: int = 0) -> None:
        """A fold begins, or goes on from an epoch and a step, both from 0."""
        self.state, self.what, self.fold = "training", "", fold
        self.epoch, self.epochs, self.step, self.steps = epoch, plan.epochs, step, plan.steps
        if self.clock is not None:
            self.clock.begin(plan, epoch, step)
        self.write()

    def at(self, epoch: int, step: int) -> None:
        """A batch is done; called after each."""
        self.epoch, self.step = epoch, step
        if self.clock is not None:
            self.clock.place = (epoch, step)
        if self.now() - self._written >= WRITE_SECONDS:
            self.write()

    def validating(self, on: bool) -> None:
        """The validation rows are predicted, or no longer."""
        self.state = "validating" if on else "training"
        self.write()

    def validated(self, truth: Array, predictions: Array) -> None:
        """What the fold's network says of its validation rows after an epoch; the fold's best epoch counts."""
        if self.task is None or not self.metric:
            return
        pooled = self._pooled(truth, predictions)
        metric = metric_for(self.metric, self.task)
        if self._newest is None or self.best is None or metric.better(pooled, self.best):
            self._newest = truth, predictions
            self.best = pooled if isfinite(pooled) else None

    def known(self, fold: int, truth: Array, predictions: Array) -> None:
        """What a fold that is finished says of its validation rows."""
        others = {other: both for other, both in self._finished.items() if other != fold}
        self._finished, self._newest = others, None
        pooled = self._pooled(truth, predictions)
        self._finished[fold] = truth, predictions
        self.best = pooled if isfinite(pooled) else None

    def finish(self, fold: int, *, elsewhere: bool = False) -> None:
        """A fold is finished, by this process or another one."""
        if self.clock is not None:
            self.clock.finish(fold, elsewhere=elsewhere)
        self.epoch = self.step = 0
        self.write()

    def end(self, state: State, what: str = "") -> None:
        """The job is over."""
        self.state, self.what = state, what
        self.write()

    def _pooled(self, truth: Array, predictions: Array) -> float:
        assert self.task is not None
        parts = [*self._finished.values(), (truth, predictions)]
        values = [np.concatenate([part[i] for part in parts]) for i in range(2)]
        return score(metric_for(self.metric, self.task), values[0], values[1], task=self.task)

    def say_left(self, fold: int) -> None:
        """How long the folds behind this one will take, now that it is known better."""
        assert self.clock is not None
        if len(self.clock.done) < len(self.clock.folds):
            best = "" if self.best is None else f" · best so far {brief(self.metric)} {self.best:.4f} (pooled)"
            say(f"fold {fold} is done · {self.clock.in_words()}{best}")

    def say_end(self, comp: str, run: str) -> None:
        """What was trained, in what time, and its score."""
        assert self.clock is not None
        folds, seconds = self.clock.done, self.clock.elapsed
        which = f"fold {folds[0]}" if len(folds) == 1 else counted(len(folds), "folds")
        best = "" if self.best is None else f"; {brief(self.metric)} {self.best:.4f} (validation rows so far, pooled)"
        words = f"trained {comp}/{run}, {which}, in {in_minutes(seconds)}{best}"
        result(words, folds=folds, seconds=round(seconds, 1), metric=self.metric, score=self.best)

    # Pauses

    @property
    def pause_file(self) -> Path | None:
        """The file that asks for a pause."""
        return None if self.folder is None else self.folder / "pause"

    def forget_pause(self) -> None:
        """A pause of a training before this one is over: whoever starts one wants it to train. One that other processes
        of the run heed just now is theirs."""
        path = self.pause_file
        if path is not None and path.exists() and not self._others():
            with suppress(OSError):
                path.unlink()
            say(f"{path.name}: the pause of an earlier training is over")

    def _others(self) -> bool:
        """Whether another process trains folds of this run."""
        shown = None if self.folder is None else RunProgress.now(self.folder / "progress.json")
        return shown is not None and shown.state in AT_WORK and shown.process != owner()

    def pause_asked(self) -> bool:
        """Whether somebody asked for a pause; looked up every `LOOK_SECONDS`."""
        path, now = self.pause_file, self.now()
        if path is None or now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        return path.exists()

    def wait(self, asked_to_end: Callable[[], bool], sleep: Callable[[float], None] = time.sleep) -> None:
        """Waits until the pause is over, or the process is to end; a resume point must be written already."""
        path, start, before = self.pause_file, self.now(), self.state
        assert path is not None
        say(f"  paused: a resume point is written; it goes on when {path} is removed")
        self.state = "paused"
        self.write()
        while path.exists() and not asked_to_end():
            sleep(0.2)
            if self.now() - self._written >= WRITE_SECONDS:
                self.write()
        if self.clock is not None:
            self.clock.stood += self.now() - start
        self.state = before
        self.write()
        if not asked_to_end():
            say("  goes on")

    # What is told

    def title(self) -> str:
        """Such as `fold 2 of 5 · epoch 1 of 3 · 6.0 min of 14 min left, done about 16:42 · best so far auc 0.9241
        (validation, pooled so far)`."""
        if self.clock is None:
            return f"epoch {self.epoch + 1}"
        number, of = min(len(self.clock.done) + 1, len(self.clock.folds)), len(self.clock.folds)
        which = f"fold {number} of {of}" if of > 1 else f"fold {self.fold}"
        paused = ["paused"] if self.state == "paused" else []
        epoch = f"epoch {min(self.epoch + 1, max(self.epochs, 1))} of {self.epochs}"
        parts = [which, epoch, *paused, self.clock.in_words()]
        if (best := self.best) is not None:
            parts.append(f"best so far {brief(self.metric)} {best:.4f} (validation, pooled so far)")
        return " · ".join(part for part in parts if part)

    def fields(self) -> dict[str, Any]:
        """The same for a program, as in `progress.json`."""
        clock = self.clock
        left = None if clock is None else clock.left
        now = datetime.now(UTC)
        ends = None if left is None or self.state not in ("training", "validating") else now + timedelta(seconds=left)
        return {
            "state": self.state, "what": self.what, "fold": self.fold,
            "folds": [] if clock is None else clock.folds, "folds_done": [] if clock is None else list(clock.done),
            "epoch": min(self.epoch + 1, self.epochs), "epochs": self.epochs, "step": self.step, "steps": self.steps,
            "seconds_done": 0.0 if clock is None else round(clock.elapsed, 1),
            "seconds_left": None if left is None else round(left, 1),
            "best": self.best, "metric": self.metric, "started": self._started.isoformat(timespec="seconds"),
            "updated": now.isoformat(timespec="milliseconds"),
            "ends": None if ends is None else ends.isoformat(timespec="seconds"),
        }  # fmt: skip

    def write(self) -> None:
        """Writes `progress.json`, or this process's part of it."""
        self._written = self.now()
        if self.folder is None:
            return
        folds = [] if self.clock is None else self.clock.folds
        fold = self.fold if self.fold is not None else folds[0] if folds else None
        place = None if fold is None else self.folder / f"fold_{fold}"
        if self._place not in (None, place):
            forget(self._place)
        self._place = place
        tell(self.folder, RunProgress(process=owner(), **self.fields()), place)
        if place is not None and self.state == "finished":
            forget(place)

    def __enter__(self) -> "Teller":
        printer().facts = self.fields
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        printer().facts = None
        if error is None:
            self.end("finished")
        elif isinstance(error, KeyboardInterrupt):
            self.end("stopped", "the same command goes on")
        else:
            self.end("failed", (str(error) or type(error).__name__).splitlines()[0])
