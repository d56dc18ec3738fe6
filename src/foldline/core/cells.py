"""What a table's cell says, which is always text: nothing, or a number. Nobody else decides it."""

from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MISSING = frozenset({"", "na", "nan", "n/a", "null", "none", "<na>"})  # what tables write for nothing, in small letters


def is_missing(cells: "pd.Series[str]") -> "pd.Series[bool]":
    """Whether each cell says that nothing is known.

    >>> is_missing(pd.Series(["", " NA ", "0"])).tolist()
    [True, True, False]
    """
    return cells.str.strip().str.lower().isin(MISSING)


def numbers(cells: "pd.Series[str]") -> NDArray[np.float64]:
    """[cells] their numbers; nan where a cell holds none, infinite where it says so.

    >>> numbers(pd.Series(["1e3", " 2 ", "1_000", ""])).tolist()
    [1000.0, 2.0, nan, nan]
    """
    return pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)


def all_numbers(texts: Collection[str]) -> bool:
    """Whether each text is a finite number."""
    return bool(np.isfinite(numbers(pd.Series(list(texts), dtype=str))).all())


def sorted_texts(texts: Iterable[str]) -> list[str]:
    """Numbers by value, anything else by its text.

    >>> sorted_texts(["10", "9", "1"]), sorted_texts(["b", "a", "10"])
    (['1', '9', '10'], ['10', 'a', 'b'])
    """
    texts = list(texts)
    return sorted(texts, key=lambda text: (float(text), text)) if all_numbers(texts) else sorted(texts)
