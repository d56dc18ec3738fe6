"""Runs become one by whatever blend they have: the one function that all use who blend. Arrays by run in, one out.

A fitted blend (`scoring.fitted`) is nested: beside the parameters that were fitted on all rows it has those that were
fitted without each fold, and a row whose label is known is blended by its own fold's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.core.task import Array, Task
from foldline.scoring.blend import BLENDS, Member, blend, blended_blocks, rows_sum_to_one
from foldline.scoring.fitted.catalogue import FITTED, Way
from foldline.scoring.fitted.target import Target
from foldline.scoring.fitted.weights import some_weights
from foldline.scoring.metrics.metric import Predicted
from foldline.scoring.prior_shift import ratio_of, shifted

Parameters = list[dict[str, Any]]  # of each block
ALL_NAMES = (*BLENDS, *FITTED)


@dataclass(frozen=True)
class Fit:
    """What was fitted.

    Attributes:
        members: the runs, in the order of the parameters.
        whole: on all rows: of each of the task's blocks; for rows whose label nobody has.
        by_fold: without the rows of each fold: for these.
        rows: how many rows it was fitted on, of how many.
        to: what was made small, or the metric that was made large.
    """

    members: tuple[str, ...]
    whole: Parameters
    by_fold: dict[int, Parameters]
    rows: tuple[int, int]
    to: str

    def record(self) -> dict[str, Any]:
        """As JSON holds it; `of_record` reads it."""
        return {
            "members": list(self.members), "whole": self.whole, "rows": list(self.rows), "to": self.to,
            "by_fold": {str(fold): parameters for fold, parameters in self.by_fold.items()},
        }  # fmt: skip

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Fit":
        """Of what `record` gave."""
        by_fold = {int(fold): parameters for fold, parameters in record["by_fold"].items()}
        first, second = record["rows"]
        return cls(tuple(record["members"]), record["whole"], by_fold, (first, second), record["to"])


@dataclass(frozen=True)
class Blender:
    """How runs are blended.

    Attributes:
        name: an entry of BLENDS or FITTED.
        task: its outputs known.
        fit: of an entry of FITTED.
        ratio: [outputs] how many times as frequent each class is among rows whose label nobody has (`prior_shift`).
    """

    name: str
    task: Task
    fit: Fit | None = field(default=None, repr=False)
    ratio: Array | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.name not in ALL_NAMES:
            raise unknown("blend", self.name, list(ALL_NAMES))
        if self.name in FITTED and self.fit is None:
            raise FoldlineError(
                f"the blend '{self.name}' was fitted, and what was fitted is not there",
                next="make ensemble makes it anew",
            )

    @classmethod
    def of(
        cls, name: str, record: Mapping[str, Any] | None, task: Task, shift: dict[str, Any] | None = None
    ) -> "Blender":  # fmt: skip
        """Of what stands in `cv.json` or a bundle: `blend`, `blend_fit`, `prior_shift`."""
        return cls(name, task, None if record is None else Fit.of_record(record), ratio_of(shift))

    @property
    def needs_all(self) -> bool:
        """Whether it has no meaning for some of the members."""
        return self.name in FITTED and FITTED[self.name].needs_all

    @property
    def linear(self) -> bool:
        """Whether it is a mean, plain or by fitted weights."""
        return self.name == "mean" or (self.name in FITTED and FITTED[self.name].linear)

    @property
    def sums_to_one(self) -> bool:
        """Whether the rows of classes that exclude each other sum to 1."""
        return rows_sum_to_one(self.name, self.task, len(self.task.known))

    def weights(self) -> dict[str, list[float]]:
        """Each member's weights, of all rows: one a target, or one an output; empty: it has none."""
        if self.fit is None or not self.linear:
            return {}
        parts = [np.atleast_2d(np.array(own["weights"]).T).T for own in self.fit.whole]
        table = np.concatenate([part.reshape(len(self.fit.members), -1) for part in parts], axis=1)
        return dict(zip(self.fit.members, table.tolist(), strict=True))

    def __call__(self, members: Mapping[str, Predicted], folds: NDArray[np.int64] | None = None) -> Array:
        """[rows, outputs] the blend of the runs' predictions [rows, outputs].

        Where weights were fitted, some of the members may lack: the others share theirs.

        Args:
            folds: [rows] the fold of each row whose label was fitted to, below 0 where it has none; None: no row has.

        Raises:
            FoldlineError: no members, other shapes, a member that the fit does not know or needs.
        """
        values = [np.asarray(own, dtype=np.float64) for own in members.values()]
        found = blend(self.name, values, self.task) if self.fit is None else self._fitted(members, values, folds)
        if self.ratio is None:
            return found
        new = np.ones(len(found), dtype=bool) if folds is None else folds < 0
        if folds is None or new.any():
            found[new] = shifted(found[new], self.ratio)
        return found

    def _fitted(self, members: Mapping[str, Predicted], values: list[Array], folds: NDArray[np.int64] | None) -> Array:
        assert self.fit is not None
        if not values or len({value.shape for value in values}) != 1:
            raise FoldlineError(f"members of shapes {[value.shape for value in values]} cannot be blended")
        places = self._places(list(members))
        stack = np.stack(values)
        if folds is None:
            return self._apply(stack, self.fit.whole, places)
        found = np.empty(stack.shape[1:])
        for fold in np.unique(folds).tolist():
            inside = folds == fold
            own = self.fit.whole if fold < 0 else self.fit.by_fold.get(fold)
            if own is None:
                raise FoldlineError(f"no blend was fitted without fold {fold}", next="make ensemble makes it anew")
            found[inside] = self._apply(stack[:, inside], own, places)
        return found

    def _places(self, runs: list[str]) -> list[int]:
        """Where among the fitted members each run stands."""
        assert self.fit is not None
        known = self.fit.members
        odd = [run for run in runs if run not in known]
        lacking = [run for run in known if run not in runs]
        if odd or (lacking and self.needs_all):
            raise FoldlineError(
                f"the blend '{self.name}' was fitted to {first_few(list(known))}, and "
                + (f"does not know {first_few(odd)}" if odd else f"{first_few(lacking)} is not there"),
                next="fit it to these: make ensemble, BLEND=" + self.name,
            )
        return [known.index(run) for run in runs]

    def _apply(self, stack: Array, parameters: Parameters, places: list[int]) -> Array:
        way, parts = FITTED[self.name], []
        for block, own in zip(self.task.blocks, parameters, strict=True):
            columns = stack[..., block.columns]
            if way.linear:
                shared = {"weights": some_weights(np.array(own["weights"]), places)}
                parts.append(way.apply(columns, block.task, shared))
            else:
                parts.append(way.apply(columns[np.argsort(places)], block.task, own))
        return np.concatenate(parts, axis=1)

    def blocks(
        self, members: Mapping[str, Member], folds: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[slice, Predicted]]:  # fmt: skip
        """As the call, of members that are too many to be in memory together: each block's place, and it blended."""
        if self.fit is None and self.ratio is None:
            yield from blended_blocks(self.name, list(members.values()), self.task)
            return
        for blocks in zip(*members.values(), strict=True):
            place = blocks[0][0]
            values = {run: own for run, (_, own) in zip(members, blocks, strict=True)}
            yield place, self(values, None if folds is None else folds[place])


