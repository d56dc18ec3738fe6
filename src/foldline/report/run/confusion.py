"""Which classes are taken for which: the matrix, and the pairs that are confused most often with examples.

Few classes are a table, up to `MOST_DRAWN` one picture whose classes stand in the order of their likeness, and more
have the pairs alone. A run in, what the page shows out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldline.report.look import formats, palette
from foldline.report.look.palette import Picture
from foldline.report.run import analysis, pictures
from foldline.report.run.pictures import Card
from foldline.report.run.reported_run import ReportedRun
from foldline.scoring.row_loss import true_class

MOST_CELLS = 10  # classes of the table
MOST_DRAWN = 100  # classes of the picture
MOST_PAIRS = 20
PAIRS_SHOWN, EXAMPLES = 4, 3  # pairs that have pictures, and pictures of each
TONES = 8  # shares are drawn in so many steps
SPACE = 132  # px: for the names beside and above the picture

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Cell:
    """One cell of the confusion matrix: its rows, and their share of the true class in [0, 1]."""

    rows: int
    share: float
    right: bool


@dataclass(frozen=True)
class Pairs:
    """The pairs that are confused most often.

    Attributes:
        lines: truth, predicted, rows, share of the true class's rows.
        left_out: there are more pairs than lines.
        shown: how many of them have pictures.
    """

    lines: list[dict[str, Any]]
    left_out: bool
    note: str
    cards: list[Card]
    shown: int


def cells(run: ReportedRun) -> list[list[Cell]]:
    """The confusion matrix, labels downwards; empty for multi-label, regression, more than `MOST_CELLS` classes."""
    if not run.task.exclusive or len(run.outputs) > MOST_CELLS:
        return []
    counts = analysis.confusion(run.task, run.truth, run.predicted)
    totals = np.maximum(counts.sum(axis=1), 1)
    return [[Cell(int(n), float(n / totals[i]), i == j) for j, n in enumerate(line)] for i, line in enumerate(counts)]


def alike(counts: Counts) -> list[int]:
    """The classes in an order in which those stand together that are taken for one another.

    Leaves of the average-linkage tree over 1 - (share of a taken for b + share of b taken for a) / 2, turned so that
    neighbours are as alike as they can be (Bar-Joseph et al. 2001, doi:10.1093/bioinformatics/17.suppl_1.S22).

    >>> order = alike(np.array([[5, 0, 5, 0], [0, 5, 0, 5], [5, 0, 5, 0], [0, 5, 0, 5]]))
    >>> sorted(sorted(pair) for pair in (order[:2], order[2:]))
    [[0, 2], [1, 3]]
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(counts) < 3:
        return list(range(len(counts)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    distance = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(np.clip(distance, 0, 1), checks=False), "average", optimal_ordering=True)
    return [int(i) for i in leaves_list(tree)]


def picture(run: ReportedRun) -> Picture | None:
    """The matrix of more classes than a table has room for, and no more than a picture has."""
    classes = len(run.outputs)
    if not run.task.exclusive or not MOST_CELLS < classes <= MOST_DRAWN:
        return None
    counts = analysis.confusion(run.task, run.truth, run.predicted)
    order = list(range(classes)) if run.task.ordered else alike(counts)
    counts = counts[np.ix_(order, order)]
    names = [formats.printable(run.outputs[i], 20) for i in order]
    side = max(8, min(24, 880 // classes)) * classes
    uri = palette.uri_of(_svg(counts, names, side))
    right = formats.share(float(np.trace(counts) / max(counts.sum(), 1)))
    never = int((counts.sum(axis=0) == 0).sum())
    unused = f" {formats.count(never)} of them are never predicted." if never else ""
    alt = f"Confusion matrix of {classes} classes: {right} of the rows lie on its diagonal.{unused}"
    by = "in their own order" if run.task.ordered else "so that those stand together which are taken for one another"
    soft = " The true label is the class with the largest share of the votes." if run.task.soft else ""
    caption = (
        f"True labels downwards, predicted ones (the most probable class) to the right, {by}. The darker, the larger "
        f"the share of the true label's rows.{unused}{soft}"
    )
    legend = [("square", "right"), ("square-warm", "confused")]
    return Picture("confusion", "Confusion matrix", uri, side + SPACE, side + SPACE, alt, caption, legend)


def _svg(counts: Counts, names: list[str], side: int) -> str:
    """The matrix as SVG: of each tone one path, so that thousands of cells stay small; empty cells are left out."""
    from markupsafe import escape

    size, classes = side / len(names), len(names)
    tones = np.ceil(TONES * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).astype(int)
    paths = []
    for colour, mine in (("accent", np.eye(classes, dtype=bool)), ("warm", ~np.eye(classes, dtype=bool))):
        for tone in range(1, TONES + 1):
            places = np.argwhere((tones == tone) & mine)
            path = "".join(f"M{column} {row}h1v1h-1z" for row, column in places)
            opacity = 0.15 + 0.85 * tone / TONES
            paths.append(f'<path d="{path}" fill="var(--{colour})" fill-opacity="{opacity:.2f}"/>' if path else "")
    lines = "".join(f"M0 {i}h{classes}M{i} 0v{classes}" for i in range(0, classes + 1, 1 if classes <= 40 else 10))
    letter = min(11.0, size * 0.95)
    style = f'fill="var(--ink)" font-size="{letter:.1f}"'
    beside = "".join(
        f'<text x="{SPACE - 6}" y="{SPACE + (i + 0.5) * size + 0.35 * letter:.1f}" text-anchor="end" {style}>'
        f"{escape(name)}</text>"
        for i, name in enumerate(names)
    )
    above = "".join(
        f'<text transform="translate({SPACE + (i + 0.5) * size + 0.35 * letter:.1f} {SPACE - 6}) rotate(-90)" {style}>'
        f"{escape(name)}</text>"
        for i, name in enumerate(names)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side + SPACE} {side + SPACE}">'
        f'<g transform="translate({SPACE} {SPACE}) scale({size:g})"><path d="{lines}" stroke="var(--line)" '
        f'stroke-width="{0.7 / size:.3f}"/>{"".join(paths)}</g>{beside}{above}</svg>'
    )


def pairs(run: ReportedRun) -> Pairs | None:
    """The pairs that are confused most often, the commonest with the rows that are surest of the wrong class."""
    if not run.task.exclusive or run.task.two_classes:
        return None
    found = analysis.confused_pairs(run.task, run.truth, run.predicted, most=MOST_PAIRS + 1)
    if not found:
        return None
    true, top = true_class(run.task, run.truth), run.predicted.argmax(axis=1)
    of_class = np.bincount(true, minlength=len(run.outputs))
    lines = [
        {
            "truth": formats.printable(run.outputs[a]), "predicted": formats.printable(run.outputs[b]), "rows": rows,
            "share": rows / of_class[a],
        }
        for a, b, rows in found[:MOST_PAIRS]
    ]  # fmt: skip
    cards = []
    for a, b, _ in found[:PAIRS_SHOWN]:
        rows = np.flatnonzero((true == a) & (top == b))
        surest = rows[np.argsort(-run.predicted[rows, b], kind="stable")[:EXAMPLES]]
        cards += [pictures.card(run, int(i)) for i in surest]
    wrong = int((true != top).sum())
    note = f"{formats.count(wrong)} of {formats.count(len(true))} validation rows are taken for another class."
    return Pairs(lines, len(found) > MOST_PAIRS, note, cards, min(PAIRS_SHOWN, len(found)))
