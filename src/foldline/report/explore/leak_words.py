"""What a leak probe asked, which facts carry what it found, and how it is said. Arrays in, words out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from foldline.core.task import TASKS, Task
from foldline.report.explore.boosting import Columns, Floats, OutOfFold
from foldline.report.explore.file_facts import FACTS
from foldline.report.look import formats
from foldline.scoring.metrics import metric_for
from foldline.scoring.metrics.forms import as_read_by
from foldline.splits.shuffle import Indices

Grade = Literal["suspected", "weak", "none"]
Nature = Literal["content", "collected", "order", "metadata"]

MOST_CARRIERS = 3
LEAST_DROP = 0.005  # of the score, when a fact is shuffled: below it the fact carries nothing
HOLD = 0.8  # of the rows of each class, from which on the names are said to hold the labels
SIZES = [fact.says for fact in FACTS.values() if fact.kind in ("bytes", "dimensions")]
FEW_VALUES = 8  # a fact of so few values is told by their shares, else by its medians
APART = 0.25  # between the shares of two classes: from here on a share says more than medians
MOST_VALUES = 60  # of a fact, the most frequent, whose shares are looked at


@dataclass(frozen=True)
class Truth:
    """What is asked of one target.

    Attributes:
        target: its name, "" where there is only one.
        kind: one class a row, a set of labels, or numbers.
        values: [rows] class indices, or [rows, outputs] 0 and 1, or numbers.
        names: of the classes, labels or numbers.
        rows: [rows] their places in the table, where some are left out; None: all of them.
    """

    target: str
    kind: Literal["class", "set", "number"]
    values: Floats
    names: list[str]
    rows: Indices | None = None

    @property
    def task(self) -> Task:
        """The task that scores it."""
        of_classes = "binary" if len(self.names) == 2 else "multiclass"
        return TASKS[{"class": of_classes, "set": "multilabel", "number": "regression"}[self.kind]].of(self.names)

    def score(self, metric: str, predicted: Floats) -> float:
        """The score of predictions [rows, outputs]; chance where it is undefined."""
        form, truth, prediction = as_read_by(metric_for(metric, self.task), self.values, predicted, self.task)
        value = float(form.function(truth, prediction))
        return value if np.isfinite(value) else (0.5 if metric == "auc" else 0.0)

    def by_output(self, metric: str, predicted: Floats) -> dict[str, float]:
        """The score of each class against the rest, of each label or of each number."""
        one = Truth("", "number" if self.kind == "number" else "class", self.values, ["no", "yes"])
        result = {}
        for name in self.names:
            values, prediction = self.only(name, predicted)
            result[name] = Truth("", one.kind, values, one.names if one.kind == "class" else [name]).score(
                metric, prediction
            )
        return result

    def only(self, name: str, predicted: Floats) -> tuple[Floats, Floats]:
        """Truth and prediction of one output: [rows] 0 and 1 with [rows, 2], or [rows, 1] numbers."""
        place = self.names.index(name)
        column = predicted[:, place : place + 1]
        if self.kind == "number":
            return self.values[:, place : place + 1], column
        held = self.values[:, place] if self.kind == "set" else (self.values == place).astype(np.float64)
        return held, np.concatenate([1 - column, column], axis=1)

    def parts(self) -> dict[str, "np.typing.NDArray[np.bool_]"]:
        """The rows of each class or label; of one label those without it too; of numbers none."""
        if self.kind == "number":
            return {}
        if self.kind == "class":
            return {name: self.values == place for place, name in enumerate(self.names)}
        held = {name: self.values[:, place] > 0 for place, name in enumerate(self.names)}
        return held if len(held) > 1 else {**held, f"not {self.names[0]}": ~held[self.names[0]]}


@dataclass(frozen=True)
class Carrier:
    """A fact that carries a finding: its name, how much the score drops when the fact is shuffled, and in words."""

    fact: str
    drop: float
    text: str


def carriers(columns: Columns, asked: Truth, prediction: OutOfFold, metric: str) -> list[Carrier]:
    """The facts without which the score would fall, the most important first; at least one."""
    whole = asked.score(metric, prediction.predicted)
    order = np.random.default_rng(0).permutation(len(columns.values))
    drops = []
    for place in range(len(columns.names)):
        shuffled = columns.values.copy()
        shuffled[:, place] = shuffled[order, place]
        drops.append(whole - asked.score(metric, prediction.again(shuffled)))
    best = sorted(range(len(drops)), key=lambda place: (-drops[place], place))
    chosen = [place for place in best[:MOST_CARRIERS] if drops[place] >= LEAST_DROP] or best[:1]
    return [Carrier(columns.names[i], drops[i], _carried(columns, i, asked)) for i in chosen]


def _carried(columns: Columns, place: int, asked: Truth) -> str:
    """How a fact differs between classes, or how it goes with a number; words of tables are not looked into here."""
    name, values = columns.names[place], columns.values[:, place]
    fact = FACTS[name].says if name in FACTS else f"'{formats.printable(name, 40)}'"
    known, parts = np.isfinite(values), asked.parts()
    if not parts:
        if known.sum() < 3:
            return fact
        one = Truth("", "number", asked.values[known][:, :1], asked.names[:1])
        return f"{fact}: rank correlation {formats.change(one.score('spearman', values[known][:, None]))} with it"
    shares = {part: float(known[rows].mean()) for part, rows in parts.items() if rows.any()}
    if max(shares.values()) - min(shares.values()) > APART:
        return f"{fact}: known in {_apart(shares)}"
    apart, said = _by_value(fact, columns, place, parts)
    is_told = columns.words[place] or len(np.unique(values[known])) <= FEW_VALUES or apart > APART
    return said if is_told else _by_median(fact, values, known, parts)


def _by_value(
    fact: str, columns: Columns, place: int, parts: dict[str, "np.typing.NDArray[np.bool_]"]
) -> tuple[float, str]:
    """The frequent value whose share differs most between the classes: by how much, and in words."""
    values, most, said = columns.values[:, place], -1.0, fact
    found, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    for value in found[np.argsort(-counts, kind="stable")[:MOST_VALUES]].tolist():
        shares = {part: float((values[rows] == value).mean()) for part, rows in parts.items() if rows.any()}
        apart = max(shares.values()) - min(shares.values())
        if apart > most:
            most, said = apart, f"{fact}: {columns.says(place, value)} in {_apart(shares)}"
    return most, said


def _by_median(
    fact: str, values: Floats, known: "np.typing.NDArray[np.bool_]", parts: dict[str, "np.typing.NDArray[np.bool_]"]
) -> str:
    medians = {part: float(np.median(values[rows & known])) for part, rows in parts.items() if (rows & known).any()}
    top, bottom = max(medians, key=lambda one: medians[one]), min(medians, key=lambda one: medians[one])
    high, low = medians[top], medians[bottom]
    times = f" ({high / low:.2g} times)" if fact in SIZES and low > 0 and high / low > 1.05 else ""
    return f"{fact}: median {_number(high)} in '{_short(top)}', {_number(low)} in '{_short(bottom)}'{times}"


def _apart(shares: dict[str, float]) -> str:
    top, bottom = max(shares, key=lambda one: shares[one]), min(shares, key=lambda one: shares[one])
    return f"{shares[top]:.0%} of '{_short(top)}', {shares[bottom]:.0%} of '{_short(bottom)}'"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _short(name: str) -> str:
    return formats.printable(name, 40)


def in_words(carried: Sequence[Carrier]) -> str:
    """The carriers as a sentence, with a blank before it; empty where there are none."""
    text = "; ".join(one.text for one in carried)
    return f" {text[:1].upper()}{text[1:]}." if text else ""


TITLES = {
    "bytes": "File size",
    "dimensions": "The pictures' dimensions",
    "format": "The files' format",
    "exif": "EXIF",
    "files": "All facts of the files together",
    "name": "The form of the names",
    "order": "The order of the names",
    "metadata": "The metadata",
}
_MEANS: dict[Nature, str] = {
    "content": "This may be content: busy pictures take more bytes. Look whether it is: where the classes were saved "
    "in different ways, a network can learn that instead",
    "collected": "That is how the data were collected, and not what is seen: a network can learn it from the resized "
    "pixels, and will fail on pictures that were collected otherwise",
    "order": "No network sees names, but the classes were collected one after the other: light, device or place may "
    "have changed with them. Where the test set is in the same order, its labels can be read",
    "metadata": "Given to a network (model.metadata) they help, if they are known before the label is; a column that "
    "is filled in afterwards, or by whoever labelled, is a leak",
}


def said(
    kind: str,
    nature: Nature,
    grade: Grade,
    asked: Truth,
    metric: str,
    score: float,
    by_output: dict[str, float],
    carried: Sequence[Carrier],
) -> tuple[str, str]:
    """The title and the text of a finding."""
    what = f"'{_short(asked.target)}'" if asked.target else "the label"
    best = max(by_output, key=lambda one: by_output[one])
    above = f"; for '{_short(best)}' {by_output[best]:.2f}" if len(by_output) > 2 else ""
    number = f"{'an AUC' if metric == 'AUC' else 'a rank correlation'} of {score:.2f} on rows that were not seen"
    chance = f"chance: {'0.50' if metric == 'AUC' else '0'}{above}"
    alone, title = ("together give" if kind == "files" else "alone gives"), TITLES[kind]
    alone = "alone give" if kind in ("dimensions", "metadata") else alone
    name = "All facts of the files" if kind == "files" else title
    if grade == "none":
        return f"{title}: no sign of {what}", f"{name} {alone} {number} ({chance})."
    words = in_words(carried)
    if grade == "weak":
        return f"{title}: a faint trace of {what}", f"{name} {alone} {number} ({chance}).{words}"
    if nature == "content":
        head = f"{title} goes with {what}: perhaps by content"
        return head, f"{name} {alone} {number} ({chance}).{words} {_MEANS[nature]}."
    return (
        f"{title} predict{'' if kind in PLURAL else 's'} {what}",
        f"{name} {alone} {number} ({chance}).{words} {_MEANS[nature]}.",
    )


PLURAL = ("dimensions", "metadata", "files")


def names_hold_labels(images: Sequence[str], asked: Truth) -> bool:
    """Whether the names of the files say the class, as `cat.12.jpg` does: then their order is the labels'.

    >>> truth = Truth("", "class", np.array([0.0, 1.0]), ["cat", "dog"])
    >>> names_hold_labels(["a/cat.1.jpg", "a/dog.1.jpg"], truth), names_hold_labels(["cat/1.jpg", "dog/2.jpg"], truth)
    (True, False)
    """
    if asked.kind != "class":
        return False
    tokens = [f" {' '.join(_tokens(PurePosixPath(image.split('|')[0]).stem))} " for image in images]
    shares = []
    for place, name in enumerate(asked.names):
        word, rows = " ".join(_tokens(name)), np.flatnonzero(asked.values == place)
        if len(rows) and word and not word.isdigit():
            shares.append(float(np.mean([f" {word} " in tokens[row] for row in rows.tolist()])))
    return len(shares) >= max(1, len(asked.names) - 1) and min(shares) >= HOLD


def _tokens(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+|\d+", text.casefold())
