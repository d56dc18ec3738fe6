"""Duplicates and near-duplicates in pairs, to look at."""

from dataclasses import dataclass

from foldline.report.explore.explored import Explored
from foldline.report.explore.labels import label_words
from foldline.report.explore.pairs import Pair, Place
from foldline.report.explore.thumbs import Thumb, thumb
from foldline.report.look import formats

MOST_SHOWN = 24  # pairs
KINDS = {"bytes": "the same file", "pixels": "the same pixels"}


@dataclass(frozen=True)
class Twin:
    """Two pictures; `words` says how alike they are, `marks` what is wrong with that."""

    left: Thumb
    right: Thumb
    words: str
    marks: list[str]


def twins(explored: Explored) -> list[Twin]:
    """The pairs to look at: different labels first, then training and test, then two folds."""
    labels = label_words(explored)
    return [_twin(explored, pair, labels) for pair in explored.pairs.pairs[:MOST_SHOWN]]


def _twin(explored: Explored, pair: Pair, labels: list[str]) -> Twin:
    words = KINDS.get(pair.kind) or f"{pair.distance} of 256 bits differ"
    marks = []
    if pair.labels == "conflict":
        marks.append("different labels")
    if pair.across:
        marks.append("in training and test")
    if pair.folds_differ:
        marks.append("in two folds")
    return Twin(_side(explored, pair.left, labels), _side(explored, pair.right, labels), words, marks)


def _side(explored: Explored, place: Place, labels: list[str]) -> Thumb:
    root, intensity = explored.layout.input(explored.comp), explored.run.data.intensity
    if place.table == "test":
        return thumb(root, explored.test, place.row, intensity, "test row")
    frame = explored.frame
    further = [f"fold {frame['fold'].iloc[place.row]}"] if "fold" in frame.columns else []
    if "group" in frame.columns:
        further.append(f"group {formats.printable(str(frame['group'].iloc[place.row]), 30)}")
    return thumb(root, frame, place.row, intensity, labels[place.row], ", ".join(further))
