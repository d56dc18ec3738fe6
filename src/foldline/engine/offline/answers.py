"""What members said of rows becomes an answer for all that the sample asks for. Arrays and tables, no files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import Competition
from foldline.core.predictions import predictions_table
from foldline.core.records.bundle import Bundle
from foldline.core.task import Array, Task
from foldline.engine.offline.hidden import Hidden
from foldline.scoring.blender import Blender
from foldline.scoring.entities import aggregate

if TYPE_CHECKING:
    from foldline.engine.offline.members import OfflineMember  # torch, which priors do not wait for

# why an answer is the training prior
NO_TIME = "the time was up"
NO_ROW = "no test row with a picture is there"
NO_PICTURE = "its picture cannot be read"
NO_MEMBER = "all members failed"
NO_NUMBER = "what the networks say of it is not finite"
OWN_FOLD = "its fold is not in the bundle, or was left out"  # a rehearsal's row


@dataclass(frozen=True)
class Answers:
    """An answer for each row or entity that the sample asks for.

    Attributes:
        table: `id` and the task's prediction columns.
        priors: the ids that got the training prior, and why.
    """

    table: pd.DataFrame
    priors: dict[str, str]

    @property
    def counts(self) -> dict[str, int]:
        """How many priors there are, by reason."""
        return dict(Counter(self.priors.values()))

    def first_ids(self, most: int = 100) -> dict[str, list[str]]:
        """The first ids, by reason."""
        return {why: [name for name, own in self.priors.items() if own == why][:most] for why in self.counts}


def only_priors(bundle: Bundle, reasons: Mapping[str, str]) -> Answers:
    """The training prior for each id of `reasons`."""
    return _with_priors(pd.DataFrame({"id": []}, dtype=str), bundle, reasons, _prior(bundle))


def answers(
    hidden: Hidden, members: Sequence["OfflineMember"], reasons: NDArray[np.object_], bundle: Bundle,
    facts: Competition, ids: Sequence[str], *, fold_of: NDArray[np.int64] | None = None,
) -> Answers:  # fmt: skip
    """The members' blend, aggregated. What no network saw, or has no row, gets the training prior.

    A row without a prediction is left out of its entity where that has others.

    Args:
        reasons: [rows] why a row was not predicted; empty: it was.
        ids: what the sample asks for.
        fold_of: [rows] of a rehearsal the fold of each row, below 0 where it has none; None: no row has one.
    """
    task, outputs = bundle.task.of(bundle.outputs), bundle.outputs
    done = np.array([reason == "" for reason in reasons], dtype=bool) & hidden.asked
    first = hidden.rows.assign(reason=reasons).drop_duplicates(hidden.key).set_index(hidden.key)["reason"].to_dict()
    if not done.any():
        return only_priors(bundle, {name: first.get(name, NO_ROW) for name in ids})
    values, neutral = _blended(members, done, bundle, task, fold_of)
    keep = [] if hidden.key == "row_id" else [hidden.key]
    table = predictions_table(hidden.rows[done], values[done], task, outputs, keep=keep)
    if keep:
        table = aggregate(table, hidden.key, facts.submission.aggregate, task=task, outputs=outputs)
    table = table.rename(columns={hidden.key: "id"})
    there = set(table["id"])
    lacking = {name: first.get(name, NO_ROW) for name in ids if name not in there}
    return _with_priors(table, bundle, lacking, neutral)


def _blended(
    members: Sequence["OfflineMember"], done: NDArray[np.bool_], bundle: Bundle, task: Task,
    fold_of: NDArray[np.int64] | None,
) -> tuple[Array, Array]:  # fmt: skip
    """[rows, outputs] the blend of the rows that are done, and [outputs] what it makes of the prior.

    Rows should have the same members: a member counts that did all rows which any did. Where none did (one failed, the
    others had been left out), the rows are blended in groups of the same members.
    """
    complete = [member for member in members if member.done[done].all()]
    used = complete or [member for member in members if member.done.any()]
    which = np.stack([member.done for member in used], axis=1)
    values, neutral = np.zeros((len(done), len(bundle.outputs))), _prior(bundle)
    for kind in np.unique(which[done], axis=0):
        rows = done & (which == kind).all(axis=1)
        own = {member.run: member.values[rows] for member, there in zip(used, kind, strict=True) if there}
        values[rows] = _blend(own, bundle, task, None if fold_of is None else fold_of[rows])
        with_prior = {run: np.vstack([part, _prior(bundle)]) for run, part in own.items()}
        neutral = _blend(with_prior, bundle, task)[-1]  # of ranks: the place of the prior among them
    return values, neutral


def _blend(
    own: Mapping[str, NDArray[np.floating[Any]]], bundle: Bundle, task: Task, fold_of: NDArray[np.int64] | None = None
) -> Array:  # fmt: skip
    if len(bundle.members) > 1 or bundle.blend_fit is not None or bundle.prior_shift is not None:
        return Blender.of(bundle.blend, bundle.blend_fit, task, bundle.prior_shift)(own, fold_of)
    return next(iter(own.values())).astype(np.float64)


def _with_priors(table: pd.DataFrame, bundle: Bundle, reasons: Mapping[str, str], prior: Array) -> Answers:
    columns = bundle.task.prediction_columns(bundle.outputs)
    rows = pd.DataFrame(np.tile(prior, (len(reasons), 1)), columns=columns).assign(id=list(reasons))
    whole = pd.concat([table, rows], ignore_index=True) if len(reasons) else table
    return Answers(whole[["id", *columns]], dict(reasons))


def _prior(bundle: Bundle) -> Array:
    return np.array([bundle.prior[name] for name in bundle.outputs], dtype=np.float64)
