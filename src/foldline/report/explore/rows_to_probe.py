"""Which rows a probe looks at, in which folds, and which of them are no independent evidence. Tables in, arrays out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from foldline.core.task import Task
from foldline.splits.groups import connected
from foldline.splits.shuffle import Indices, shuffle_ranks
from foldline.splits.splitters import ToSplit, choose_splitter, split
from foldline.splits.strata import make_strata

FOLDS = 5  # of a probe: more would cost time and tell nothing more


def sampled(frame: pd.DataFrame, most: int, seed: int) -> Indices:
    """At most about `most` rows in the order of the table, whole groups; by a hash of their names, so always the same.

    >>> frame = pd.DataFrame({"row_id": list("abcdef"), "group": list("xxyyzz")})
    >>> len(sampled(frame, 4, seed=0)), len(sampled(frame, 6, seed=0))
    (4, 6)
    """
    if len(frame) <= most:
        return np.arange(len(frame))
    names, unit = np.unique(np.array(_units(frame), dtype=object).astype(str), return_inverse=True)
    ranks = shuffle_ranks(names.tolist(), seed, "probe")[unit.reshape(-1)]
    first = np.argsort(ranks, kind="stable")[:most]
    whole = np.flatnonzero(np.isin(ranks, ranks[first]))
    if len(whole) <= 2 * most:
        return whole
    single = shuffle_ranks(frame["row_id"].tolist(), seed, "probe")  # a group too large to be taken whole
    return np.flatnonzero(single < most)


def _units(frame: pd.DataFrame) -> list[str]:
    return frame["group" if "group" in frame.columns else "row_id"].tolist()


def probe_folds(frame: pd.DataFrame, task: Task, outputs: Sequence[str], seed: int) -> Indices | None:
    """[rows] the folds of a probe: the competition's own, joined to 5 where there are more, else as `make folds` deals.

    None where the rows or groups cannot fill two folds.
    """
    if "fold" in frame.columns:
        own = frame["fold"].astype("int64").to_numpy() % FOLDS
        if len(np.unique(own)) > 1:
            return np.asarray(own, dtype=np.int64)
    units = _units(frame)
    k = min(FOLDS, len(set(units)))
    if k < 2:
        return None
    groups = units if "group" in frame.columns and len(set(units)) < len(units) else None
    rows = ToSplit(frame["row_id"].tolist(), make_strata(frame, task, outputs, ["target"]), groups)
    return split(rows, choose_splitter("auto", has_groups=groups is not None, stratify=True), k, seed)


def clusters(frame: pd.DataFrame, same: Sequence[str] | None = None) -> Indices:
    """[rows] a number for each set of rows that are one piece of evidence: of one group, or of pictures alike.

    Args:
        same: [rows] a name for the pictures that look the same, "" for one that stands alone.

    >>> clusters(pd.DataFrame({"row_id": ["1", "2", "3"], "group": ["a", "a", "b"]}), ["", "", ""]).tolist()
    [0, 0, 1]
    """
    if len(frame) == 0:
        return np.zeros(0, dtype=np.int64)
    return connected([_units(frame), list(same) if same is not None else [""] * len(frame)])
