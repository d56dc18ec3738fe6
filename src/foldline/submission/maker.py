"""The sample submission and the solution of a holdout, shaped as a competition's own would be.

Makes tables in memory; reads and writes nothing.
"""

from collections.abc import Sequence

import pandas as pd

from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.core.task import Task


def sample_submission(
    test: pd.DataFrame, task: Task, outputs: Sequence[str], kind: str, separator: str
) -> pd.DataFrame:
    """One line for each test row (each entity, where there are entities), in the test rows' order.

    The first column is `row_id` (or `entity`). What follows, by kind (auto: by the task):

    | kind | columns | cells |
    |---|---|---|
    | probability (binary) | `target`: of the last class | 0.5 |
    | probabilities (multiclass, soft; multilabel) | one for each class | 1 / classes; 0.5 |
    | label (ordinal) | `target` | the first class |
    | label_score | `target` | the first class and 0.5 |
    | long | `target`: a line for each output, its id `<id>_<output>` | 0.5; regression 0.0 |
    | labels, ranked | `target` | the first class; all classes |
    | value, values (regression) | `target`, or one for each number | 0.0 |
    """
    name = task.sample if kind == "auto" else kind
    if name == "value" and list(outputs) != [""]:
        name = "values"
    share = 0.5 if task.label_sets else round(1 / len(outputs), 6)
    cells: dict[str, dict[str, object]] = {
        "probability": {"target": 0.5},
        "probabilities": dict.fromkeys(outputs, share),
        "label": {"target": outputs[0]},
        "label_score": {"target": f"{outputs[0]}{separator}0.5"},
        "long": {"target": 0.0 if not task.has_classes else 0.5},
        "labels": {"target": outputs[0]},
        "ranked": {"target": separator.join(outputs[:5])},
        "value": {"target": 0.0},
        "values": {output or "target": 0.0 for output in outputs},
    }
    if name not in cells:
        raise unknown("submission kind", name, ["auto", *cells], where="submission.kind")
    ids = test[id_column(test)].drop_duplicates().tolist()
    if name == "long":
        ids = [f"{entity}_{output}" for entity in ids for output in outputs]
    return pd.DataFrame({id_column(test): ids, **{column: [cell] * len(ids) for column, cell in cells[name].items()}})


def solution(held_out: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
    """The id and the label columns of the held-out rows; of an entity once.

    Raises:
        FoldlineError: the rows of an entity have different labels, so that it has no single one.
    """
    ids = id_column(held_out)
    table = held_out[[ids, *targets]].drop_duplicates()
    twice = table.loc[table[ids].duplicated(), ids].tolist()
    if twice:
        raise FoldlineError(
            f"{len(twice)} entities have rows with different labels: {first_few(twice)}",
            where="train.entity",
            next="leave train.entity out, or choose an entity whose rows share a label",
        )
    return table.reset_index(drop=True)


def id_column(test: pd.DataFrame) -> str:
    """What one line of the submission is about: `entity` where the rows have one, else `row_id`."""
    return "entity" if "entity" in test.columns else "row_id"
