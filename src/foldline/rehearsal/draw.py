"""Which training rows become the hidden test set. Tables in memory."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from foldline.core.competition import Competition

FACTOR = 2.0  # how many times the visible test set
FEWEST, MOST = 500, 2000  # lines, unless a number is given
MANY_CLASSES = 5  # from here on one of them is left without a row


def owners(rows: pd.DataFrame) -> "pd.Series[str]":
    """What a line of the submission is about: the entity of each row, else the row."""
    return rows["entity"] if "entity" in rows.columns else rows["row_id"]


def count_lines(train: int, visible: int, wanted: int | None) -> int:
    """How many lines the hidden test set gets: `wanted`, or twice the visible ones and a few hundred if there are.

    >>> count_lines(1968, 656, None), count_lines(100_000, 3, None), count_lines(60, 40, None)
    (1312, 500, 80)
    """
    if wanted:
        return wanted
    return min(max(math.ceil(FACTOR * visible), min(FEWEST, train)), MOST)


def draw(train: pd.DataFrame, facts: Competition, lines: int, seed: int) -> tuple[list[list[int]], str]:
    """The positions of the training rows of each hidden line, and the class that got none, or an empty text.

    Each entity comes once before one comes again.
    """
    rng = np.random.default_rng(seed)
    left_out = _empty_class(train, facts)
    kept = train[~owners(train).isin(set(owners(train)[train["target"] == left_out]))] if left_out else train
    groups = list(kept.groupby(owners(kept), sort=True).indices.values())
    places: Sequence[int] = np.flatnonzero(train.index.isin(kept.index)).tolist()
    rounds = [rng.permutation(len(groups)) for _ in range(math.ceil(lines / len(groups)))]
    order = np.concatenate(rounds)[:lines].tolist()
    return [[places[at] for at in groups[group]] for group in order], left_out


def _empty_class(train: pd.DataFrame, facts: Competition) -> str:
    """The rarest of many classes that exclude each other; else an empty text."""
    if not facts.task.single_label or facts.task.targets or "target" not in train.columns:
        return ""
    counts = train["target"].value_counts().sort_index()
    return str(counts.idxmin()) if len(counts) >= MANY_CLASSES else ""
