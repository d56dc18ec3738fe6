"""CSV of any length, some lines at a time: cells are text, as `core.tables.read_csv` and `write_csv` have them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from foldline.core.csv_text import csv_lines
from foldline.core.tables import csv_options, csv_refusals, require_file

if TYPE_CHECKING:
    import pandas as pd

CELLS = 2_000_000  # that are held as text together: about 50 MB, and as much with their numbers
LINES = 250_000  # at most: what belongs to a line weighs more than a cell


def rows_at_a_time(columns: int) -> int:
    """How many lines of so many columns make a block."""
    return min(LINES, max(1, CELLS // max(columns, 1)))


def csv_header(path: Path) -> list[str]:
    """The names of a table's columns, as `read_csv` gives them."""
    return list(_first_lines(path).columns)


def csv_blocks(
    path: Path, *, columns: Sequence[str] | None = None, rows: int | None = None
) -> "Iterator[pd.DataFrame]":
    """The lines of a table, each block numbered from 0; of a table without lines one empty block.

    Args:
        columns: those that are read, in the file's order; default: all. Of others a line may have too many.
        rows: of a block; default: `rows_at_a_time`.

    Raises:
        FoldlineError: as `read_csv`, when the block is asked for in which it is seen.
    """
    import pandas as pd

    empty = _first_lines(path)
    wanted = [name for name in empty.columns if columns is None or name in set(columns)]
    options = csv_options() | {
        "header": 0,
        "names": list(empty.columns),
        "chunksize": rows or rows_at_a_time(len(wanted)),
    }
    if columns is not None:
        options["usecols"] = wanted
    with csv_refusals(path):
        reader = pd.read_csv(path, **options)
    with reader:
        while True:
            with csv_refusals(path):
                block: pd.DataFrame | None = next(reader, None)
            if block is None:
                break
            yield block.reset_index(drop=True)


def _first_lines(path: Path) -> "pd.DataFrame":
    """The table without its lines; the first column's name may be empty."""
    import pandas as pd

    require_file(path)
    with csv_refusals(path):
        empty: pd.DataFrame = pd.read_csv(path, **csv_options(), nrows=0)
        if len(empty.columns) and empty.columns[0] == "Unnamed: 0":
            first_cell = pd.read_csv(path, **csv_options(), header=None, nrows=1).iloc[0, 0]
            empty = empty.rename(columns={"Unnamed: 0": first_cell})
    return empty


def write_csv_blocks(handle: BinaryIO, blocks: "Iterable[pd.DataFrame]") -> int:
    """Writes tables of text below each other, with the header of the first: the bytes of `write_csv` of all of them.

    Returns:
        How many lines were written.
    """
    lines = 0
    for place, block in enumerate(blocks):
        if place == 0:
            handle.write(block.iloc[:0].to_csv(index=False, lineterminator="\n").encode())
        handle.write(csv_lines(block))
        lines += len(block)
    return lines
