"""The classes of a competition, with counts and pictures, or the spread of its numbers."""

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.task import Array, Block
from foldline.report.explore.explored import Explored
from foldline.report.explore.thumbs import Thumb, thumb
from foldline.report.look import formats, palette
from foldline.report.look.palette import Picture
from foldline.splits.strata import class_matrix

Item = TypeVar("Item")
MOST_GALLERIES = 12  # classes whose pictures are shown; of more the largest and the smallest
EACH = 6  # pictures a class
MOST_LINES = 24  # classes that are listed at once; all others behind a click
MOST_LISTED = 2000
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class ClassLine:
    """One class: its rows, their share of all rows, that of the largest class (0 to 1), and the fewest in a fold."""

    name: str
    rows: int
    share: float
    bar: float
    fewest: int | None


@dataclass(frozen=True)
class ShownTarget:
    """One target.

    Attributes:
        name: empty where there is only one.
        lede: in a sentence or two.
        lines: the classes, the largest first; `more` the rest.
        galleries: (title, pictures) of classes, or of numbers from the smallest to the largest.
        figures: of how rows are spread over many classes, labels or numbers.
    """

    name: str
    lede: str
    lines: list[ClassLine] = field(default_factory=list)
    more: list[ClassLine] = field(default_factory=list)
    galleries: list[tuple[str, list[Thumb]]] = field(default_factory=list)
    figures: list[Picture] = field(default_factory=list)


def targets(explored: Explored) -> list[ShownTarget]:
    """Each target of the task."""
    return [
        _classes(explored, block) if block.task.has_classes else _numbers(explored, block)
        for block in explored.rows.task.blocks
    ]


def counts_of(explored: Explored, block: Block) -> NDArray[np.int64]:
    """[classes] the training rows of each; a soft label counts for its largest class."""
    size = len(explored.rows.outputs[block.columns])
    held = class_matrix(block.truth(explored.rows.truth), block.task, size)
    return np.asarray(held.sum(axis=0)).reshape(-1).astype(np.int64)


def label_words(explored: Explored) -> list[str]:
    """[rows of `frame`] what each row's label is, in words."""
    words = [_words(block, explored) for block in explored.rows.task.blocks]
    if len(words) == 1:
        return words[0]
    names = [formats.printable(block.name, 30) for block in explored.rows.task.blocks]
    rows = zip(*words, strict=True)
    return [", ".join(f"{name} {word}" for name, word in zip(names, row, strict=True)) for row in rows]


def _words(block: Block, explored: Explored) -> list[str]:
    names = [formats.printable(name, 40) for name in block.outputs(explored.rows.outputs)]
    truth = block.truth(explored.truth)
    if block.task.single_label:
        return [names[int(value)] for value in truth]
    if block.task.label_sets:
        held = [[names[i] for i in np.flatnonzero(row)] for row in truth]
        return [", ".join(labels[:4]) + (" …" if len(labels) > 4 else "") or "no label" for labels in held]
    if block.task.soft:
        return [f"{names[int(row.argmax())]} {formats.share(float(row.max()))}" for row in truth]
    parts = [[f"{name} {formats.score(float(value), 3)}".strip() for name, value in zip(names, row, strict=True)]
             for row in truth]  # fmt: skip
    return [", ".join(part[:3]) + (" …" if len(part) > 3 else "") for part in parts]


def _classes(explored: Explored, block: Block) -> ShownTarget:
    names = [formats.printable(name, 80) for name in block.outputs(explored.rows.outputs)]
    counts, rows = counts_of(explored, block), len(explored.rows.frame)
    order = [int(i) for i in np.argsort(-counts, kind="stable")] if not block.task.ordered else list(range(len(counts)))
    fewest = _fewest(explored, block)
    lines = [
        ClassLine(
            names[i],
            int(counts[i]),
            counts[i] / max(rows, 1),
            counts[i] / max(counts.max(), 1),
            None if fewest is None else int(fewest[i]),
        )
        for i in order
    ]
    shown, more = (lines, []) if len(lines) <= MOST_LINES else (_ends(lines, MOST_LINES), lines[:MOST_LISTED])
    figures = [_ranks(counts, block)] if len(lines) > MOST_LINES else []
    if block.task.label_sets:
        figures.append(_labels_a_row(block.truth(explored.rows.truth), block))
    chosen = order if len(order) <= MOST_GALLERIES else _ends(order, MOST_GALLERIES)
    galleries = [
        (f"{names[i]} · {counted(int(counts[i]), 'rows')}", pictures)
        for i in chosen
        if (pictures := _examples(explored, block, i))
    ]
    return ShownTarget(block.name, _lede(block, names, counts, rows), shown, more, galleries, figures)


