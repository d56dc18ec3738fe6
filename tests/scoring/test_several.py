"""One score of several targets, and what blends, entities and decisions do with them."""

import numpy as np
import pandas as pd
import pytest

from foldline.core.errors import FoldlineError
from foldline.core.predictions import check_predictions
from foldline.core.task import Array, Several, Task, hot_truth, task_from
from foldline.scoring.blend import BLENDS, blend
from foldline.scoring.decide import fit_decision
from foldline.scoring.entities import aggregate
from foldline.scoring.metrics import metric_for
from scoring.by_shape import paired_difference, score, score_interval

OUTPUTS = ["kind=a", "kind=b", "kind=c", "ill=no", "ill=yes", "kg="]
TARGETS = {"kind": "multiclass", "ill": "binary", "kg": "regression"}
ROWS = 60


def several() -> Task:
    return task_from(TARGETS).of(OUTPUTS)


def example(seed: int = 0) -> tuple[Array, Array]:
    """Labels [rows, targets], and predictions [rows, outputs] that know something of them."""
    rng = np.random.default_rng(seed)
    truth = np.stack([np.arange(ROWS) % 3, np.arange(ROWS) % 2, rng.normal(50, 9, ROWS)], axis=1)
    kind = rng.dirichlet(np.ones(3), ROWS) * 0.7 + np.eye(3)[truth[:, 0].astype(int)] * 0.3
    ill = rng.dirichlet(np.ones(2), ROWS) * 0.6 + np.eye(2)[truth[:, 1].astype(int)] * 0.4
    return truth, np.column_stack([kind, ill, truth[:, 2] + rng.normal(0, 5, ROWS)])


FORMULA = "2*recall_macro(kind) + 0.5 * auc(ill) + r2(kg)"


def parts(truth: Array, prediction: Array) -> list[float]:
    """Each target alone, scored as the plain task that it is."""
    return [
        score("recall_macro", truth[:, 0], prediction[:, :3]),
        score("auc", truth[:, 1], prediction[:, 3:5]),
        score("r2", truth[:, 2:], prediction[:, 5:]),
    ]


def test_the_score_is_the_weighted_mean_of_the_targets() -> None:
    truth, prediction = example()
    recall, auc, r2 = parts(truth, prediction)
    assert score(FORMULA, truth, prediction, task=several()) == pytest.approx((2 * recall + 0.5 * auc + r2) / 3.5)
    assert score("r2(kg)", truth, prediction, task=several()) == pytest.approx(r2)


def test_a_plain_name_is_the_mean_over_all_targets() -> None:
    task = task_from({"kind": "multiclass", "ill": "binary"}).of(OUTPUTS[:5])
    truth, prediction = example()
    found = score("log_loss", truth[:, :2], prediction[:, :5], task=task)
    alone = [score("log_loss", truth[:, 0], prediction[:, :3]), score("log_loss", truth[:, 1], prediction[:, 3:5])]
    assert found == pytest.approx(np.mean(alone))
    assert metric_for("log_loss", task).direction == "min"


def test_the_interval_is_that_of_whole_rows() -> None:
    """Every resample scores the same rows in all targets: the ends are quantiles of what is drawn by hand."""
    truth, prediction = example()
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, ROWS, ROWS) for _ in range(50)]
    by_hand = [score(FORMULA, truth[i], prediction[i], task=several()) for i in draws]
    found = score_interval(FORMULA, truth, prediction, resamples=50, task=several())
    low, high = np.quantile(by_hand, [0.025, 0.975])
    assert min(by_hand) <= found[0] < found[1] <= max(by_hand)
    assert found == pytest.approx((low, high), abs=0.25 * (high - low))
    better, low, _ = paired_difference(FORMULA, truth, prediction, example(5)[1], resamples=50, task=several())
    assert better > 0
    assert low > 0, "the other one's predictions are of other labels"


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("recall_macro(species)", "unknown target 'species'"),
        ("recal_macro(kind)", "unknown metric 'recal_macro'"),
        ("r2(kind)", "no meaning for the task multiclass"),
        ("recall_macro", "no meaning for the task regression"),
        ("auc(ill) + log_loss(kind)", "larger is better and others of which smaller"),
        ("auc(ill) + auc(ill)", "each target stands once"),
        ("0*auc(ill)", "weight above 0"),
        ("auc(ill) - r2(kg)", "no mean of the targets' metrics"),
        ("auc(ill) r2", "no mean of the targets' metrics"),
    ],
)
def test_what_is_no_score_of_these_targets_is_said(metric: str, words: str) -> None:
    with pytest.raises(FoldlineError, match=words.replace("(", r"\(")):
        metric_for(metric, several())


