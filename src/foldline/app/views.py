"""An answer as a page shows it: bars with a dot a fold, words, pictures. Reads pictures; writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from foldline.app.answers import Answer
from foldline.app.looking import HeatMap
from foldline.app.opened import OpenRun
from foldline.app.rows import Names, Rows, in_digits, same_classes
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Block, Task
from foldline.images.files.decode import BadImageError, Intensity, Pixels, preview, resize
from foldline.report.look import formats
from foldline.report.run.pictures import PIXELATED_PX, data_uri

MOST_LINES = 12  # classes with a bar of their own
LARGE_PX, SMALL_PX = 640, 240


@dataclass(frozen=True)
class Dot:
    """What one fold says.

    Attributes:
        left: its place on the line, 0 to 100.
        words: for a reader who points at it.
        fair: whether the fold did not see the picture in training.
    """

    left: float
    words: str
    fair: bool


@dataclass(frozen=True)
class Line:
    """A class or a number.

    Attributes:
        value, spread: of the answer, in digits; the spread between the folds is empty where there is none.
        left: the end of the bar, 0 to 100.
        tick: where the threshold stands, 0 to 100; None: there is none.
        decided: whether this is the answer, or one of it.
    """

    name: str
    value: str
    spread: str
    left: float
    dots: list[Dot]
    tick: float | None
    decided: bool


@dataclass(frozen=True)
class Chart:
    """The lines of one target.

    Attributes:
        title: the target; empty where there is one.
        ends: the numbers at both ends of the scale.
        bars: whether the line begins at a zero that means something.
        more: classes that have no line.
    """

    title: str
    lines: list[Line]
    ends: tuple[str, str]
    bars: bool
    more: int


@dataclass(frozen=True)
class Thumbnail:
    """A small picture, or why there is none."""

    uri: str
    missing: str = ""
    pixelated: bool = False


def charts(run: OpenRun, answer: Answer) -> list[Chart]:
    """The answer, a chart for each target."""
    return [_chart(run, answer, block) for block in run.task.blocks]


def _chart(run: OpenRun, answer: Answer, block: Block) -> Chart:
    names, prob = block.outputs(run.task.known), answer.prob[block.columns]
    low, high = (0.0, 1.0) if block.task.has_classes else _range(run, answer, block)
    order = np.argsort(-prob, kind="stable") if block.task.has_classes and not block.task.ordered else range(len(prob))
    shown = [int(i) for i in order]
    if len(shown) > MOST_LINES:
        shown = sorted(shown[:MOST_LINES]) if block.task.ordered else shown[:MOST_LINES]
    lines = [_line(run, answer, block, i, names[i], (low, high)) for i in shown]
    ends = in_digits(low), in_digits(high)
    return Chart(formats.printable(block.name), lines, ends, block.task.has_classes, len(names) - len(shown))


def _line(run: OpenRun, answer: Answer, block: Block, i: int, name: str, ends: tuple[float, float]) -> Line:
    column = range(len(run.task.known))[block.columns][i]
    is_class = block.task.has_classes
    dots = [
        Dot(_percent(value, ends), f"fold {fold}: {_digits(value, is_class)}" + ", trained on it" * (not fair), fair)
        for fold, value, fair in zip(
            answer.folds, answer.by_fold[:, column].tolist(), answer.fair.tolist(), strict=True
        )
    ]
    value, spread = float(answer.prob[column]), float(answer.spread[column])
    full = f"{block.name}={name}" if block.name else name
    return Line(
        formats.printable(name, 40), _digits(value, is_class),
        f"± {_digits(spread, is_class)}" if np.isfinite(spread) else "",
        _percent(value, ends), dots, tick(run, i), not is_class or full in answer.names,
    )  # fmt: skip


def _digits(value: float, is_class: bool) -> str:
    return formats.score(value, 2) if is_class else in_digits(value)


def tick(run: OpenRun, i: int) -> float | None:
    """The threshold of a class, where one decides."""
    decision = run.model.decision
    if decision is None or decision.kind not in ("threshold", "thresholds"):
        return 50.0 if run.task.label_sets else None
    if decision.kind == "threshold":
        return 100 * decision.numbers[0] if i == 1 and decision.numbers[0] <= 1 else None
    return 100 * decision.numbers[i] if decision.numbers[i] <= 1 else None


def _range(run: OpenRun, answer: Answer, block: Block) -> tuple[float, float]:
    """The scale of numbers: from the smallest label of the training rows to the largest, and what the folds say."""
    values = np.concatenate([
        block.truth(run.reported.truth).ravel(), answer.by_fold[:, block.columns].ravel()
    ])  # fmt: skip
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _percent(value: float, ends: tuple[float, float]) -> float:
    return round(100 * float(np.clip((value - ends[0]) / (ends[1] - ends[0]), 0, 1)), 2)


def in_words(names: Names) -> str:
    """A row's labels."""
    return ", ".join(formats.printable(name, 60) for name in names) or "no label"


