"""The kind whose lines each ask for one output. What methods mean is said in `kind`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.csv_blocks import rows_at_a_time
from foldline.core.errors import FoldlineError, first_few
from foldline.core.task import Array
from foldline.scoring.decide import Decision
from foldline.submission.decimals import texts
from foldline.submission.gate import Gate
from foldline.submission.kind import Cells, Kind
from foldline.submission.numbers import Columns, Probabilities, Targets, Values

Places = NDArray[np.int64]


class Long(Kind):
    """A line for each entity and word: the table of a wide kind, its columns below each other."""

    name = "long"

    def line_ids(self, entities: list[str]) -> list[str]:
        return [f"{entity}_{output}" for entity in entities for output in self.task.asked(self.outputs)]

    def suits(self) -> bool:
        return bool(self.lines.places)

    @cached_property
    def words(self) -> Sequence[str]:
        if not self.lines.places:
            raise FoldlineError("ids that name no output", where=self.lines.where, next="state submission.output")
        return self.lines.words

    @cached_property
    def ids(self) -> Sequence[str]:
        """Each entity once: thousands of lines may share the outputs of one."""
        return list(dict.fromkeys(self.lines.entities))

    @cached_property
    def wide(self) -> Columns:
        """The kind of the wide table; its columns are the words."""
        return self._of_words(self.words)

    def _of_words(self, words: Sequence[str]) -> Columns:
        """The kind of the wide table of these columns alone."""
        kind = Targets if self.task.targets else Probabilities if self.task.has_classes else Values
        return kind(self.facts, self.outputs, replace(self.lines, columns=tuple(words)))

    @cached_property
    def rows(self) -> Places:
        """[lines] the row of each line in the wide table."""
        return pd.Index(self.ids).get_indexer(pd.Index(self.lines.entities)).astype(np.int64)

    @cached_property
    def asked(self) -> Places:
        """[lines] the place of each line's word: its column in the wide table."""
        return np.array(self.lines.places, dtype=np.int64)

    @property
    def decided(self) -> bool:
        return self.wide.decided

    def write(self, values: Array, decision: Decision) -> Cells:
        """Only words that a line asks for become text: of some of the lines these may be few."""
        words = [self.words[place] for place in np.unique(self.asked).tolist()]
        cells = self._of_words(words).cells(values, decision) if words else {}
        column = np.full(len(self.asked), "", dtype=object)
        for place, word in enumerate(self.words):
            if word in cells:
                here = self.asked == place
                column[here] = cells[word].to_numpy(dtype=object)[self.rows[here]]
        return {self.columns[0]: texts(column)}

    @property
    def meaning(self) -> list[str]:
        asked = tuple(self.words[place] for place in sorted(set(self.lines.places)))
        return self._of_words(asked).sentences(f"column '{self.columns[0]}' of a line about")

    def check(self, gate: Gate) -> None:
        for j in np.unique(self.asked).tolist():
            self.wide.check_column(gate.only(self.asked == j), self.columns[0], self.words[j])

    def read(self, frame: pd.DataFrame) -> Array:
        """Raises FoldlineError where an output is asked of some entities only."""
        asked = np.unique(self.asked).tolist()
        for place in asked:
            there = np.bincount(self.rows[self.asked == place], minlength=len(self.ids)) > 0
            if not there.all():
                lacking = [self.ids[row] for row in np.flatnonzero(~there).tolist()]
                raise FoldlineError(
                    f"the sample asks for '{self.words[place]}' of some entities only (not of {first_few(lacking)}), "
                    "so it cannot be graded here",
                    where="the sample submission",
                )
        wide = self._of_words([self.words[place] for place in asked])
        parts = [wide.read(table) for table in self._wide_tables(frame[self.columns[0]], asked)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _wide_tables(self, cells: "pd.Series[str]", asked: list[int]) -> Iterator[pd.DataFrame]:
        """The wide table of text, some entities at a time; at least one table."""
        step, order = rows_at_a_time(len(asked)), np.argsort(self.rows, kind="stable")
        column = np.searchsorted(asked, self.asked)
        for start in range(0, max(len(self.ids), 1), step):
            low, high = np.searchsorted(self.rows, [start, start + step], sorter=order)
            lines, entities = order[low:high], min(step, len(self.ids) - start)
            table = np.full((entities, len(asked)), "", dtype=object)
            table[self.rows[lines] - start, column[lines]] = cells.iloc[lines].to_numpy(dtype=object)
            yield pd.DataFrame(table, columns=[self.words[place] for place in asked])
