"""Kinds whose cells hold numbers, or classes of several targets: columns, one column, and long lines.

What methods mean is said in `kind`.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import pandas as pd

from foldline.core.errors import FoldlineError, first_few
from foldline.core.task import Array
from foldline.scoring.choose import as_predictions
from foldline.scoring.decide import Decision, decide, expected_index
from foldline.submission.decimals import probability_texts, rows_with_sum, shortest_texts, texts, whole_texts
from foldline.submission.gate import Gate
from foldline.submission.kind import Cells, Kind, Placeholders

SUM_TOLERANCE = 1e-6  # what dog-breed-identification's grader allows


class Columns(Kind):
    """Columns of numbers, called after their outputs; a single one may have any name.

    Long lines hold the cells of such a kind (`Long.wide`).
    """

    @cached_property
    def words(self) -> Sequence[str]:
        for words in self.lines.options:
            if set(self.columns) <= set(words):
                return words
        first, last = self.lines.options[0], self.lines.options[-1]
        if len(self.columns) == 1:
            return first
        raise FoldlineError(
            f"no class or number is called after its column {first_few(sorted(set(self.columns) - {*first, *last}))}",
            where=self.lines.where,
            next=f"known: {first_few(first, 12)}; name them alike with `train.target.names` or `classes`",
        )

    @property
    def output_of(self) -> dict[str, int]:
        """Column: the place of its output; of a single column without its name the positive class's, or the only one.

        Raises:
            FoldlineError: a single column for several outputs.
        """
        place, last = {word: j for j, word in enumerate(self.words)}, len(self.outputs) - 1
        if set(self.columns) <= set(place):
            return {column: place[column] for column in self.columns}
        if self.task.two_classes or last == 0:
            return {self.columns[0]: last}
        raise FoldlineError(
            f"one column '{self.columns[0]}' cannot hold {last + 1} numbers ({first_few(list(self.outputs))})",
            where="the sample submission",
            next="set submission.kind in the facts",
        )

    @property
    def row_sum(self) -> float | None:
        """What a row must add up to: the setting, or 1 where the metric takes columns as shares of one whole."""
        if len(self.columns) == 1:
            return None
        if self.facts.submission.row_sum is not None or self.task.label_sets or not self.probabilities:
            return self.facts.submission.row_sum
        whole = self.facts.metric.partition("@")[0] in ("log_loss", "weighted_log_loss", "kl_divergence")
        return 1.0 if whole else None

    def cells(self, values: Array, decision: Decision) -> Cells:
        """The columns, each cell by itself: what long lines hold."""
        return {column: shortest_texts(values[:, j], self.bounds) for column, j in self.output_of.items()}

    def write(self, values: Array, decision: Decision) -> Cells:
        if self.row_sum is None or self.decided or not self.probabilities:
            return self.cells(values, decision)
        prob = np.clip(values[:, list(self.output_of.values())], 0.0, None)
        return dict(zip(self.columns, rows_with_sum(prob, self.row_sum), strict=True))

    def check_column(self, gate: Gate, column: str, word: str) -> Array:
        """[lines] the numbers of the column that is about one output; of long lines those of the lines that are."""
        return gate.numbers(column, self.bounds)

    def check(self, gate: Gate) -> None:
        total = np.sum([self.check_column(gate, column, column) for column in self.columns], axis=0)
        if self.row_sum is None:
            return
        wrong = np.abs(total - self.row_sum) > SUM_TOLERANCE
        if wrong.any():
            raise FoldlineError(
                f"{wrong.sum()} rows do not add up to {self.row_sum:g}: "
                + gate.first_lines(wrong, texts(f"{number:.9g}" for number in total.tolist())),
                where=gate.where,
                next="divide each row by its sum and write at least 9 decimals",
            )

    def read(self, frame: pd.DataFrame) -> Array:
        """0 for outputs without a column, but of two classes what is left of 1.

        One number of an ordinal task stays one column, unless the metric reads labels.
        """
        numbers, outputs = frame[list(self.columns)].to_numpy(dtype=np.float64), len(self.outputs)
        if self.task.ordered and len(self.columns) == 1:
            grades = np.clip(np.floor(numbers[:, 0] + 0.5), 0, outputs - 1)
            return as_predictions(grades, self.task, outputs) if self.reads_labels else numbers
        values = np.zeros((len(frame), outputs))
        if self.task.two_classes and len(self.columns) == 1:
            values += 1 - numbers
        values[:, list(self.output_of.values())] = numbers
        return values


class Values(Columns):
    """A column for each number of a regression: its shortest text."""

    name = "values"

    def placeholders(self) -> Placeholders:
        return {output or "target": 0.0 for output in self.outputs}

    def suits(self) -> bool:
        return len(self.columns) > 1 and not self.task.has_classes


class Probabilities(Columns):
    """A column for each class: 12 decimals that keep the row's sum; 0 or 1 where the metric compares label sets."""

    name = "probabilities"
    probabilities = True

    def placeholders(self) -> Placeholders:
        return dict.fromkeys(self.outputs, 0.5 if self.task.label_sets else round(1 / len(self.outputs), 6))

    def suits(self) -> bool:
        return len(self.columns) > 1 and self.task.has_classes

    @property
    def decided(self) -> bool:
        return self.task.label_sets and self.reads_labels

    def cells(self, values: Array, decision: Decision) -> Cells:
        if self.decided:
            labels = decide(decision, values)
            return {column: whole_texts(labels[:, j]) for column, j in self.output_of.items()}
        text = probability_texts if self.task.has_classes else shortest_texts
        return {column: text(values[:, j], self.bounds) for column, j in self.output_of.items()}


