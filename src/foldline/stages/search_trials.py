"""The trials of a search: each trained, given up, or known already; of all trials the best one alone keeps its weights.

Writes a run folder `oof/<comp>/<name>-<number>/` for each, and `search.csv`, all of them to read.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import Layout
from foldline.core.progress import Progress, say
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run import Run, load_run
from foldline.core.search import OnEpoch, Search, Stop, override, setting_of
from foldline.core.tables import write_csv
from foldline.stages.search_book import Book, Values

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MOST_ERRORS = 3  # trainings in a row that end in an error: then it is no matter of settings
KEPT = (".json", ".csv")  # of a losing trial's fold; its weights are as large as the winner's
TrainFolds = Callable[..., None]  # engine.train_run.train_folds


class Trials:
    """The trials of one search, whoever trains them."""

    def __init__(self, layout: Layout, comp: str, name: str, wanted: Search, book: Book, device: str) -> None:
        self.layout, self.comp, self.name = layout, comp, name
        self.wanted, self.book, self.device = wanted, book, device
        self.failed: list[Values] = []  # the settings of the last trainings, where all of them ended in an error

    def go_on_or_start(self, base: Run) -> None:
        """Queues what was interrupted, or the base's own settings as the first trial."""
        for number in self.book.recover():
            self.drop_weights(number)
            say(f"trial {number} was interrupted: its settings are tried again")
        if not self.book.done():
            self.require_no_strangers()
        self.book.start_with({key: setting_of(base.choices(), key) for key in self.wanted.ranges})

    def require_no_strangers(self) -> None:
        """Raises FoldlineError where a folder has a trial's name and no trial was made yet."""
        known = {f"{self.name}-{trial.number}" for trial in self.book.study.get_trials(deepcopy=False)}
        names = [path.name for path in self.layout.runs(self.comp).glob(f"{self.name}-*") if path.is_dir()]
        strange = sorted(one for one in names if one.removeprefix(f"{self.name}-").isdigit() and one not in known)
        if strange:
            raise FoldlineError(
                f"run folders have the names that this search gives to its trials: {first_few(strange)}",
                where=self.layout.relative(self.layout.runs(self.comp)),
                next="delete them (they are of an earlier search), or give the search file another name",
            )

    def run_all(self, metric: str) -> None:
        """Runs trials until as many as wanted are done."""
        raise NotImplementedError

    def score_of_folds(self, name: str) -> float:
        """The mean of the scores of a trial's folds, all of them trained."""
        folds = self.wanted.folds
        scores = [FoldMeta.read(self.layout.fold(self.comp, name, k) / "meta.json").score for k in folds]
        known = [score for score in scores if score is not None]
        if len(known) < len(scores):
            raise FoldlineError(f"the score is undefined in fold {folds[scores.index(None)]}", where="folds")
        return float(sum(known) / len(known))

    def count_error(self, values: Values, error: FoldlineError) -> None:
        """One failed training is a matter of its settings; several in a row are not, and are tried again later."""
        self.failed.append(values)
        if len(self.failed) < MOST_ERRORS:
            return
        for one in self.failed:
            self.book.queue(one)
        raise FoldlineError(
            f"{MOST_ERRORS} trainings in a row failed, the last one: {error.what}", where=error.where, next=error.next
        ) from error

    def keep_the_best(self, number: int, best: "FrozenTrial | None") -> None:
        """Deletes the weights of the trial that lost, the new one or the one that was best so far."""
        now = self.book.best()
        if now is None or now.number != number:
            self.drop_weights(number)
        elif best is not None:
            self.drop_weights(best.number)

    def drop_weights(self, number: int) -> None:
        """Deletes everything but logs and records from a trial's folds."""
        for path in self.layout.run(self.comp, f"{self.name}-{number}").glob("fold_*/*"):
            if path.is_file() and path.suffix not in KEPT:
                path.unlink()


