"""The clock of a whole training: what is planned, what is done, and what is left. Reads and writes nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

USUAL_SECONDS = 10.0  # of work that counts for the forecast's pace, beside what was measured since


@dataclass(frozen=True)
class FoldPlan:
    """What training one fold takes, in seconds.

    Attributes:
        start_s: before the first step; end_s: after the last epoch.
        steps: batches an epoch; step_s: of one of them, its pictures made ready.
        epoch_end_s: of validation and the resume point behind each epoch.
    """

    start_s: float
    epochs: int
    steps: int
    step_s: float
    epoch_end_s: float
    end_s: float

    @property
    def epoch_seconds(self) -> float:
        """Of an epoch with what comes behind it."""
        return self.steps * self.step_s + self.epoch_end_s

    @property
    def seconds(self) -> float:
        """Of the whole fold."""
        return self.start_s + self.epochs * self.epoch_seconds + self.end_s

    def before(self, epoch: int, step: int) -> float:
        """What lies before a step of an epoch, both from 0."""
        inside = step * self.step_s if epoch < self.epochs else 0.0
        return self.start_s + epoch * self.epoch_seconds + inside


def in_steps(epochs: int, steps: int) -> FoldPlan:
    """The plan where nothing was measured: every step takes alike, and only the pace tells how long."""
    return FoldPlan(0.0, epochs, steps, 1.0, 0.0, 0.0)


class JobClock:
    """The clock of a job that trains some folds, one after the other; finished folds are no part of it.

    What is left is what the plan says of it, by the pace so far: real seconds for each planned one. Where training
    goes on inside a fold, what lies before is neither done here nor left.

    Args:
        folds: that this job trains.
        plan: of one of them.
        measured: whether the plan's seconds are those of this machine, and not steps.
        now: seconds that only grow.
    """

    def __init__(
        self, folds: list[int], plan: FoldPlan, *, measured: bool = True, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.folds, self.plan, self.now = folds, plan, now
        self.usual = USUAL_SECONDS if measured else 0.0
        self.started = now()
        self.begun: float | None = None  # training did, so that the pace can be told
        self.done: list[int] = []
        self.place = (0, 0)  # epoch and step of the fold that is trained
        self.spared = 0.0  # planned seconds that lay behind already
        self.stood = 0.0  # seconds of pauses

    def begin(self, plan: FoldPlan, epoch: int = 0, step: int = 0) -> None:
        """A fold begins, or goes on from a place; its steps are known now.

        Args:
            plan: of this fold.
        """
        self.begun = self.now() if self.begun is None else self.begun
        self.plan, self.place = plan, (epoch, step)
        self.spared += plan.before(epoch, step) if (epoch, step) != (0, 0) else 0.0

    def finish(self, fold: int, *, elsewhere: bool = False) -> None:
        """A fold is finished, by this process or by another one."""
        self.done.append(fold)
        self.place = (0, 0)
        self.spared += self.plan.seconds if elsewhere else 0.0

    @property
    def elapsed(self) -> float:
        """Seconds of this job, pauses left out."""
        return self.now() - self.started - self.stood

    @property
    def left(self) -> float | None:
        """Seconds that are left; None where nothing tells yet."""
        if self.begun is None:
            return len(self.folds) * self.plan.seconds if self.usual else None
        whole = len(self.folds) * self.plan.seconds
        behind = len(self.done) * self.plan.seconds
        behind += self.plan.before(*self.place) if self.place != (0, 0) else 0.0
        here = max(behind - self.spared, 0.0)  # planned seconds that this process worked off
        worked = max(self.now() - self.begun - self.stood, 0.0)
        if here + self.usual <= 0:
            return None
        return max(whole - behind, 0.0) * (worked + self.usual) / (here + self.usual)

    def in_words(self, wall: datetime | None = None) -> str:
        """Such as `6.0 min of 14 min left, done about 16:42`; empty where nothing tells yet.

        Args:
            wall: the time of day; None: now.
        """
        left = self.left
        if left is None:
            return ""
        ends = datetime.fromtimestamp((wall or datetime.now()).timestamp() + left)
        return f"{in_minutes(left)} of {in_minutes(self.elapsed + left)} left, done about {in_day(ends, wall)}"


def in_day(moment: datetime, today: datetime | None = None) -> str:
    """The time of day, with the weekday where that is another day's.

    >>> morning = datetime(2026, 5, 1, 9)
    >>> in_day(datetime(2026, 5, 1, 16, 42), morning), in_day(datetime(2026, 5, 2, 0, 7), morning)
    ('16:42', 'Sat 00:07')
    """
    same = moment.date() == (today or datetime.now()).date()
    return moment.strftime("%H:%M" if same else "%a %H:%M")


def in_minutes(seconds: float) -> str:
    """A stretch of time as a person says it.

    >>> in_minutes(4.2), in_minutes(41), in_minutes(95), in_minutes(840), in_minutes(9000)
    ('4 s', '41 s', '1.6 min', '14 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 9.95:
        return f"{minutes:.1f} min"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
