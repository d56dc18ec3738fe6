"""Kinds whose cells name classes. What methods mean is said in `kind`."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.task import Array, Task
from foldline.scoring.decide import Decision, decide, top_k
from foldline.submission.decimals import probability_texts, texts
from foldline.submission.gate import Gate
from foldline.submission.kind import Cells, Kind, Placeholders
from foldline.submission.lines import all_whole
from foldline.submission.numbers import WholeNumber

_FRACTION = re.compile(r"[01]?\.\d+([eE]-?\d+)?")


class Labels(Kind):
    """A set of class names in one cell, which may be empty, in the order of the outputs."""

    name = "labels"

    def placeholders(self) -> Placeholders:
        return {"target": self.outputs[0]}

    def suits(self) -> bool:
        return self.task.label_sets and len(self.outputs) > 1

    @cached_property
    def words(self) -> Sequence[str]:
        """Those that hold all words of the cells; of placeholders that are none (0 for every row) the likeliest."""
        seen = {word for cell in self.lines.cells if cell for word in self.split(cell)}
        options = self.lines.options
        likely = [option for option in options if all_whole(option)] if all_whole(seen) else options
        if len(seen) > 1 and likely and likely[0] is not options[0] and list(self.outputs) not in likely:
            likely = []  # places in the written order: such numbers cannot be placeholders
        fitting = [option for option in options if seen <= set(option)] + likely
        if fitting:
            return fitting[0]
        raise FoldlineError(
            f"its answers are whole numbers ({first_few(sorted(seen))}), classes are called {first_few(options[0])}",
            where=self.lines.where,
            next="list `classes` in the order of their numbers, or map raw labels with `train.target.names`",
        )

    @property
    def decided(self) -> bool:
        return self.reads_labels

    @property
    def holds(self) -> str:
        """What a cell holds, in words."""
        return f"the classes of a row, separated by '{self.separator}'"

    @property
    def meaning(self) -> list[str]:
        words = [
            word if word == name else f"{word} = {name}" for word, name in zip(self.words, self.outputs, strict=True)
        ]
        return [f"column '{self.columns[0]}' = {self.holds}: {first_few(words, 12)}"]

    @property
    def separator(self) -> str:
        """What separates the parts of a cell."""
        return self.facts.submission.separator

    @property
    def known(self) -> str:
        """The words, for an error."""
        return f"known: {first_few(list(self.words), 12)}"

    def split(self, cell: str) -> list[str]:
        """The words of a cell."""
        return [word for word in cell.split(self.separator) if word]

    def weight(self, cell: str, rank: int) -> float:
        """The prediction that a word of a cell stands for."""
        return 1.0

    def join(self, rows: Iterable[Iterable[int]]) -> Cells:
        """Cells of several words; refuses words that hold the separator, since nobody could take them apart."""
        broken = [word for word in self.words if self.separator in word]
        if broken:
            raise FoldlineError(
                f"class names hold the separator '{self.separator}': {first_few(broken)}",
                where="setting 'submission.separator'",
            )
        return {self.columns[0]: texts(self.separator.join(self.words[j] for j in row) for row in rows)}

    def write(self, values: Array, decision: Decision) -> Cells:
        labels = decide(decision, values)
        return self.join([[int(row)] if labels.ndim == 1 else np.flatnonzero(row).tolist() for row in labels])

    def check(self, gate: Gate) -> None:
        column, known = self.columns[0], set(self.words)
        rows = [self.split(cell) for cell in gate.frame[column].tolist()]
        strange = np.array([not known.issuperset(row) for row in rows], dtype=bool)
        gate.refuse(strange, column, "has unknown classes", next=f"{self.known}; separated by '{self.separator}'")
        twice = np.array([len(set(row)) < len(row) for row in rows], dtype=bool)
        gate.refuse(twice, column, "names a class twice in one cell")

    def read(self, frame: pd.DataFrame) -> Array:
        place = {word: j for j, word in enumerate(self.words)}
        values = np.zeros((len(frame), len(self.words)))
        for i, cell in enumerate(frame[self.columns[0]].tolist()):
            for rank, word in enumerate(self.split(cell)):
                values[i, place[word]] = self.weight(cell, rank)
        return values


class Ranked(Labels):
    """The k most probable classes, best first, of equal ones the first; read back as 1, 1/2, 1/3 ..."""

    name = "ranked"
    decided = Kind.decided

    @property
    def holds(self) -> str:
        return f"the {counted(self.top_k, 'most probable classes')}, best first, separated by '{self.separator}'"

    def placeholders(self) -> Placeholders:
        return {"target": self.separator.join(self.outputs[: self.top_k])}

    def suits(self) -> bool:
        return metric_k(self.metric.name) > 1

    def weight(self, cell: str, rank: int) -> float:
        return 1 / (rank + 1)

    @property
    def top_k(self) -> int:
        """The setting where somebody wrote it, else the metric's own k, else the setting's default."""
        form, k = self.facts.submission, metric_k(self.facts.metric)
        return form.top_k if "top_k" in form.model_fields_set or k == 1 else k

    def write(self, values: Array, decision: Decision) -> Cells:
        return self.join(top_k(values, self.top_k).tolist())

    def check(self, gate: Gate) -> None:
        column, most = self.columns[0], self.top_k
        gate.require_filled(column)
        super().check(gate)
        lengths = np.array([len(self.split(cell)) for cell in gate.frame[column].tolist()])
        gate.refuse(lengths > most, column, f"has more than {counted(most, 'classes')} in one cell")


def metric_k(metric: str) -> int:
    """How many ranked answers a metric reads: 5 for map@5; 1 for other metrics."""
    family, _, parameter = metric.partition("@")
    return int(float(parameter)) if family in ("map", "top_accuracy", "top_error") and parameter else 1


class Label(Labels):
    """One class name, which may hold the separator; of a regression a whole number."""

    name = "label"

    @classmethod
    def for_task(cls, task: Task) -> type[Kind]:
        return cls if task.has_classes else WholeNumber

    def suits(self) -> bool:
        plain = self.task.exclusive and not (self.task.two_classes or self.task.ordered)
        return not self.task.label_sets and (self.reads_labels or plain)

    @property
    def decided(self) -> bool:
        """Or the metric reads the numbers of the labels."""
        return self.metric.input in ("label", "value")

    @property
    def holds(self) -> str:
        return "the class"

    def split(self, cell: str) -> list[str]:
        return [cell]

    def write(self, values: Array, decision: Decision) -> Cells:
        return {self.columns[0]: texts(self.words[int(label)] for label in decide(decision, values).tolist())}

    def check(self, gate: Gate) -> None:
        gate.require_words(self.columns[0], self.words)


class LabelScore(Labels):
    """One class name and how sure it is, or nothing, which is read back as all 0."""

    name = "label_score"
    probabilities = True
    decided = Kind.decided

    @property
    def holds(self) -> str:
        return "the most probable class and its probability"

    def placeholders(self) -> Placeholders:
        return {"target": f"{self.outputs[0]}{self.separator}0.5"}

    def suits(self) -> bool:
        """Or cells are a class and a fraction; they may be empty, but not all of them."""
        parts = [label_and_score(cell, self.separator) for cell in self.lines.cells if cell]
        known = {word for option in self.lines.options for word in option}
        scored = bool(parts) and all(label in known and _FRACTION.fullmatch(score) for label, score in parts)
        return self.task.single_label and (self.metric.name == "gap" or scored)

    def split(self, cell: str) -> list[str]:
        return [label_and_score(cell, self.separator)[0]] if cell.strip() else []

    def weight(self, cell: str, rank: int) -> float:
        return float(label_and_score(cell, self.separator)[1])

    def write(self, values: Array, decision: Decision) -> Cells:
        if not (self.task.single_label or self.task.soft):
            raise FoldlineError(
                f"a label with its confidence is for classes that exclude each other, not for the task {self.task}",
                where="setting 'submission.kind'",
            )
        labels = decide(decision, values).astype(np.int64)
        score = probability_texts(values[np.arange(len(labels)), labels], self.bounds)
        pairs = zip(labels.tolist(), score, strict=True)
        return {self.columns[0]: texts(f"{self.words[j]}{self.separator}{text}" for j, text in pairs)}

    def check(self, gate: Gate) -> None:
        column, known = self.columns[0], set(self.words)
        parts = [label_and_score(cell, self.separator) for cell in gate.frame[column].tolist()]
        given = (gate.frame[column].str.strip() != "").to_numpy(dtype=bool)
        strange = np.array([label not in known for label, _ in parts], dtype=bool) & given
        hint = f"a cell is a class, '{self.separator}' and its confidence, or empty; {self.known}"
        gate.refuse(strange, column, "has no known class before the confidence", next=hint)
        gate.only(given).numbers(column, self.bounds, cells=texts(score for _, score in parts)[given])


def label_and_score(cell: str, separator: str) -> tuple[str, str]:
    """The two parts of a cell such as `8815 0.03`; the label may hold the separator.

    >>> label_and_score("New York 0.5", " "), label_and_score("8815", " ")
    (('New York', '0.5'), ('', '8815'))
    """
    label, _, score = cell.strip().rpartition(separator)
    return label, score


LABELS = (Ranked, LabelScore, Labels, Label)
