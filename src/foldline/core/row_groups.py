"""A Parquet file that is written and read table after table, so that no more than some rows are in memory.

How a file is cut into groups of rows depends on its columns alone: the same rows give the same bytes in any portions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from foldline.core.errors import FoldlineError

if TYPE_CHECKING:
    import pandas as pd

GROUP_BYTES = 16e6  # of a table, that are turned into Parquet together
WORD_BYTES = 24  # of a cell that is no number: what a short id takes


def rows_of_group(frame: "pd.DataFrame") -> int:
    """How many rows of such a table are one group."""
    import pandas as pd

    sizes = (kind.itemsize if pd.api.types.is_numeric_dtype(kind) else WORD_BYTES for kind in frame.dtypes)
    return max(1, int(GROUP_BYTES / max(1, sum(sizes))))


class RowGroups:
    """Writes tables of the same columns one below the other; a small file holds one group, as pandas writes it."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self._waiting: list[pd.DataFrame] = []
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        if self._writer is not None:
            self._writer.close()

    def write(self, frame: "pd.DataFrame") -> None:
        """Rows below those before them."""
        self.rows += len(frame)
        self._waiting.append(frame)
        group = rows_of_group(frame)
        if sum(map(len, self._waiting)) <= group:
            return
        whole = self._all()
        last = (len(whole) - 1) // group * group  # the last group waits: it may be the only one
        if self._writer is None:
            self._begin(whole)
        for start in range(0, last, group):
            self._group(whole.iloc[start : start + group])
        self._waiting = [whole.iloc[last:].copy()]

    def _all(self) -> "pd.DataFrame":
        import pandas as pd

        return self._waiting[0] if len(self._waiting) == 1 else pd.concat(self._waiting, ignore_index=True)

    def _begin(self, frame: "pd.DataFrame") -> None:
        import pyarrow
        import pyarrow.parquet

        self._schema = pyarrow.Schema.from_pandas(frame, preserve_index=False)
        kinds = zip(self._schema.names, self._schema.types, strict=True)
        words = [name for name, kind in kinds if not pyarrow.types.is_floating(kind)]
        self._writer = pyarrow.parquet.ParquetWriter(self.path, self._schema, use_dictionary=words)

    def _group(self, frame: "pd.DataFrame") -> None:
        import pyarrow

        self._writer.write_table(pyarrow.Table.from_pandas(frame, self._schema, preserve_index=False))

    def _finish(self) -> None:
        if not self._waiting:
            raise ValueError("a Parquet file of no table")
        if self._writer is None:
            self._all().to_parquet(self.path, index=False)
        else:
            self._group(self._all())


@contextmanager
def parquet_errors(path: Path, next: str = "") -> Iterator[None]:
    """What a broken Parquet file raises becomes a FoldlineError; a refusal of the machine stays what it is."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        if isinstance(error, FoldlineError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        next = next or "make or download it again"
        raise FoldlineError(f"not a Parquet file: {error}", where=str(path), next=next) from error


def read_groups(path: Path, rows: int, columns: Sequence[str] | None = None) -> "Iterator[pd.DataFrame]":
    """The tables of `rows` rows of a Parquet file, the last one with fewer; at least one.

    Args:
        columns: those that are read; None: all.

    Raises:
        FoldlineError: the file is broken.
    """
    import pyarrow
    import pyarrow.parquet

    with parquet_errors(path), path.open("rb") as handle, pyarrow.parquet.ParquetFile(handle) as file:
        names = None if columns is None else list(columns)
        waiting = file.schema_arrow.empty_table()
        waiting = waiting if names is None else waiting.select(names)
        given = 0
        # a group after the other: the readers of all groups at once would keep what they have read
        groups = (file.iter_batches(rows, row_groups=[i], columns=names) for i in range(file.num_row_groups))
        for batch in chain.from_iterable(groups):
            waiting = pyarrow.concat_tables([waiting, pyarrow.Table.from_batches([batch])])
            while len(waiting) >= rows:
                yield waiting.slice(0, rows).to_pandas(integer_object_nulls=True)
                given, waiting = given + rows, waiting.slice(rows)
        if len(waiting) or not given:
            yield waiting.to_pandas(integer_object_nulls=True)
