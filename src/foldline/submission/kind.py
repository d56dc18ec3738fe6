"""What every kind of submission answers. The kinds themselves are in `kinds`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import pandas as pd

from foldline.core.competition import Competition
from foldline.core.task import Array, Task
from foldline.scoring.decide import Decision
from foldline.scoring.metrics.for_task import metric_for
from foldline.scoring.metrics.metric import Metric
from foldline.submission.gate import Gate
from foldline.submission.lines import Lines

Cells = dict[str, "pd.Series[str]"]
Placeholders = Mapping[str, object]
NO_LINES = Lines([], "", None, (), (), (), ())


@dataclass(frozen=True)
class Kind:
    """What the cells of one submission hold; a subclass for each kind.

    `write` and `read` take the rows of any table, such as those of an OOF table; of long lines `Long.wide` does.

    Attributes:
        name: what the facts call it.
        probabilities: whether numbers are between 0 and 1 unless the facts say otherwise.
        outputs: the class names, or the names of the numbers.
        lines: what the sample's lines are about, and its columns of answers.
    """

    name: ClassVar[str]
    probabilities: ClassVar[bool] = False

    facts: Competition
    outputs: Sequence[str]
    lines: Lines = NO_LINES

    @classmethod
    def for_task(cls, task: Task) -> "type[Kind]":
        """The class that stands for this kind where outputs are such."""
        return cls

    def placeholders(self) -> Placeholders:
        """Column: cell, of a sample that foldline makes itself."""
        return {"target": 0.5 if self.task.has_classes else 0.0}

    def line_ids(self, entities: list[str]) -> list[str]:
        """The ids of a sample that foldline makes itself."""
        return entities

    def suits(self) -> bool:
        """Whether a sample whose kind nobody named is of this one; the first of KINDS that says so is taken."""
        raise NotImplementedError

    @cached_property
    def words(self) -> Sequence[str]:
        """What outputs are called in cells or headers, in their order; raises FoldlineError for other words."""
        return self.lines.options[0]

    def part(self, some: slice) -> Self:
        """The same kind for some of the lines; what the words are called is known already."""
        other = replace(self, lines=self.lines.part(some))
        other.__dict__["words"] = self.words
        return other

    @property
    def ids(self) -> Sequence[str]:
        """What predictions are asked for, in the order of the arrays that are written and read."""
        return self.lines.entities

    @property
    def decided(self) -> bool:
        """Whether cells are labels that the metric compares: only then a decision matters."""
        return False

    def write(self, values: Array, decision: Decision) -> Cells:
        """The columns of answers, a cell for each line, of predictions [ids, outputs]."""
        raise NotImplementedError

    @property
    def meaning(self) -> list[str]:
        """What the cells of each column say, in words for the person."""
        raise NotImplementedError

    def check(self, gate: Gate) -> None:
        """Raises FoldlineError for cells that a grader would refuse."""
        raise NotImplementedError

    def read(self, frame: pd.DataFrame) -> Array:
        """Predictions [ids, outputs] of checked lines in the sample's order: the other direction of `write`."""
        raise NotImplementedError

    @property
    def columns(self) -> Sequence[str]:
        """The columns of answers."""
        return self.lines.columns

    @property
    def task(self) -> Task:
        """The task, its outputs known."""
        return self.facts.task.of(self.outputs)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The smallest and the largest number accepted."""
        given = self.facts.submission.bounds
        highest = max(1.0, self.facts.submission.row_sum or 0.0)
        return (0.0, highest) if given is None and self.probabilities else given

    @cached_property
    def metric(self) -> Metric:
        """The competition's own."""
        return metric_for(self.facts.metric, self.facts.task, where="setting 'metric'")

    @property
    def reads_labels(self) -> bool:
        """Whether the metric compares labels."""
        return self.metric.input == "label"
