"""Other shares of classes among the test rows: found without labels, put right, and priced on OOF rows."""

import numpy as np
import pytest

from foldline.core.errors import FoldlineError
from foldline.core.task import TASKS, Array
from foldline.scoring.blender import Blender
from foldline.scoring.fitted.target import Target
from foldline.scoring.metrics import metric_for, score
from foldline.scoring.prior_shift import (
    class_shares,
    estimated_shares,
    ratio_of,
    require_shares,
    shift_in_words,
    shift_record,
    shifted,
)

TRAIN, TEST = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.2, 0.7])
TASK = TASKS["multiclass"].of(["a", "b", "c"])


def seen(shares: Array, rows: int, seed: int) -> tuple[Array, Array]:
    """Rows of three classes, and the exact posteriors of one who takes the classes to be as in training."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, rows, p=shares)
    place = np.eye(3)[truth] * 1.5 + rng.normal(size=(rows, 3))
    joint = TRAIN * np.exp(1.5 * place)
    return truth.astype(np.float64), joint / joint.sum(axis=1, keepdims=True)


def test_the_shares_are_found_and_the_score_is_better() -> None:
    truth, prob = seen(TEST, 4000, 0)
    shares = estimated_shares(prob, TRAIN)
    assert shares == pytest.approx(class_shares(truth, 3), abs=0.03)
    better = shifted(prob, shares / TRAIN)
    before, after = (score("log_loss", truth, said, task=TASK) for said in (prob, better))
    assert after < before - 0.1
    assert estimated_shares(seen(TRAIN, 4000, 1)[1], TRAIN) == pytest.approx(TRAIN, abs=0.03), "no shift is none"


def test_what_it_is_worth_is_told_by_rows_that_are_drawn_so() -> None:
    truth, oof = seen(TRAIN, 1500, 0)
    target = Target(TASK, metric_for("log_loss", TASK), truth, np.arange(1500) % 5)
    test_truth, test = seen(TEST, 1500, 1)
    record = shift_record(target, oof, test, ["a", "b", "c"])
    ratio = ratio_of(record)
    assert ratio is not None
    real = [score("log_loss", test_truth, said, task=TASK) for said in (test, shifted(test, ratio))]
    said = record["if_so"]
    assert said["before"] - said["after"] == pytest.approx(real[0] - real[1], abs=0.05)
    assert abs(record["if_not"]["before"] - record["if_not"]["after"]) < 0.02
    lines = shift_in_words(record, "log_loss")
    assert "c 0.2" in lines[0]
    assert lines[1].startswith("of the OOF rows, whose shares are known, it says ")
    assert lines[2].startswith("if they are so: log_loss")


def test_only_rows_without_a_label_are_corrected() -> None:
    _, prob = seen(TRAIN, 20, 0)
    blender = Blender("mean", TASK, ratio=np.array([1.0, 2.0, 0.5]))
    folds = np.array([0, -1] * 10)
    found = blender({"one": prob}, folds)
    assert np.allclose(found[::2], prob[::2])
    assert np.allclose(found[1::2], shifted(prob[1::2], np.array([1.0, 2.0, 0.5])))
    assert np.allclose(blender({"one": prob}), shifted(prob, np.array([1.0, 2.0, 0.5])))


@pytest.mark.parametrize(("task", "entities"), [("multilabel", False), ("regression", False), ("binary", True)])
def test_what_has_no_shares_is_refused(task: str, entities: bool) -> None:
    with pytest.raises(FoldlineError, match="shares of classes"):
        require_shares(TASKS[task], "mean", entities=entities)
    with pytest.raises(FoldlineError, match="ranks are no probabilities"):
        require_shares(TASKS["binary"], "rank_mean", entities=False)
    require_shares(TASKS["binary"], "mean", entities=False)


def test_no_class_is_ruled_out_by_few_rows() -> None:
    """Of 40 rows without the rare class its likeliest share is 0; one such row more would cost all that was won."""
    _, prob = seen(np.array([0.6, 0.4, 0.0]), 40, 0)
    shares = estimated_shares(prob, TRAIN)
    assert shares.sum() == pytest.approx(1)
    assert shares.min() >= 0.4 / 40
    record = {"train": {"a": 0.7, "b": 0.3, "c": 0.0}, "test": {"a": 0.5, "b": 0.5, "c": 0.0}}
    ratio = ratio_of(record)
    assert ratio is not None
    assert ratio.tolist() == pytest.approx([5 / 7, 5 / 3, 1.0])


@pytest.mark.parametrize("which", ["oof", "test"])
def test_predictions_that_are_the_same_for_all_rows_are_refused(which: str) -> None:
    """EM of them would say that nearly all rows are of the one class that they lean to, and call that a great gain."""
    truth, oof = seen(TRAIN, 300, 0)
    target, (_, test) = Target(TASK, metric_for("log_loss", TASK), truth, np.arange(300) % 5), seen(TEST, 100, 1)
    same = np.tile([0.4, 0.35, 0.25], (300, 1)).astype(np.float32)
    with pytest.raises(FoldlineError, match="are all the same"):
        shift_record(target, same if which == "oof" else oof, same if which == "test" else test, ["a", "b", "c"])


def test_an_estimate_that_is_wrong_where_the_answer_is_known_is_doubted() -> None:
    """Networks that hardly tell rows apart, by more than the refused ones."""
    truth, sure = seen(TRAIN, 2000, 0)
    target = Target(TASK, metric_for("log_loss", TASK), truth, np.arange(2000) % 5)
    dull = 0.99 * np.array([0.4, 0.35, 0.25]) + 0.01 * sure
    said = shift_in_words(shift_record(target, dull, dull, ["a", "b", "c"]), "log_loss")
    assert said[1].startswith("warning: of the OOF rows")
    assert "not to be believed" in said[1]
    usual = shift_in_words(shift_record(target, sure, seen(TEST, 2000, 1)[1], ["a", "b", "c"]), "log_loss")
    assert not usual[1].startswith("warning")
