"""Folds of a run side by side on one machine: a child process for each, as many at once as there is room for.

Starts `foldline train --fold k`; reads what the children say in `fold_<k>/`; writes the run's `progress.json`. What all
folds need is made by the one that comes first, while the others wait for it (`core.processes.in_turn`). What a training
settles by timing is settled by a child that is alone, so that all folds are trained as they would be one after another.
"""

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from foldline.core.clock import in_minutes
from foldline.core.cores import usable_cores
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.processes import BusyError, holder, owner
from foldline.core.progress import WARNING, result, say
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.progress import RunProgress, State, tell
from foldline.core.run import Run
from foldline.core.run_folder import is_whole
from foldline.core.stopping import Stop, later
from foldline.engine.scale.board import Board
from foldline.engine.scale.child import Child, environment
from foldline.engine.scale.devices import gpus_for, memory_share
from foldline.engine.scale.sharing import Trial
from foldline.engine.scale.unit import Unit
from foldline.scoring.metrics import brief

MOST_ON_ONE = 4  # folds on one GPU that nobody asked for
LOOK_SECONDS, WRITE_SECONDS = 0.2, 2.0
FIRST_SCORE = "first score: "
BUSY = BusyError.exit_code  # as of all mistakes: whether it was this one, the lock tells


class FoldsFailedError(FoldlineError):
    """Folds of a run failed; the exit code is that of the first one."""

    def __init__(self, what: str, *, where: str, next: str, exit_code: int) -> None:
        super().__init__(what, where=where, next=next)
        self.exit_code = exit_code


def places_for(jobs: int | str, device: str, folds: int) -> tuple[list[str], Trial | None]:
    """Where children train at once: a GPU for each, empty names where none is handed out; fewer than two: none do.

    Args:
        jobs: how many at once; auto: one a GPU, and one on a CPU, where two would only slow one another down. On a
            single GPU as many as a trial allows, which is given, too.
        device: as `--device` has it.
        folds: that are to be trained.
    """
    if jobs == 1 or folds < 2:
        return [""], None
    gpus = gpus_for(device)
    if jobs != "auto":
        return [gpus[i % len(gpus)] if gpus else "" for i in range(min(int(jobs), folds))], None
    if len(gpus) == 1:
        return gpus * min(MOST_ON_ONE, folds), Trial()
    return gpus[:folds] or [""], None


def needs_a_trial(layout: Layout, comp: str, name: str, run: Run, *, on_gpu: bool) -> bool:
    """Whether the first fold will time something that all folds take over (`engine.loop.settle`)."""
    if (layout.run(comp, name) / "precision.json").is_file():
        return False
    train = run.train
    return on_gpu or train.precision == "auto" or train.compile != "off"


