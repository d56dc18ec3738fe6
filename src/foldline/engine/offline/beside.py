"""Which hidden rows are seen beside which: an entity's pictures, and each one's neighbours. Tables; pure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from foldline.core.cells import numbers
from foldline.core.errors import FoldlineError, first_few
from foldline.core.progress import say
from foldline.engine.entities import between, entity_names

LAST_WORD = chr(0x10FFFF)  # behind every text


def require_columns(rows: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises FoldlineError where hidden rows lack a column that names what belongs together."""
    for name in columns:
        if name not in rows.columns:
            raise FoldlineError(
                f"the hidden rows have no column '{name}', which names the entity that a picture belongs to",
                where="model.entity, data.neighbours",
                next="name it in the test section of the facts, make the folds anew, train, and make kernel",
            )


def placed(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Rows whose `order` can be read: one without a place, or with a word where most have numbers, stands last.

    Returns:
        The rows, and how many places were odd.
    """
    if "order" not in rows.columns or not len(rows):
        return rows, 0
    cells = rows["order"].str.strip()
    empty, value = (cells == "").to_numpy(dtype=bool), numbers(cells)
    counted = np.isfinite(value)
    if counted.sum() > 0.5 * (~empty).sum():
        odd = ~counted
        rank = np.where(odd, value[counted].max() + 1, value)
    else:
        odd = empty
        rank = np.unique(cells.mask(empty, LAST_WORD).to_numpy(dtype=str), return_inverse=True)[1].astype(np.float64)
    if odd.any():
        named = first_few([repr(cell) for cell in rows["order"][odd].tolist()], 3)
        say(f"warning: {int(odd.sum())} of {len(rows)} rows have no place in their entity, and stand last: {named}")
    return rows.assign(order=[repr(float(place)) for place in rank]), int(odd.sum())


def between_neighbours(rows: pd.DataFrame, by: str, count: int) -> pd.DataFrame:
    """The rows with each picture's files between those of its neighbours (`data.neighbours`)."""
    if not count or not len(rows):
        return rows
    return between(rows, by, count)


def units(rows: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """[rows] the number of the unit of each, in the order in which they first appear.

    Rows that have the same name in one of the columns are one unit, as are those that others tie together. One without
    a name, and without columns each, is its own.
    """
    if not columns:
        return np.arange(len(rows))
    names = [pd.factorize(entity_names(rows, column))[0] for column in columns]
    starts = np.cumsum([len(rows), *(int(own.max(initial=-1)) + 1 for own in names)])
    ends = np.concatenate([own + start for own, start in zip(names, starts[:-1], strict=True)])
    here = np.tile(np.arange(len(rows)), len(columns))
    graph = coo_matrix((np.ones(len(here)), (here, ends)), shape=(starts[-1], starts[-1]))
    found = connected_components(graph, directed=False)[1][: len(rows)]
    return np.asarray(pd.factorize(found)[0], dtype=np.int64)
