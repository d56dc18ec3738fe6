"""The sample submission as the facts describe it. Reads it, and the lookup tables that they name; writes nothing."""

from pathlib import Path

import pandas as pd

from foldline.core.competition import Competition, RowFacts
from foldline.core.tables import read_csv
from foldline.readers.lines import shape_lines
from foldline.readers.templates import fill

_POSITION = " position"  # no column of a file begins with a blank and has this name


def read_sample(path: Path, root: Path, facts: Competition) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The sample submission, and what its lines are about where the facts say it.

    Args:
        path: the sample submission.
        root: `input/<comp>`, where the tables of `submission.join` lie.
        facts: the competition; its `submission` says how ids are taken apart, joined and chosen.

    Returns:
        The sample, every cell a string, without the lines that `submission.where` leaves out; and a table with the
        `entity` (and `output`) of each of its lines, or None where the facts name no `submission.entity`.

    Raises:
        FoldlineError: a table or column that the facts name is not there, an id has no line in a lookup table.
    """
    sample, form = read_csv(path), facts.submission
    if not form.tells_lines:
        return sample, None
    where = f"configs/{root.name}/competition.yaml: submission"
    steps = RowFacts(reader="csv").model_copy(update={"extract": form.extract, "join": form.join, "where": form.where})
    lines = sample.assign(**{_POSITION: [str(i) for i in range(len(sample))]})
    lines = shape_lines(lines, root, steps, where=where)
    kept = sample.iloc[lines[_POSITION].astype(int).tolist()].reset_index(drop=True)
    told = {"entity": form.entity, "output": form.output}
    about = {name: fill(lines, template, where=f"{where}.{name}") for name, template in told.items() if template}
    return kept, pd.DataFrame(about) if about else None
