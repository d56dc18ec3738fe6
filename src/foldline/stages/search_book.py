"""The book of a search: which settings were tried, what they scored, and which come next (Optuna).

Reads and writes `oof/<comp>/<name>/search.db`, SQLite, or on a network disk `search.journal`: one process at a time,
whoever trains the trials. A search goes on where it was interrupted: a trial that was running is marked as failed, and
its settings are tried again. What is drawn depends on the seed and the number of trials that are done, so an
interruption does not change it.

Source: Akiba et al. 2019, doi:10.1145/3292500.3330701; its sampler is TPE, Bergstra et al. 2011.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foldline.core.differing import differing_keys
from foldline.core.disks import shared_kind
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.search import Range, Search, number_type, range_value

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

Values = dict[str, Any]


class Book:
    """A search's trials."""

    def __init__(self, study: "Study", search: Search, most_epochs: int) -> None:
        self.study = study
        self.search = search
        study.pruner = _pruner(search, most_epochs)

    def done(self) -> "list[FrozenTrial]":
        """The trials that count: trained to the end, or given up early."""
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    def ranked(self) -> "list[FrozenTrial]":
        """The trials that were trained to their end, the best first; of equal ones the first.

        Optuna gives a trial that was given up its last epoch's score as its value: those are no scores.
        """
        from optuna.trial import TrialState

        whole = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        sign = -1 if self.study.direction.name == "MAXIMIZE" else 1
        return sorted(whole, key=lambda trial: (sign * float(trial.value or 0), trial.number))

    def best(self) -> "FrozenTrial | None":
        """The best trial that was trained to its end."""
        return next(iter(self.ranked()), None)

    def recover(self) -> list[int]:
        """Marks trials that were interrupted as failed and queues their settings again; gives their numbers."""
        from optuna.trial import TrialState

        trials = self.study.get_trials(deepcopy=False)
        queued = {trial.user_attrs.get("again") for trial in trials}
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        for trial in running:
            if trial.number not in queued:  # else it was stopped between these two lines
                self.study.enqueue_trial(trial.params, user_attrs={**trial.user_attrs, "again": trial.number})
            self.study.tell(trial.number, state=TrialState.FAIL)
        return [trial.number for trial in running]

    def start_with(self, values: Values) -> None:
        """Queues the first trial, where these values lie in the ranges."""
        ranges = self.search.ranges
        if not self.study.get_trials(deepcopy=False) and all(ranges[key].holds(values[key]) for key in ranges):
            self.queue(values, base=True)

    def queue(self, values: Values, **marks: Any) -> None:
        """Puts settings before all that would be drawn."""
        self.study.enqueue_trial({key: _label(value) for key, value in values.items()}, user_attrs=marks)

    def ask(self) -> "tuple[Trial, Values]":
        """The next trial and its settings; those under way beside it count as bad, so that it tries others."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        beside = len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        key = np.random.SeedSequence([self.search.seed, len(self.done()), *([beside] if beside else [])])
        self.study.sampler = TPESampler(seed=int(key.generate_state(1)[0]), constant_liar=beside > 0)
        trial = self.study.ask()
        return trial, {key: _suggest(trial, key, choice) for key, choice in self.search.ranges.items()}

    def values(self, trial: "FrozenTrial") -> Values:
        """A trial's settings; without those that an interruption kept from being drawn."""
        ranges = self.search.ranges
        return {key: _from_label(ranges[key], trial.params[key]) for key in ranges if key in trial.params}

    def same_as(self, values: Values) -> "FrozenTrial | None":
        """A trial that is done and had the same settings: training is exact, so its score is known.

        One that ended in an error is none: the error may be mended.
        """
        known = (trial for trial in self.done() if "error" not in trial.user_attrs)
        return next((trial for trial in known if self.values(trial) == values), None)

    def falls_behind(self, trial: "Trial", epoch: int, score: float) -> bool:
        """Records the score of an epoch; whether the trial is to be given up."""
        if math.isfinite(score):
            trial.report(score, epoch)
        return epoch > self.search.prune.warmup and trial.should_prune()

    def finish(self, trial: "Trial", score: float, seconds: float) -> None:
        """Records a trial that was trained to its end."""
        trial.set_user_attr("seconds", round(seconds, 1))
        self.study.tell(trial, score)

    def give_up(self, trial: "Trial", seconds: float, error: str = "") -> None:
        """Records a trial that fell behind, or whose training failed: its settings are no good either way."""
        from optuna.trial import TrialState

        trial.set_user_attr("seconds", round(seconds, 1))
        if error:
            trial.set_user_attr("error", error)
        self.study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: "Trial") -> None:
        """Records a trial that a bug ended; it counts for nothing."""
        from optuna.trial import TrialState

        self.study.tell(trial, state=TrialState.FAIL)


