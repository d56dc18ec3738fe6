"""What a network says of the fold's validation rows after an epoch, and what that is worth."""

import numpy as np
import torch
from torch import nn

from foldline.core.counted import counted
from foldline.core.task import Array
from foldline.engine.infer import predict
from foldline.engine.losses import activate
from foldline.engine.machine.precision import not_finite
from foldline.engine.problem import FoldJob
from foldline.engine.row_parts import own_part, put_together, target_tensor
from foldline.images.views import of_pictures
from foldline.scoring.metrics import metric_for, per_class_accuracy, score


def evaluate(job: FoldJob, model: nn.Module, *, start: bool = False) -> tuple[dict[str, float | None], Array]:
    """By one view: the log's columns valid_loss, score, valid_<metric> and accuracy_<class>; and the predictions.

    Args:
        start: the network is the fold's start: where a probe's features say what it predicts, it is not run.

    Raises:
        NotFiniteError: the last steps made the weights useless; going on would only waste the night.

    Returns:
        The columns, None where a metric has no answer; and [rows, outputs] probabilities or values, in rank 0.
    """
    known = _start_logits(job) if start else {}
    logits = known["identity"] if "identity" in known else _logits(job, model)
    judged = _judged(job, logits) if job.ranks.first else ({}, logits)
    return job.ranks.told(lambda: judged[0]), judged[1]


def _judged(job: FoldJob, logits: Array) -> tuple[dict[str, float | None], Array]:
    """What `evaluate` returns, of all validation rows."""
    if not np.isfinite(logits).all():
        odd = int((~np.isfinite(logits)).any(axis=1).sum())
        where = f"fold {job.fold}, its validation rows"
        raise not_finite(f"the network predicts no finite numbers for {counted(odd, 'rows')}", where=where)
    loss = job.objective.plain(torch.from_numpy(logits).float(), target_tensor(job.valid.truth, job))
    predictions: Array = activate(torch.from_numpy(logits), job.objective.activation).numpy()
    truth = job.valid.truth
    scores = [score(metric_for(name, job.task), truth, predictions, task=job.task) for name in job.metrics]
    row: dict[str, float | None] = {"valid_loss": float(loss), "score": _defined(scores[0])}
    row |= {f"valid_{name}": _defined(value) for name, value in zip(job.metrics, scores, strict=True)}
    for block in job.task.blocks:
        if block.task.single_label or block.task.label_sets:
            accuracy = per_class_accuracy(block.truth(truth), predictions[:, block.columns], task=block.task)
            named = zip(job.outputs[block.columns], accuracy, strict=True)
            row |= {f"accuracy_{name}": _defined(value) for name, value in named}
    return row, predictions


def _logits(job: FoldJob, model: nn.Module) -> Array:
    """[rows, logits] of the validation rows by the network; each rank predicts some of them."""
    rows = own_part(job.valid, job.ranks)
    if not len(rows):
        return put_together(job.valid, job.ranks, np.empty((0, job.objective.logits)))
    predicted = predict(
        [[model]], job.tested, rows, job.preprocessing, job.device, job.precision,
        views=["identity"], activation="identity", batch_size=job.run.predict.batch_size, title="validating",
    )  # fmt: skip
    return put_together(job.valid, job.ranks, predicted[0].astype(np.float64))


def _start_logits(job: FoldJob) -> dict[str, Array]:
    """What the start says of the validation rows, by view, where the network too computes as the probe did, in fp32."""
    return job.start_logits if job.precision.choice == "fp32" else {}


def start_predictions(job: FoldJob) -> Array | None:
    """[rows, outputs] what the start predicts of the validation rows in all views; None: only the network tells."""
    known, views = _start_logits(job), of_pictures(job.run.predict.views)
    if not known.keys() >= set(views):
        return None
    parts = [activate(torch.from_numpy(known[view]), job.objective.activation) for view in views]
    mean: Array = torch.stack(parts).mean(0).numpy()
    return mean


def nothing_loss(job: FoldJob) -> float:
    """The validation loss of a network that knows nothing: all logits are 0, so every class is alike, and every number
    the mean of the training rows'. Where numbers are learnt, that of the training rows if it is greater: a few far
    targets are in one fold alone, and the others' rows differ little from the mean."""
    measured = any(not block.task.has_classes for block in job.task.blocks)
    targets = [target_tensor(rows.truth, job) for rows in (job.valid, *([job.train] if measured else []))]
    return max(float(job.objective.plain(torch.zeros(len(one), job.objective.logits), one)) for one in targets)


def _defined(value: float) -> float | None:
    """A float; None where the metric has no answer (one class in the fold, a class without rows)."""
    return None if np.isnan(value) else float(value)
