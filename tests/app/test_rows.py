"""What rows say, and which of them a page shows, for every task."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from foldline.app.answers import Answer, Row
from foldline.app.rows import Rows, chosen, make_rows
from foldline.app.views import agreement, charts, outputs_to_explain
from foldline.core.task import TASKS, Array, Task, task_from
from foldline.scoring.decide import Decision

SEVERAL = task_from({"colour": "multiclass", "width": "regression"})
# task, outputs, predictions, truth, decision -> predicted, true, right
CASES: dict[str, Any] = {
    "binary": (["no", "yes"], [[0.8, 0.2], [0.6, 0.4]], [0, 1], Decision("threshold", (0.3,)),
               [("no",), ("yes",)], [("no",), ("yes",)], [True, True]),
    "multiclass": (["a", "b", "c"], [[0.8, 0.1, 0.1], [0.3, 0.3, 0.4]], [0, 1], None,
                   [("a",), ("c",)], [("a",), ("b",)], [True, False]),
    "multilabel": (["a", "b"], [[0.8, 0.6], [0.3, 0.4]], [[1, 0], [0, 0]], Decision("thresholds", (0.5, 0.7)),
                   [("a",), ()], [("a",), ()], [True, True]),
    "ordinal": (["0", "1", "2"], [[0.5, 0.1, 0.4], [0, 0, 1]], [0, 2], Decision("cuts", (0.5, 1.5)),
                [("1",), ("2",)], [("0",), ("2",)], [False, True]),
    "soft": (["a", "b"], [[0.8, 0.2], [0.3, 0.7]], [[0.5, 0.5], [0.1, 0.9]], None,
             [("a",), ("b",)], [("a",), ("b",)], [True, True]),
    "regression": ([""], [[1.25], [2]], [[1], [2]], None, [("1.25",), ("2",)], [("1",), ("2",)], None),
    "several": (["colour=red", "colour=blue", "width="], [[0.9, 0.1, 4], [0.8, 0.2, 5]], [[0, 4], [1, 5]], None,
                [("colour=red", "width=4"), ("colour=red", "width=5")],
                [("colour=red", "width=4"), ("colour=blue", "width=5")], [True, False]),
}  # fmt: skip


def rows_of(name: str) -> Rows:
    outputs, prob, truth, decision = CASES[name][:4]
    task: Task = (SEVERAL if name == "several" else TASKS[name]).of(outputs)
    return make_rows(
        task, ["r0", "r1"], ["r0.png", "r1.png"], np.array(prob, dtype=np.float64), decision,
        truth=np.array(truth, dtype=np.float64), folds=np.array([0, 1]),
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_rows_of_every_task_say_what_they_are(name: str) -> None:
    rows, (predicted, true, right) = rows_of(name), CASES[name][4:]
    assert rows.predicted == predicted
    assert rows.true == true
    assert (None if rows.right is None else rows.right.tolist()) == right
    assert ("sure" in rows.sorts) == (name != "regression")
    assert rows.sorts[0] == "loss"


def test_pages_are_filtered_and_sorted() -> None:
    outputs, decision = ["a", "b"], None
    prob: Array = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.55, 0.45]])
    rows = make_rows(
        TASKS["multiclass"].of(outputs), list("wxyz"), list("wxyz"), prob, decision,
        truth=np.array([0.0, 0.0, 1.0, 1.0]), folds=None,
    )  # fmt: skip

    def ids(**asked: Any) -> str:
        given = {"right": None, "true": "", "predicted": "", "sort": "order", **asked}
        return "".join(rows.ids[place] for place in chosen(rows, **given))

    assert ids() == "wxyz"
    assert ids(right=True) == "wy"
    assert ids(right=False, true="a") == "x"
    assert ids(predicted="b") == "xy"
    assert ids(sort="loss") == "xzyw"
    assert ids(sort="unsure") == "zxyw"
    assert ids(sort="sure") == "wyxz"
    assert ids(true="nobody") == ""


def answer_of(name: str, own: int | None = None) -> tuple[Any, Answer]:
    """A run, as far as views ask it, and its answer to the first row: two folds that differ a little."""
    rows, decision = rows_of(name), CASES[name][3]
    truth = np.array(CASES[name][2], dtype=np.float64)
    run = SimpleNamespace(
        task=rows.task, model=SimpleNamespace(decision=decision), reported=SimpleNamespace(truth=truth)
    )
    row = None if own is None else Row("training", 0, own, None)
    answer = Answer(
        "r0", (), "", (0, 1), np.stack([rows.prob[0], rows.prob[1]]), rows.prob[0], rows.predicted[0],
        (rows.predicted[0], rows.predicted[1]), row,
    )  # fmt: skip
    return run, answer


@pytest.mark.parametrize("name", CASES)
def test_charts_of_every_task_have_a_dot_a_fold(name: str) -> None:
    run, answer = answer_of(name)
    found = charts(run, answer)
    lines = [line for chart in found for line in chart.lines]
    assert len(found) == (2 if name == "several" else 1)
    assert len(lines) == len(CASES[name][0])
    assert all(len(line.dots) == 2 and 0 <= dot.left <= 100 for line in lines for dot in line.dots)
    assert [line.name for line in lines if line.decided and line.name] == [
        label.removeprefix("colour=") for label in answer.names if "width" not in label and name != "regression"
    ]
    said = {"regression": "The folds say 1.25 to 2.", "several": "All 2 folds say these classes.",
            "binary": "1 of 2 folds say so.", "ordinal": "1 of 2 folds say so."}  # fmt: skip
    if name in said:
        assert agreement(run.task, answer) == said[name]
    assert outputs_to_explain(run, answer)


def test_thresholds_stand_where_they_decide() -> None:
    run, answer = answer_of("binary")
    assert {line.name: line.tick for line in charts(run, answer)[0].lines} == {"no": None, "yes": 30.0}
    run, answer = answer_of("multilabel")
    assert [line.tick for line in charts(run, answer)[0].lines] == [50.0, 70.0]


def test_folds_that_were_trained_on_the_picture_are_told_apart() -> None:
    run, answer = answer_of("binary", own=1)
    assert [dot.fair for dot in charts(run, answer)[0].lines[0].dots] == [False, True]
    assert "that of fold 1" in agreement(run.task, answer)
    assert np.isnan(answer.spread).all(), "one fair fold has no spread"


def test_many_classes_are_cut_short_and_counted() -> None:
    outputs = [f"c{i}" for i in range(40)]
    prob = np.linspace(1, 2, 40)[None] / np.linspace(1, 2, 40).sum()
    rows = make_rows(TASKS["multiclass"].of(outputs), ["r"], ["r"], prob, None, truth=None, folds=None)
    run: Any = SimpleNamespace(task=rows.task, model=SimpleNamespace(decision=None))
    [chart] = charts(run, Answer("r", (), "", (0,), prob, prob[0], rows.predicted[0], (rows.predicted[0],)))
    assert chart.lines[0].name == "c39"
    assert chart.lines[0].decided
    assert len(chart.lines) + chart.more == 40
    assert chart.more == 28
