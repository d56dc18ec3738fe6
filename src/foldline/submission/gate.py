"""The gate: refuses a submission, in the user's words, before it costs a daily slot. Reads tables, writes nothing.

Tables hold text in every cell (`core.tables.read_csv`), so what is checked is what stands in the file.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.cells import is_missing, numbers
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.task import Array

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Gate:
    """Cells at the gate: each method raises a FoldlineError that names the first bad lines.

    Attributes:
        frame: the submission, every cell a string.
        ids: what names each line.
        lines: the number of each line in the file.
        where: how errors call the submission: its path.
        among: which lines of a long file these are, in words, where they are not all.
    """

    frame: pd.DataFrame
    ids: "pd.Series[str]"
    lines: NDArray[np.int64]
    where: str
    among: str = ""

    def only(self, keep: Mask) -> "Gate":
        """Some of the lines."""
        return Gate(self.frame[keep], self.ids[keep], self.lines[keep], self.where, self.among)

    def first_lines(self, bad: Mask, texts: "pd.Series[str]") -> str:
        """The first bad lines with these texts of theirs, and how many more there are."""
        first = np.flatnonzero(bad)[:3]
        parts = zip(self.lines[first].tolist(), self.ids.iloc[first], texts.iloc[first], strict=True)
        more = f" and {bad.sum() - 3} more{self.among}" if bad.sum() > 3 else ""
        return ", ".join(f"line {line} (id {name}): {text}" for line, name, text in parts) + more

    def refuse(self, bad: Mask, column: str, what: str, *, next: str = "") -> None:
        """Nothing where no line is bad."""
        if bad.any():
            named = self.first_lines(bad, "'" + self.frame[column] + "'")
            raise FoldlineError(f"column '{column}' {what}: {named}", where=self.where, next=next)

    def require_filled(self, column: str) -> None:
        """Refuses empty cells."""
        blank = (self.frame[column].str.strip() == "").to_numpy(dtype=bool)
        self.refuse(blank, column, "has empty cells", next="every row needs an answer")

    def require_words(self, column: str, words: Collection[str]) -> None:
        """Refuses empty cells, and those that are none of the words."""
        self.require_filled(column)
        strange = ~self.frame[column].isin(words).to_numpy(dtype=bool)
        hint = f"known: {first_few(list(words), 12)}"
        if any(cell.removesuffix(".0") in words for cell in self.frame[column][strange].head(3)):
            hint = "write whole numbers without '.0'"
        self.refuse(strange, column, "has unknown classes", next=hint)

    def numbers(
        self, column: str, bounds: tuple[float, float] | None, *, cells: "pd.Series[str] | None" = None
    ) -> Array:
        """[lines] the numbers of a column; refuses empty cells, text, NaN, infinity and numbers out of bounds.

        Args:
            cells: the texts of the numbers, where they are parts of the cells.
        """
        whole = cells is None
        cells = self.frame[column] if cells is None else cells
        values = numbers(cells)
        if np.isnan(values).any():
            if whole:
                self.require_filled(column)
            self.refuse(is_missing(cells).to_numpy(dtype=bool), column, "has cells without a value (NaN)")
            self.refuse(np.isnan(values), column, "has cells that are no numbers")
        self.refuse(np.isinf(values), column, "has infinite numbers")
        if bounds is not None:
            low, high = bounds
            self.refuse((values < low) | (values > high), column, f"has numbers outside {low:g} to {high:g}")
        return values


def check_header(columns: list[str], wanted: list[str], where: str) -> None:
    """Raises FoldlineError where the columns are not the sample's, in its order."""
    if columns == wanted:
        return
    missing = [f"'{name}'" for name in wanted if name not in columns]
    extra = [f"'{name}'" for name in columns if name not in wanted]
    parts = [f"lacks the column {first_few(missing)}"] if missing else []
    parts += [f"has the column {first_few(extra)}, which the sample has not"] if extra else []
    raise FoldlineError(
        " and ".join(parts) or "has the columns in another order than the sample",
        where=where,
        next=f"the header must be: {','.join(wanted[:20])}{',...' if len(wanted) > 20 else ''}",
    )


def check_ids(ids: "pd.Series[str]", wanted: "pd.Series[str]", where: str) -> None:
    """Raises FoldlineError unless each id is there once, all of the sample's and no other, in its order."""
    twice = ids[ids.duplicated()].unique().tolist()
    if twice:
        raise FoldlineError(f"{counted(len(twice), 'ids occur')} more than once: {first_few(twice)}", where=where)
    missing = wanted[~wanted.isin(ids)].tolist()
    extra = ids[~ids.isin(wanted)].tolist()
    if missing or extra:
        parts = [f"{counted(len(missing), 'ids of the sample are')} missing: {first_few(missing)}"] if missing else []
        parts += [f"{counted(len(extra), 'ids are')} not in the sample: {first_few(extra)}"] if extra else []
        raise FoldlineError("; ".join(parts), where=where, next=id_hint(missing, extra))
    if ids.tolist() != wanted.tolist():
        at = int(np.flatnonzero(ids.to_numpy() != wanted.to_numpy())[0])
        raise FoldlineError(
            f"the ids are in another order than in the sample: line {at + 2} has '{ids.iloc[at]}', "
            f"the sample has '{wanted.iloc[at]}'",
            where=where,
            next="put the rows in the sample's order",
        )


def id_hint(missing: list[str], extra: list[str]) -> str:
    """What probably happened to ids that are nearly right.

    Args:
        missing: of the sample; extra: those that are there instead.
    """
    if {text.lstrip("0") for text in missing} & {text.lstrip("0").removesuffix(".0") for text in extra}:
        return "leading zeros were lost: read ids as text"
    if {text.strip() for text in missing} & {text.strip() for text in extra}:
        return "the ids have blanks around them"
    if {text.rpartition(".")[0] for text in missing} & set(extra):
        return "the sample's ids have a file extension"
    if {text.rpartition(".")[0] for text in extra} & set(missing):
        return "the sample's ids have no file extension"
    return "the sample's ids count"
