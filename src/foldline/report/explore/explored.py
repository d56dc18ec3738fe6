"""Everything that the page shows of a competition before training: its rows, and what was found in their pictures."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import Competition
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.report.explore.file_facts import FileFacts, read_file_facts
from foldline.report.explore.leak import Leaks, probe_leaks
from foldline.report.explore.looks import Looks, look_at
from foldline.report.explore.pairs import Pairs, find_pairs
from foldline.report.explore.rows import Rows, some
from foldline.report.explore.shift import Shift, facts_shift, features_shift

Features = NDArray[np.float32]
MOST_FILES = 20_000  # rows a side whose files are opened and compared with one another
MOST_LOOKS = 3_000  # rows a side whose pictures are decoded in full
WORDS = {  # the kinds of facts that a leak is looked for in
    "bytes": "file size",
    "dimensions": "width and height",
    "format": "format",
    "exif": "EXIF",
    "files": "all of the file",
    "name": "form of the name",
    "order": "order of the names",
    "metadata": "metadata",
}
FAST = 5  # how many times fewer with --fast


@dataclass(frozen=True)
class Frozen:
    """Features of a frozen network for some rows of either side.

    Attributes:
        train, test: [rows, features]; rows as the tables have them.
        said: in place of features, why there are none.
    """

    train: Features | None = None
    test: Features | None = None
    said: str = ""


@dataclass(frozen=True)
class Forecast:
    """What a fold will take. `seconds`: of one fold; `said`: how that was found, or why it is not known."""

    seconds: float | None = None
    folds: int = 0
    said: str = ""


@dataclass(frozen=True)
class Tried:
    """One way to tell training and test rows apart, and which rows of the tables its rows are.

    Attributes:
        by: what was looked at, in words.
        train_at, test_at: the places in `Explored.frame` and `.test` of the rows that the shift speaks of.
    """

    by: str
    shift: Shift
    train_at: NDArray[np.int64]
    test_at: NDArray[np.int64]


@dataclass(frozen=True)
class Explored:
    """A competition, explored.

    Attributes:
        run: the choices that the pictures are read by; `run_name` is theirs, empty where they are the defaults.
        frame, test: the rows of which files were opened: all, or a sample of each side.
        train_facts, test_facts, pairs, leaks: of these rows.
        train_looks, test_looks: of some of these rows.
        shifts: those that could be tried.
        said: what could not be tried, and why, in sentences.
    """

    layout: Layout
    comp: str
    facts: Competition
    run_name: str
    run: Run
    rows: Rows
    frame: pd.DataFrame
    test: pd.DataFrame
    places: NDArray[np.int64]
    train_facts: FileFacts
    test_facts: FileFacts
    train_looks: Looks
    test_looks: Looks
    pairs: Pairs
    leaks: Leaks
    shifts: list[Tried]
    forecast: Forecast
    said: list[str] = field(default_factory=list)

    @property
    def truth(self) -> NDArray[np.float64]:
        """The truth of `frame`."""
        return self.rows.truth[self.places]

    @property
    def sampled(self) -> list[str]:
        """What is of a sample, in sentences."""
        lines = []
        for all_rows, seen, looks, side in (
            (self.rows.frame, self.frame, self.train_looks, "training"),
            (self.rows.test, self.test, self.test_looks, "test"),
        ):
            if len(seen) < len(all_rows):
                lines.append(f"files of {len(seen):,} of {len(all_rows):,} {side} rows, drawn at random")
            if len(looks.rows) < len(seen):
                lines.append(f"pixels of {len(looks.rows):,} of {len(all_rows):,} {side} rows, drawn at random")
        return lines


def explore_rows(
    layout: Layout,
    comp: str,
    facts: Competition,
    run: Run,
    run_name: str,
    rows: Rows,
    *,
    frozen: Callable[[pd.DataFrame, pd.DataFrame], Frozen],
    forecast: Callable[[], Forecast],
    fast: bool = False,
) -> Explored:
    """Opens files, decodes a sample of the pictures, and runs the probes.

    Args:
        frozen: (training rows, test rows) -> their features, where there is a network for them.
        forecast: what a fold will take.
        fast: smaller samples.
    """
    root, less = layout.input(comp), FAST if fast else 1
    places = some(len(rows.frame), MOST_FILES // less)
    frame = rows.frame.iloc[places].reset_index(drop=True)
    test = rows.test.iloc[some(len(rows.test), MOST_FILES // less)].reset_index(drop=True)
    order = [rows.order[row] for row in frame["row_id"] if row in rows.order]
    known = order if len(order) == len(frame) else None  # the raw tables may be others than the folds' now
    train_facts, test_facts = read_file_facts(root, frame, table_order=known), read_file_facts(root, test)
    looks = [
        look_at(root, table, some(len(table), MOST_LOOKS // less), run.data, f"decoding {side} pictures")
        for table, side in ((frame, "training"), (test, "test"))
    ]
    pairs = find_pairs(root, frame, test, rows.hashes, rows.task, rows.outputs)
    leaks = probe_leaks(frame, train_facts, rows.task, rows.outputs)
    shifts, said = _shifts(frame, test, (train_facts, test_facts), (looks[0], looks[1]), pairs, frozen)
    return Explored(
        layout, comp, facts, run_name, run, rows, frame, test, places, train_facts, test_facts, looks[0], looks[1],
        pairs, leaks, shifts, forecast(), said,
    )  # fmt: skip


def _shifts(
    frame: pd.DataFrame,
    test: pd.DataFrame,
    facts: tuple[FileFacts, FileFacts],
    looks: tuple[Looks, Looks],
    pairs: Pairs,
    frozen: Callable[[pd.DataFrame, pd.DataFrame], Frozen],
) -> tuple[list[Tried], list[str]]:
    """The shifts that could be tried, and what could not be and why."""
    if not len(test):
        return [], []
    whole = np.arange(len(frame), dtype=np.int64), np.arange(len(test), dtype=np.int64)
    left, right = some(len(frame), MOST_LOOKS), some(len(test), MOST_LOOKS)
    features = frozen(frame.iloc[left], test.iloc[right])
    by_facts = facts_shift(frame, test, *facts, train_same=pairs.same_train, test_same=pairs.same_test)
    tried = [Tried("file facts", by_facts, *whole)] if by_facts is not None else []
    if features.train is not None and features.test is not None:
        shift = _of_rows(frame, test, left, right, (features.train, features.test), pairs)
        tried += [Tried("what a frozen network sees", shift, left, right)] if shift is not None else []
    left, right = (side.rows[side.whole] for side in looks)
    coarse = looks[0].coarse[looks[0].whole], looks[1].coarse[looks[1].whole]
    shift = _of_rows(frame, test, left, right, coarse, pairs)
    what = "brightness, colour, sharpness and a tiny copy"
    tried += [Tried(what, shift, left, right)] if shift is not None else []
    return tried, [features.said] if features.said else []


def _of_rows(
    frame: pd.DataFrame,
    test: pd.DataFrame,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    features: tuple[Features, Features],
    pairs: Pairs,
) -> Shift | None:
    """The shift by features of some rows of either side."""
    return features_shift(
        frame.iloc[left].reset_index(drop=True),
        test.iloc[right].reset_index(drop=True),
        *features,
        train_same=[pairs.same_train[row] for row in left],
        test_same=[pairs.same_test[row] for row in right],
    )
