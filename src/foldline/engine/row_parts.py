"""Rows as a training takes them: in the order of each epoch, in the parts of its ranks, with what is learnt of them.

Reads and writes nothing.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldline.core.task import Array, hot_truth
from foldline.engine.losses import as_logits
from foldline.engine.machine.ranks import Number, Ranks
from foldline.engine.problem import FoldJob
from foldline.engine.row_arrays import RowArrays
from foldline.images.batches import TrainingRows
from foldline.images.stacks import StackRows


def training_rows(job: FoldJob) -> TrainingRows:
    """The job's training rows, or entities, in the order of each epoch."""
    train, run = job.train, job.run
    if train.stacks is None:
        return TrainingRows(
            train.positions, job.key,
            truth=train.truth, task=job.task, outputs=job.outputs, sampling=run.sampling, share=job.share,
            pseudo=train.pseudo, ratio=run.extra.pseudo.options.get("ratio", 0.0),
            copies=run.augment.copies.options.get("count", 1),
        )  # fmt: skip
    return StackRows(
        train.positions, job.key, stacks=train.stacks, most=run.model.entity.options["pictures"],
        truth=train.truth_of_units, task=job.task, outputs=job.outputs, sampling=run.sampling, share=job.share,
    )  # fmt: skip


def own_part(rows: RowArrays, ranks: Ranks) -> RowArrays:
    """What this rank predicts of the rows: a run of them, or of whole entities."""
    if rows.stacks is None:
        return rows.part(ranks.part(len(rows)))
    if ranks.count == 1:
        return rows
    order = _by_stack(rows)
    part = ranks.part(len(rows.stacks))
    first, end = np.searchsorted(rows.stacks.of_row[order], [part.start, part.stop])
    return replace(rows, wanted=order[first:end])


def put_together(rows: RowArrays, ranks: Ranks, part: NDArray[Number]) -> NDArray[Number]:
    """[rows, ...] in rank 0 what all ranks predicted, in the order of the rows; in the others their own part."""
    found = ranks.gathered(part)
    if rows.stacks is None or ranks.count == 1 or not ranks.first:
        return found
    result = np.empty_like(found)
    result[_by_stack(rows)] = found
    return result


def _by_stack(rows: RowArrays) -> NDArray[np.int64]:
    assert rows.stacks is not None
    return np.argsort(rows.stacks.of_row, kind="stable").astype(np.int64)


def target_tensor(truth: Array, job: FoldJob) -> Tensor:
    """[rows] int64 class indices, or [rows, outputs] float32, numbers as the logits that they are learnt as."""
    if job.task.single_label:
        return torch.from_numpy(truth).long()
    truth = as_logits(truth, job.task, job.objective.activation)
    return torch.from_numpy(hot_truth(truth, job.task, len(job.outputs)))


def training_targets(job: FoldJob) -> Tensor:
    """What the fold is trained towards: as `target_tensor`; with soft pseudo-labels [rows, outputs] float32."""
    target = target_tensor(job.train.truth, job)
    if job.train.soft is None:
        return target
    dense = target if target.ndim == 2 else torch.from_numpy(hot_truth(job.train.truth, job.task, len(job.outputs)))
    for block in job.task.blocks:
        if block.task.has_classes:
            dense[len(dense) - job.train.pseudo :, block.columns] = torch.from_numpy(job.train.soft[:, block.columns])
    return dense
