"""Which cells of a sample submission are worth keeping: of a wide one not those that are only placeholders."""

from collections.abc import Mapping, Sequence

from foldline.core.competition import Competition
from foldline.submission.kinds import KINDS
from foldline.submission.lines import vocabularies
from foldline.submission.numbers import Columns

WIDE = 32  # columns; a sample of as many or fewer is kept whole
KEPT = 8  # columns at the left of a wider one, of which one is the id


def columns_to_keep(
    header: Sequence[str], facts: Competition, outputs: Sequence[str], names: Mapping[str, str]
) -> list[str]:
    """All columns, but of a wide sample those alone that may name lines: the others are answers of numbers.

    Args:
        header: the sample's columns.
        names: raw label -> class name.
    """
    kept, others, kind = list(header[:KEPT]), header[KEPT:], facts.submission.kind
    numbers = kind == "auto" or (kind in KINDS and issubclass(KINDS[kind], Columns))
    called = any(set(others) <= set(words) for words in vocabularies(facts, outputs, names))
    if len(header) <= WIDE or not (numbers and called):
        return list(header)
    told = repr(facts.submission.model_dump(include={"entity", "output", "extract", "join", "where"}))
    return kept + [column for column in others if column in told]
