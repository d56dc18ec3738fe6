"""What a task means for columns and arrays: one entry a task in `TASKS`. Nobody else asks for a task by name.

`outputs` is the ordered list of what a model predicts: the class names, or the names of the numbers of a regression
([""] when there is only one). A new task is one entry here; what it cannot say by its fields is a method of a subclass.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, PlainSerializer

from foldline.core.cells import LARGEST, numbers, numbers_of
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few, nearest
from foldline.core.tables import require_columns

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Labels = Literal["class", "set", "shares", "numbers", "several"]
BETWEEN = "="  # stands between a target and its class in the outputs of several targets


@dataclass(frozen=True)
class Task:
    """One kind of problem.

    Attributes:
        name: what the facts call it.
        labels: what the truth of a row is: one class, a set of classes, a share of each, numbers, or several of these.
        activation: what usually turns logits into predictions (`engine.losses.activations`).
        loss: the usual loss (`engine.losses.LOSSES`).
        decision: how labels are decided where nothing is fitted (`scoring.decide`); "blocks": each block's own way.
        sample: the kind of submission where the competition has no sample (`submission`).
        two_classes: there are a negative and a positive class, in this order.
        ordered: the classes have an order, so that a number between two of them means something.
        targets: the name and the task of each of several targets; empty for a task that is one.
        known: the outputs, once the labels are read (`of`).
    """

    name: str
    labels: Labels
    activation: str
    loss: str
    decision: Literal["argmax", "thresholds", "round", "blocks"]
    sample: str
    two_classes: bool = False
    ordered: bool = False
    targets: "tuple[tuple[str, Task], ...]" = ()
    known: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return self.name

    @property
    def single_label(self) -> bool:
        """Whether each row has exactly one class: its `target` cell is the class name."""
        return self.labels == "class"

    @property
    def label_sets(self) -> bool:
        """Whether a row may have several classes at once, or none."""
        return self.labels == "set"

    @property
    def soft(self) -> bool:
        """Whether a row's truth is a share of each class."""
        return self.labels == "shares"

    @property
    def has_classes(self) -> bool:
        """Whether outputs are classes; else they are numbers."""
        return self.labels != "numbers"

    @property
    def exclusive(self) -> bool:
        """Whether classes exclude each other, so that the probabilities of a row sum to 1."""
        return self.labels in ("class", "shares")

    def fits(self, kinds: Sequence[str]) -> bool:
        """Whether the task is of one of the kinds that a metric, loss or figure is for.

        >>> TASKS["ordinal"].fits(["numbers", "ordered"]), TASKS["binary"].fits(["set"])
        (True, False)
        """
        traits = {self.labels} | {name for name in ("two_classes", "ordered") if getattr(self, name)}
        return not traits.isdisjoint(kinds)

    @property
    def parts(self) -> "tuple[Task, ...]":
        """The tasks of the targets; the task itself where it is one."""
        return tuple(task for _, task in self.targets) or (self,)

    @property
    def blocks(self) -> "tuple[Block, ...]":
        """The parts of the predictions that are tasks of their own: one, unless there are several targets."""
        return (Block("", self, slice(None), None),)

    def classes(self, outputs: Sequence[str]) -> list[str]:
        """The outputs that are classes."""
        return list(outputs) if self.has_classes else []

    def asked(self, outputs: Sequence[str]) -> list[str]:
        """What a submission asks for: the outputs, or the targets."""
        return [name for name, _ in self.targets] or list(outputs)

    def default_labels(self, prob: Array) -> Array:
        """Labels of predictions [rows, outputs] where nothing is fitted: [rows] class indices or whole numbers,
        [rows, outputs] 0 and 1 for sets, [rows, targets] for several targets. Of equal classes the first leads."""
        if self.decision == "thresholds":
            return np.asarray(prob >= 0.5, dtype=np.float64)
        if self.decision == "round":
            return np.floor(prob[:, 0] + 0.5)
        return np.asarray(prob.argmax(axis=1), dtype=np.float64)

    def of(self, outputs: Sequence[str]) -> Self:
        """The task with its outputs known."""
        return replace(self, known=tuple(outputs))

    def class_numbers(self, classes: int) -> Array:
        """[classes] the number that each class stands for: its name where all names are numbers, else its place.

        >>> TASKS["ordinal"].of(["0", "10", "25"]).class_numbers(3).tolist(), TASKS["ordinal"].class_numbers(2).tolist()
        ([0.0, 10.0, 25.0], [0.0, 1.0])
        """
        named = numbers_of(self.known)
        return named if len(named) == classes and np.isfinite(named).all() else np.arange(classes, dtype=np.float64)

    def nearest_class(self, values: Array, classes: int) -> Array:
        """[rows] the index of the class whose number is nearest to each of [rows] numbers; halfway the later one."""
        distance = np.abs(values[:, None] - self.class_numbers(classes)[::-1])
        return np.asarray(classes - 1 - distance.argmin(axis=1), dtype=np.float64)

    def as_json(self) -> Any:
        """What stands in facts and records; `task_from` reads it."""
        return self.name

    def target_columns(self, outputs: Sequence[str]) -> list[str]:
        """The label columns of a rows table: `target`, or one `target_<output>` each."""
        if self.single_label or list(outputs) == [""]:
            return ["target"]
        return [f"target_{name}" for name in outputs]

    def prediction_columns(self, outputs: Sequence[str]) -> list[str]:
        """The columns of OOF and test predictions: `prob_<class>`, or `value` / `value_<name>`."""
        if not self.has_classes:
            return ["value" if name == "" else f"value_{name}" for name in outputs]
        return [f"prob_{name}" for name in outputs]

    def truth(self, frame: "pd.DataFrame", outputs: Sequence[str], *, where: str) -> Array:
        """The labels of a rows table as numbers.

        Returns:
            [rows] class indices for single-label tasks; [rows, outputs] floats for multi-label (0 or 1), soft labels
            (>= 0, each row sums to 1) and regression; [rows, targets] for several targets.

        Raises:
            FoldlineError: a label is empty, no known class, or no finite number; the first ids are named.
        """
        columns = self.target_columns(outputs)
        require_columns(frame, columns, where=where)
        return self._read(frame, columns, list(outputs), where)

    def _read(self, frame: "pd.DataFrame", columns: list[str], outputs: list[str], where: str) -> Array:
        if self.single_label:
            return class_indices(frame, columns[0], outputs, where)
        values = np.stack([numbers(frame[name]) for name in columns], axis=1)
        _refuse(frame, ~(np.abs(values) <= LARGEST).all(axis=1), "a label that is empty or no finite number", where)
        if self.label_sets:
            _refuse(frame, ~np.isin(values, (0.0, 1.0)).all(axis=1), "a label other than 0 and 1", where)
        if self.soft:
            total = values.sum(axis=1)
            _refuse(frame, (values < 0).any(axis=1) | (total <= 0), "soft labels below 0 or all 0", where)
            values = values / total[:, None]
        return values


