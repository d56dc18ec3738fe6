"""Several runs' OOF predictions on the same rows, as blends are fitted to them. Reads `oof.parquet`; writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foldline.core.competition import Competition
from foldline.core.prediction_blocks import PredictionBlocks
from foldline.scoring.fitted.target import Rows, Target, target_of
from foldline.scoring.metrics.metric import Predicted

MOST = 60_000_000  # numbers of all members that are in memory together: 240 MB


@dataclass(frozen=True)
class OofRuns:
    """The runs' predictions of the same rows.

    Attributes:
        values: [rows, outputs] float32 of each run.
        target: the rows' truth, and how they are scored.
        of_rows: how many rows there are; more than these where they are a sample.
    """

    values: Mapping[str, Predicted]
    target: Target
    of_rows: int

    @property
    def is_sample(self) -> bool:
        """Whether not all rows are here."""
        return len(self.target) < self.of_rows


def read_oof(folders: Mapping[str, Path], facts: Competition, outputs: Sequence[str]) -> OofRuns:
    """The runs' OOF predictions; of more than fit into memory evenly spaced rows (or entities).

    Args:
        folders: each run's, by its name.

    Raises:
        FoldlineError: the runs have not predicted the same rows; a broken file.
    """
    task, names = facts.task.of(outputs), list(folders)
    first = PredictionBlocks(folders[names[0]] / "oof.parquet", task, outputs)
    table = first.rows()
    target = target_of(table, facts, outputs)
    rows = target.sample(MOST // max(1, len(names) * len(outputs)))
    values: dict[str, Predicted] = {}
    for name, folder in folders.items():
        blocks = PredictionBlocks(folder / "oof.parquet", task, outputs, ids=first.ids)
        values[name] = np.concatenate([part[_inside(rows, place)] for place, part in blocks])
    return OofRuns(values, target.where(rows), len(table))


def _inside(rows: Rows, place: slice) -> Rows:
    """Which of a block's rows are among the chosen ones."""
    start, stop = np.searchsorted(rows, [place.start, place.stop])
    return np.asarray(rows[start:stop] - place.start)
