"""The trials of a search on a cluster: as many at once as it has room for, each fold a task of its own.

One process, this one, keeps the book: it asks for settings, hands them out, reads the scores of their epochs as they
come into the run folders, and writes what came out. No machine of the cluster opens the book.
"""

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.progress import Progress, say
from foldline.core.run import Run, load_run
from foldline.core.search import Search, override
from foldline.core.stopping import later
from foldline.core.tables import read_csv, write_csv
from foldline.engine.scale.cluster.crew import Crew, Event
from foldline.engine.scale.cluster.trip import FoldTrip
from foldline.engine.scale.unit import Unit
from foldline.stages.search_book import Book, Values
from foldline.stages.search_trials import Trials, score_of, table


@dataclass(eq=False)
class _AtWork:
    """A trial that was handed out.

    Attributes:
        folds: that are still to be trained, the one at work first.
        epoch: the last one whose score the book has.
        behind: it is given up.
    """

    trial: Any
    values: Values
    run: Run
    folds: list[int]
    started: float
    epoch: int = 0
    behind: bool = False


class TrialsOnRay(Trials):
    """Trials side by side; the folds of one are trained one after the other, since the first one may end it.

    Args:
        hands: whom the folds are handed out to.
    """

    def __init__(
        self, layout: Layout, comp: str, name: str, wanted: Search, book: Book, device: str, hands: Crew
    ) -> None:
        super().__init__(layout, comp, name, wanted, book, device)
        self.hands = hands
        self.at_work: dict[Unit, _AtWork] = {}

    def run_all(self, metric: str) -> None:
        """Runs trials until as many as wanted are done.

        Raises:
            KeyboardInterrupt: this process was asked to end; the trials at work are tried again by the next one.
        """
        total, done = self.wanted.trials, len(self.book.done())
        with Progress() as progress, later() as stop:
            with progress.activity(f"search {self.name}", total, min(done, total)) as step:
                while (now := len(self.book.done())) < total and not stop.asked:
                    step(now - done)
                    done = now
                    self.begin_as_many_as_fit(total - done)
                    for event in self.hands.turn():
                        self.hear(event, metric)
                    for unit, one in list(self.at_work.items()):
                        self.look(unit, one)
            if stop.asked:
                self.hands.stop()
                while self.hands.jobs:
                    list(self.hands.turn())
                raise KeyboardInterrupt

    def begin_as_many_as_fit(self, left: int) -> None:
        """Hands trials out while there is room, and wish for more."""
        while len(self.at_work) < min(left, max(self.hands.room(), 1)):
            if not self.begin():
                return

    def begin(self) -> bool:
        """Hands the next trial out; False where it was over at once: its settings are known, or cannot be."""
        trial, values = self.book.ask()
        say(f"trial {trial.number}: {', '.join(f'{key} {value}' for key, value in values.items())}")
        same = self.book.same_as(values)
        try:
            run = load_run(self.layout, self.comp, self.wanted.base, [override(*pair) for pair in values.items()])
        except FoldlineError as error:
            self.over(_AtWork(trial, values, Run(), [], time.monotonic()), None, str(error.what), error)
            return False
        one = _AtWork(trial, values, run, list(self.wanted.folds), time.monotonic())
        if same is not None:
            self.over(one, score_of(same), f"as trial {same.number} with the same settings")
            return False
        self.send(one)
        return True

    def send(self, one: _AtWork) -> None:
        """Its next fold."""
        name, fold = f"{self.name}-{one.trial.number}", one.folds[0]
        changed = tuple(override(*pair) for pair in one.values.items())
        unit = Unit(self.comp, self.wanted.base, fold, name, changed, self.device)
        self.at_work[unit] = one
        self.hands.submit(unit, FoldTrip(self.layout, self.comp, name, one.run, fold))

    def look(self, unit: Unit, one: _AtWork) -> None:
        """Tells the book the scores of the first fold's epochs; where it falls behind, it is asked to end."""
        if unit.fold != self.wanted.folds[0] or one.behind:
            return
        for epoch, score in self.epochs_of(unit):
            if epoch <= one.epoch:
                continue
            one.epoch = epoch
            if self.book.falls_behind(one.trial, epoch, score) and epoch < one.run.train.epochs:
                one.behind = True
                self.hands.stop(unit)
                return

    def epochs_of(self, unit: Unit) -> list[tuple[int, float]]:
        """The epochs that a unit has trained so far, and their scores; NaN is an undefined one."""
        path = self.layout.fold(self.comp, unit.name, unit.fold) / "log.csv"
        if not path.is_file():
            return []
        log = read_csv(path)
        scores = [float(text) if text else math.nan for text in log["score"]]
        return list(zip(log["epoch"].astype(int), scores, strict=True))

    def hear(self, event: Event, metric: str) -> None:
        """What happened to a trial's fold."""
        unit = event.unit
        assert isinstance(unit, Unit)
        one = self.at_work[unit]
        if event.kind in ("began", "lost"):
            say(f"trial {one.trial.number}, fold {unit.fold}: {event.kind}: {event.text}")
        elif event.kind == "line" and event.told.get("event") == "warning":
            say(f"warning: trial {one.trial.number}: {event.text.removeprefix('warning: ')}")
        if event.kind not in ("done", "failed", "stopped"):
            return
        self.look(unit, one)
        del self.at_work[unit]
        one.folds.pop(0)
        error = FoldlineError(**event.told) if event.kind == "failed" else None
        if error is not None:
            self.over(one, None, event.text, error)
        elif event.kind == "stopped" or one.behind:
            self.over(one, None, "given up")
        elif one.folds:
            self.send(one)
        else:
            with suppress(FoldlineError):
                score = self.score_of_folds(f"{self.name}-{one.trial.number}")
                self.over(one, score, f"{metric} {score:.4f}")
                return
            self.over(one, None, "its score is undefined", FoldlineError("the score is undefined in a fold"))

    def over(self, one: _AtWork, score: float | None, words: str, error: FoldlineError | None = None) -> None:
        """The end of a trial, in the book."""
        seconds, best = time.monotonic() - one.started, self.book.best()
        if error is not None:
            self.book.give_up(one.trial, seconds, error.what)
            self.drop_weights(one.trial.number)
            say(f"trial {one.trial.number} failed: {error.what}")
            self.count_error(one.values, error)
        else:
            self.failed.clear()
            if score is None:
                self.book.give_up(one.trial, seconds)
            else:
                self.book.finish(one.trial, score, seconds)
            self.keep_the_best(one.trial.number, best)
            say(f"trial {one.trial.number}: {words}; {len(self.book.done())} of {self.wanted.trials}")
        write_csv(self.layout.run(self.comp, self.name) / "search.csv", table(self.book, self.name))
