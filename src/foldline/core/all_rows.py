"""One network on the rows of all folds (`train.folds: all`): what must be there before it is trained or predicted.

It has no rows of its own to be judged by. How long it trains, and its out-of-fold (OOF) score, are those of the folds
of another run with the same settings (`train.folds_of`). Reads that run's folder; writes nothing.
"""

from typing import Any

from foldline.core.differing import differing_keys
from foldline.core.errors import FoldlineError, first_few
from foldline.core.folds_of import FoldsOf, folds_of
from foldline.core.paths import Layout
from foldline.core.provenance import current_cv, refuse_diverged, require_current
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run import Run
from foldline.core.run_folder import stored_run, training_choices, wanted_folds

WHERE = "train.folds_of"


def require_folds_of(layout: Layout, comp: str, run: Run, k: int, folds_sha256: str) -> FoldsOf | None:
    """What the network on all rows takes from the folds that it names; None for a run that is none such.

    Raises:
        FoldlineError: these folds are not all trained, not on the folds of now, not by the same settings, or one of
            them diverged.
    """
    if not run.on_all_rows:
        return None
    name = run.train.folds_of
    other = _other(layout, comp, run)
    wanted = wanted_folds(other, k)
    left = [fold for fold in wanted if not (layout.fold(comp, name, fold) / "meta.json").is_file()]
    if left:
        raise FoldlineError(
            f"fold {', '.join(map(str, left))} of '{name}' is not trained yet: the folds say how long a network on all "
            "rows is trained, and what it scores",
            where=WHERE, next=f"make train-all COMP={comp} RUN={name}",
        )  # fmt: skip
    for fold in wanted:
        meta = FoldMeta.read(layout.fold(comp, name, fold) / "meta.json")
        require_current(layout, comp, other, meta, folds_sha256)
        refuse_diverged(layout, meta, WHERE)
    found = folds_of(layout, comp, run, k)
    assert found is not None
    return found


def _other(layout: Layout, comp: str, run: Run) -> Run:
    """The run that gives epochs and score; raises FoldlineError where it cannot."""
    name = run.train.folds_of
    other = stored_run(layout, comp, name)
    if other is None:
        raise FoldlineError(
            f"run '{name}' has no folds yet: they say how long a network on all rows is trained, and what it scores",
            where=WHERE, next=f"make train-all COMP={comp} RUN={name}",
        )  # fmt: skip
    if other.on_all_rows:
        raise FoldlineError(
            f"run '{name}' is one network on all rows itself", where=WHERE, next=f"name '{other.train.folds_of}'"
        )
    different = differing_keys(_alike(other), _alike(run))
    if different:
        raise FoldlineError(
            f"the folds of '{name}' were trained with other settings, and say nothing of this network: "
            f"{first_few(different)}",
            where=WHERE, next="name a run of these settings, or train its folds first",
        )  # fmt: skip
    return other


def _alike(run: Run) -> dict[str, Any]:
    """The settings that are the same in both: those of training, but for seed, rows, and what changes no bit."""
    choices, free = training_choices(run), ("folds", "folds_of", "checkpoint_minutes")
    train = {key: value for key, value in choices["train"].items() if key not in free}
    return {**choices, "train": train, "seed": 0}


def score_of_folds(layout: Layout, comp: str, run: Run, folds_sha256: str) -> Cv:
    """The record of the OOF predictions that stand for those of a network on all rows.

    Raises:
        FoldlineError: they are not predicted, not of now, or in other views than the run names.
    """
    name = run.train.folds_of
    _other(layout, comp, run)
    cv = current_cv(layout, comp, name, folds_sha256)
    if cv.views != run.predict.views:
        raise FoldlineError(
            f"the OOF predictions of '{name}' are by the views {', '.join(cv.views)}, and those of this network would "
            f"be by {', '.join(run.predict.views)}",
            where="predict.views",
            next=f"give both the same predict.views, then make predict of each: first of '{name}', then of this one "
            "as it was trained (with its NAME= and SET=, if it has no run file)",
        )  # fmt: skip
    return cv