@dataclass(frozen=True)
class Block:
    """A part of the predictions that is a task of its own.

    Attributes:
        name: the target; empty where there is only one.
        columns: its place among all outputs.
        target: its place among the targets; None for the one block of a plain task.
    """

    name: str
    task: Task
    columns: slice
    target: int | None

    def truth(self, truth: Array) -> Array:
        """The block's part of `Task.truth`, in the form of the block's own task."""
        if self.target is None:
            return truth
        column = truth[:, self.target]
        return column if self.task.single_label else column[:, None]

    def outputs(self, outputs: Sequence[str]) -> list[str]:
        """What the block's columns are called inside it: without the target's name."""
        return [name.removeprefix(f"{self.name}{BETWEEN}") if self.name else name for name in outputs[self.columns]]


@dataclass(frozen=True)
class Several(Task):
    """Several targets at once, each a task of its own: three graphemes, or a species and a weight.

    Outputs are `<target>=<class>`, and `<target>=` of a number. The truth is [rows, targets]: class indices or numbers.
    """

    @property
    def blocks(self) -> tuple[Block, ...]:
        """One for each target; `of` must have told the outputs."""
        assert self.known, "several targets without their outputs"
        sizes = [sum(output.startswith(f"{name}{BETWEEN}") for output in self.known) for name, _ in self.targets]
        ends = np.cumsum(sizes).tolist()
        blocks = [
            Block(name, task, slice(end - size, end), place)
            for place, ((name, task), size, end) in enumerate(zip(self.targets, sizes, ends, strict=True))
        ]
        return tuple(replace(block, task=block.task.of(block.outputs(self.known))) for block in blocks)

    def __str__(self) -> str:
        return ", ".join(f"{name}: {task}" for name, task in self.targets)

    def as_json(self) -> Any:
        """Target: task."""
        return {name: task.name for name, task in self.targets}

    def classes(self, outputs: Sequence[str]) -> list[str]:
        """The outputs that are classes: all but those of numbers."""
        blocks = self.of(outputs).blocks
        return [name for block in blocks if block.task.has_classes for name in outputs[block.columns]]

    def default_labels(self, prob: Array) -> Array:
        """[rows, targets] class indices and numbers."""
        labels = [
            block.task.default_labels(prob[:, block.columns])
            if block.task.has_classes
            else prob[:, block.columns][:, 0]
            for block in self.blocks
        ]
        return np.stack(labels, axis=1)

    def target_columns(self, outputs: Sequence[str]) -> list[str]:  # noqa: ARG002 - the targets are known
        """`target_<name>` for each target."""
        return [f"target_{name}" for name, _ in self.targets]

    def prediction_columns(self, outputs: Sequence[str]) -> list[str]:
        """`prob_<target>_<class>`, and `value_<target>` of a number."""
        pairs = [output.partition(BETWEEN) for output in outputs]
        return [f"prob_{name}_{label}" if label else f"value_{name}" for name, _, label in pairs]

    def _read(self, frame: "pd.DataFrame", columns: list[str], outputs: list[str], where: str) -> Array:
        blocks = self.of(outputs).blocks
        parts = [
            block.task._read(frame, [column], block.outputs(outputs), where).reshape(-1)
            for block, column in zip(blocks, columns, strict=True)
        ]
        return np.stack(parts, axis=1)


