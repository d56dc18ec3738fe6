"""Kinds whose cells hold numbers, or classes of several targets: columns, and one column.

What methods mean is said in `kind`.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.task import Array
from foldline.scoring.choose import as_predictions
from foldline.scoring.decide import Decision, decide
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
            f"one column '{self.columns[0]}' cannot hold {counted(last + 1, 'numbers')} "
            f"({first_few(list(self.outputs))})",
            where="the sample submission",
            next="set submission.kind in the facts",
        )

    @property
    def meaning(self) -> list[str]:
        return self.sentences("column")

    def sentences(self, noun: str) -> list[str]:
        """What the numbers of each column, or of the lines about each word, are; the first where all have its name."""
        lines = [f"{noun} '{word}' = {self.holds(place)}" for word, place in self.output_of.items()]
        asked = self.task.asked(self.outputs)
        if len(lines) > 6 and all(word == asked[place] for word, place in self.output_of.items()):
            return [f"{lines[0]}, and so on: all {len(lines)} are called after what they are about"]
        return lines

    def holds(self, place: int) -> str:
        """What a number about one output is, in words."""
        return f"the number '{self.outputs[place]}'" if self.outputs[place] else "the number"

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
                f"{counted(int(wrong.sum()), f'rows{gate.among} do')} not add up to {self.row_sum:g}: "
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
            grades = self.task.nearest_class(numbers[:, 0], outputs)
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

    def holds(self, place: int) -> str:
        if not self.task.has_classes:
            return super().holds(place)
        return f"{'1 or 0: is it' if self.decided else 'probability of'} '{self.outputs[place]}'"

    def cells(self, values: Array, decision: Decision) -> Cells:
        if self.decided:
            labels = decide(decision, values)
            return {column: whole_texts(labels[:, j]) for column, j in self.output_of.items()}
        text = probability_texts if self.task.has_classes else shortest_texts
        return {column: text(values[:, j], self.bounds) for column, j in self.output_of.items()}


class Targets(Columns):
    """A column for each of several targets: its class name, or the shortest text of its number.

    Of ordered classes whose metric reads numbers it is the expected class number.
    """

    name = "targets"

    def placeholders(self) -> Placeholders:
        return {name: next(iter(self.classes(j)), 0.0) for j, (name, _) in enumerate(self.task.targets)}

    def suits(self) -> bool:
        return bool(self.task.targets)

    def classes(self, place: int) -> list[str]:
        """The class names in the cells of a target; empty where they are numbers."""
        block = self.task.blocks[place]
        as_number = block.task.ordered and self.reads(place) == "value"
        return [] if as_number else block.task.classes(block.outputs(self.outputs))

    def holds(self, place: int) -> str:
        names = self.classes(place)
        target = f"'{self.task.targets[place][0]}'"
        return f"the class of {target}: {first_few(names, 12)}" if names else f"the number {target}"

    def reads(self, place: int) -> str:
        """What the metric reads of a target; empty where it is none of the metric's."""
        name = self.task.targets[place][0]
        return next((part.metric.input for part in self.metric.parts if part.target == name), "")

    def cells(self, values: Array, decision: Decision) -> Cells:
        """Numbers are whole where the target's metric compares labels."""
        labels, cells = self.task.default_labels(values), {}
        for column, place in self.output_of.items():
            names, numbers, block = self.classes(place), labels[:, place], self.task.blocks[place]
            if names:
                cells[column] = texts(names[int(label)] for label in numbers.tolist())
            elif block.task.has_classes:
                part = values[:, block.columns]
                cells[column] = shortest_texts(part @ block.task.class_numbers(part.shape[1]), self.bounds)
            elif self.reads(place) == "label":
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
            numbers = None if names else cells.astype(np.float64)
            if numbers is not None and block.task.has_classes:
                numbers = between(numbers[:, 0], block.task.class_numbers(len(block.task.known)))
            values[:, block.columns] = np.array(names) == cells if numbers is None else numbers
        return values


class Probability(Probabilities):
    """One probability, of the positive class or of the class that the column is called after."""

    name = "probability"

    placeholders = Kind.placeholders

    def suits(self) -> bool:
        return self.task.two_classes or self.task.label_sets


class Value(Values):
    """One number: a score, a regression's, or the expected class number; a class's where the metric compares labels."""

    name = "value"

    def placeholders(self) -> Placeholders:
        return {"target": 0.0} if self.task.has_classes else super().placeholders()

    def suits(self) -> bool:
        return True

    @property
    def decided(self) -> bool:
        return (self.task.ordered or not self.task.has_classes) and self.reads_labels

    @property
    def output_of(self) -> dict[str, int]:
        return {self.columns[0]: len(self.outputs) - 1} if self.task.ordered else super().output_of

    def cells(self, values: Array, decision: Decision) -> Cells:
        if self.decided:
            return self.whole(values, decision)
        if self.task.ordered:
            return {self.columns[0]: shortest_texts(values @ self.task.class_numbers(values.shape[1]), self.bounds)}
        return super().cells(values, decision)

    def whole(self, values: Array, decision: Decision) -> Cells:
        """Decided numbers or class numbers, within the bounds."""
        labels = decide(decision, values)
        if self.task.ordered:
            labels = self.task.class_numbers(len(self.outputs))[labels.astype(np.int64)]
        return {self.columns[0]: whole_texts(np.clip(labels, *(self.bounds or (-np.inf, np.inf))))}

    def holds(self, place: int) -> str:
        if not self.task.has_classes:
            return super().holds(place) + (", a whole one" if self.decided else "")
        if not self.task.ordered:
            return f"a score that is larger where '{self.outputs[place]}' is more probable"
        numbers = shortest_texts(self.task.class_numbers(len(self.outputs)), None).str.removesuffix(".0")
        pairs = zip(numbers, self.outputs, strict=True)
        words = [name if number == name else f"{number} = {name}" for number, name in pairs]
        return f"the {'' if self.decided else 'expected '}class as a number: {first_few(words, 12)}"


class WholeNumber(Value):
    """The label of a regression."""

    cells = Value.whole

    @property
    def decided(self) -> bool:
        return self.metric.input in ("label", "value")

    def check_column(self, gate: Gate, column: str, word: str) -> Array:
        numbers = gate.numbers(column, self.bounds)
        gate.refuse(numbers != np.round(numbers), column, "has numbers that are not whole")
        return numbers


def between(numbers: Array, grid: Array) -> Array:
    """[rows, classes] shares of the two classes around each of [rows] numbers, whose mean number it is.

    >>> between(np.array([15.0]), np.array([0.0, 10.0, 20.0])).tolist()
    [[0.0, 0.5, 0.5]]
    """
    order, own = np.argsort(grid), np.eye(len(grid))
    return np.stack([np.interp(numbers, grid[order], share[order]) for share in own], axis=1)


COLUMNS = (Targets, Values, Probabilities)
NUMBERS = (Probability, Value)  # after the kinds that hold labels