@contextmanager
def open_book(
    path: Path, name: str, search: Search, direction: Literal["max", "min"], made_from: Values, most_epochs: int
) -> Iterator[Book]:
    """The book at `path`, opened or begun.

    Args:
        made_from: what must be the same for trials to be comparable; it is kept in the book.
        most_epochs: the most epochs that a trial may have.

    Raises:
        FoldlineError: Optuna is not installed; the book cannot be read or written; the book
            was begun with another `made_from`: the keys are named.
    """
    try:
        import optuna
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        raise FoldlineError(
            "Optuna is not installed", where="search", next=".venv/bin/python -m pip install 'foldline[search]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage = None
    try:
        storage = _storage(path)
        way: Literal["maximize", "minimize"] = "maximize" if direction == "max" else "minimize"
        study = optuna.create_study(storage=storage, study_name=name, direction=way, load_if_exists=True)
        _require_same(study, made_from, path)
        yield Book(study, search, most_epochs)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
        raise FoldlineError(
            f"the book of the search cannot be read or written: {' '.join(str(cause).split())}",
            where=str(path),
            next="free some space, check who owns it, and run the same command again; a damaged one can be deleted: "
            "the search begins anew",
        ) from error
    finally:
        if isinstance(storage, optuna.storages.RDBStorage):
            storage.remove_session()
            storage.engine.dispose()


def _storage(path: Path) -> "BaseStorage":
    """SQLite; on a disk that several machines share, where SQLite's locks do not hold, Optuna's journal.

    Source: Optuna's documentation of `RDBStorage` and `JournalStorage`. A search that began in SQLite goes on in it.
    """
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    kind = shared_kind(path)
    if kind and not path.is_file():
        return JournalStorage(JournalFileBackend(str(path.with_suffix(".journal"))))
    if kind:
        say(
            f"warning: {path} is SQLite on a disk that machines share ({kind}), where its locks may not hold: let one "
            "machine alone read and write it"
        )
    return RDBStorage(f"sqlite:///{path.resolve()}")


def _require_same(study: "Study", made_from: Values, path: Path) -> None:
    stored = study.user_attrs.get("made_from")
    if stored is None:
        study.set_user_attr("made_from", made_from)
    elif stored != made_from:
        raise FoldlineError(
            f"the search began with other settings: {'; '.join(differing_keys(stored, made_from))}",
            where=str(path),
            next="undo the change, or copy the search file to a new name; only `trials` may change",
        )


def _pruner(search: Search, most_epochs: int) -> "BasePruner":
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    prune = search.prune
    if prune.method == "median":
        return MedianPruner(n_startup_trials=prune.after_trials, n_warmup_steps=prune.warmup)
    if prune.method == "hyperband":
        least = max(1, prune.warmup)
        return HyperbandPruner(min_resource=least, max_resource=max(least, most_epochs), reduction_factor=3)
    return NopPruner()


def _suggest(trial: "Trial", key: str, choice: Range) -> Any:
    kind = number_type(key, choice, where=key)
    if kind is None:
        return _from_label(choice, trial.suggest_categorical(key, [_label(value) for value in choice.choices]))
    assert choice.low is not None and choice.high is not None  # noqa: PT018
    high = choice.high
    if choice.step is not None:  # Optuna complains where the last step does not end at `high`
        high = round(choice.low + math.floor((high - choice.low) / choice.step + 1e-9) * choice.step, 12)
    if kind is int:
        return trial.suggest_int(key, int(choice.low), int(high), step=int(choice.step or 1), log=choice.log)
    return range_value(trial.suggest_float(key, choice.low, high, step=choice.step, log=choice.log))


def _label(value: Any) -> Any:
    """A value as the book keeps it: lists and mappings as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _from_label(choice: Range, label: Any) -> Any:
    if not choice.choices:
        return range_value(label)
    return next(value for value in choice.choices if _label(value) == label)
