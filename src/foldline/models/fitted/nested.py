"""Heads fitted fold by fold, each option chosen on rows that neither the score nor the final fit has to answer for.

The options of fold k's head are chosen among its training rows: one part of them after the other is left out, the head
is fitted on the rest with every setting of the grid, and says what it thinks of that part. The setting with the
smallest loss is fitted on all training rows; only then are the fold's own rows asked, which chose nothing. The parts
are the other folds, so groups stay whole. Arrays in, arrays out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array, Task, hot_truth
from foldline.models.fitted.calibration import Calibration, as_it_is, calibration
from foldline.models.fitted.spec import Answers, Fit, HeadSpec, Parts, Settings

Rows = NDArray[np.int64]
SMALLEST = 1e-6  # of a probability in a loss: one sure error must not decide alone


@dataclass(frozen=True)
class Seen:
    """[views, rows, columns] of each source as a fold's head sees them: `own` of all training rows, `test` of the test
    rows. Those of training rows that are not usable are never looked at."""

    own: Parts
    test: Parts


@dataclass(frozen=True)
class Question:
    """One target.

    Attributes:
        seen: what the head of a fold sees.
        shared: whether all folds' heads see the same of training rows, so that one fit serves two folds.
        truth: of all training rows, in the form of `task`.
        fold: [rows] of each.
        usable: [rows] whether the row is fitted on and predicted.
        outputs: how many numbers are predicted.
        fixed: options of the head that are not chosen.
        parts: where there are too few folds, (fold) -> [rows] the part of each of its training rows; None: the folds.
        known: answers of fits that leave out two folds, kept from one fold to the next.
    """

    seen: Callable[[int], Seen]
    shared: bool
    truth: Array
    fold: Rows
    usable: NDArray[np.bool_]
    task: Task
    outputs: int
    fixed: Settings
    seed: int
    parts: Callable[[int], Rows] | None = None
    known: dict[tuple[int, int], Answers] = field(default_factory=dict, init=False)

    def train(self, *without: int) -> Rows:
        """The usable rows outside some folds."""
        return np.flatnonzero(~np.isin(self.fold, without) & self.usable)

    def inside(self, fold: int) -> Rows:
        """The usable rows of a fold."""
        return np.flatnonzero((self.fold == fold) & self.usable)

    def ask(
        self, spec: HeadSpec, seen: Seen, rows: Rows, asked: Sequence[tuple[Parts, Rows]], grid: Sequence[Settings]
    ) -> Answers:
        """What heads fitted on these rows say of others, the mean over the views.

        Args:
            asked: sources, and which of their rows.
        """
        views = max(map(len, seen.own)) if spec.by_view else 1
        truth = np.concatenate([self.truth[rows]] * views)
        fit = Fit(_rows(seen.own, rows, views), truth, self.task, self.outputs, self.fixed, self.seed)
        answers = spec.fit(fit, [_rows(parts, some, views) for parts, some in asked], grid)
        return [[one.reshape(views, -1, self.outputs).mean(axis=0) for one in found] for found in answers]


def _rows(parts: Parts, rows: Rows, views: int) -> Parts:
    """[views * rows, columns] of each source, one view behind the other; of one view alone the mean of all."""
    if views == 1:
        return [part[0, rows] if len(part) == 1 else part[:, rows].mean(axis=0) for part in parts]
    return [np.concatenate([part[view % len(part), rows] for view in range(views)]) for part in parts]


@dataclass(frozen=True)
class Fitted:
    """A fold's head.

    Attributes:
        settings: that were chosen; loss: theirs on the training rows that were left out; nan: nothing was tried.
        own: [validation rows, outputs] predictions; test: [test rows, outputs].
    """

    settings: Settings
    loss: float
    own: Array
    test: Array


def fit_fold(spec: HeadSpec, question: Question, fold: int, grid: Sequence[Settings]) -> Fitted:
    """Chooses, fits and asks the head of one fold.

    Args:
        grid: the settings that are tried.
    """
    seen, calibrated = question.seen(fold), spec.calibrated and question.task.has_classes
    chosen, loss = 0, float("nan")
    last: Calibration = as_it_is
    if len(grid) > 1 or calibrated:
        rows, answers = _left_out(spec, question, fold, grid)
        truth, task = question.truth[rows], question.task
        maps: list[Calibration] = [calibration(one, truth, task) if calibrated else as_it_is for one in answers]
        losses = [row_losses(one(said), truth, task).mean() for one, said in zip(maps, answers, strict=True)]
        chosen = int(np.argmin(losses))
        loss, last = float(losses[chosen]), maps[chosen]
    asked = [(seen.own, question.inside(fold)), (seen.test, np.arange(seen.test[0].shape[1]))]
    ((own, test),) = question.ask(spec, seen, question.train(fold), asked, [grid[chosen]])
    return Fitted(grid[chosen], loss, last(own), last(test))


def _left_out(spec: HeadSpec, question: Question, fold: int, grid: Sequence[Settings]) -> tuple[Rows, list[Array]]:
    """The training rows of a fold, and for each setting what is said of them by fits that did not see them."""
    train = question.train(fold)
    if question.parts is None:
        others = np.unique(question.fold[train]).tolist()
        found = [_without_both(spec, question, fold, other, grid) for other in others]
    else:
        part, seen = question.parts(fold)[train], question.seen(fold)
        found = []
        for number in np.unique(part):
            rest, held = train[part != number], train[part == number]
            answers = question.ask(spec, seen, rest, [(seen.own, held)], grid)
            found.append((held, [one[0] for one in answers]))
    said = [np.concatenate([answers[place] for _, answers in found]) for place in range(len(grid))]
    return np.concatenate([rows for rows, _ in found]), said


def _without_both(
    spec: HeadSpec, question: Question, fold: int, other: int, grid: Sequence[Settings]
) -> tuple[Rows, list[Array]]:
    """The rows of the fold `other`, and for each setting what is said of them by a fit on neither fold's rows.

    Where all heads see the same, that fit is asked about both folds at once. Else all is seen as the head of `other`
    sees it, whose network was trained without these rows.
    """
    key = (min(fold, other), max(fold, other)) if question.shared else (other, fold)
    asked = key if question.shared else (other,)
    if key not in question.known:
        seen = question.seen(other)
        both = [(seen.own, question.inside(one)) for one in asked]
        question.known[key] = question.ask(spec, seen, question.train(fold, other), both, grid)
    place = asked.index(other)
    return question.inside(other), [answers[place] for answers in question.known[key]]


def row_losses(prediction: Array, truth: Array, task: Task) -> Array:
    """[rows] the log loss of classes, the squared error of numbers in units of their deviation."""
    hot = hot_truth(truth, task, prediction.shape[1]).astype(np.float64)
    if not task.has_classes:
        return np.asarray((((prediction - hot) / np.maximum(hot.std(axis=0), 1e-12)) ** 2).mean(axis=1))
    log_yes = np.log(np.clip(prediction, SMALLEST, 1.0))
    if task.label_sets:
        log_no = np.log(np.clip(1 - prediction, SMALLEST, 1.0))
        return np.asarray(-(hot * log_yes + (1 - hot) * log_no).mean(axis=1))
    return np.asarray(-(hot * log_yes).sum(axis=1))
