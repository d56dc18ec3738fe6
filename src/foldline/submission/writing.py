"""Writes a submission block by block: under a temporary name, through the gate, and only then under its own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from foldline.core.csv_blocks import write_csv_blocks
from foldline.core.tables import atomic_path
from foldline.scoring.decide import Decision
from foldline.submission.form import Form
from foldline.submission.source import Source


class Written(NamedTuple):
    """How many lines a submission has, and what a check of its meaning found, in words."""

    lines: int
    found: str


def write_submission(
    path: Path, form: Form, source: Source, decision: Decision | None, *, where: str,
    judge: Callable[[], str] = str, entered: Callable[[Path, str], None] = lambda _, __: None,
) -> Written:  # fmt: skip
    """The file as it lies on the disk passes the gate, or there is none and the former one stays.

    Args:
        where: how errors call the file.
        judge: raises FoldlineError where the cells mean something else than the predictions; default: nobody asks.
        entered: gets the file and what the judge found before the file has its name: where there is a submission, what
            is noted of it is there, too.

    Raises:
        FoldlineError: as `Form.blocks`, `Form.check_file` and the judge.
    """
    with atomic_path(path) as temporary:
        with temporary.open("wb") as handle:
            write_csv_blocks(handle, form.blocks(source, decision))
            handle.flush()
            os.fsync(handle.fileno())  # a full disk shows here, before anything is noted
        written = Written(form.check_file(temporary, where), judge())
        entered(temporary, written.found)
        return written