class TrialsHere(Trials):
    """One after the other, in this process.

    Args:
        train: trains the folds of one trial, as `engine.train_run.train_folds` does.
    """

    def __init__(
        self, layout: Layout, comp: str, name: str, wanted: Search, book: Book, device: str, train: TrainFolds
    ) -> None:
        super().__init__(layout, comp, name, wanted, book, device)
        self.train = train

    def run_all(self, metric: str) -> None:
        """Runs trials until as many as wanted are done."""
        done, total = len(self.book.done()), self.wanted.trials
        with Progress() as progress:
            for _ in progress.over(range(done, total), f"search {self.name}", total=total, done=min(done, total)):
                self.run_one(metric)
                write_csv(self.layout.run(self.comp, self.name) / "search.csv", table(self.book, self.name))

    def run_one(self, metric: str) -> None:
        """One trial: trained, or given up, or known already."""
        best = self.book.best()
        trial, values = self.book.ask()
        shown = ", ".join(f"{key} {value}" for key, value in values.items())
        say(f"trial {trial.number} ({len(self.book.done()) + 1} of {self.wanted.trials}): {shown}")
        start, same = time.monotonic(), self.book.same_as(values)
        try:
            score = self.trained(trial, values) if same is None else score_of(same)
            if score is None:
                raise Stop
        except Stop:
            self.book.give_up(trial, time.monotonic() - start)
            outcome = "given up" if same is None else f"given up, as trial {same.number} with the same settings"
        except FoldlineError as error:
            self.book.give_up(trial, time.monotonic() - start, error.what)
            self.drop_weights(trial.number)
            say(f"trial {trial.number} failed: {error.what}")
            self.count_error(values, error)
            return
        except Exception:
            self.book.fail(trial)
            raise
        else:
            self.book.finish(trial, score, time.monotonic() - start)
            outcome = f"{metric} {score:.4f}" + ("" if same is None else f", as trial {same.number}: the same settings")
        self.failed.clear()
        self.keep_the_best(trial.number, best)
        now = self.book.best()
        say(f"trial {trial.number}: {outcome}" + ("" if now is None else f"; best {now.value:.4f}, trial {now.number}"))

    def trained(self, trial: Any, values: Values) -> float:
        """Trains a trial on the search's folds; the mean of their scores."""
        overrides = [override(key, value) for key, value in values.items()]
        run = load_run(self.layout, self.comp, self.wanted.base, overrides)
        name, folds = f"{self.name}-{trial.number}", self.wanted.folds
        self.train(self.layout, self.comp, name, run, folds, self.device, on_epoch=self.watcher(trial, run))
        return self.score_of_folds(name)

    def watcher(self, trial: Any, run: Run) -> OnEpoch:
        """Gives a trial up where it falls behind on the first of the folds; at its last epoch it is paid for."""

        def on_epoch(fold: int, epoch: int, score: float) -> None:
            if fold != self.wanted.folds[0] or epoch == 0:
                return
            if self.book.falls_behind(trial, epoch, score) and epoch < run.train.epochs:
                raise Stop

        return on_epoch


def table(book: Book, name: str) -> pd.DataFrame:
    """One row a trial, in order."""
    rows = []
    for trial in book.study.get_trials(deepcopy=False):
        known = {
            "trial": trial.number,
            "run": f"{name}-{trial.number}",
            "state": state_of(trial),
            "score": score_of(trial),
        }
        known |= {"epochs": trial.last_step, "seconds": trial.user_attrs.get("seconds")}
        rows.append(known | book.values(trial))
    return pd.DataFrame(rows)


def state_of(trial: "FrozenTrial") -> str:
    """In words."""
    if "error" in trial.user_attrs:
        return f"failed: {trial.user_attrs['error']}"
    return {"PRUNED": "given up", "FAIL": "interrupted"}.get(trial.state.name, trial.state.name.lower())


def score_of(trial: "FrozenTrial") -> float | None:
    """The score of a trial that was trained to its end; what Optuna calls the value of others is none."""
    return trial.value if trial.state.name == "COMPLETE" else None
