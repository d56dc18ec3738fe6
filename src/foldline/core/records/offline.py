"""`offline.json`, beside a submission that a notebook without network wrote: what it is made of, in counts."""

from typing import ClassVar

from foldline.core.records.record import Part, Record


class MemberShare(Part):
    """What of a member some rows were predicted with: how many of its folds, and of its views."""

    run: str
    folds: int
    views: int


class RowsAtLevel(Part):
    """How many rows were predicted with these members, folds and views."""

    rows: int
    members: list[MemberShare]


class OfflineReport(Record):
    """A submission of a notebook without network.

    Attributes:
        name: of the bundle.
        sample: the sample submission that was found, below the inputs.
        device: in words.
        limit_seconds: what the notebook may take, from its first line.
        seconds: of each part: read (facts, rows), load (networks), pictures (waiting for them), predict, write; total
            from the notebook's first line.
        images_per_second: pictures through all folds and views, while predicting; None: nothing was predicted.
        rows: test rows that were read, of those that the sample asks for; rows_predicted: by networks.
        rows_not_asked: further rows that were read, which the sample does not ask for.
        lines: of the submission.
        answers: the rows or entities that the sample asks for.
        priors: how many of the answers are the training prior, by the reason why.
        prior_ids: the first hundred of them.
        bad_pictures: the first hundred pictures that cannot be read, and why.
        mended_cells: metadata cells that hold no number where one is needed, taken for missing; and rows that have no
            place among those of their entity, which stand last.
        levels: how many rows were predicted with what; the first is the fullest.
        passes_planned: folds x views, over all members: how many networks' answers make up a row's.
        passes_done: those of the rows that had fewest.
        failed: members that were left out, and the error.
        rehearsed: rows that were predicted by one fold alone.
    """

    made_by: ClassVar[str] = "run the notebook again"

    name: str
    sample: str
    device: str
    limit_seconds: float
    seconds: dict[str, float] = {}
    images_per_second: float | None = None
    rows: int = 0
    rows_predicted: int = 0
    rows_not_asked: int = 0
    lines: int = 0
    answers: int = 0
    priors: dict[str, int] = {}
    prior_ids: dict[str, list[str]] = {}
    bad_pictures: dict[str, str] = {}
    mended_cells: int = 0
    levels: list[RowsAtLevel] = []
    passes_planned: int = 0
    passes_done: int = 0
    failed: dict[str, str] = {}
    rehearsed: int = 0
