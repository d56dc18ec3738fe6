"""What every fitted head has in common: what it sees, what it is asked, and how columns are scaled. Arrays only."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from foldline.core.task import Array, Task
from foldline.models.probe import Features

Settings = Mapping[str, float]
Parts = Sequence[Features]  # of each source [rows, columns] or [views, rows, columns] float32, side by side


@dataclass(frozen=True)
class Fit:
    """Rows that a head is fitted on.

    Attributes:
        x: what it sees of them.
        truth: as `core.task.Task.truth` gives it, of one target.
        outputs: how many numbers it predicts.
        fixed: the options that are not chosen.
        seed: of what is random.
        new: the place of the class of what no row shows; None: there is none.
    """

    x: Parts
    truth: Array
    task: Task
    outputs: int
    fixed: Settings
    seed: int
    new: int | None = None


# What each of `grid`, in its order, says of each of the asked rows: [asked] arrays [rows, outputs] of probabilities or
# numbers; of a head that is calibrated, scores in which more is likelier. One setting after the other: with thousands
# of classes those of all would not be in memory together.
Answers = Iterator[list[Array]]
Fitter = Callable[[Fit, Sequence[Parts], Sequence[Settings]], Answers]


@dataclass(frozen=True)
class HeadSpec:
    """A head.

    Attributes:
        fit: fits it with every setting of a grid, and asks it.
        grid: the values of each option that are tried where the run does not give it; its other options are fixed.
        kinds: the kinds of tasks that it is for (`core.task.Task.fits`).
        calibrated: whether its scores of classes become probabilities by a fit of their own.
        most_rows: more would take hours, or memory that there is not; 0: any number.
        by_view: whether each view of a picture is a row of its own, fitted on and asked; else it sees the views' mean.
    """

    fit: Fitter
    grid: Mapping[str, Sequence[float]]
    kinds: tuple[str, ...]
    calibrated: bool = False
    most_rows: int = 0
    by_view: bool = False

    def settings(self, options: Mapping[str, Any], rows: int, *, new: bool = False) -> list[dict[str, float]]:
        """What is tried, for so many training rows: each combination of the values; one where all are given.

        Args:
            new: whether there is a class of what no row shows; without it nothing needs a `threshold`.
        """
        found: list[dict[str, float]] = [{}]
        for name, values in self.grid.items():
            if name == "threshold" and not new:
                continue
            tried = [float(options[name])] if options.get(name) else list(values)
            if name == "k":
                tried = sorted({min(value, rows) for value in tried})
            found = [{**one, name: value} for one in found for value in tried]
        return found


@dataclass(frozen=True)
class Scaler:
    """Centres columns and divides them by their deviation, so that each source's columns together have variance 1:
    a source of many columns outweighs none of few."""

    means: list[Array]
    scales: list[Array]

    @classmethod
    def of(cls, x: Parts, least: float) -> Self:
        """Fitted on these rows.

        Args:
            least: of the root mean square deviation of a source's columns: no column is divided by less.
        """
        means = [part.mean(axis=0, dtype=np.float64) for part in x]
        stds = [part.std(axis=0, dtype=np.float64) for part in x]
        scales = [np.maximum(std, least * float(np.sqrt((std**2).mean()))) for std in stds]
        for scale in scales:
            scale[scale < 1e-6] = np.inf  # a dead column carries nothing
        return cls(means, [scale * np.sqrt(len(scale)) for scale in scales])

    def __call__(self, x: Parts) -> Array:
        """[rows, columns] of all sources."""
        scaled = [(part - mean) / scale for part, mean, scale in zip(x, self.means, self.scales, strict=True)]
        return np.asarray(np.concatenate(scaled, axis=1) / np.sqrt(len(scaled)))
