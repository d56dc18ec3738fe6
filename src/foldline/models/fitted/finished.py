"""A head that was fitted, chosen and calibrated: what it says of rows, and how it is stored.

Whatever predicts with heads asks here: the stage that fitted them, new pictures, an offline notebook. Arrays only.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from foldline.core.task import Array
from foldline.models.fitted.calibration import Calibration
from foldline.models.fitted.spec import About, Arrays, Head, HeadSpec, Kept, Parts, stacked


@dataclass(frozen=True)
class FinishedHead:
    """The head of a fold and a target.

    Attributes:
        arrays: all of its numbers, by name; texts: of `Kept`.
    """

    spec: HeadSpec
    about: About
    arrays: Arrays
    texts: list[str]

    @classmethod
    def of(cls, spec: HeadSpec, about: About, fitted: Head, calibration: Calibration) -> Self:
        """What is stored of a head; it answers from that alone, so that it says the same wherever it is read again."""
        kept = fitted.kept()
        arrays = {name: np.ascontiguousarray(part) for name, part in {**kept.arrays, **calibration.kept()}.items()}
        return cls(spec, about, arrays, kept.texts)

    @cached_property
    def _head(self) -> Head:
        return self.spec.load(Kept(self.arrays, self.texts), self.about)

    def answers(self, parts: Parts) -> Array:
        """[rows, outputs] probabilities or numbers, the mean over the views.

        Args:
            parts: of each source [views, rows, columns], as the head's fold sees them.

        Raises:
            FoldlineError: a package that the head needs is not installed; too many rows to be ranked together.
        """
        views, count = self.spec.views_of(parts), parts[0].shape[1]
        if not count:
            return np.zeros((0, self.about.outputs))
        found = self._head.answer(self._head.see(stacked(parts, np.arange(count), views)))
        calibrate = Calibration.stored(self.arrays, self.about.task)
        return calibrate(found.reshape(views, -1, self.about.outputs).mean(axis=0))
