"""Test rows whose classes have other shares than the training rows': found without labels, and put right.

Saerens, Latinne and Decaestecker 2002, doi:10.1162/089976602753284446: expectation maximisation of the shares, where
pictures of a class look alike in both sets. Arrays in, arrays and numbers out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Task
from foldline.scoring.fitted.target import Target
from foldline.scoring.metrics import score
from foldline.scoring.metrics.metric import Predicted

ROUNDS, CLOSE = 500, 1e-7
DRAWS = 50  # of the simulation
MOST_TOLD = 8  # classes in a line, those that moved most
LEAST_ROWS = 0.5  # that a class has among the test rows, at least
SMALLEST = 1e-9
ALIKE = 1e-5  # predictions of a class that differ by no more are the same: nothing can be estimated of them
TOLD, DOUBTED = 0.05, 0.5  # a shift from which on it is doubted where the same estimate errs by so much of it


@dataclass(frozen=True)
class Worth:
    """What the correction is worth on OOF rows, redrawn so that classes have some shares.

    Attributes:
        before, after: the mean score without and with it; spread: the standard deviation of their difference.
    """

    before: float
    after: float
    spread: float


def estimated_shares(prob: Predicted, train: Array) -> Array:
    """[classes] the shares of the classes among rows with these predictions, of no class less than half a row.

    Of few rows the likeliest share of a rare class is 0, and it would be ruled out for each of them.

    Args:
        prob: [rows, classes] of a network that saw classes with the shares `train`.
    """
    values, shares = prob.astype(np.float64), train
    for _ in range(ROUNDS):
        following = shifted(values, _ratio(shares, train)).mean(axis=0)
        near = np.abs(following - shares).max() < CLOSE
        shares = following
        if near:
            break
    least = np.where(train > 0, np.maximum(shares, LEAST_ROWS / len(values)), shares)
    return np.asarray(least / least.sum())


def _ratio(shares: Array, train: Array) -> Array:
    """[classes] how many times as frequent each class is; 1 of one that no training row has: nothing is known of it."""
    return np.where(train > 0, shares / np.maximum(train, SMALLEST), 1.0)


def shifted(prob: Predicted, ratio: Array) -> Array:
    """[rows, classes] predictions for rows among which class c is `ratio[c]` times as frequent.

    >>> shifted(np.array([[0.5, 0.5]]), np.array([0.5, 1.5])).tolist()
    [[0.25, 0.75]]
    """
    weighted = prob * ratio
    return np.asarray(weighted / np.maximum(weighted.sum(axis=1, keepdims=True), SMALLEST))


def require_shares(task: Task, blend: str, *, entities: bool) -> None:
    """Raises FoldlineError where rows have not one class each, are joined to entities, or have ranks instead."""
    if not task.single_label or entities or blend == "rank_mean":
        why = "rows are joined to entities" if entities else f"the task is {task}"
        why = "ranks are no probabilities" if blend == "rank_mean" else why
        raise FoldlineError(
            f"shares of classes are estimated of rows that have one class each, and {why}", where="PRIOR=em",
            next="leave PRIOR=em out",
        )  # fmt: skip


def require_told_apart(prob: Predicted, rows: str) -> None:
    """Raises FoldlineError where predictions [rows, classes] are the same for all rows: estimated shares of these are
    those of one class alone, whichever they lean to."""
    if not len(prob) or np.ptp(prob.astype(np.float64), axis=0).max() <= ALIKE:
        raise FoldlineError(
            f"the predictions of {counted(len(prob), rows)} are all the same: they tell nothing of shares of classes",
            where="PRIOR=em",
            next="leave PRIOR=em out; `make report` shows what the networks learnt",
        )


def class_shares(truth: Array, classes: int) -> Array:
    """[classes] of class indices [rows]."""
    return np.bincount(truth.astype(np.int64), minlength=classes) / len(truth)


def worth(target: Target, prob: Predicted, shares: Array, *, seed: int = 0) -> Worth:
    """The score with and without the correction of OOF rows that are drawn so that the classes have these shares.

    A class of which there is no row cannot be drawn.
    """
    assert target.metric is not None
    rng, train = np.random.default_rng(seed), class_shares(target.truth, prob.shape[1])
    places = [np.flatnonzero(target.truth == c) for c in range(prob.shape[1])]
    wanted = np.where([len(own) > 0 for own in places], shares, 0)
    scores = []
    for _ in range(DRAWS):
        sizes = rng.multinomial(len(target), wanted / wanted.sum())
        rows = np.concatenate([rng.choice(own, size) for own, size in zip(places, sizes, strict=True) if size])
        drawn, said = target.where(rows), prob[rows]
        after = shifted(said, _ratio(estimated_shares(said, train), train))
        scores.append([score(target.metric, drawn.truth, prob, task=target.task) for prob in (said, after)])
    both = np.array(scores)
    both = both[np.isfinite(both).all(axis=1)]
    if len(both) < 2:
        return Worth(float("nan"), float("nan"), float("nan"))
    return Worth(float(both[:, 0].mean()), float(both[:, 1].mean()), float((both[:, 1] - both[:, 0]).std(ddof=1)))


def shift_record(target: Target, oof: Predicted, test: Predicted, outputs: list[str]) -> dict[str, Any]:
    """What `cv.json` says: the shares in training, the estimated ones of the test rows, and of the OOF rows, whose
    right ones are those in training; and what the correction is worth.

    Args:
        target, oof: the OOF rows and their predictions; test: those of the test rows.
    """
    require_told_apart(oof, "OOF rows")
    require_told_apart(test, "test rows")
    train = class_shares(target.truth, len(outputs))
    shares, known = estimated_shares(test, train), estimated_shares(oof, train)
    found = {"so": worth(target, oof, shares), "not": worth(target, oof, train)}
    return {
        "train": dict(zip(outputs, train.tolist(), strict=True)),
        "test": dict(zip(outputs, shares.tolist(), strict=True)),
        "oof": dict(zip(outputs, known.tolist(), strict=True)),
        "draws": DRAWS,
        **{f"if_{key}": {name: value if np.isfinite(value) else None for name, value in vars(own).items()}
           for key, own in found.items()},
    }  # fmt: skip


def shift_in_words(record: dict[str, Any], metric: str) -> list[str]:
    """What was found and what it is worth, in lines."""
    moved = sorted(record["train"], key=lambda name: -abs(record["test"][name] - record["train"][name]))[:MOST_TOLD]
    shares = ", ".join(f"{name} {record['train'][name]:.3f} -> {record['test'][name]:.3f}" for name in moved)
    lines = [f"shares of classes among the test rows, by their predictions (EM): {shares}", _check(record)]
    for key, words in (("if_so", "if they are so"), ("if_not", "if they are as in training")):
        own = record[key]
        if own["before"] is None:
            lines.append(f"{words}: {metric} is undefined on OOF rows that are drawn so")
        else:
            gain = f"{metric} {own['before']:.4f} -> {own['after']:.4f}"
            draws = f"OOF rows drawn so {record['draws']} times"
            lines.append(f"{words}: {gain} ({draws}, the difference ± {own['spread']:.4f})")
    return lines


def _check(record: dict[str, Any]) -> str:
    """How far the same estimate is off where the right answer is known, and whether that casts doubt on what it found.

    It is off where networks do not tell classes apart, or are surer than they may be.
    """
    train, oof, test = record["train"], record["oof"], record["test"]
    worst = max(train, key=lambda name: abs(oof[name] - train[name]))
    error, shift = abs(oof[worst] - train[worst]), max(abs(test[name] - train[name]) for name in train)
    words = (
        f"of the OOF rows, whose shares are known, it says {worst} {oof[worst]:.3f}, and {train[worst]:.3f} is right"
    )
    if shift > TOLD and error > DOUBTED * shift:
        return f"warning: {words}: what it says of the test rows is not to be believed; leave PRIOR=em out"
    return words


def ratio_of(record: dict[str, Any] | None) -> Array | None:
    """[classes] how many times as frequent each class is among the test rows, by `shift_record`."""
    if record is None:
        return None
    train, test = (np.array(list(record[key].values())) for key in ("train", "test"))
    return _ratio(test, train)
