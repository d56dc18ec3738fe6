"""`folds/<comp>.json`: what the folds are, and what they were made from."""

from typing import Any, ClassVar

from foldline.core.records.record import Part, Record
from foldline.core.task import TaskField


class MadeFrom(Part):
    """What the rows came from, besides the facts that shape them.

    Attributes:
        manifest_sha256: of `manifest.json`.
        submission: the facts' `submission`, without defaults.
        tables: the sha256 of the raw tables that rows are read from, by their path below `input/<comp>`.
    """

    manifest_sha256: str
    submission: dict[str, Any]
    tables: dict[str, str] = {}


class FoldsMeta(Record):
    """The folds of a competition.

    Attributes:
        splitter: the one that was used.
        outputs: the ordered class names, or the names of the numbers of a regression.
        counts: of each class, or of each target.
        rows: how many training rows; test_rows: how many test rows.
        sha256: of the written tables: folds, test, and where they are, solution and sample.
        facts: the facts that shape the folds, without defaults.
        checks: what the checks found, in words.
    """

    made_by: ClassVar[str] = (
        "delete folds/<comp>.csv and .json, then make folds (runs on the old folds cannot be blended with new ones)"
    )

    comp: str
    task: TaskField
    k: int
    seed: int
    splitter: str
    outputs: list[str]
    counts: dict[str, Any]
    rows: int
    test_rows: int
    sha256: dict[str, str]
    facts: dict[str, Any]
    made_from: MadeFrom
    checks: list[str]
