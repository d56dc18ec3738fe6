"""What every fitted head has in common: what it sees, what it is asked, and how columns are scaled. Arrays only."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

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


Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Kept:
    """All that the answers of a fitted head depend on, as it is stored.

    Attributes:
        arrays: by name; texts: models that their library writes as text.
    """

    arrays: Arrays
    texts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class About:
    """What a head is for.

    Attributes:
        task: of its target; outputs: how many numbers it predicts.
        settings: that were chosen; fixed: its other options.
        new: the place of the class of what no row showed; None: there is none.
    """

    task: Task
    outputs: int
    settings: Settings
    fixed: Settings
    new: int | None = None


class Head(Protocol):
    """A head with its options. All heads of one fit see rows alike, so that rows are seen once for a whole grid."""

    def see(self, x: Parts) -> Any:
        """What its answers need of rows."""

    def answer(self, seen: Any) -> Array:
        """[rows, outputs] probabilities or numbers; of a head that is calibrated, scores in which more is likelier."""

    def kept(self) -> Kept:
        """What `HeadSpec.load` makes it of."""


# A head for each setting of a grid, in its order, one after the other: with thousands of classes the answers of all
# would not be in memory together.
Fitter = Callable[[Fit, Sequence[Settings]], Iterator[Head]]
Loader = Callable[[Kept, About], Head]


@dataclass(frozen=True)
class HeadSpec:
    """A head.

    Attributes:
        fit: fits it with every setting of a grid; load: makes it of what is stored.
        grid: the values of each option that are tried where the run does not give it; its other options are fixed.
        kinds: the kinds of tasks that it is for (`core.task.Task.fits`).
        calibrated: whether its scores of classes become probabilities by a fit of their own.
        most_rows: more would take hours, or memory that there is not; 0: any number.
        by_view: whether each view of a picture is a row of its own, fitted on and asked; else it sees the views' mean.
    """

    fit: Fitter
    load: Loader
    grid: Mapping[str, Sequence[float]]
    kinds: tuple[str, ...]
    calibrated: bool = False
    most_rows: int = 0
    by_view: bool = False

    def views_of(self, parts: Parts) -> int:
        """How many rows each picture is: one, or one a view."""
        return max(map(len, parts)) if self.by_view else 1

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

    def kept(self) -> Arrays:
        """By name."""
        named = [("mean", self.means), ("scale", self.scales)]
        return {f"{what}_{place}": part for what, parts in named for place, part in enumerate(parts)}

    @classmethod
    def stored(cls, arrays: Arrays) -> Self:
        """What `kept` gave."""
        return cls(numbered(arrays, "mean"), numbered(arrays, "scale"))


def numbered(arrays: Arrays, what: str) -> list[NDArray[Any]]:
    """The arrays `<what>_0`, `<what>_1` ..."""
    return [arrays[f"{what}_{place}"] for place in range(sum(name.startswith(f"{what}_") for name in arrays))]


def stacked(parts: Parts, rows: NDArray[np.int64], views: int) -> Parts:
    """[views * rows, columns] of each source, one view behind the other; of one view alone the mean of all."""
    if views == 1:
        return [part[0, rows] if len(part) == 1 else part[:, rows].mean(axis=0) for part in parts]
    return [np.concatenate([part[view % len(part), rows] for view in range(views)]) for part in parts]
