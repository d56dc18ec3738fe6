"""The reader for layouts that truly need code: a Python function that the facts name.

    train: {reader: python, function: "rows.py:train_rows", row_id: id, image: path, target: label}

`rows.py` lies beside `competition.yaml`. The function takes `input/<comp>` (a Path) and gives a DataFrame; its cells
become strings, and all other settings (`image`, `where`, `target` ...) apply to it as to any table.
"""

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from foldline.core.competition import RowFacts
from foldline.core.errors import FoldlineError
from foldline.readers.tables import as_texts


def read_hook(root: Path, rows: RowFacts) -> pd.DataFrame:
    """What the function `rows.function` makes of the raw files."""
    spec = rows.function or ""
    module, colon, name = spec.rpartition(":")
    if not colon or not module or not name:
        raise FoldlineError(
            f"'{spec}' names no function", where="function", next="write rows.py:name (beside the facts) or module:name"
        )
    table = _find(module, name, root)(root)
    if not isinstance(table, pd.DataFrame) or table.empty:
        raise FoldlineError(f"must return a DataFrame with rows, not {type(table).__name__}", where=f"function {spec}")
    return pd.DataFrame({str(column): as_texts(table[column].tolist()) for column in table.columns}, dtype=str)


def _find(module: str, name: str, root: Path) -> Callable[[Path], Any]:
    if module.endswith(".py"):
        content = _load(root.parent.parent / "configs" / root.name / module)
    else:
        try:
            content = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise FoldlineError(f"no module '{module}': {error}", where="function") from error
    function = getattr(content, name, None)
    if not callable(function):
        known = [key for key, value in vars(content).items() if inspect.isfunction(value)]
        raise FoldlineError(f"no function '{name}' in {module}", where="function", next=f"it has: {known}")
    return function  # type: ignore[no-any-return]


def _load(path: Path) -> Any:
    """The module in a file; the user's own code, trusted as the facts that name it."""
    spec = importlib.util.spec_from_file_location(f"foldline_hook_{path.parent.name}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise FoldlineError("no such file", where=str(path), next="write the function there")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
