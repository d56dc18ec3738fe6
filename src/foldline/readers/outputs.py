"""What a model has to predict: the ordered classes, or the names of the numbers."""

import pandas as pd

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError, first_few


def find_outputs(frame: pd.DataFrame, facts: Competition) -> list[str]:
    """The outputs of a competition, from the facts or found in its training rows.

    Returns:
        The ordered class names; for a regression the names of the numbers, [""] where there is one.

    Raises:
        FoldlineError: a binary task has not two classes, classes that are no numbers have no order.
    """
    columns = [name.removeprefix("target_") for name in frame.columns if name.startswith("target_")]
    if not facts.task.has_classes:
        return [""] if "target" in frame.columns else columns
    if not facts.task.single_label:
        return columns
    classes = facts.classes or sorted_classes(frame["target"].unique().tolist())
    if facts.task.two_classes and len(classes) != 2:
        raise FoldlineError(
            f"a binary task has two classes, the labels are {first_few(classes)}",
            next="correct 'target' or 'task' in the facts",
        )
    if len(classes) < 2:
        raise FoldlineError(
            f"the labels hold one class only: {first_few(classes)}", next="correct 'target' in the facts"
        )
    if facts.task.ordered and facts.classes is None and not all(_is_number(name) for name in classes):
        raise FoldlineError(
            "an ordinal task needs the order of its classes", next=f"add to the facts: classes: [{', '.join(classes)}]"
        )
    return classes


def sorted_classes(names: list[str]) -> list[str]:
    """Numbers by value, anything else by its text.

    >>> sorted_classes(["10", "9", "1"]), sorted_classes(["b", "a", "10"])
    (['1', '9', '10'], ['10', 'a', 'b'])
    """
    return sorted(names, key=float) if all(_is_number(name) for name in names) else sorted(names)


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False
