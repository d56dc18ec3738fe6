"""Ids that nobody has seen, in the form of those that are there."""

import re
from collections.abc import Iterable

import numpy as np

from foldline.readers.templates import split_suffix

TRIES = 20  # before an id gets a digit more


class NewIds:
    """Ids like existing ones: their letters, marks and picture endings stay, their digits are drawn.

    >>> NewIds(["ISIC_0015719.jpg"], seed=0).like("ISIC_0015719.jpg")
    'ISIC_0652300.jpg'
    """

    def __init__(self, taken: Iterable[str], seed: int) -> None:
        self.taken = set(taken)
        self.rng = np.random.default_rng(seed)

    def like(self, text: str) -> str:
        """An id of the form of `text` (of a path the last name) that is not taken, and is from now on."""
        folder, slash, name = text.rpartition("/")
        stem, suffix = split_suffix(name)
        stem = stem if re.search(r"\d", stem) else f"{stem}1"
        for tried in range(1, 100 * TRIES):
            new = f"{folder}{slash}{re.sub(r'[0-9]+', self._number, stem)}{suffix}"
            if new not in self.taken:
                break
            stem += "1" if tried % TRIES == 0 else ""
        self.taken.add(new)
        return new

    def _number(self, run: "re.Match[str]") -> str:
        """As many digits; what is padded with zeros keeps the first of them, and nothing else begins with one."""
        digits = "".join(map(str, self.rng.integers(0, 10, len(run[0]))))
        padded = run[0].startswith("0") and len(run[0]) > 3
        return f"{0 if padded else self.rng.integers(1, 10)}{digits[1:]}"
