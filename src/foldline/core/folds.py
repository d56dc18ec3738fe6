"""The folds of a competition as the later stages read them, checked on the way in.

Reads `folds/<comp>.csv`, `folds/<comp>.test.csv` and `folds/<comp>.json`; writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from foldline.core.competition import Competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import Layout
from foldline.core.records.folds_meta import FoldsMeta
from foldline.core.tables import read_csv, require_unique, sha256_file
from foldline.core.task import Task

MASK = "mask_file"  # the column of the file in which a training row's object is marked
# The facts that decide the folds. The others (title, metric ...) may change and the folds stay valid.
SHAPING = {"task", "classes", "train", "test", "holdout", "folds"}


@dataclass(frozen=True)
class Folds:
    """The rows of a competition and their folds.

    Attributes:
        frame: the training rows: row_id, image, target columns, [group], [entity], [mask_file], [metadata], fold. All
            strings, except `fold`: int64, 0..k-1.
        test: the test rows: the same columns without target and fold.
        outputs: the ordered class names, or the names of the numbers of a regression.
        task: the task of the facts.
        k: the number of folds.
        sha256: of `folds/<comp>.csv`; runs with another one were made on other folds.
    """

    frame: pd.DataFrame
    test: pd.DataFrame
    outputs: list[str]
    task: Task
    k: int
    sha256: str


def load_folds(layout: Layout, comp: str) -> Folds:
    """The folds that `make folds` wrote.

    Raises:
        FoldlineError: a file is missing, was edited, or holds folds that must not be trained on.
    """
    meta = read_folds_meta(layout, comp)
    for kind, path in (("folds", layout.folds(comp)), ("test", layout.test_rows(comp))):
        if not path.is_file():
            raise FoldlineError("file not found", where=layout.relative(path), next=f"make folds COMP={comp}")
        if sha256_file(path) != meta.sha256.get(kind):
            raise edited(layout, comp, layout.relative(path))
    where = layout.relative(layout.folds(comp))
    frame = read_csv(layout.folds(comp), required=("row_id", "image", "fold"))
    frame = frame.assign(fold=fold_numbers(frame, where=where))
    require_sound(frame, meta.k, where=where)
    test = read_csv(layout.test_rows(comp), required=("row_id", "image"))
    return Folds(frame, test, meta.outputs, meta.task.of(meta.outputs), meta.k, meta.sha256["folds"])


def as_scored(frame: pd.DataFrame, new_class: str) -> pd.DataFrame:
    """The rows with the labels that out-of-fold predictions are scored by: where no other fold has a row's class, it is
    new to the networks that predict it.

    Args:
        new_class: of the facts (`folds.new_class`); empty: the rows as they are.

    >>> rows = pd.DataFrame({"target": ["a", "a", "b", "b"], "fold": [0, 1, 1, 1]})
    >>> as_scored(rows, "new")["target"].tolist()
    ['a', 'a', 'new', 'new']
    """
    if not new_class:
        return frame
    homes = frame.groupby("target")["fold"].nunique()
    return frame.assign(target=frame["target"].where(frame["target"].map(homes) > 1, new_class))


def read_folds_meta(layout: Layout, comp: str) -> FoldsMeta:
    """What `folds/<comp>.json` says."""
    return FoldsMeta.read(layout.folds_meta(comp), next=f"make folds COMP={comp}")


def shaping(facts: Competition, found: Sequence[str] | None = None) -> dict[str, Any]:
    """The facts that decide the folds, without defaults: a new setting in a later version changes nothing.

    Args:
        found: the classes that folds found where their facts named none; facts that name just these say the same.
    """
    known = facts.model_dump(mode="json", include=SHAPING, exclude_defaults=True)
    if found is not None and facts.classes == list(found):
        del known["classes"]
    return known


def edited(layout: Layout, comp: str, where: str) -> FoldlineError:
    """The error for a folds file whose content is not what the JSON beside it says."""
    return FoldlineError(
        "the file was changed by hand, or the JSON beside it belongs to another one (sha256 differs)",
        where=where,
        next=f"{way_to_new_folds(layout, comp)}; for folds of your own put a fold column into the table that "
        "train.file names and set folds.splitter: column, folds.column and train.metadata",
    )


def way_to_new_folds(layout: Layout, comp: str) -> str:
    """What to type for new folds, and what that means for runs that exist."""
    files = f"{layout.relative(layout.folds(comp))} {layout.relative(layout.folds_meta(comp))}"
    return (
        f"rm {files} && make folds COMP={comp} (runs in {layout.relative(layout.runs(comp))} "
        "that were made on the old folds cannot be blended with runs on new ones)"
    )


def fold_numbers(frame: pd.DataFrame, *, where: str) -> "pd.Series[int]":
    """The column `fold` as int64; raises FoldlineError where a cell is no whole number."""
    whole = frame["fold"].str.fullmatch(r"\d+").astype(bool)
    if not whole.all():
        ids = frame.loc[~whole, "row_id"].tolist()
        raise FoldlineError(f"{counted(len(ids), 'rows have')} no fold number: {first_few(ids)}", where=where)
    return frame["fold"].astype("int64")


def require_sound(frame: pd.DataFrame, k: int, *, where: str) -> None:
    """Raises FoldlineError for an id twice, a fold outside 0..k-1 or without rows, or a group in two folds."""
    require_unique(frame["row_id"], where=where)
    present = set(frame["fold"].tolist())
    if present - set(range(k)):
        raise FoldlineError(f"has folds outside 0..{k - 1}: {sorted(present - set(range(k)))[:5]}", where=where)
    empty = [str(fold) for fold in range(k) if fold not in present]
    if empty:
        raise FoldlineError(f"fold {first_few(empty)} has no rows", where=where, next="choose fewer folds")
    if "group" in frame.columns:
        homes = frame[["group", "fold"]].drop_duplicates()["group"]
        torn = sorted(set(homes[homes.duplicated()]))
        if torn:
            raise FoldlineError(
                f"{counted(len(torn), 'groups are')} in two folds: {first_few(torn)}",
                where=where,
                next="set folds.splitter: auto (or grouped, stratified_grouped)",
            )
