"""Blends and entities: what must hold for every entry of both dictionaries, and what each one is."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from foldline.core.errors import FoldlineError
from foldline.core.task import TASKS, Array, Task
from foldline.scoring import blend as blending
from foldline.scoring import entities
from foldline.scoring.blend import BLENDS, blend, blended_blocks, rows_sum_to_one
from foldline.scoring.entities import AGGREGATES, aggregate
from foldline.scoring.metrics.metric import Predicted
from scoring.by_shape import score
from tasks import PLAIN

every_blend = pytest.mark.parametrize("name", BLENDS)
every_task = pytest.mark.parametrize("task", PLAIN)


def member(task: Task, seed: int, rows: int = 30) -> Array:
    rng = np.random.default_rng(seed)
    outputs = 2 if task.two_classes else 4
    if task.exclusive:
        return rng.dirichlet(np.ones(outputs), rows)
    return rng.random((rows, outputs))


@every_blend
@every_task
def test_every_blend(name: str, task: Task) -> None:
    members = [member(task, seed) for seed in range(3)]
    found = blend(name, members, task)
    assert found.shape == members[0].shape
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert (found < 1).all()
    sums = np.abs(found.sum(axis=1) - 1).max() < 1e-12
    assert sums == rows_sum_to_one(name, task, found.shape[1])
    assert blend(name, members[::-1], task) == pytest.approx(found, abs=1e-12)  # the members' order
    order = np.random.default_rng(0).permutation(30)
    assert blend(name, [m[order] for m in members], task) == pytest.approx(found[order], abs=1e-12)
    once = blend(name, members[:1], task)
    assert blend(name, [members[0]] * 3, task) == pytest.approx(once, abs=1e-9)
    if name != "rank_mean":
        assert once == pytest.approx(members[0], abs=1e-9)


@every_blend
def test_members_that_cannot_be_blended(name: str) -> None:
    left = member(TASKS["binary"], 0)
    for members in ([], [left, left[1:]]):
        with pytest.raises(FoldlineError, match="cannot be blended"):
            blend(name, members, TASKS["binary"])


def test_unknown_blend() -> None:
    with pytest.raises(FoldlineError, match="unknown blend 'median'"):
        blend("median", [member(TASKS["binary"], 0)], TASKS["binary"])


def test_the_geometric_mean_is_the_mean_of_the_logits() -> None:
    left, right = member(TASKS["multilabel"], 0), member(TASKS["multilabel"], 1)
    logit = (np.log(left / (1 - left)) + np.log(right / (1 - right))) / 2
    assert blend("gmean", [left, right], TASKS["multilabel"]) == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-9)
    with pytest.raises(FoldlineError, match="above 0"):
        blend("gmean", [left - 1], TASKS["regression"])


def test_an_exact_zero_does_not_outvote_the_others() -> None:
    sure, unsure = np.array([[0.0, 1.0]]), np.array([[0.5, 0.5]])
    found = blend("gmean", [sure, unsure, unsure, unsure, unsure, unsure], TASKS["binary"])
    assert 0.01 < found[0, 0] < 0.5


def test_rank_mean_reads_the_order_alone() -> None:
    left, right = member(TASKS["binary"], 0), member(TASKS["binary"], 1)
    squashed = np.stack([1 - right[:, 1] ** 3, right[:, 1] ** 3], axis=1)
    found = blend("rank_mean", [left, right], TASKS["binary"])
    assert blend("rank_mean", [left, squashed], TASKS["binary"]) == pytest.approx(found, abs=1e-12)
    truth = (left[:, 1] > 0.5).astype(float)
    alone = blend("rank_mean", [left], TASKS["binary"])
    assert score("auc", truth, alone) == score("auc", truth, left) == 1
    rounded = left.copy()
    rounded[:, 0] = rounded[:, 0].round(1)  # ties in one column alone, as float32 makes them
    assert blend("rank_mean", [rounded], TASKS["binary"]).sum(axis=1) == pytest.approx(1, abs=1e-12)
    ties = blend("rank_mean", [np.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]])], TASKS["binary"])
    assert ties[:, 1].tolist() == [0.375, 0.375, 0.75]


@pytest.mark.parametrize("how", AGGREGATES)
@every_task
def test_every_aggregate(how: str, task: Task) -> None:
    prob = member(task, 3)
    outputs = [f"c{j}" for j in range(prob.shape[1])]
    frame = pd.DataFrame(prob, columns=task.prediction_columns(outputs))
    frame["entity"] = [f"e{i % 7}" for i in range(30)]
    frame["fold"] = [i % 7 for i in range(30)]
    if how == "noisy_or" and not task.has_classes:
        with pytest.raises(FoldlineError, match="probabilities"):
            aggregate(frame, "entity", how, task=task, outputs=outputs)
        return
    found = aggregate(frame, "entity", how, task=task, outputs=outputs, keep=["fold"])
    assert found["entity"].tolist() == [f"e{i}" for i in range(7)]
    assert found["fold"].tolist() == list(range(7))
    values = found[task.prediction_columns(outputs)].to_numpy()
    if task.exclusive:
        assert values.sum(axis=1) == pytest.approx(1.0, abs=1e-12)
    shuffled = frame.sample(frac=1, random_state=0)
    again = aggregate(shuffled, "entity", how, task=task, outputs=outputs).set_index("entity")
    assert again.loc[found["entity"]].to_numpy() == pytest.approx(values, abs=1e-12)
    single = frame.iloc[:7]  # one row each: nothing to aggregate
    alone = aggregate(single, "entity", how, task=task, outputs=outputs)
    assert alone[task.prediction_columns(outputs)].to_numpy() == pytest.approx(prob[:7], abs=1e-12)


def test_what_the_aggregates_are() -> None:
    frame = pd.DataFrame({"entity": ["b", "a", "b"], "prob_no": [0.8, 0.5, 0.5], "prob_yes": [0.2, 0.5, 0.5]})
    expected = {"mean": [0.35, 0.5], "max": [0.5, 0.5], "noisy_or": [1 - 0.8 * 0.5, 0.5]}
    for how, positive in expected.items():
        found = aggregate(frame, "entity", how, task=TASKS["binary"], outputs=["no", "yes"])
        assert found["entity"].tolist() == ["b", "a"]
        assert found["prob_yes"].tolist() == pytest.approx(positive)
        assert found["prob_no"].tolist() == pytest.approx([1 - p for p in positive])


def test_a_certain_row_makes_the_entity_certain() -> None:
    frame = pd.DataFrame({"entity": ["a", "a"], "prob_x": [1.0, 0.3]})
    assert aggregate(frame, "entity", "noisy_or", task=TASKS["multilabel"], outputs=["x"])["prob_x"].tolist() == [1.0]


def test_labels_that_differ_inside_an_entity_are_refused() -> None:
    frame = pd.DataFrame({"entity": ["a", "a", "b"], "value": [1.0, 2.0, 3.0], "target": ["1", "2", "2"]})
    with pytest.raises(FoldlineError, match="'target' differs inside the entities a"):
        aggregate(frame, "entity", "mean", task=TASKS["regression"], outputs=[""], keep=["target"])
    with pytest.raises(FoldlineError, match="unknown aggregate"):
        aggregate(frame, "entity", "median", task=TASKS["regression"], outputs=[""])


class InBlocks:
    """A member whose rows come eleven at a time."""

    def __init__(self, values: Array) -> None:
        self.values = values.astype(np.float32)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[tuple[slice, Predicted]]:
        return ((slice(i, min(i + 11, len(self))), self.values[i : i + 11]) for i in range(0, len(self), 11))

    def some_columns(self, columns: slice) -> Predicted:
        return self.values[:, columns]


@every_blend
@every_task
def test_a_blend_in_blocks_is_that_of_all_rows(name: str, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blending, "RANKED", 3 * 30 + 1)  # a column of three members
    members = [InBlocks(member(task, seed)) for seed in range(3)]
    task = task.of([str(i) for i in range(members[0].values.shape[1])])
    whole = blend(name, [one.values.astype(np.float64) for one in members], task)
    found = np.full_like(whole, np.nan)
    for place, values in blended_blocks(name, members, task):
        found[place] = values
    assert found == pytest.approx(whole, abs=1e-7 if name == "rank_mean" else 1e-15)


@pytest.mark.parametrize("how", AGGREGATES)
def test_entities_some_at_a_time_are_those_of_all(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, rng = TASKS["multiclass"], np.random.default_rng(0)
    prob = member(task, 0, 300).astype(np.float32)
    frame = pd.DataFrame(prob, columns=task.prediction_columns("abcd")).assign(entity=rng.integers(0, 90, 300))
    whole = aggregate(frame, "entity", how, task=task, outputs="abcd")
    monkeypatch.setattr(entities, "AT_A_TIME", 7 * 4)
    found = aggregate(frame, "entity", how, task=task, outputs="abcd")
    assert found["entity"].tolist() == whole["entity"].tolist()
    assert np.allclose(found.iloc[:, 1:], whole.iloc[:, 1:], atol=1e-7)