def fit_blend(name: str, members: Mapping[str, Predicted], target: Target, *, of_rows: int | None = None) -> Blender:
    """A fitted blend: on all rows, and without each fold.

    Args:
        name: an entry of FITTED.
        members: each run's OOF predictions [rows, outputs].
        of_rows: how many rows there are, where these are a sample.

    Raises:
        FoldlineError: the rows are of one fold: nothing can be fitted without it.
    """
    parts = np.unique(target.folds).tolist()
    if len(parts) < 2:
        raise FoldlineError(
            f"blend '{name}' is fitted without each fold, and these runs have predicted a single one",
            where="BLEND",
            next="use BLEND=mean, or train more folds",
        )
    from threadpoolctl import threadpool_limits

    way, total = FITTED[name], of_rows or len(target)
    rows = target.sample(max(1, way.most // max(1, len(target.task.known))))
    stack = np.stack([member[rows] for member in members.values()]).astype(np.float64)
    target = target.where(rows)
    with threadpool_limits(1):  # small problems: more threads only wait for one another
        whole = _fitted(way, stack, target)
        by_fold = {
            fold: _fitted(way, stack[:, target.folds != fold], target.where(target.folds != fold)) for fold in parts
        }
    blocks = target.task.blocks
    to = way.loss(target) if len(blocks) == 1 else "each target's own"
    return Blender(name, target.task, Fit(tuple(members), whole, by_fold, (len(target), total), to))


def _fitted(way: Way, stack: Array, target: Target) -> Parameters:
    """Of each block, fitted on these rows."""
    return [way.fit(stack[..., block.columns], target.of_block(block)) for block in target.task.blocks]
