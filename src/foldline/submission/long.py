"""The kind whose lines each ask for one output. What methods mean is said in `kind`."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import pandas as pd

from foldline.core.errors import FoldlineError, first_few
from foldline.core.task import Array
from foldline.scoring.decide import Decision
from foldline.submission.decimals import texts
from foldline.submission.gate import Gate
from foldline.submission.kind import Cells, Kind
from foldline.submission.numbers import Columns, Probabilities, Targets, Values


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
        kind = Targets if self.task.targets else Probabilities if self.task.has_classes else Values
        return kind(self.facts, self.outputs, replace(self.lines, columns=tuple(self.words)))

    @property
    def position(self) -> tuple[list[int], list[int]]:
        """Row and column of each line in the wide table."""
        row = {entity: i for i, entity in enumerate(self.ids)}
        return [row[entity] for entity in self.lines.entities], list(self.lines.places)

    @property
    def decided(self) -> bool:
        return self.wide.decided

    def write(self, values: Array, decision: Decision) -> Cells:
        table = pd.DataFrame(self.wide.cells(values, decision)).to_numpy(dtype=object)
        return {self.columns[0]: texts(table[self.position])}

    @property
    def meaning(self) -> list[str]:
        asked = tuple(self.words[place] for place in sorted(set(self.lines.places)))
        wide = replace(self.wide, lines=replace(self.lines, columns=asked))
        return wide.sentences(f"column '{self.columns[0]}' of a line about")

    def check(self, gate: Gate) -> None:
        places = np.array(self.lines.places)
        for j in np.unique(places).tolist():
            self.wide.check_column(gate.only(places == j), self.columns[0], self.words[j])

    def read(self, frame: pd.DataFrame) -> Array:
        """Raises FoldlineError where an output is asked of some entities only."""
        table = np.full((len(self.ids), len(self.words)), None, dtype=object)
        table[self.position] = frame[self.columns[0]].to_numpy(dtype=object)
        wide = pd.DataFrame(table, columns=list(self.words)).dropna(axis=1, how="all")
        for word in wide.columns[wide.isna().any()]:
            lacking = [entity for entity, none in zip(self.ids, wide[word].isna(), strict=True) if none]
            raise FoldlineError(
                f"the sample asks for '{word}' of some entities only (not of {first_few(lacking)}), "
                "so it cannot be graded here",
                where="the sample submission",
            )
        return replace(self.wide, lines=replace(self.lines, columns=tuple(wide.columns))).read(wide)
