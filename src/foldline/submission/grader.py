"""A grader that knows the competition's words and nothing of the code that writes: text in, a score out.

What a cell or a header says is looked up by its text: the raw labels, the class names, or (where the facts list
`classes`) their places. So a writer that mixes up places, names, numbers, columns or rows gets another score.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from foldline.core.cells import all_numbers, numbers
from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError, first_few
from foldline.core.task import TASKS, Array, Task
from foldline.scoring.metrics import Metric, metric_for, score

WORDS = ("label", "labels", "label_score", "ranked")
Places = dict[str, int]
TINY = 1e-3  # what sums of labels may differ by


class CannotGradeError(Exception):
    """The sample asks for less than the metric reads."""


@dataclass(frozen=True)
class Grader:
    """Grades cells of text against labels of text.

    Attributes:
        outputs: the class names, or the names of the numbers.
        names: raw label -> class name.
        sample: the cells of the sample's first column of answers.
    """

    facts: Competition
    outputs: Sequence[str]
    names: Mapping[str, str]
    sample: Sequence[str] = ()

    @property
    def task(self) -> Task:
        """The task, its outputs known."""
        return self.facts.task.of(self.outputs)

    @property
    def metric(self) -> Metric:
        """The competition's."""
        return metric_for(self.facts.metric, self.task)

    def score(self, kind: str, cells: pd.DataFrame, labels: pd.DataFrame, asked: Sequence[int]) -> float:
        """The metric of a file; nan where it is undefined.

        Args:
            kind: of the submission.
            cells: a row for each row or entity, a column of text for each of the header; of long lines for each word.
            labels: the target columns of the same rows, as text.
            asked: the places of the outputs that count.

        Raises:
            FoldlineError: a cell that says nothing, or a word that nobody knows.
        """
        task, metric = self.task, self.metric
        truth = task.truth(labels.rename_axis("row_id").reset_index(), self.outputs, where="the folds")
        said = self.read(kind, cells)
        if task.exclusive and len(cells.columns) > 1 and kind != "long":
            said = said / (self.facts.submission.row_sum or 1.0)
        if task.soft and metric.input == "value":
            truth, said = self._in_their_unit(labels, truth, said)
        if task.ordered and metric.input == "value":
            number = class_numbers(self.outputs)
            said = said if said.shape[1] == 1 else said @ number[:, None]
            return score(metric, number[truth.astype(np.int64)][:, None], said, task=TASKS["regression"])
        if len(asked) < len(self.outputs):
            truth, said, task = truth[:, asked], said[:, asked], task.of([self.outputs[j] for j in asked])
        return score(metric, truth, said, task=task)

    def _in_their_unit(self, labels: pd.DataFrame, truth: Array, said: Array) -> tuple[Array, Array]:
        """Shares of 1, but both as they stand where labels add up to one number and the file to another."""
        raw = np.stack([numbers(labels[column]) for column in self.task.target_columns(self.outputs)], axis=1)
        total, whole = raw.sum(axis=1), self.facts.submission.row_sum or 1.0
        same = np.ptp(total) > TINY * total[0] or abs(total[0] - whole) <= TINY * whole
        return (truth, said) if same else (raw, said * whole)

    def asked(self, kind: str, header: Sequence[str]) -> list[int]:
        """The places of the outputs that a file of these columns (of long lines: words) tells of.

        Raises:
            CannotGradeError: the metric needs more than those.
        """
        every, task = list(range(len(self.outputs))), self.task
        if kind in WORDS or (kind != "long" and not task.targets and len(header) == 1):
            return every
        place = self.places(header)
        found = sorted(place[word] for word in header)
        if len(found) == len(task.asked(self.outputs)):
            return every
        if task.exclusive or task.targets:
            lacking = [name for place, name in enumerate(task.asked(self.outputs)) if place not in found]
            raise CannotGradeError(f"the sample does not ask for {first_few(lacking)}, which the metric reads")
        return found

    def read(self, kind: str, cells: pd.DataFrame) -> Array:
        """[rows, outputs] what is said of each output; of ordered classes in one column [rows, 1] their number."""
        task, header = self.task, list(cells.columns)
        if task.targets:
            return self._of_targets(cells)
        if kind in WORDS and task.has_classes:
            return self._of_words([self._split(kind, cell) for cell in cells.iloc[:, 0]], kind)
        said = np.stack([numbers(cells[column]) for column in header], axis=1)
        if task.ordered and len(header) == 1:
            return self._of_class_numbers(said) if self.metric.input == "label" else said
        values = np.zeros((len(cells), len(self.outputs)))
        if task.two_classes and len(header) == 1:
            values += 1 - said
        values[:, self._columns(header)] = said
        return values

    def _columns(self, header: Sequence[str]) -> list[int]:
        """The places of columns of numbers; a single one may have any name: the positive class's, or the only one's."""
        if len(header) == 1 and not any(header[0] in way for way in self._ways()):
            return [list(self.outputs).index((self.facts.classes or self.outputs)[-1])]
        place = self.places(header)
        return [place[column] for column in header]

    def places(self, words: Collection[str], sample: Collection[str] = ()) -> Places:
        """Word -> place among the outputs or targets, by the first way of calling them that holds all of `sample`.

        Args:
            words: that must be understood.
            sample: those of the sample; where no way of calling holds them, they are placeholders.
        """
        ways = self._ways()
        fitting = [way for way in ways if set(sample) <= way.keys()] if sample else []
        way = next(iter(fitting), None) or next((way for way in ways if set(words) <= way.keys()), ways[0])
        strange = sorted(set(words) - way.keys())
        if strange:
            raise FoldlineError(f"a grader who knows {first_few(list(way))} does not know {first_few(strange)}")
        return way

    def _ways(self) -> list[Places]:
        """By raw labels, by class names, by their places in the order that the facts wrote down."""
        if self.task.targets:
            columns = getattr(self.facts.train.target, "columns", None) or []
            return [{name: i for i, name in enumerate(each)} for each in (self.task.asked(self.outputs), columns)]
        named = {name: place for place, name in enumerate(self.outputs)}
        raw = {word: named[name] for word, name in self.names.items() if name in named}
        raw |= {name: place for name, place in named.items() if name not in self.names.values()}
        placed = {str(place): place for place in named.values()} if self.facts.classes else {}
        return [raw, named, placed]

    def _of_words(self, rows: Sequence[Sequence[tuple[str, float]]], kind: str) -> Array:
        sample = {word for cell in self.sample for word, _ in self._split(kind, cell)}
        place = self.places({word for row in rows for word, _ in row}, sample)
        values = np.zeros((len(rows), len(self.outputs)))
        for i, row in enumerate(rows):
            for word, weight in row:
                values[i, place[word]] = weight
        return values

    def _split(self, kind: str, cell: str) -> list[tuple[str, float]]:
        """The words of a cell, and how much each is meant."""
        separator = self.facts.submission.separator
        if kind == "label":
            return [(cell, 1.0)] if cell else []
        if kind == "label_score":
            word, _, sure = cell.strip().rpartition(separator)
            return [(word, float(sure))] if word else []
        words = [word for word in cell.split(separator) if word]
        return [(word, 1 / rank if kind == "ranked" else 1.0) for rank, word in enumerate(words, 1)]

    def _of_class_numbers(self, said: Array) -> Array:
        """Numbers in cells that each must be a class's."""
        hit: Array = (said == class_numbers(self.outputs)).astype(np.float64)
        if not hit.any(axis=1).all():
            raise FoldlineError(f"no class has the number {said[~hit.any(axis=1)][0, 0]:g}")
        return hit

    def _of_targets(self, cells: pd.DataFrame) -> Array:
        place, blocks = self.places(list(cells.columns)), self.task.blocks
        values = np.zeros((len(cells), len(self.outputs)))
        for column in cells.columns:
            block = blocks[place[column]]
            names = block.outputs(self.outputs)
            reads = {part.target: part.metric.input for part in self.metric.parts}.get(block.name)
            if not block.task.has_classes:
                values[:, block.columns] = numbers(cells[column])[:, None]
            elif block.task.ordered and reads == "value":
                values[:, block.columns] = _halfway(numbers(cells[column]), class_numbers(names))
            else:
                hit = np.array(names) == cells[[column]].to_numpy(dtype=object)
                if not hit.any(axis=1).all():
                    raise FoldlineError(f"a cell of '{column}' is none of {first_few(names)}")
                values[:, block.columns] = hit
        return values


def class_numbers(names: Sequence[str]) -> Array:
    """[classes] the names as numbers, or where they are words their places."""
    return numbers(pd.Series(names, dtype=str)) if all_numbers(names) else np.arange(float(len(names)))


def _halfway(said: Array, grid: Array) -> Array:
    """[rows, classes] the weights of the classes below and above each number, whose mean it is."""
    order = np.argsort(grid)
    above = np.clip(np.searchsorted(grid[order], said), 1, len(grid) - 1)
    low, high = grid[order][above - 1], grid[order][above]
    weights, rows = np.zeros((len(said), len(grid))), np.arange(len(said))
    weights[rows, order[above]] = (said - low) / (high - low)
    weights[rows, order[above - 1]] = (high - said) / (high - low)
    return weights
