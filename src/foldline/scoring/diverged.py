"""Whether a fold's training ran away. Losses and scores in, reasons in words out; an empty text says that all is well.

Measured against what a network says that knows nothing (all logits 0) and against the other folds. A run that is only
weak must never be named, so each bound is far from what such runs show: in 400 logs of small and hard trainings the
last validation loss was at most 6 times that of knowing nothing, and one that passed 30 times came back to 0.8 of it or
was useless; rates that are a thousand times too large end at 100 to 1e20 times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from statistics import median

from foldline.scoring.metrics import Metric

FAR = 20.0  # times the loss of knowing nothing, of the weights that are kept
SPIKE = 30.0  # the same, of any epoch; counts where the kept weights are useless too
USELESS = 0.8  # from this share of that loss on nothing was learnt
BETTER = 2.0  # a useless fold is apart where the others' loss is so many times smaller
GAP = 3.0  # and their score so many times nearer to the best one


def ran_away(losses: Sequence[float | None], kept: int, nothing: float) -> str:
    """Why a fold diverged.

    Args:
        losses: validation losses after each epoch, from epoch 0, the start; None: not looked.
        kept: the epoch whose weights are kept.
        nothing: the loss of logits that are all 0.

    >>> ran_away([0.7, 0.9, 0.6], 2, 0.69), ran_away([0.1, 4.0], 1, 0.69)
    ('', '')
    >>> ran_away([0.7, 3e20, 2e20], 2, 0.69)
    'its validation loss is 2e+20; it was 0.7 at the start, and knowing nothing costs 0.69'
    >>> ran_away([0.7, 240.0, 0.68], 2, 0.69)
    'its validation loss rose to 240 and ended at 0.68; it was 0.7 at the start, and knowing nothing costs 0.69'
    """
    start, last = losses[0], losses[kept]
    known = [loss for loss in (start, nothing) if loss is not None and isfinite(loss)]
    if kept == 0 or last is None or not known:
        return ""
    worst = max((loss for loss in losses[1:] if loss is not None), key=lambda loss: (isnan(loss), loss))
    bound = max(known)
    if last <= FAR * bound and (worst <= SPIKE * bound or last < USELESS * bound):
        return ""
    rose = f"is {last:.3g}" if not last <= FAR * bound else f"rose to {worst:.3g} and ended at {last:.3g}"
    return f"its validation loss {rose}; it was {start:.3g} at the start, and knowing nothing costs {nothing:.3g}"


def left_the_folds(loss: float | None, folds: Sequence[float]) -> str:
    """Why the training on all rows diverged, which has no validation rows: by its training loss beside the folds'.

    Args:
        loss: of its last epoch; None: it was not trained.
        folds: the training losses of the folds after as many epochs.

    >>> left_the_folds(0.7, [0.1, 0.2]), left_the_folds(9.0, [0.1, 0.2])
    ('', 'its training loss is 9, and that of the folds was 0.2 at most after as many epochs')
    """
    if loss is None or not folds or loss <= FAR * max(folds):
        return ""
    return f"its training loss is {loss:.3g}, and that of the folds was {max(folds):.3g} at most after as many epochs"


@dataclass(frozen=True)
class Outcome:
    """How a fold's training ended: validation loss and score of the kept weights, the loss of knowing nothing."""

    loss: float
    nothing: float
    score: float


def apart(outcomes: Mapping[int, Outcome], metric: Metric) -> dict[int, str]:
    """The folds that learnt nothing where the others did, by loss and by score, and why; of three folds or more.

    A loss alone is not enough: too sure a network costs much and may still rank well. A fold whose rows are harder by
    themselves (a far target is in one fold alone) is not compared.
    """
    reasons = {}
    for fold, own in outcomes.items() if len(outcomes) > 2 else ():
        others = [other for k, other in outcomes.items() if k != fold]
        loss, score = median(other.loss for other in others), median(other.score for other in others)
        alike = own.nothing <= BETTER * median(other.nothing for other in others)
        gap = abs(metric.best - own.score)
        wide = gap > GAP * abs(metric.best - score) and gap >= _least_gap(metric)
        if alike and own.loss >= max(USELESS * own.nothing, BETTER * loss) and wide and metric.better(score, own.score):
            reasons[fold] = (
                f"it learnt nothing and the others did: score {own.score:.4g}, theirs {score:.4g}; "
                f"validation loss {own.loss:.3g}, theirs {loss:.3g}"
            )
    return reasons


def _least_gap(metric: Metric) -> float:
    """A quarter of the metric's range, where it has one."""
    low, high = metric.range
    return (high - low) / 4 if isfinite(high - low) else 0.0
