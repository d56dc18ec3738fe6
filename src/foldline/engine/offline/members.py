"""The members of a bundle: their networks, and what they said of which row so far. Reads weights; writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.records.bundle import Bundle, BundleMember
from foldline.engine.entities import entity_names
from foldline.engine.finished.heads import HeadsMember
from foldline.engine.finished.member import Member
from foldline.engine.finished.model import Model, load
from foldline.engine.finished.networks import Among, mean_of_folds
from foldline.engine.finished.pictures import Spec
from foldline.engine.infer import Predictions
from foldline.engine.machine.memory import room
from foldline.engine.offline.levels import Share
from foldline.images.stacks import Stacks
from foldline.images.store import PictureStore

ALL_FOLDS = -1  # a row of which no fold has seen anything
GPU_SHARE = 0.4  # of a GPU's memory that networks may take while others predict


@dataclass
class OfflineMember:
    """One run of the bundle.

    Attributes:
        plan: its folds and views.
        model: its networks.
        values: [rows, outputs] what it says, where it did.
        done: [rows] whether it did.
        waits: whether its networks lie in the host's memory until their turn.
    """

    plan: BundleMember
    model: Model
    values: Predictions = field(repr=False)
    done: NDArray[np.bool_] = field(repr=False)
    waits: bool = False

    @property
    def run(self) -> str:
        """Its name."""
        return self.plan.run

    @property
    def own(self) -> Member | HeadsMember:
        """What predicts."""
        return self.model.members[0]

    @property
    def specs(self) -> list[Spec]:
        """What its pictures are."""
        return self.own.specs

    @property
    def metadata(self) -> list[dict[str, Any]]:
        """The metadata columns that it reads."""
        return self.own.record.metadata or [] if isinstance(self.own, HeadsMember) else self.own.metas[0].metadata or []

    def predict(
        self, share: Share, stores: Mapping[Spec, PictureStore], places: NDArray[np.int64], table: pd.DataFrame,
        fold_of: NDArray[np.int64], batch_size: int, bad: NDArray[np.bool_],
    ) -> tuple[Predictions, NDArray[np.bool_]]:  # fmt: skip
        """[rows, outputs] what so many of its folds and views say of rows, and [rows] whether they say anything.

        Of an entity they do where one of its pictures can be read.

        Args:
            stores: pictures of each of `specs`; places: [rows] which of them each row is.
            table: the rows; of a member that sees entities whole ones. Rows that come again are entities of their own.
            fold_of: [rows] the one fold that may predict a row, or ALL_FOLDS.
            bad: [rows] whether its picture cannot be read.
        """
        among = self._among(places, table, bad)
        whole = self.plan.whole
        folds = self.plan.folds if whole else self.plan.folds[: share.folds]
        views = None if whole else self.plan.views[: share.views]
        self._move(self.model.device)
        values = self.own.predictions(
            stores, places, folds=folds, views=views, metadata=table if self.metadata else None, batch_size=batch_size,
            title=self.run, among=among,
        )  # fmt: skip
        self._move(torch.device("cpu"))
        answers, known = mean_of_folds(values), fold_of == ALL_FOLDS
        for place, fold in enumerate(folds):
            alone = fold_of == fold
            answers[alone], known = values[place, alone], known | alone
        known &= ~bad if among is None else _readable(among.stacks, bad)
        return answers, known & np.isfinite(answers).all(axis=1)

    def _among(self, places: NDArray[np.int64], table: pd.DataFrame, bad: NDArray[np.bool_]) -> Among | None:
        """The rows as entities; None where each is seen by itself."""
        if not self.plan.together:
            return None
        again = pd.Series(places).groupby(places).cumcount()
        names = [f"{turn} {name}" for turn, name in zip(again, entity_names(table, self.plan.together), strict=True)]
        stacks = Stacks.of(names, table["order"] if "order" in table.columns else None, bad)
        return Among(stacks, np.arange(len(table)))

    def rest(self) -> None:
        """Its networks leave the GPU until their turn."""
        self.waits = True
        self.own.move(torch.device("cpu"), self.plan.folds)

    def _move(self, device: torch.device) -> None:
        if self.waits:
            self.own.move(device, self.plan.folds)


def _readable(stacks: Stacks, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[rows] whether any picture of its entity can be read."""
    found = np.bincount(stacks.of_row, weights=~bad, minlength=len(stacks)) > 0
    return np.asarray(found[stacks.of_row])


def load_members(layout: Layout, bundle: Bundle, rows: int, device: str) -> list[OfflineMember]:
    """All members with their networks, which take turns on a GPU that is too small for all of them.

    Raises:
        FoldlineError: weights or code are damaged, or a fold is not there.
    """
    members = list[OfflineMember]()
    for plan in bundle.members:
        model = load(layout.run(bundle.comp, plan.run), device=device)
        members.append(_new(plan, model, rows))
        if model.device.type == "cuda":
            _make_room(members, model.device)
    return members


def _new(plan: BundleMember, model: Model, rows: int) -> OfflineMember:
    model.members[0].ready(plan.folds)
    return OfflineMember(plan, model, np.zeros((rows, len(model.outputs)), np.float32), np.zeros(rows, dtype=bool))


def _make_room(members: Sequence[OfflineMember], device: torch.device) -> None:
    taken = torch.cuda.memory_allocated(device)
    if len(members) > 1 and taken > GPU_SHARE * (room(device) + taken):
        say(f"the members take turns on the GPU: their networks together take {taken / 2**30:.1f} GiB of its memory")
        for member in members:
            member.rest()