def test_one_undefined_target_makes_the_whole_undefined() -> None:
    truth, prediction = example()
    assert np.isnan(score(FORMULA, truth[:1], prediction[:1], task=several()))


@pytest.mark.parametrize("name", BLENDS)
def test_blends_are_those_of_each_target(name: str) -> None:
    members = [np.abs(example(seed)[1]) for seed in range(3)]
    found = blend(name, members, several())
    plain = [(slice(0, 3), "multiclass"), (slice(3, 5), "binary"), (slice(5, 6), "regression")]
    for columns, task in plain:
        alone = blend(name, [member[:, columns] for member in members], task_from(task))
        assert np.allclose(found[:, columns], alone)


def test_entities_are_joined_target_by_target() -> None:
    frame = pd.DataFrame(example()[1], columns=several().prediction_columns(OUTPUTS))
    frame["entity"] = [f"e{i // 2}" for i in range(ROWS)]
    found = aggregate(frame, "entity", "max", task=several(), outputs=OUTPUTS)
    columns = list(found.columns[1:])
    assert columns == ["prob_kind_a", "prob_kind_b", "prob_kind_c", "prob_ill_no", "prob_ill_yes", "value_kg"]
    assert np.allclose(found[columns[:3]].sum(axis=1), 1)
    assert np.allclose(found[columns[3:5]].sum(axis=1), 1)
    assert found["value_kg"].tolist() == frame.groupby("entity", sort=False)["value_kg"].max().tolist()
    with pytest.raises(FoldlineError, match="noisy_or is for probabilities"):
        aggregate(frame, "entity", "noisy_or", task=several(), outputs=OUTPUTS)


def test_predictions_are_checked_target_by_target() -> None:
    table = pd.DataFrame(example()[1], columns=several().prediction_columns(OUTPUTS))
    table.insert(0, "row_id", [f"r{i}" for i in range(ROWS)])
    check_predictions(table, task_from(TARGETS), OUTPUTS, ids=table["row_id"], where="oof")
    broken = table.assign(prob_ill_no=table["prob_ill_no"] + 0.01)
    with pytest.raises(FoldlineError, match=r"probabilities of ill of a row sum to 1\.01"):
        check_predictions(broken, task_from(TARGETS), OUTPUTS, ids=table["row_id"], where="oof")


def test_labels_are_each_targets_default() -> None:
    truth, prediction = example()
    labels = several().default_labels(prediction)
    assert labels[:, 0].tolist() == prediction[:, :3].argmax(axis=1).tolist()
    assert labels[:, 1].tolist() == prediction[:, 3:5].argmax(axis=1).tolist()
    assert labels[:, 2].tolist() == prediction[:, 5].tolist()
    assert fit_decision("recall_macro(kind)", truth, prediction, several()).kind == "blocks"


def test_the_truth_is_read_and_spread_target_by_target() -> None:
    frame = pd.DataFrame({"row_id": ["1", "2"], "target_kind": ["c", "a"], "target_ill": ["yes", "no"]})
    frame["target_kg"] = ["1.5", "-2"]
    task = task_from(TARGETS)
    truth = task.truth(frame, OUTPUTS, where="rows")
    assert truth.tolist() == [[2, 1, 1.5], [0, 0, -2]]
    assert hot_truth(truth, task.of(OUTPUTS), 6).tolist() == [[0, 0, 1, 0, 1, 1.5], [1, 0, 0, 1, 0, -2]]
    for column, cell, words in (("kind", "d", "no known class"), ("kg", "", "no finite number")):
        with pytest.raises(FoldlineError, match=words):
            task.truth(frame.assign(**{f"target_{column}": ["a", cell]}), OUTPUTS, where="rows")


@pytest.mark.parametrize(
    "content",
    [{"kind": "multiclass"}, {"a": "multiclass", "b": "multilabel"}, {"a=b": "binary", "c": "binary"}, "several"],
)
def test_what_is_no_task_of_several_targets_is_refused(content: object) -> None:
    with pytest.raises(ValueError, match="several targets are"):
        task_from(content)


def test_several_stand_in_records_as_a_mapping() -> None:
    task = task_from(TARGETS)
    assert isinstance(task, Several)
    assert task.as_json() == TARGETS
    assert task_from(task.as_json()) == task