def agreement(task: Task, answer: Answer) -> str:
    """How far the folds say the same."""
    fair = np.flatnonzero(answer.fair)
    names = [answer.by_fold_names[i] for i in fair[np.argsort(answer.by_fold[fair, 0], kind="stable")]]
    if answer.row is not None and answer.row.fold is not None:
        if answer.row.fold not in answer.folds:
            return "The fold that did not see this picture is not trained: every network here was trained on it."
        return (
            f"Out of fold: the answer is that of fold {answer.row.fold}, the only one that was not trained on this "
            "picture. The others (hollow dots) know its label."
        )
    if len(names) < 2:
        return ""
    if not task.classes(task.known):
        return f"The folds say {in_words(names[0])} to {in_words(names[-1])}." if len(task.known) == 1 else ""
    same = sum(same_classes(task, own, answer.names) for own in names)
    what = "so" if all(part.has_classes for part in task.parts) else "these classes"
    return f"{'All' if same == len(names) else f'{same} of'} {counted(len(names), 'folds say')} {what}."


def outputs_to_explain(run: OpenRun, answer: Answer) -> list[tuple[str, int]]:
    """(name, place among the outputs) of what one can ask the networks' reasons for; the answer first."""
    known, taken = list(run.task.known), [run.task.known.index(name) for name in answer.names if name in run.task.known]
    most = np.argsort(-answer.prob, kind="stable").tolist()
    order = list(dict.fromkeys([*taken, *(most if run.task.has_classes else range(len(known)))]))
    return [(formats.printable(known[i], 60) or "the value", int(i)) for i in order[: 4 * MOST_LINES]]


def is_class(run: OpenRun, output: int) -> bool:
    """Whether an output is a class; else it is a number."""
    places = range(len(run.task.known))
    return any(output in places[block.columns] and block.task.has_classes for block in run.task.blocks)


def thumbnail(files: Sequence[Path], intensity: Intensity, side_px: int = SMALL_PX) -> Thumbnail:
    """A picture of at most `side_px`; of several files the first."""
    try:
        pixels = picture(files, intensity)
    except FoldlineError as error:
        return Thumbnail("", formats.printable(error.what, 80))
    return Thumbnail(data_uri(pixels, side_px), "", max(pixels.shape[:2]) < PIXELATED_PX)


def picture(files: Sequence[Path], intensity: Intensity) -> Pixels:
    """[height, width, 3] to look at; raises FoldlineError where it cannot be read."""
    if not files:
        raise FoldlineError("not in the folds file")
    try:
        return preview(files[0], intensity)
    except BadImageError as error:
        raise FoldlineError(str(error)) from error


def overlay(pixels: Pixels, heat: HeatMap) -> str:
    """A data URI of the picture under its heat map: what is hot is bright, what is cold is dark, as in the picture."""
    gray = _on_page(pixels).mean(axis=2, keepdims=True)
    height, width = gray.shape[:2]
    hot = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    colours = cv2.applyColorMap((255 * hot).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    return data_uri(np.ascontiguousarray(((gray + colours) / 2).round(), dtype=np.uint8), LARGE_PX)


def large(pixels: Pixels) -> str:
    """A data URI of the picture at the overlay's size."""
    return data_uri(_on_page(pixels), LARGE_PX)


def _on_page(pixels: Pixels) -> Pixels:
    scale = LARGE_PX / max(pixels.shape[:2])
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return resize(pixels, height, width)


@dataclass(frozen=True)
class Card:
    """A row among others.

    Attributes:
        place: among the rows of its kind.
        right: None where that is not known.
    """

    place: int
    row_id: str
    fold: int | None
    picture: Thumbnail
    true: str
    predicted: str
    value: str
    right: bool | None
    likeness: str = ""


def cards(run: OpenRun, rows: Rows, places: Sequence[int], likeness: Sequence[float] = ()) -> list[Card]:
    """Rows with their pictures."""
    near = [formats.score(value, 2) for value in likeness] or [""] * len(places)
    return [_card(run, rows, place, words) for place, words in zip(places, near, strict=True)]


def _card(run: OpenRun, rows: Rows, place: int, likeness: str) -> Card:
    image = rows.images[place]
    small = thumbnail(run.files(image) if image else (), run.first.spec.intensity)
    return Card(
        place, formats.printable(rows.ids[place], 60), None if rows.folds is None else int(rows.folds[place]), small,
        "" if rows.true is None else in_words(rows.true[place]), in_words(rows.predicted[place]),
        _confidence(rows.prob[place], run), None if rows.right is None else bool(rows.right[place]), likeness,
    )  # fmt: skip


def _confidence(prob: Array, run: OpenRun) -> str:
    """The probability of the class, where there is one."""
    return formats.score(float(prob.max()), 2) if run.task.exclusive and run.reported.probabilities else ""
