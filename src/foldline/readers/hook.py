"""The reader for layouts that truly need code: a Python function that the facts name (`core.own_code`).

    train: {reader: python, function: "rows.py:train_rows", row_id: id, image: path, target: label}

The function takes `input/<comp>` (a Path) and gives a DataFrame; its cells become strings, and all other settings
(`image`, `where`, `target` ...) apply to it as to any table.
"""

from pathlib import Path

import pandas as pd

from foldline.core import own_code
from foldline.core.competition import RowFacts
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.readers.tables import as_texts


def read_hook(root: Path, rows: RowFacts) -> pd.DataFrame:
    """What the function `rows.function` makes of the raw files."""
    name = own_code.locate(Layout(root.parent.parent), root.name, rows.function or "")
    function = own_code.load(name, ("folder",), where="function")
    table = own_code.attempt(name, lambda: function(root), where="function")
    if not isinstance(table, pd.DataFrame) or table.empty:
        raise FoldlineError(
            f"must return a DataFrame with rows, not {type(table).__name__}", where=f"function {rows.function}"
        )
    return pd.DataFrame({str(column): as_texts(table[column].tolist()) for column in table.columns}, dtype=str)