class Pool:
    """Trains folds with some children at once; one that fails does not end the others. Those that other processes train
    are waited for, at the end.

    Args:
        units: of one run, in the order in which they begin.
        places: a GPU for each child at once, empty where none is handed out; so many children at most.
        alone: the first one is alone until it trains.
        trial: decides how many of the places are used; None: all.
        pooled: the score over the validation rows of all folds that are there.
    """

    def __init__(
        self, layout: Layout, units: list[Unit], places: list[str], *, alone: bool = True, trial: Trial | None = None,
        pooled: Callable[[], float | None] = lambda: None,
    ) -> None:  # fmt: skip
        self.layout, self.waiting, self.places, self.alone, self.trial = layout, list(units), places, alone, trial
        self.units, self.comp, self.name = units, units[0].comp, units[0].name or units[0].run
        self.folder, self.board = layout.run(self.comp, self.name), Board(units)
        self.share = min(len(places), len(units))
        self.running: list[Child] = []
        self.done: list[Child] = []
        self.failed: list[Child] = []
        self.pooled = pooled
        self.elsewhere: list[Unit] = []  # that other processes train now
        self.theirs: list[Unit] = []  # that other processes have finished
        self.stands: dict[int, RunProgress] = {}
        self.begun, self._started, self._written = time.monotonic(), datetime.now(UTC), -math.inf
        self._said: set[str] = set()

    def train(self) -> None:
        """Trains them all.

        Raises:
            FoldsFailedError: some failed; the message has their last lines.
            KeyboardInterrupt: this process was asked to end; the children wrote their resume points.
        """
        if (pause := self.layout.pause(self.comp, self.name)).exists():
            pause.unlink()
            say(f"{pause.name}: the pause of an earlier training is over")
        with later() as stop, self.board:
            try:
                self._loop(stop)
            finally:
                self._end_all()
        if stop.asked:
            self._write("stopped", "the same command goes on")
            raise KeyboardInterrupt
        self._finish()

    def _loop(self, stop: Stop) -> None:
        while (self.waiting or self.running or self.elsewhere) and not stop.asked:
            while self.waiting and len(self.running) < self._room():
                self._begin(self.waiting.pop(0))
            for child in list(self.running):
                self._pass_on(child)
                if child.code is not None:
                    self._over(child)
            if time.monotonic() - self._written >= WRITE_SECONDS:
                self._look()
            time.sleep(LOOK_SECONDS)

    def _fold(self, unit: Unit) -> Path:
        return self.layout.fold(self.comp, self.name, unit.fold)

    def _begin(self, unit: Unit) -> None:
        """Starts a child, unless another process trains the fold."""
        who = holder(self._fold(unit) / ".lock")
        if who:
            self._leave(unit, who)
        else:
            self._start(unit)

    def _leave(self, unit: Unit, who: str) -> None:
        """Leaves a fold to the process that trains it."""
        self.elsewhere.append(unit)
        self.board.elsewhere(unit, who)

    def _look_elsewhere(self) -> None:
        """Looks whether the folds that other processes train are finished; one that was given up is trained here."""
        for unit in list(self.elsewhere):
            held = holder(self._fold(unit) / ".lock")  # before the files: they are written while it is held
            if is_whole(self._fold(unit)):
                self.theirs.append(unit)
                self.board.end(unit, "trained elsewhere")
            elif not held:
                self.waiting.append(unit)
                self.board.wait_again(unit, "the process that trained it has ended before the fold was finished")
            else:
                continue
            self.elsewhere.remove(unit)

    def _start(self, unit: Unit) -> None:
        """Starts a child where most room is."""
        used = [child.gpu for child in self.running]
        gpu = min(self.places, key=lambda one: used.count(one) / self.places.count(one))
        self._write(self._state())  # so that it sees who tells for all
        told = environment(gpu, self.share, usable_cores())
        self.running.append(Child(unit, self.layout.root, self._fold(unit), told, gpu))
        self.board.begin(unit, f"GPU {gpu}" if gpu else "")

    def _room(self) -> int:
        """How many may run now."""
        if self.alone and not self._is_settled():
            return 1
        return len(self.places) if self.trial is None else min(self.trial.allowed, len(self.places))

    def _is_settled(self) -> bool:
        """Whether a fold has begun to train, and so what is timed is known."""
        return bool(self.done) or any(child.has_trained for child in [*self.running, *self.failed])

    def _pass_on(self, child: Child) -> None:
        """Says a child's warnings and first score; what several say alike, once. All of it is in its own file."""
        for line in child.news():
            text = line.strip()
            kind = FIRST_SCORE if text.startswith(FIRST_SCORE) else text  # its seconds are each one's own
            if text.startswith((WARNING, FIRST_SCORE)) and kind not in self._said:
                self._said.add(kind)
                event = "warning" if text.startswith(WARNING) else "line"
                self.board.hear(child.unit, {"event": event, "text": text})

    def _over(self, child: Child) -> None:
        """A child has ended."""
        self.running.remove(child)
        child.wait()
        self._pass_on(child)
        self.stands.pop(child.unit.fold, None)
        if child.code == 0:
            self.done.append(child)
            meta = FoldMeta.read_if_there(child.folder / "meta.json")
            more = "" if meta is None or meta.score is None else f"; {brief(meta.metric)} {meta.score:.4f}"
            self.board.end(child.unit, "done", more=f" in {in_minutes(child.seconds)}{more}")
        elif child.code == BUSY and (who := self._who_else(child)):
            self._leave(child.unit, who)
        else:
            self.failed.append(child)
            self.board.end(child.unit, "failed", FoldlineError(child.why, where=str(child.out)))

    def _who_else(self, child: Child) -> str:
        """Who took a child's fold while it made ready; empty: nobody."""
        return holder(child.folder / ".lock") or ("another process" if is_whole(child.folder) else "")

    def _look(self) -> None:
        """Looks where the folds stand, and tells it."""
        self._look_elsewhere()
        found = {child.unit.fold: child.stands() for child in self.running}
        self.stands = {fold: one for fold, one in found.items() if one is not None}
        for child in self.running:
            if (one := self.stands.get(child.unit.fold)) is not None:
                self.board.hear(child.unit, {"event": "progress", "job": one.model_dump(mode="json")})
        if self.trial is not None:
            training = {fold: one for fold, one in self.stands.items() if one.state == "training"}
            places = {fold: max(one.epoch - 1, 0) * one.steps + one.step for fold, one in training.items()}
            self.trial.see(places, time.monotonic(), lambda: memory_share(self.places[0]))
        waits = bool(self.elsewhere) and not (self.running or self.waiting)
        self._write(self._state(), "waits for folds that other processes train" if waits else "")

    def _state(self) -> State:
        states = {one.state for one in self.stands.values()}
        return "paused" if states == {"paused"} else "training" if self._is_settled() else "preparing"

    def _end_all(self) -> None:
        """Asks all children to end, and waits for it: each writes its resume point."""
        for child in self.running:
            child.stop()
        for child in self.running:
            child.wait()
            self.board.end(child.unit, "stopped")

    def _finish(self) -> None:
        """Says what came out; raises where something failed."""
        metas = [FoldMeta.read(child.folder / "meta.json") for child in self.done]
        metas.sort(key=lambda meta: meta.fold)
        if not self.failed:
            self._write("finished")
            self._say_result(metas)
            return
        told = "\n".join(f"    fold {child.unit.fold}, {child.why}:\n{child.last_lines()}" for child in self.failed)
        finished = len(metas) + len(self.theirs)
        what = f"{len(self.failed)} of {len(self.units)} folds failed, {finished} are finished"
        self._write("failed", what)
        raise FoldsFailedError(
            f"{what}\n{told}", where=", ".join(str(child.out) for child in self.failed),
            next="mend that; the same command trains what is left", exit_code=self.failed[0].code or 1,
        )  # fmt: skip

    def _say_result(self, metas: list[FoldMeta]) -> None:
        """What was trained, and the scores: of each fold, and over the rows of all that are there."""
        words = f"trained {self.comp}/{self.name}, {len(metas)} of {len(self.units)} folds, {self.share} at once, in "
        words += in_minutes(time.monotonic() - self.begun)
        if self.theirs:
            folds = ", ".join(str(unit.fold) for unit in self.theirs)
            words += f"; by other processes: fold {folds}"
        score = self.pooled()
        if metas:
            scores = ", ".join("none" if meta.score is None else f"{meta.score:.4f}" for meta in metas)
            words += f"; {brief(metas[0].metric)} of the folds {scores}"
        if score is not None:
            words += f"; {score:.4f} (validation rows so far, pooled)"
        result(words, folds=[meta.fold for meta in metas], score=score)

    def _left(self) -> float | None:
        """Seconds that are left; None where nothing tells yet."""
        stands = {child: self.stands.get(child.unit.fold) for child in self.running}
        lefts = {child: one.seconds_left for child, one in stands.items() if one is not None and one.seconds_left}
        whole = [child.seconds for child in self.done] or [child.seconds + left for child, left in lefts.items()]
        if not whole or (self.running and not lefts):
            return None
        return seconds_left([*lefts.values()], len(self.waiting), sum(whole) / len(whole), max(self._room(), 1))

    def _write(self, state: State, what: str = "") -> None:
        """Tells where all stand."""
        self._written = time.monotonic()
        left, now = self._left(), datetime.now(UTC)
        ends = None if left is None else (now + timedelta(seconds=left)).isoformat(timespec="seconds")
        mine = RunProgress(
            process=owner(), state=state, what=what, folds=[unit.fold for unit in self.units],
            folds_done=sorted(unit.fold for unit in [*(child.unit for child in self.done), *self.theirs]),
            seconds_done=round(time.monotonic() - self.begun, 1), seconds_left=None if left is None else round(left, 1),
            ends=ends, started=self._started.isoformat(timespec="seconds"),
            updated=now.isoformat(timespec="milliseconds"),
        )  # fmt: skip
        tell(self.folder, mine, None)


def seconds_left(lefts: list[float], waiting: int, typical: float, at_once: int) -> float:
    """When the last fold ends, where each that waits takes the place that is free first.

    Args:
        lefts: of the folds that run; typical: of one that waits.

    >>> seconds_left([10.0, 30.0], 1, 40.0, 2), seconds_left([10.0, 30.0], 0, 40.0, 2), seconds_left([], 3, 40.0, 2)
    (50.0, 30.0, 80.0)
    """
    ends = sorted([*lefts, *[0.0] * (at_once - len(lefts))])
    for _ in range(waiting):
        ends = sorted([ends[0] + typical, *ends[1:]])
    return ends[-1]
