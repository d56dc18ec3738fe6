"""The sections of the page, in order: one dictionary line, one function here, one macro in `explored.html` each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldline.report.explore import batch, columns, labels, odd, sizes, split, twins
from foldline.report.explore.explored import WORDS, Explored, Tried
from foldline.report.explore.leak import Finding
from foldline.report.explore.thumbs import Thumb, thumb
from foldline.report.look import formats, palette
from foldline.report.look.palette import Picture

Shown = dict[str, Any] | None
COUNTS = {
    "conflict": "with different labels",
    "across": "of a training and a test row",
    "folds_differ": "in two folds",
    "bytes": "byte for byte the same",
    "near": "nearly the same",
}
TELLING = 8  # pictures of either side that give a shift away


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        show: gives what the macro shows by name; None where there is nothing of the kind.
    """

    title: str
    show: Callable[[Explored], Shown]


def _labels(explored: Explored) -> Shown:
    return {"targets": labels.targets(explored), "folds": explored.rows.k}


def _broken(explored: Explored) -> Shown:
    broken, odds = odd.troubles(explored), odd.oddities(explored)
    return {"broken": broken, "odd": odds, "cards": odd.gallery(explored), "tested": len(explored.test) > 0}


def _duplicates(explored: Explored) -> Shown:
    pairs = explored.pairs
    return {
        "twins": twins.twins(explored),
        "count": pairs.counts.get("pairs", 0),
        "counts": [(words, pairs.counts[name]) for name, words in COUNTS.items() if pairs.counts.get(name)],
        "left_out": pairs.left_out,
    }


def _metadata(explored: Explored) -> Shown:
    found = columns.columns(explored)
    return {"columns": found, "tested": len(explored.rows.test) > 0} if found else None


def _leak(explored: Explored) -> Shown:
    leaks = explored.leaks
    return {"findings": leaks.findings, "figure": leak_figure(leaks.findings), "left_out": leaks.left_out}


def leak_figure(findings: list[Finding]) -> Picture | None:
    """Each kind of facts: its score with interval, beside chance; None where nothing was probed."""
    known = [it for it in findings if np.isfinite(it.score)][:16]
    if not known:
        return None
    metrics = list(dict.fromkeys(it.metric for it in known))
    with palette.drawing():
        figure, axes = palette.canvas(600, 60 + 28 * len(known))
        for place, it in enumerate(reversed(known)):
            colour = palette.WARM if it.grade == "suspected" else palette.ACCENT
            axes.plot([it.low, it.high], [place, place], color=colour, linewidth=2)
            axes.plot(it.score, place, "o", color=colour, markersize=6)
            axes.plot([it.chance, it.chance], [place - 0.35, place + 0.35], color=palette.MUTED, linewidth=1.2)
        names = [f"{WORDS.get(it.name, it.name)}{_of(it.target)}" for it in reversed(known)]
        axes.set_yticks(range(len(known)), names)
        axes.tick_params(axis="y", labelcolor=palette.INK)
        axes.set(xlabel=" or ".join(metrics), ylim=(-0.6, len(known) - 0.4))
        low, high = min(min(it.low, it.chance) for it in known), max(max(it.high, it.chance) for it in known)
        axes.set_xlim(max(-1.0, low - 0.03), min(1.02, max(high, 0.75) + 0.03))
        axes.grid(visible=False, axis="y")
    told = [
        f"{name} {formats.score(it.score, 3)} ({formats.score(it.chance, 2)} is chance)"
        for name, it in zip(reversed(names), known, strict=True)
    ]
    legend = [("accent", "out-of-fold score with 95 % interval"), ("thin", "chance")]
    legend += [("warm", "suspected")] if any(it.grade == "suspected" for it in known) else []
    title = "How well each predicts the label alone"
    return palette.picture(figure, "leaks", title, formats.printable("; ".join(told)), legend=legend)


def _of(target: str) -> str:
    return f" ({formats.printable(target, 20)})" if target else ""


def _shift(explored: Explored) -> Shown:
    if not len(explored.rows.test):
        return None
    return {"tried": [_shown_shift(explored, tried) for tried in explored.shifts], "said": explored.said}


def _shown_shift(explored: Explored, tried: Tried) -> dict[str, Any]:
    """The result, and where there is a shift the pictures that give it away."""
    shift, galleries = tried.shift, list[tuple[str, list[Thumb]]]()
    if shift.grade != "none":
        test = [int(tried.test_at[place]) for place in shift.telling(2 * TELLING)]
        train = [int(tried.train_at[place]) for place in shift.most_test_like(2 * TELLING)]
        galleries = [
            ("Test pictures that give it away", _cards(explored, explored.test, test)),
            ("Training pictures that look most like test", _cards(explored, explored.frame, train)),
        ]
    return {"by": tried.by, "shift": shift, "galleries": galleries}


def _cards(explored: Explored, table: Any, rows: list[int]) -> list[Thumb]:
    root, intensity = explored.layout.input(explored.comp), explored.run.data.intensity
    cards = [thumb(root, table, row, intensity, side_px=160) for row in rows]
    return [card for card in cards if card.uri][:TELLING]


def _batch(explored: Explored) -> Shown:
    return {"batch": batch.batch(explored)}


def _cost(explored: Explored) -> Shown:
    return {"forecast": explored.forecast}


SECTIONS: dict[str, Section] = {
    "labels": Section("Classes and labels", _labels),
    "sizes": Section("Pictures and files", sizes.sizes),
    "broken": Section("Broken and odd pictures", _broken),
    "duplicates": Section("Duplicates", _duplicates),
    "metadata": Section("Metadata against the target", _metadata),
    "leak": Section("Leak probe", _leak),
    "shift": Section("Shift probe: training against test", _shift),
    "folds": Section("Folds", split.split),
    "batch": Section("One augmented batch", _batch),
    "cost": Section("What a fold will take", _cost),
}
