"""What sample and facts leave open about classes: refused with the line to write, before anything is trained."""

import re

import numpy as np
import pandas as pd

from foldline.core.cells import all_numbers, numbers
from foldline.core.errors import FoldlineError
from foldline.core.task import BETWEEN, Block
from foldline.scoring.metrics.metric import Metric
from foldline.submission.kind import Kind
from foldline.submission.numbers import Columns, Value

# Where nobody says it, the second of these is the positive class; it is the second by alphabet or number as well.
CLEAR = {("0", "1"), ("-1", "1"), ("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"), ("negative", "positive"),
         ("neg", "pos"), ("absent", "present")}  # fmt: skip
# Metrics that say one thing of a class and another of the other, beside those that know two classes only.
ONE_SIDED = re.compile(r"(mean_)?average_precision|weighted_log_loss@.*|.*:.*")


def require_clear(kind: Kind) -> None:
    """Nothing where the competition's words say what each class means.

    Raises:
        FoldlineError: neither `classes` nor the words tell which of two classes is the positive one, though the
            column or the metric is about one of them; numbers of ordered classes that their places do not reach.
    """
    if kind.facts.makes_sample:  # foldline itself is the grader
        return
    for block in kind.task.blocks:
        if block.task.two_classes:
            _require_positive(kind, block)
    if isinstance(kind, Value) and kind.task.ordered:
        _require_reached(kind)


def remark(kind: Kind) -> str:
    """What is odd though the facts say it: a column whose name holds the class that it is not about; else empty."""
    named = _named(kind) if kind.task.two_classes else []
    if named != list(kind.outputs[:1]):
        return ""
    return f"(its name holds '{named[0]}', and `classes` says last: '{kind.outputs[-1]}'. Is that meant?)"


def _require_positive(kind: Kind, block: Block) -> None:
    first, last = block.outputs(kind.outputs)
    prefix = f"{block.name}{BETWEEN}" if block.name else ""
    metric = next((part.metric for part in kind.metric.parts if part.target == block.name), kind.metric)
    unnamed = not block.name and _stands_alone(kind)
    named = _named(kind) if unnamed else []
    given = any(name.startswith(prefix) for name in kind.facts.classes or [])
    clear = tuple(name.strip().lower().removesuffix(".0") for name in (first, last)) in CLEAR
    if given or not (unnamed or _one_sided(metric)) or named == [last] or (clear and not named):
        return
    about = f"column '{kind.columns[0]}' " + (f"names '{named[0]}'" if named else "names neither")
    about = about if unnamed else f"metric '{metric.name}' is about one of them"
    raise FoldlineError(
        f"which class is the positive one? The labels are '{first}' and '{last}', and {about}",
        where=kind.lines.where,
        next=f'write both into the facts, the positive one last: classes: ["{prefix}{last}", "{prefix}{first}"] or '
        f'classes: ["{prefix}{first}", "{prefix}{last}"]',
    )


def _stands_alone(kind: Kind) -> bool:
    """Whether the answers are one column of numbers that is not called after its output."""
    return isinstance(kind, Columns) and len(kind.columns) == 1 and kind.columns[0] not in kind.words


def _named(kind: Kind) -> list[str]:
    """The classes whose names are words of the name of a column that stands alone; numbers are no words."""
    heard = _words(kind.columns[0]) if _stands_alone(kind) else ""
    return [name for name in kind.outputs if re.search(r"[^\W\d_]", name) and _words(name) in heard]


def _words(text: str) -> str:
    """A name's words in small letters, a blank around each.

    >>> _words("P(Non-Defect)"), _words("defect") in _words("is_defective")
    (' p non defect ', False)
    """
    words = re.findall(r"[^\W_]+", text.casefold())
    return f" {' '.join(words)} "


def _one_sided(metric: Metric) -> bool:
    return metric.kinds == ("two_classes",) or bool(ONE_SIDED.fullmatch(metric.name))


def _require_reached(kind: Kind) -> None:
    most = float(np.max(numbers(pd.Series(kind.lines.cells, dtype=str)), initial=-np.inf))
    if most > len(kind.outputs) - 1 and not all_numbers(kind.outputs):
        listed = ", ".join(f'"{name}": "..."' for name in kind.outputs)
        raise FoldlineError(
            f"its numbers go up to {most:g}, and the classes in their order are 0 to {len(kind.outputs) - 1}",
            where=kind.lines.where,
            next=f"give each class its number: train: {{target: {{names: {{{listed}}}}}}}",
        )
