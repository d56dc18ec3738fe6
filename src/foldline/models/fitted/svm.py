"""The support vector machine with an RBF kernel: of classes one against each other, of labels and numbers each alone.

The kernel is computed at once by a matrix product, and not row by row inside the solver: with a thousand columns that
is most of the time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array, Task
from foldline.models.fitted.spec import About, Arrays, Fit, Kept, Parts, Scaler, Settings, numbered
from foldline.models.probe import LEAST_SCALE

ABSENT = -10.0  # the score of a class that no fitted row showed


@dataclass(frozen=True)
class Machine:
    """One support vector machine: of classes, or of a number.

    Attributes:
        support: [vectors] which of the rows; those of a class lie together.
        dual: [classes - 1, vectors] what each counts against each other class, as LIBSVM gives it; of two classes, and
            of a number, [1, vectors].
        bias: [pairs of classes]; of a number [1].
        present: [classes] that its rows showed; empty of a number.
        counts: [classes] how many of the vectors are theirs.
    """

    support: NDArray[np.int64]
    dual: Array
    bias: Array
    present: NDArray[np.int64]
    counts: NDArray[np.int64]

    def number(self, kernel: Array) -> Array:
        """[asked] of [asked, rows]."""
        return np.asarray(kernel[:, self.support] @ self.dual[0] + self.bias[0])

    def scores(self, kernel: Array, outputs: int) -> Array:
        """[asked, outputs] of [asked, rows]: more is likelier."""
        found = np.full((len(kernel), outputs), ABSENT)
        if len(self.present) == 1:
            found[:, self.present] = 0.0
        elif len(self.present) == 2:
            second = self.number(kernel)
            found[:, self.present] = np.stack([-second, second], axis=1)
        else:
            found[:, self.present] = self._against_all(kernel[:, self.support])
        return found

    def _against_all(self, kernel: Array) -> Array:
        """[asked, classes] the duels that a class wins, and of equal ones those that it wins more clearly: as
        scikit-learn's `decision_function_shape="ovr"`."""
        ends = np.cumsum(self.counts)
        own = [
            kernel[:, end - count : end] @ self.dual[:, end - count : end].T
            for end, count in zip(ends, self.counts, strict=True)
        ]
        votes, sure = (np.zeros((len(kernel), len(own))) for _ in range(2))
        pair = 0
        for first in range(len(own)):
            for second in range(first + 1, len(own)):
                won = own[first][:, second - 1] + own[second][:, first] + self.bias[pair]
                votes[:, first] += won >= 0
                votes[:, second] += won < 0
                sure[:, first] += won
                sure[:, second] -= won
                pair += 1
        return np.asarray(votes + sure / (3 * (np.abs(sure) + 1)))

    def kept(self) -> Arrays:
        """By name."""
        shape = {"support": self.support, "present": self.present, "counts": self.counts}
        return {**shape, "dual": self.dual, "bias": self.bias}


@dataclass(frozen=True)
class SvmHead:
    """Machines on the same rows: one of classes that exclude each other, else one an output.

    Attributes:
        x: the rows, as they came; own: [rows, columns] scaled.
    """

    scaler: Scaler
    x: Parts
    own: Array
    machines: list[Machine]
    about: About

    def see(self, x: Parts) -> Array:
        """[asked, rows] the kernel."""
        return rbf(self.scaler(x), self.own)

    def answer(self, seen: Array) -> Array:
        """[asked, outputs]."""
        task = self.about.task
        if task.single_label:
            return self.machines[0].scores(seen, self.about.outputs)
        return np.stack(
            [one.scores(seen, 2)[:, 1] if task.label_sets else one.number(seen) for one in self.machines], axis=1
        )

    def kept(self) -> Kept:
        """The machines, and the rows that any of them has as a support vector."""
        used = np.unique(np.concatenate([one.support for one in self.machines]))
        found = {**self.scaler.kept(), **{f"row_{place}": part[used] for place, part in enumerate(self.x)}}
        for place, one in enumerate(self.machines):
            moved = replace(one, support=np.searchsorted(used, one.support))
            found |= {f"machine_{place}_{name}": part for name, part in moved.kept().items()}
        return Kept(found)

    @classmethod
    def stored(cls, kept: Kept, about: About) -> Self:
        """What `kept` gave."""
        arrays, machines = kept.arrays, list[Machine]()
        while f"machine_{len(machines)}_support" in arrays:
            names = ("support", "dual", "bias", "present", "counts")
            machines.append(Machine(*(arrays[f"machine_{len(machines)}_{name}"] for name in names)))
        scaler, x = Scaler.stored(arrays), numbered(arrays, "row")
        return cls(scaler, x, scaler(x), machines, about)


def svm(fit: Fit, grid: Sequence[Settings]) -> Iterator[SvmHead]:
    """`c` is what an error costs. The kernel is exp(-d2 / 2) of columns whose total variance is 1, so that rows that
    have nothing in common have d2 = 2 on average. Numbers are predicted in their own unit, classes as scores."""
    scaler = Scaler.of(fit.x, LEAST_SCALE)
    own = scaler(fit.x)
    kernel = rbf(own, own)
    for settings in grid:
        about = About(fit.task, fit.outputs, settings, fit.fixed, fit.new)
        yield SvmHead(scaler, fit.x, own, _machines(fit.task, fit.truth, fit.outputs, kernel, settings["c"]), about)


def rbf(left: Array, right: Array) -> Array:
    """[left, right] exp(-|l - r|^2 / 2)."""
    squared = (left**2).sum(1)[:, None] + (right**2).sum(1)[None, :] - 2 * left @ right.T
    return np.asarray(np.exp(-0.5 * np.maximum(squared, 0.0)))


def _machines(task: Task, truth: Array, outputs: int, kernel: Array, c: float) -> list[Machine]:
    if task.single_label:
        return [_of_classes(truth, kernel, c)]
    columns = truth.reshape(len(kernel), -1).T
    return [(_of_classes if task.label_sets else _of_numbers)(columns[j], kernel, c) for j in range(outputs)]


def _of_classes(labels: Array, kernel: Array, c: float) -> Machine:
    from sklearn.svm import SVC

    present = np.unique(labels).astype(np.int64)
    if len(present) == 1:
        return Machine(np.zeros(0, dtype=np.int64), np.zeros((1, 0)), np.zeros(0), present, np.zeros(0, dtype=np.int64))
    machine: Any = SVC(C=c, kernel="precomputed").fit(kernel, labels.astype(int))
    counts = machine.n_support_.astype(np.int64)
    return Machine(machine.support_.astype(np.int64), machine.dual_coef_, machine.intercept_, present, counts)


def _of_numbers(values: Array, kernel: Array, c: float) -> Machine:
    from sklearn.svm import SVR

    mean, std = values.mean(), values.std() or 1.0
    machine: Any = SVR(C=c, kernel="precomputed", epsilon=0.1).fit(kernel, (values - mean) / std)
    none = np.zeros(0, dtype=np.int64)
    return Machine(
        machine.support_.astype(np.int64), std * machine.dual_coef_, mean + std * machine.intercept_, none, none
    )
