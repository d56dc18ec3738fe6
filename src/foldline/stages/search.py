"""Stage search: trains a run again and again with other settings, and keeps the best.

Reads `configs/<comp>/<name>.search.yaml` and its base run; writes `oof/<comp>/<name>/search.db` (all trials, SQLite)
and `search.csv` (the same to read), a run folder `oof/<comp>/<name>-<number>/` for each trial, and at the end the
winner as a run file, `configs/<comp>/<name>.yaml`. The same command again goes on. Of all trials only the best one's
weights are kept; the others keep their logs.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds import Folds, load_folds
from foldline.core.paths import Layout
from foldline.core.processes import lock
from foldline.core.progress import Progress, say, say_table
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run import Run, load_run
from foldline.core.search import OnEpoch, Search, Stop, load_search, override, setting_of
from foldline.core.tables import write_csv, write_text
from foldline.core.yaml_models import apply_overrides, load_yaml
from foldline.scoring.metrics import metric_for
from foldline.stages.search_book import Book, Values, open_book

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

HEAD = "# Found by `make search SEARCH="
MOST_ERRORS = 3  # trainings in a row that end in an error: then it is no matter of settings
SHOWN = 5  # trials in the last table
KEPT = (".json", ".csv")  # of a losing trial's fold; its weights are as large as the winner's
TrainFolds = Callable[..., None]  # engine.train_run.train_folds


def search(layout: Layout, comp: str, name: str, *, device: str = "auto", train: TrainFolds | None = None) -> Path:
    """Runs the trials that are left, then writes the winner's run file, and gives its path.

    Args:
        train: trains the folds of one trial; default: `engine.train_run.train_folds`.

    Raises:
        FoldlineError: a range or the base is wrong (before anything is trained); the search was begun with other
            settings; three trainings in a row fail; no trial was trained to its end.
    """
    wanted, facts, folds = load_search(layout, comp, name), load_competition(layout, comp), load_folds(layout, comp)
    base = load_run(layout, comp, wanted.base, [])
    _require_room(layout, comp, name, wanted, folds)
    trainer = train or _train_folds()
    made_from = {
        "search": wanted.identity(),
        "base": base.model_dump(mode="json", exclude_defaults=True, exclude={"predict"}),
        "folds": folds.sha256,
        "metric": facts.metric,
    }
    direction = metric_for(facts.metric, facts.task).direction
    path = layout.run(comp, name) / "search.db"
    busy, most = f"the search '{name}' is being run", _most_epochs(wanted, base)
    with lock(path.with_name(".lock"), busy), open_book(path, name, wanted, direction, made_from, most) as book:
        trials = _Trials(layout, comp, name, wanted, book, trainer, device)
        trials.go_on_or_start(base)
        trials.run_all(facts.metric)
        _say_best(book, facts)
        return _write_winner(layout, comp, name, wanted, book, facts)


def _train_folds() -> TrainFolds:
    from foldline.engine.train_run import train_folds

    return train_folds


class _Trials:
    """The trials of one search, one after the other."""

    def __init__(
        self, layout: Layout, comp: str, name: str, wanted: Search, book: Book, train: TrainFolds, device: str
    ) -> None:
        self.layout, self.comp, self.name = layout, comp, name
        self.wanted, self.book, self.train, self.device = wanted, book, train, device
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
        done, total = len(self.book.done()), self.wanted.trials
        with Progress() as progress:
            for _ in progress.over(range(done, total), f"search {self.name}", total=total, done=min(done, total)):
                self.run_one(metric)
                write_csv(self.layout.run(self.comp, self.name) / "search.csv", _table(self.book, self.name))

    def run_one(self, metric: str) -> None:
        """One trial: trained, or given up, or known already."""
        best = self.book.best()
        trial, values = self.book.ask()
        shown = ", ".join(f"{key} {value}" for key, value in values.items())
        say(f"trial {trial.number} ({len(self.book.done()) + 1} of {self.wanted.trials}): {shown}")
        start, same = time.monotonic(), self.book.same_as(values)
        try:
            score = self.trained(trial, values) if same is None else _score(same)
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
        scores = [FoldMeta.read(self.layout.fold(self.comp, name, k) / "meta.json").score for k in folds]
        known = [score for score in scores if score is not None]
        if len(known) < len(scores):
            raise FoldlineError(f"the score is undefined in fold {folds[scores.index(None)]}", where="folds")
        return float(sum(known) / len(known))

    def watcher(self, trial: Any, run: Run) -> OnEpoch:
        """Gives a trial up where it falls behind on the first of the folds; at its last epoch it is paid for."""

        def on_epoch(fold: int, epoch: int, score: float) -> None:
            if fold != self.wanted.folds[0] or epoch == 0:
                return
            if self.book.falls_behind(trial, epoch, score) and epoch < run.train.epochs:
                raise Stop

        return on_epoch

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


def _require_room(layout: Layout, comp: str, name: str, wanted: Search, folds: Folds) -> None:
    """Raises FoldlineError for folds that do not exist, and where the winner would overwrite a file of a person."""
    odd = [str(k) for k in wanted.folds if not 0 <= k < folds.k]
    if odd or len(set(wanted.folds)) < len(wanted.folds):
        where = f"{layout.relative(layout.search_config(comp, name))}: folds"
        raise FoldlineError(f"no such folds: {wanted.folds}", where=where, next=f"the folds are 0 to {folds.k - 1}")
    path = layout.run_config(comp, name)
    if name == wanted.base or (path.is_file() and not path.read_text(encoding="utf-8").startswith(HEAD)):
        raise FoldlineError(
            "the winner would overwrite this run file, which no search has written",
            where=layout.relative(path),
            next="give the search file another name, or the run",
        )


def _most_epochs(wanted: Search, base: Run) -> int:
    epochs = wanted.ranges.get("train.epochs")
    return int(max(epochs.ends())) if epochs else base.train.epochs


def _table(book: Book, name: str) -> pd.DataFrame:
    """One row a trial, in order."""
    rows = []
    for trial in book.study.get_trials(deepcopy=False):
        known = {"trial": trial.number, "run": f"{name}-{trial.number}", "state": _state(trial), "score": _score(trial)}
        known |= {"epochs": trial.last_step, "seconds": trial.user_attrs.get("seconds")}
        rows.append(known | book.values(trial))
    return pd.DataFrame(rows)


def _state(trial: "FrozenTrial") -> str:
    if "error" in trial.user_attrs:
        return f"failed: {trial.user_attrs['error']}"
    return {"PRUNED": "given up", "FAIL": "interrupted"}.get(trial.state.name, trial.state.name.lower())


def _score(trial: "FrozenTrial") -> float | None:
    """The score of a trial that was trained to its end; what Optuna calls the value of others is none."""
    return trial.value if trial.state.name == "COMPLETE" else None


def _say_best(book: Book, facts: Competition) -> None:
    keys = list(book.search.ranges)
    lines = [[str(trial.number), f"{trial.value:.4f}", *_cells(book, trial, keys)] for trial in book.ranked()[:SHOWN]]
    say_table([["trial", facts.metric, *keys], *lines])


def _cells(book: Book, trial: "FrozenTrial", keys: Sequence[str]) -> list[str]:
    values = book.values(trial)
    return [str(values.get(key, "")) for key in keys]


def _write_winner(layout: Layout, comp: str, name: str, wanted: Search, book: Book, facts: Competition) -> Path:
    best = book.best()
    if best is None:
        raise FoldlineError(
            "no trial was trained to its end",
            where=layout.relative(layout.run(comp, name) / "search.csv"),
            next="look into this file, then raise `trials`",
        )
    overrides = [override(key, value) for key, value in book.values(best).items()]
    content = apply_overrides(load_yaml(layout.run_file(comp, wanted.base)), overrides)
    text = _head(comp, name, wanted, book, best, facts) + yaml.safe_dump(content, sort_keys=False)
    path = layout.run_config(comp, name)
    write_text(path, text)
    say(f"the winner: {layout.relative(path)}; make train-all COMP={comp} RUN={name}")
    return path


def _head(comp: str, name: str, wanted: Search, book: Book, best: "FrozenTrial", facts: Competition) -> str:
    """What a reader of the run file must know."""
    done = book.done()
    given_up, failed = (sum(_state(trial).startswith(word) for trial in done) for word in ("given up", "failed"))
    own = next((trial for trial in done if trial.user_attrs.get("base") and _score(trial) is not None), None)
    beside = "" if own is None else f"; with {wanted.base}'s own settings {own.value:.4f}"
    folds = ", ".join(map(str, wanted.folds))
    where = f"fold {folds}" if len(wanted.folds) == 1 else f"the mean of folds {folds}"
    return (
        f"{HEAD}{name}` from {wanted.base}.yaml: trial {best.number}, the best of {len(done)} "
        f"({given_up} given up early, {failed} failed).\n"
        f"# {facts.metric} {best.value:.4f} on {where}{beside}.\n"
        "# This score is optimistic: the run was chosen by it, and so is the run's own score on these rows. Train all\n"
        f'# folds, then see what it is worth: make compare COMP={comp} RUNS="{wanted.base} {name}"\n'
    )