class Targets(Columns):
    """A column for each of several targets: its class name, or the shortest text of its number."""

    name = "targets"

    def placeholders(self) -> Placeholders:
        return {name: next(iter(self.classes(j)), 0.0) for j, (name, _) in enumerate(self.task.targets)}

    def suits(self) -> bool:
        return bool(self.task.targets)

    def classes(self, place: int) -> list[str]:
        """The class names of a target; empty for a number."""
        block = self.task.blocks[place]
        return block.task.classes(block.outputs(self.outputs))

    def cells(self, values: Array, decision: Decision) -> Cells:
        """Numbers are whole where the target's metric compares labels."""
        whole = {part.target for part in self.metric.parts if part.metric.input == "label"}
        labels, cells = self.task.default_labels(values), {}
        for column, place in self.output_of.items():
            names, numbers = self.classes(place), labels[:, place]
            if names:
                cells[column] = texts(names[int(label)] for label in numbers.tolist())
            elif self.task.targets[place][0] in whole:
                cells[column] = whole_texts(np.clip(np.floor(numbers + 0.5), *(self.bounds or (-np.inf, np.inf))))
            else:
                cells[column] = shortest_texts(numbers, self.bounds)
        return cells

    def check_column(self, gate: Gate, column: str, word: str) -> Array:
        names = self.classes(list(self.words).index(word))
        if not names:
            return super().check_column(gate, column, word)
        gate.require_words(column, names)
        return np.zeros(len(gate.frame))

    def read(self, frame: pd.DataFrame) -> Array:
        """1 for the class, or the number; 0 for targets without a column."""
        values = np.zeros((len(frame), len(self.outputs)))
        for column, place in self.output_of.items():
            block, names, cells = self.task.blocks[place], self.classes(place), frame[[column]].to_numpy(dtype=object)
            values[:, block.columns] = np.array(names) == cells if names else cells.astype(np.float64)
        return values


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


class Probability(Probabilities):
    """One probability, of the positive class or of the class that the column is called after."""

    name = "probability"

    placeholders = Kind.placeholders

    def suits(self) -> bool:
        return self.task.two_classes or self.task.label_sets


class Value(Values):
    """One number: a score, a regression's, or the expected class; whole where the metric compares labels."""

    name = "value"

    def placeholders(self) -> Placeholders:
        return {"target": 0.0} if self.task.has_classes else super().placeholders()

    def suits(self) -> bool:
        return True

    @property
    def decided(self) -> bool:
        return (self.task.ordered or not self.task.has_classes) and self.reads_labels

    def cells(self, values: Array, decision: Decision) -> Cells:
        if self.decided:
            return self.whole(values, decision)
        if self.task.ordered:
            return {self.columns[0]: shortest_texts(expected_index(values), self.bounds)}
        return super().cells(values, decision)

    def whole(self, values: Array, decision: Decision) -> Cells:
        """Decided numbers or class numbers, within the bounds."""
        return {self.columns[0]: whole_texts(np.clip(decide(decision, values), *(self.bounds or (-np.inf, np.inf))))}


class WholeNumber(Value):
    """The label of a regression."""

    cells = Value.whole

    def check_column(self, gate: Gate, column: str, word: str) -> Array:
        numbers = gate.numbers(column, self.bounds)
        gate.refuse(numbers != np.round(numbers), column, "has numbers that are not whole")
        return numbers


COLUMNS = (Long, Targets, Values, Probabilities)
NUMBERS = (Probability, Value)  # after the kinds that hold labels
