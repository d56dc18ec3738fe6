"""The draw of held-out rows, and the files made of them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldline.core.errors import FoldlineError
from foldline.core.task import TASKS, Task
from foldline.splits.holdout import draw_holdout
from foldline.splits.plan import solution
from foldline.splits.splitters import ToSplit
from foldline.splits.strata import make_strata
from tasks import PLAIN


def table(frame: pd.DataFrame, task: Any, outputs: list[str]) -> ToSplit:
    groups = frame["group"].tolist() if "group" in frame.columns else None
    return ToSplit(frame["row_id"].tolist(), make_strata(frame, task, outputs, ["target", "site"]), groups)


@pytest.mark.parametrize("task", PLAIN)
@pytest.mark.parametrize(("rows", "fraction"), [(2624, 0.25), (100, 0.333), (57, 0.1), (30, 0.9)])
def test_the_count_is_exact_and_the_order_of_rows_changes_nothing(
    make_rows: Any, task: Task, rows: int, fraction: float
) -> None:
    frame, outputs = make_rows(task, rows=rows)
    drawn = draw_holdout(table(frame, task, outputs), fraction, seed=0)
    assert drawn.sum() == round(rows * fraction)
    mixed = frame.sample(frac=1, random_state=1)
    again = draw_holdout(table(mixed, task, outputs), fraction, seed=0)
    assert set(mixed["row_id"][again]) == set(frame["row_id"][drawn])
    assert (draw_holdout(table(frame, task, outputs), fraction, seed=1) != drawn).any()


@pytest.mark.parametrize("seed", range(5))
def test_strata_are_kept(make_rows: Any, seed: int) -> None:
    frame, outputs = make_rows(TASKS["multiclass"], rows=500, seed=seed)
    drawn = draw_holdout(table(frame, TASKS["multiclass"], outputs), 0.2, seed)
    for by in (["target"], ["target", "site"]):
        total, held = frame.groupby(by).size(), frame[drawn].groupby(by).size()
        assert (held.reindex(total.index, fill_value=0) - 0.2 * total).abs().max() < 1
    frame, outputs = make_rows(TASKS["multilabel"], rows=500, seed=seed)
    drawn = draw_holdout(table(frame, TASKS["multilabel"], outputs), 0.2, seed)
    labels = frame[[f"target_{name}" for name in outputs]].astype(int)
    assert (labels[drawn].sum() - 0.2 * labels.sum()).abs().max() <= 2


@pytest.mark.parametrize("task", PLAIN)
@pytest.mark.parametrize("seed", range(3))
def test_groups_stay_whole(make_rows: Any, task: Task, seed: int) -> None:
    frame, outputs = make_rows(task, rows=400, groups=80, seed=seed)
    drawn = draw_holdout(table(frame, task, outputs), 0.25, seed)
    assert set(frame["group"][drawn]).isdisjoint(frame["group"][~drawn])
    assert 0.2 < drawn.mean() < 0.3


def test_a_tiny_share_of_large_groups_still_holds_one_out(make_rows: Any) -> None:
    frame, outputs = make_rows(TASKS["binary"], rows=30)
    frame["group"] = ["a"] * 11 + ["b"] * 10 + ["c"] * 9
    drawn = draw_holdout(table(frame, TASKS["binary"], outputs), 0.01, seed=0)
    assert set(frame["group"][drawn]) == {"c"}
    frame["group"] = "a"
    with pytest.raises(FoldlineError, match="a single group"):
        draw_holdout(table(frame, TASKS["binary"], outputs), 0.5, seed=0)


def test_nothing_to_hold_out_is_an_error(make_rows: Any) -> None:
    frame, outputs = make_rows(TASKS["binary"], rows=20)
    with pytest.raises(FoldlineError, match="leaves 0 test rows"):
        draw_holdout(table(frame, TASKS["binary"], outputs), 0.01, seed=0)


def test_entities_are_the_lines_of_a_solution() -> None:
    held = pd.DataFrame({"row_id": ["1", "2", "3"], "entity": ["p", "p", "q"], "target": ["y", "y", "n"]})
    assert solution(held, ["target"]).to_dict("list") == {"entity": ["p", "q"], "target": ["y", "n"]}
    held.loc[1, "target"] = "n"
    with pytest.raises(FoldlineError, match="1 entity has rows with different labels: p"):
        solution(held, ["target"])


def test_the_draw_is_random_inside_a_stratum(make_rows: Any) -> None:
    """Over seeds each row is held out about equally often."""
    frame, outputs = make_rows(TASKS["binary"], rows=60)
    rows = table(frame, TASKS["binary"], outputs)
    often = np.mean([draw_holdout(rows, 0.25, seed) for seed in range(200)], axis=0)
    assert often.min() > 0.1
    assert often.max() < 0.45
