"""The sample submission of a hidden test set: the visible one's lines under new ids. Tables of text."""

from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

from foldline.core.competition import Competition
from foldline.readers.raw_lines import CannotBeMadeError
from foldline.readers.templates import parts_of
from foldline.submission.form import Form


def new_sample(form: Form, facts: Competition, renamed: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """A sample with the lines of a visible row or entity for each new one.

    Args:
        form: of the visible sample.
        renamed: what the lines are about that are copied, and what the copies are about.

    Raises:
        CannotBeMadeError: a line does not spell out what it is about.
    """
    lines = form.kind.lines
    held: dict[str, list[int]] = defaultdict(list)
    for at, name in enumerate(lines.entities):
        held[name].append(at)
    places = [at for old, _ in renamed for at in held[old]]
    names = [pair for pair in renamed for _ in held[pair[0]]]
    sample = form.sample.iloc[places].reset_index(drop=True)
    keys = [column for column in _keys(form, facts) if column in sample.columns]
    named = pd.Series(False, index=sample.index)
    for column in keys:
        cells = [renamed_cell(cell, *pair) for cell, pair in zip(sample[column], names, strict=True)]
        named |= sample[column] != cells
        sample[column] = pd.Series(cells, dtype=str)
    if not named.all():
        raise CannotBeMadeError("the sample's lines do not spell out what they are about")
    if lines.index is not None:
        start = int(form.sample[lines.index].tolist()[0])
        sample[lines.index] = [str(start + at) for at in range(len(sample))]
    return sample


def _keys(form: Form, facts: Competition) -> list[str]:
    """The columns whose cells name a line, or say what it is about."""
    fields = [field for _, field, _ in parts_of(facts.submission.entity or "", where="submission") if field]
    used = {facts.submission.entity or "", *fields, *(field.rpartition(".")[0] for field in fields)}
    return list(dict.fromkeys([*form.kind.lines.keys, *(used | set(facts.submission.extract)) - {""}]))


def renamed_cell(cell: str, old: str, new: str) -> str:
    """A cell with the new name: where it begins with the old one, ends with it, or holds it.

    >>> renamed_cell("1_class1", "1", "27"), renamed_cell("class1_1", "1", "27")
    ('27_class1', 'class1_27')
    """
    if cell.startswith(old):
        return new + cell[len(old) :]
    if cell.endswith(old):
        return cell[: len(cell) - len(old)] + new
    return cell.replace(old, new, 1)