def by_block(function: Callable[..., Array], task: Task, *predictions: Array, **options: Any) -> Array:
    """`function(*predictions, task)` of each block's columns (the last axis), side by side again."""
    parts = [
        function(*(values[..., block.columns] for values in predictions), block.task, **options)
        for block in task.blocks
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def hot_truth(truth: Array, task: Task, outputs: int) -> NDArray[np.float32]:
    """[rows, outputs] float32: 1 for each row's class, or shares, labels and numbers as they are.

    >>> hot_truth(np.array([1.0, 0.0]), TASKS["binary"], 2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    result = np.zeros((len(truth), outputs), dtype=np.float32)
    for block in task.blocks:
        part = block.truth(truth)
        if block.task.single_label:
            result[:, block.columns][np.arange(len(truth)), part.astype(np.int64)] = 1.0
        else:
            result[:, block.columns] = part
    return result


def class_indices(frame: "pd.DataFrame", column: str, classes: Sequence[str], where: str) -> Array:
    """[rows] the place of each label among the classes."""
    number, found = frame[column].factorize()
    place = {name: i for i, name in enumerate(classes)}
    codes = np.array([place.get(label, np.nan) for label in found] + [np.nan])[number]
    _refuse(frame, np.isnan(codes), "a label that is empty or no known class", where)
    return np.asarray(codes, dtype=np.float64)


def _refuse(frame: "pd.DataFrame", bad: Any, what: str, where: str) -> None:
    if bad.any():
        ids = frame.loc[bad, "row_id"].tolist()
        what = f"{counted(len(ids), 'rows have')} {what}: {first_few(ids)}"
        raise FoldlineError(what, where=where, next="mend or drop these rows")


SEVERAL = Several("several", "several", "blocks", "auto", "blocks", "targets")
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("binary", "class", "softmax", "cross_entropy", "argmax", "probability", two_classes=True),
        Task("multiclass", "class", "softmax", "cross_entropy", "argmax", "probabilities"),
        Task("multilabel", "set", "sigmoid", "bce", "thresholds", "probabilities"),
        Task("ordinal", "class", "softmax", "cross_entropy", "argmax", "label", ordered=True),
        Task("regression", "numbers", "identity", "mse", "round", "value"),
        Task("soft", "shares", "softmax", "cross_entropy", "argmax", "probabilities"),
        SEVERAL,
    )
}
# The kinds that metrics, losses and figures are for (`Task.fits`).
EXCLUSIVE = ("class", "shares")
CLASSES = (*EXCLUSIVE, "set")
ALL = (*CLASSES, "numbers", "several")


def task_from(content: Any) -> Task:
    """The task that facts or a record name: an entry of TASKS, or a mapping of several targets to entries.

    Raises:
        ValueError: no such task; a target's name holds `=` or a bracket; a target that cannot be one of several.
    """
    if isinstance(content, Task):
        return content
    if not isinstance(content, Mapping):
        if not isinstance(content, str) or content not in TASKS or content == SEVERAL.name:
            known = [name for name in TASKS if name != SEVERAL.name]
            near = nearest(str(content), known, 1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ValueError(f"{hint}known tasks: {', '.join(known)}; several targets are a mapping, target: task")
        return TASKS[content]
    targets = tuple((str(name), task_from(task)) for name, task in content.items())
    odd = [name for name, task in targets if set("=()") & set(name) or not task.fits(("class", "numbers"))]
    if odd or len(targets) < 2:
        raise ValueError("several targets are two or more, each of one class a row or a number, named without = and ()")
    return replace(SEVERAL, targets=targets)


TaskField = Annotated[Task, BeforeValidator(task_from), PlainSerializer(lambda task: task.as_json())]
