"""The sample submission of a competition that has none, as text: written piece by piece, since a wide one is large."""

from collections.abc import Iterator, Sequence

import pandas as pd

from foldline.core.competition import Competition
from foldline.submission.form import make_sample
from foldline.submission.kinds import KINDS

LINE_END = "\0\n"  # stands in no cell


def sample_text(test: pd.DataFrame, facts: Competition, outputs: Sequence[str], rows: int = 1000) -> Iterator[str]:
    """The CSV text of `make_sample`, so many test rows at a time: 50,000 of them x 5,000 classes are a gigabyte."""
    key = "entity" if "entity" in test.columns else "row_id"
    entities = test[[key]].drop_duplicates()
    first = make_sample(entities.iloc[:1], facts, outputs)
    yield first.iloc[:0].to_csv(index=False, lineterminator="\n")
    placeholders = first.iloc[:1, 1:].to_csv(index=False, header=False, lineterminator="\n")  # those of every line
    name = facts.submission.kind if facts.submission.kind != "auto" else facts.task.sample
    kind = KINDS[name](facts, outputs)
    for start in range(0, len(entities), rows):
        ids = kind.line_ids(entities[key].iloc[start : start + rows].tolist())
        text = pd.DataFrame({key: ids, "": ""}).to_csv(index=False, header=False, lineterminator=LINE_END)
        yield text.replace(LINE_END, placeholders)