def _ends(items: list[Item], most: int) -> list[Item]:
    """The first and the last."""
    return items[: most // 2] + items[-(most - most // 2) :]


def _lede(block: Block, names: list[str], counts: NDArray[np.int64], rows: int) -> str:
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    text = (
        f"{counted(len(names), 'classes')}; the largest, {names[largest]}, has {counted(int(counts[largest]), 'rows')}"
        f", the smallest, {names[smallest]}, {formats.count(counts[smallest])}."
    )
    if block.task.exclusive:
        share = formats.share(float(counts[largest] / max(rows, 1)))
        text += f" Who always says {names[largest]} is right in {share} of the rows."
    if block.task.soft:
        text += " Labels are shares: a row counts for its largest one."
    return text


def _fewest(explored: Explored, block: Block) -> NDArray[np.int64] | None:
    """[classes] the rows of each in the fold that has the fewest."""
    if not explored.rows.k:
        return None
    size = len(explored.rows.outputs[block.columns])
    held = class_matrix(block.truth(explored.rows.truth), block.task, size)
    fold = explored.rows.frame["fold"].to_numpy()
    parts = [np.asarray(held[fold == k].sum(axis=0)).reshape(-1) for k in range(explored.rows.k)]
    return np.asarray(np.min(parts, axis=0), dtype=np.int64)


def _examples(explored: Explored, block: Block, label: int) -> list[Thumb]:
    """Some pictures of a class that can be decoded, drawn at random, the same ones every time."""
    looks, truth = explored.train_looks, block.truth(explored.truth)
    whole = looks.rows[looks.whole]
    if block.task.single_label:
        held = truth[whole] == label
    elif block.task.label_sets:
        held = truth[whole][:, label] > 0
    else:
        held = truth[whole].argmax(axis=1) == label
    rows = whole[held]
    if not len(rows):
        return []
    drawn = np.random.default_rng(label).permutation(rows)[:EACH]
    return [_thumb(explored, int(row)) for row in drawn]


def _thumb(explored: Explored, row: int, *lines: str) -> Thumb:
    root = explored.layout.input(explored.comp)
    return thumb(root, explored.frame, row, explored.run.data.intensity, *lines, side_px=160)


def _numbers(explored: Explored, block: Block) -> ShownTarget:
    """The spread of each number; pictures from the smallest to the largest of the first."""
    truth, names = block.truth(explored.rows.truth), block.outputs(explored.rows.outputs)
    titles = [formats.printable(name or block.name or "the target", 40) for name in names]
    figures = [
        _spread(values, title, f"spread-{block.target or 0}-{number}")
        for number, (values, title) in enumerate(zip(truth.T[:4], titles, strict=False))
    ]
    looks = explored.train_looks
    rows = looks.rows[looks.whole]
    galleries = []
    if len(rows):
        values = block.truth(explored.truth)[rows, 0]
        order = np.argsort(values, kind="stable")
        places = dict.fromkeys(int(order[round(share * (len(order) - 1))]) for share in np.linspace(0, 1, 2 * EACH))
        cards = [_thumb(explored, int(rows[i]), formats.score(float(values[i]), 3)) for i in places]
        galleries = [(f"From the smallest to the largest {titles[0]}", cards)]
    return ShownTarget(block.name, _number_words(truth[:, 0], titles), galleries=galleries, figures=figures)


def _number_words(values: Array, titles: list[str]) -> str:
    low, quarter, middle, third, high = (formats.score(float(np.quantile(values, share))) for share in QUANTILES)
    distinct = len(np.unique(values))
    few = (
        f" Only {counted(distinct, 'values occur')}: are these classes with an order (task: ordinal)?"
        if distinct <= 10
        else ""
    )
    others = f" {counted(len(titles), 'numbers')} a row; the first four are drawn." if len(titles) > 1 else ""
    middle_half = f"half of the rows lie between {quarter} and {third}, the median is {middle}"
    return f"From {low} to {high}; {middle_half}.{few}{others}"


def _spread(values: Array, title: str, name: str) -> Picture:
    with palette.drawing():
        figure, axes = palette.canvas(440, 240)
        heights, edges = np.histogram(values, min(40, max(8, len(np.unique(values)))))
        axes.stairs(heights, edges, fill=True, color=palette.ACCENT, alpha=0.18)
        axes.stairs(heights, edges, color=palette.ACCENT, linewidth=1.6)
        axes.set(xlabel=title, ylabel="rows")
        axes.locator_params(nbins=6)
    low, high = formats.score(float(values.min())), formats.score(float(values.max()))
    alt = f"How the rows are spread over {title}: from {low} to {high}, mean {formats.score(float(values.mean()))}."
    return palette.picture(figure, name, f"Rows by {title}", alt)


def _ranks(counts: NDArray[np.int64], block: Block) -> Picture:
    ordered = np.sort(counts)[::-1]
    with palette.drawing():
        figure, axes = palette.canvas(440, 240)
        axes.plot(np.arange(1, len(ordered) + 1), np.maximum(ordered, 0.8), color=palette.ACCENT)
        axes.set(xlabel="classes, the largest first", ylabel="rows", yscale="log")
    half = int(np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)) + 1
    rare = int((counts < 10).sum())
    alt = f"Rows of each of {len(counts)} classes, from {ordered[0]} down to {ordered[-1]}."
    caption = f"Half of the rows are of the {half} largest classes; {counted(rare, 'classes have')} fewer than 10 rows."
    return palette.picture(figure, f"ranks-{block.target or 0}", "Rows a class", alt, caption)


def _labels_a_row(truth: Array, block: Block) -> Picture:
    counts = np.bincount(truth.sum(axis=1).astype(np.int64))
    counts = counts if len(counts) <= 30 else np.append(counts[:29], counts[29:].sum())
    with palette.drawing():
        figure, axes = palette.canvas(440, 240)
        axes.bar(np.arange(len(counts)), counts, color=palette.ACCENT, alpha=0.7, width=0.7)
        axes.set(xlabel="labels of a row", ylabel="rows")
        axes.locator_params(axis="x", integer=True)
        axes.grid(visible=False, axis="x")
    alt = f"Labels a row: {truth.sum() / max(len(truth), 1):.2f} on average; {counted(counts[0], 'rows have')} none."
    return palette.picture(
        figure, f"labels-{block.target or 0}", "Labels a row", alt, f"{counted(int(counts[0]), 'rows have')} no label."
    )
