"""What a model has to predict: the ordered classes, or the names of the numbers."""

import pandas as pd

from foldline.core.cells import all_numbers, sorted_texts
from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError, first_few
from foldline.core.task import BETWEEN, Task


def find_outputs(frame: pd.DataFrame, facts: Competition) -> list[str]:
    """The outputs of a competition, from the facts or found in its training rows.

    Returns:
        The ordered class names; for a regression the names of the numbers, [""] where there is one; of several
        targets `<target>=<class>`, and `<target>=` of a number.

    Raises:
        FoldlineError: no row has a label, a binary task has not two classes, classes that are no numbers have no order.
    """
    if facts.task.targets:
        outputs = [output for name, part in facts.task.targets for output in _of_target(frame, facts, name, part)]
        named = pd.Index(facts.task.prediction_columns(outputs))
        if not named.is_unique:
            twice = named[named.duplicated()].tolist()
            raise FoldlineError(f"two classes would share the column {first_few(twice)}", next="rename a target")
        return outputs
    columns = [name.removeprefix("target_") for name in frame.columns if name.startswith("target_")]
    if not facts.task.has_classes:
        return [""] if "target" in frame.columns else columns
    if not facts.task.single_label:
        if not columns:
            raise FoldlineError("no row has a label", next="correct 'target' in the facts")
        return columns
    found, new = _classes(frame["target"], facts.task, facts.classes), facts.folds.new_class
    return [*found, *([new] if new and new not in found else [])]


def given_classes(facts: Competition, target: str) -> list[str] | None:
    """The classes of one of several targets where the facts name them, as `<target>=<class>`."""
    prefix = f"{target}{BETWEEN}"
    given = [name.removeprefix(prefix) for name in facts.classes or [] if name.startswith(prefix)]
    return given or None


def _of_target(frame: pd.DataFrame, facts: Competition, name: str, task: Task) -> list[str]:
    cells, given = frame[f"target_{name}"], given_classes(facts, name)
    classes = _classes(cells, task, given) if task.has_classes else [""]
    return [f"{name}{BETWEEN}{label}" for label in classes]


def _classes(cells: "pd.Series[str]", task: Task, given: list[str] | None) -> list[str]:
    classes = given or sorted_texts(cells.unique().tolist())
    where = "" if cells.name == "target" else str(cells.name)
    if task.two_classes and len(classes) != 2:
        raise FoldlineError(
            f"a binary task has two classes, the labels are {first_few(classes)}",
            where=where,
            next="correct 'target' or 'task' in the facts",
        )
    if len(classes) < 2:
        raise FoldlineError(
            f"the labels hold one class only: {first_few(classes)}", where=where, next="correct 'target' in the facts"
        )
    if task.ordered and given is None and not all_numbers(classes):
        prefix = str(cells.name).removeprefix("target_") + BETWEEN if where else ""
        raise FoldlineError(
            "an ordinal task needs the order of its classes",
            where=where,
            next="add to the facts, the lowest first (here they are in the order of the alphabet): "
            f"classes: [{', '.join(prefix + name for name in classes)}]",
        )
    return classes
