"""The quick text of a table is what pandas writes, whatever its cells hold."""

import numpy as np
import pandas as pd
import pytest

from foldline.core.csv_text import csv_text


@pytest.mark.parametrize("odd", ["", "plain", "a,b", 'a"b', "a\nb", "a\rb", " blank ", "é", "\t", "'"])
def test_it_is_the_text_of_pandas(odd: str) -> None:
    frame = pd.DataFrame({"id": ["1", "2", "3"], "a,b": ["x", odd, ""], "fold": np.array([0, 10, 2])})
    assert csv_text(frame) == frame.to_csv(index=False, lineterminator="\n")


@pytest.mark.parametrize("cell", [np.nan, None, 0.1, True])
def test_other_cells_too(cell: object) -> None:
    frame = pd.DataFrame({"id": ["1", "2"], "value": [cell, cell]})
    assert csv_text(frame) == frame.to_csv(index=False, lineterminator="\n")
    same = pd.DataFrame([["1", "2"], ["3", "4"]], columns=["a", "a"], dtype=str)
    assert csv_text(same) == same.to_csv(index=False, lineterminator="\n")
