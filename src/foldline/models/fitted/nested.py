"""Heads fitted fold by fold, each option chosen on rows that neither the score nor the final fit has to answer for.

The options of fold k's head are chosen among its training rows: one part of them after the other is left out, the head
is fitted on the rest with every setting of the grid, and says what it thinks of that part. The setting with the
smallest loss is fitted on all training rows; only then are the fold's own rows asked, which chose nothing. The parts
are the other folds, so groups stay whole. Arrays in, arrays out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array, Task, hot_truth
from foldline.models.fitted.calibration import AS_IT_IS, calibration
from foldline.models.fitted.finished import FinishedHead
from foldline.models.fitted.spec import About, Fit, Head, HeadSpec, Parts, Settings, stacked

Rows = NDArray[np.int64]
Said = Array  # [rows] losses; of a head that is calibrated [rows, outputs] scores, which have none yet
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
        new: the place of the class of what no training row shows; None: there is none.
        known: what fits without two folds said of these, kept from one fold to the next.
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
    new: int | None = None
    known: dict[tuple[int, int], "list[list[Said]]"] = field(default_factory=dict, init=False)

    def train(self, *without: int) -> Rows:
        """The usable rows outside some folds."""
        return np.flatnonzero(~np.isin(self.fold, without) & self.usable)

    def inside(self, fold: int) -> Rows:
        """The usable rows of a fold."""
        return np.flatnonzero((self.fold == fold) & self.usable)

    def heads(self, spec: HeadSpec, seen: Seen, rows: Rows, grid: Sequence[Settings]) -> Iterator[Head]:
        """A head for each setting, fitted on these rows."""
        views = spec.views_of(seen.own)
        truth = np.concatenate([self.truth[rows]] * views)
        fit = Fit(stacked(seen.own, rows, views), truth, self.task, self.outputs, self.fixed, self.seed, self.new)
        return spec.fit(fit, grid)

    def ask(
        self, spec: HeadSpec, seen: Seen, rows: Rows, held: Sequence[Rows], grid: Sequence[Settings]
    ) -> Iterator[list[Array]]:
        """What heads fitted on these rows say of others, the mean over the views: [held] arrays for each setting."""
        views = spec.views_of(seen.own)
        sights: list[Any] = []
        for head in self.heads(spec, seen, rows, grid):
            sights = sights or [head.see(stacked(seen.own, some, views)) for some in held]
            yield [head.answer(sight).reshape(views, -1, self.outputs).mean(axis=0) for sight in sights]

    def scored(self, rows: Rows, train: Rows) -> Array:
        """[rows] what is right of rows for a head that was fitted on others: a class that these have not is new."""
        if self.new is None:
            return self.truth[rows]
        return np.where(np.isin(self.truth[rows], self.truth[train]), self.truth[rows], self.new)


@dataclass(frozen=True)
class Fitted:
    """A fold's head.

    Attributes:
        settings: that were chosen; loss: theirs on the training rows that were left out; nan: nothing was tried.
        own: [validation rows, outputs] predictions; test: [test rows, outputs].
        head: what said so.
    """

    settings: Settings
    loss: float
    own: Array
    test: Array
    head: FinishedHead


def fit_fold(spec: HeadSpec, question: Question, fold: int, grid: Sequence[Settings]) -> Fitted:
    """Chooses, fits and asks the head of one fold.

    Args:
        grid: the settings that are tried.
    """
    seen, task, calibrated = question.seen(fold), question.task, spec.calibrated and question.task.has_classes
    chosen, loss = 0, float("nan")
    last = AS_IT_IS
    if len(grid) > 1 or calibrated:
        truth, said = _left_out(spec, question, fold, grid)
        losses = said
        if calibrated:
            maps = [calibration(one, truth, task) for one in said]
            losses = [row_losses(one(scores), truth, task) for one, scores in zip(maps, said, strict=True)]
        means = [one.mean() for one in losses]
        chosen = int(np.argmin(means))
        loss, last = float(means[chosen]), maps[chosen] if calibrated else AS_IT_IS
    (fitted,) = question.heads(spec, seen, question.train(fold), [grid[chosen]])
    about = About(task, question.outputs, grid[chosen], question.fixed, question.new)
    head = FinishedHead.of(spec, about, fitted, last)
    own, rows = question.inside(fold), seen.own
    return Fitted(grid[chosen], loss, head.answers([part[:, own] for part in rows]), head.answers(seen.test), head)


def _left_out(spec: HeadSpec, question: Question, fold: int, grid: Sequence[Settings]) -> tuple[Array, list[Said]]:
    """What is right of the training rows of a fold, and for each setting what fits that did not see them say."""
    train = question.train(fold)
    if question.parts is None:
        others = np.unique(question.fold[train]).tolist()
        found = [_without_both(spec, question, fold, other, grid) for other in others]
    else:
        part, seen = question.parts(fold)[train], question.seen(fold)
        found = []
        for number in np.unique(part):
            rest, held = train[part != number], train[part == number]
            (truth,), said = _said(spec, question, seen, rest, [held], grid)
            found.append((truth, [one[0] for one in said]))
    answers = [np.concatenate([said[place] for _, said in found]) for place in range(len(grid))]
    return np.concatenate([truth for truth, _ in found]), answers


def _said(
    spec: HeadSpec, question: Question, seen: Seen, train: Rows, held: Sequence[Rows], grid: Sequence[Settings]
) -> tuple[list[Array], list[list[Said]]]:
    """What is right of each of the held rows, and [grid][held] what heads fitted on others say of them."""
    truth, task = [question.scored(rows, train) for rows in held], question.task
    answers = question.ask(spec, seen, train, held, grid)
    if spec.calibrated and task.has_classes:
        return truth, list(answers)
    unit = 1.0 if task.has_classes else _unit(question.truth[train])
    return truth, [
        [row_losses(one, right, task, unit) for one, right in zip(found, truth, strict=True)] for found in answers
    ]


def _unit(truth: Array) -> Array:
    """[outputs] the deviation of numbers that a head was fitted on; 1 where they are all alike.

    Never that of the rows which it is asked about: where these happen to be alike, their errors would outweigh all.
    """
    spread = truth.reshape(len(truth), -1).std(axis=0)
    return np.asarray(np.where(spread > 0, spread, 1.0))


def _without_both(
    spec: HeadSpec, question: Question, fold: int, other: int, grid: Sequence[Settings]
) -> tuple[Array, list[Said]]:
    """What is right of the fold `other`, and for each setting what a fit on neither fold's rows says of it.

    Where all heads see the same, that fit is asked about both folds at once. Else all is seen as the head of `other`
    sees it, whose network was trained without these rows.
    """
    key = (min(fold, other), max(fold, other)) if question.shared else (other, fold)
    asked = key if question.shared else (other,)
    train, rows = question.train(fold, other), [question.inside(one) for one in asked]
    if key not in question.known:
        question.known[key] = _said(spec, question, question.seen(other), train, rows, grid)[1]
    place = asked.index(other)
    return question.scored(rows[place], train), [said[place] for said in question.known[key]]


def row_losses(prediction: Array, truth: Array, task: Task, unit: Array | float = 1.0) -> Array:
    """[rows] the log loss of classes, the squared error of numbers in these units."""
    hot = hot_truth(truth, task, prediction.shape[1]).astype(np.float64)
    if not task.has_classes:
        return np.asarray((((prediction - hot) / unit) ** 2).mean(axis=1))
    log_yes = np.log(np.clip(prediction, SMALLEST, 1.0))
    if task.label_sets:
        log_no = np.log(np.clip(1 - prediction, SMALLEST, 1.0))
        return np.asarray(-(hot * log_yes + (1 - hot) * log_no).mean(axis=1))
    return np.asarray(-(hot * log_yes).sum(axis=1))
