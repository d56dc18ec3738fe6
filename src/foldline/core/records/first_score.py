"""`oof/<comp>/<run>/first_score.json`: the score of the probe on frozen features, before anything is fine-tuned."""

from typing import ClassVar

from foldline.core.records.record import Record


class FirstScore(Record):
    """The probe's out-of-fold score.

    Attributes:
        score: in `metric`; interval: its lower and upper end, at `level`.
        rows: how many are scored, of `of_rows`.
        folds: of how many.
        views: of each picture.
        seconds: since the start of the command.
        how: in words.
    """

    made_by: ClassVar[str] = "delete this file: the next training scores its probe anew"

    metric: str
    score: float | None
    interval: tuple[float | None, float | None]
    level: float = 0.95
    rows: int
    of_rows: int
    folds: int
    views: list[str] = []
    seconds: float = 0.0
    how: str = ""
