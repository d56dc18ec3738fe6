"""What predictions say in one word, and how far the folds agree. Arrays in, columns of a table out."""

import numpy as np

from foldline.core.task import Array, Block, Task
from foldline.scoring.decide import Decision, decide

SEVERAL_LABELS = "|"  # between the classes of a row that has several


def label_columns(task: Task, prob: Array, decision: Decision | None) -> dict[str, list[str]]:
    """What is decided: `label`, or `label_<target>` of several targets; of a set the classes joined by `|`.

    Args:
        task: with its outputs known.
        prob: [rows, outputs].
        decision: the run's; None: the task's default. Numbers (regression) have labels only where a decision says so.
    """
    columns = {}
    for block, labels in decided(task, prob, decision):
        if labels is not None:
            names = block.outputs(task.known)
            columns[f"label_{block.name}" if block.name else "label"] = [
                _word(block.task, names, row) for row in labels
            ]
    return columns


def decided(task: Task, prob: Array, decision: Decision | None) -> list[tuple[Block, Array | None]]:
    """Each block with its labels: [rows] class indices or numbers, or [rows, classes] 0 and 1.

    None for numbers that nothing decides; else as `label_columns`.
    """
    found: list[tuple[Block, Array | None]] = []
    for block in task.blocks:
        plain, values = decision is None or decision.kind == "blocks", prob[:, block.columns]
        if plain and not block.task.has_classes:
            found.append((block, None))
        else:
            labels = block.task.default_labels(values) if decision is None or plain else decide(decision, values)
            found.append((block, labels))
    return found


def _word(task: Task, names: list[str], label: Array | np.float64) -> str:
    if not task.has_classes:
        return f"{float(label):g}"
    if task.label_sets:
        return SEVERAL_LABELS.join(name for name, here in zip(names, np.ravel(label), strict=True) if here)
    return names[int(label)]


def spread_columns(task: Task, values: Array) -> dict[str, Array]:
    """How far the folds are apart: `spread`, or `spread_<target>` of several targets.

    The standard deviation (ddof 1) over the folds of the output in which they differ most: of a probability, or of the
    number in its own unit; nan of a single fold.

    Args:
        task: with its outputs known.
        values: [folds, rows, outputs].
    """
    columns = {}
    for block in task.blocks:
        part = values[:, :, block.columns].astype(np.float64)
        alone = np.full(values.shape[1], np.nan)
        apart = part.std(axis=0, ddof=1).max(axis=1) if len(part) > 1 else alone
        columns[f"spread_{block.name}" if block.name else "spread"] = apart
    return columns
