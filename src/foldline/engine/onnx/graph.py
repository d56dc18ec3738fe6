"""A finished run as one module, from uint8 pictures to predictions, of operations that ONNX has. Reads and writes
nothing."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldline.core.errors import FoldlineError
from foldline.core.task import Task
from foldline.engine.finished.folder import FinishedRun
from foldline.engine.finished.networks import FoldNetworks
from foldline.engine.losses import activate
from foldline.images.normalise import Normaliser
from foldline.images.views import OTHER_SIZES, all_views
from foldline.models.metadata import Column, Encoding
from foldline.models.together import Together
from foldline.scoring.blend import SMALLEST
from foldline.scoring.blender import Blender

Pictures = Annotated[Tensor, "pictures height width channels"]
Outputs = Annotated[Tensor, "pictures outputs"]
Cells = Annotated[Tensor, "pictures columns"]  # float64: a column's number, or the place of its word (`cell_numbers`)


class RunGraph(nn.Module):
    """A trained run: pictures are scaled, turned into views, seen by all networks; the mean of what they say.

    Args:
        folds: of the run, on the CPU and in float32.
        views: over which its predictions are averaged.
        columns: the metadata columns that the graph is given, in their order.
    """

    def __init__(self, folds: Sequence[FoldNetworks], views: Sequence[str], columns: Sequence[Column]) -> None:
        super().__init__()
        meta = folds[0].meta
        self.height_width, self.views = meta.height_width, list(views)
        scaling = Normaliser(meta.mean, meta.std, torch.device("cpu"))
        self.register_buffer("scale", scaling.scale)
        self.register_buffer("offset", scaling.offset)
        apart = meta.metadata is not None  # each fold then has means and words of its own
        self.groups = nn.ModuleList(
            _FoldsGraph(some, self._example(meta.channels), columns)
            for some in ([[fold] for fold in folds] if apart else [folds])
        )
        self.folds = len(folds)

    def _example(self, channels: int) -> Tensor:
        return torch.randn(2, channels, *self.height_width, generator=torch.Generator().manual_seed(0))

    def forward(self, pictures: Pictures, metadata: Cells | None = None) -> Outputs:
        """uint8 pictures -> predictions."""
        assert isinstance(self.offset, Tensor)
        assert isinstance(self.scale, Tensor)
        x = torch.addcmul(self.offset, pictures.permute(0, 3, 1, 2).float(), self.scale)
        ((x, _),) = all_views(x, self.views)
        total = sum(group(x, metadata, len(self.views)) for group in self.groups)
        assert isinstance(total, Tensor)
        return total / self.folds


class _FoldsGraph(nn.Module):
    """Folds that see the same numbers; those that differ in the classifier alone share one pass of all before it."""

    def __init__(self, folds: Sequence[FoldNetworks], example: Tensor, columns: Sequence[Column]) -> None:
        super().__init__()
        self.sizes = [len(fold.networks) for fold in folds]
        self.activations = [fold.meta.activation for fold in folds]
        encoding = folds[0].encoding
        self.encode = None if encoding is None else _EncodeCells(encoding, columns)
        networks = [network for fold in folds for network in fold.networks]
        beside = () if encoding is None else (torch.zeros(2, encoding.features),)
        with torch.inference_mode():
            self.together = Together(networks, example, *beside)
        self.parts = nn.ModuleList(
            part for body in self.together.bodies for part in (body.network, *body.classifiers)
        )  # what `together` calls, known to torch as parts of this

    def forward(self, x: Tensor, metadata: Cells | None, views: int) -> Outputs:
        """[views * pictures, channels, height, width] -> the sum over the folds."""
        beside = () if self.encode is None or metadata is None else (self.encode(metadata).repeat(views, 1),)
        logits = torch.split(self.together(x, *beside), self.sizes)
        return torch.stack(
            [
                torch.unflatten(activate(own, name), 1, (views, -1)).mean((0, 1))
                for own, name in zip(logits, self.activations, strict=True)
            ]
        ).sum(0)


class _EncodeCells(nn.Module):
    """`Encoding.encode` of cells that are numbers already."""

    def __init__(self, encoding: Encoding, columns: Sequence[Column]) -> None:
        super().__init__()
        names = [column.name for column in columns]
        self.columns = [(names.index(column.name), column) for column in encoding.columns]

    def forward(self, metadata: Cells) -> Annotated[Tensor, "pictures features"]:
        """float32, as the fold's networks take it."""
        return torch.cat([_encode(metadata[:, place : place + 1], column) for place, column in self.columns], dim=1)


def _encode(cells: Tensor, column: Column) -> Tensor:
    """[pictures, 1] float64 -> [pictures, width] float32."""
    if column.kind == "number":
        missing = cells.isnan()
        value = torch.where(missing, 0.0, (cells - column.mean) / column.std)
        shown, beside = value.float(), missing.float()
    else:
        shown = (cells == torch.arange(len(column.words), dtype=torch.float64)).float()
        beside = 1 - shown.sum(1, keepdim=True)
    result = torch.cat([shown, beside], dim=1) if column.extra else shown
    heard = torch.ones(column.width)
    heard[list(column.silent)] = 0
    return result * heard


class BlendGraph(nn.Module):
    """Runs or ensembles whose predictions are blended as `scoring.blend` does."""

    def __init__(self, members: Sequence[nn.Module], blender: Blender) -> None:
        super().__init__()
        self.members, self.task, self.how = nn.ModuleList(members), blender.task, blender.name
        self.weights = [torch.tensor(own["weights"]) for own in (blender.fit.whole if blender.fit is not None else [])]

    def forward(self, pictures: Pictures, metadata: Cells | None = None) -> Outputs:
        """uint8 pictures -> predictions."""
        stack = torch.stack([member(pictures, metadata) for member in self.members])
        if self.weights:
            parts = zip(self.task.blocks, self.weights, strict=True)
            return torch.cat([_weighted(stack[..., block.columns], block.task, own) for block, own in parts], dim=-1)
        blend = _mean if self.how == "mean" else _gmean
        return torch.cat([blend(stack[..., block.columns], block.task) for block in self.task.blocks], dim=-1)


def _mean(stack: Tensor, task: Task) -> Tensor:
    return _shares(stack.mean(0), task)


def _weighted(stack: Tensor, task: Task, weights: Tensor) -> Tensor:
    """As `scoring.fitted.weights.weighted`: weights [members] or [members, outputs]."""
    return _shares((weights.view(len(stack), 1, -1) * stack).sum(0), task)


def _gmean(stack: Tensor, task: Task) -> Tensor:
    if not task.has_classes:
        return stack.log().mean(0).exp()
    yes = stack.clamp_min(SMALLEST).log().mean(0).exp()
    if not task.label_sets:
        return _shares(yes, task)
    no = (1 - stack).clamp_min(SMALLEST).log().mean(0).exp()
    return yes / (yes + no)


def _shares(prob: Tensor, task: Task) -> Tensor:
    return prob / prob.sum(-1, keepdim=True) if task.exclusive else prob


def graph_of(run: FinishedRun, folds: Mapping[str, Sequence[FoldNetworks]], views: Sequence[str]) -> nn.Module:
    """The run or ensemble as one module in eval mode: (pictures, metadata or None) -> predictions.

    Args:
        folds: each trained run's folds, on the CPU and in float32.
        views: in place of each run's own; empty: those.

    Raises:
        FoldlineError: its members want other pictures or encode metadata otherwise, its blend looks at all rows, or a
            view is of another size.
    """
    require_one_input(run, views)
    columns = metadata_columns(run)
    return _graph(run, folds, list(views), columns).eval()


def _graph(
    run: FinishedRun, folds: Mapping[str, Sequence[FoldNetworks]], views: list[str], columns: Sequence[Column]
) -> nn.Module:
    if not run.members:
        return RunGraph(folds[run.name], views or run.views, columns)
    members = [_graph(member, folds, views, columns) for member in run.members]
    return BlendGraph(members, run.blender)


def require_one_input(run: FinishedRun, views: Sequence[str] = ()) -> None:
    """Raises FoldlineError where no graph can say what the run says: as `graph_of`, from its records alone."""
    for own in run.trained:
        odd = sorted(OTHER_SIZES.intersection(views or own.views))
        if odd:
            raise FoldlineError(
                f"a graph takes pictures of one size, and the views {', '.join(odd)} are of others",
                where=f"views of {own.name}",
                next="name others for the file (--views identity hflip)",
            )
    several = [own.name for own in run.trained if own.first.sees_entities or own.first.neighbours]
    if several:
        raise FoldlineError(
            f"'{several[0]}' sees several pictures of an entity together, and a graph sees a picture alone",
            where=str(run.folder),
            next="export a run with model.entity: none and data.neighbours: 0",
        )
    if run.members and run.how != "gmean" and not run.blender.linear:
        why = "which looks at all rows: a graph sees a picture alone" if run.how == "rank_mean" else "which is no mean"
        raise FoldlineError(
            f"the ensemble '{run.name}' is blended by {run.how}, {why}",
            where=str(run.folder),
            next='blend by mean, gmean or weights (make ensemble RUNS="a b" BLEND=mean)',
        )
    wanted = {
        own.name: (*own.first.height_width, own.first.channels, own.first.intensity, own.first.framing.in_words())
        for own in run.trained
    }
    if len(set(wanted.values())) > 1:
        raise FoldlineError(
            f"the members want other pictures (height, width, channels, intensity, what is seen): {wanted}",
            where=str(run.folder),
            next="export each member by itself: a graph takes pictures of one size, and resizing is no part of it",
        )
    if run.members and run.blender.ratio is not None:
        raise FoldlineError(
            f"the ensemble '{run.name}' is corrected for the shares of classes among the test rows (PRIOR=em)",
            where=str(run.folder),
            next="export an ensemble without: make ensemble",
        )
    for member in run.members:
        require_one_input(member, views)


def metadata_columns(run: FinishedRun) -> list[Column]:
    """The metadata columns that the graph takes; means and deviations are of one of the folds.

    Raises:
        FoldlineError: members know other words of a column.
    """
    found: dict[str, Column] = {}
    for own in run.trained:
        for _, meta in own.folds:
            for column in Encoding.from_json(meta.metadata or []).columns:
                known = found.setdefault(column.name, column)
                if (known.kind, known.words) != (column.kind, column.words):
                    raise FoldlineError(
                        f"the members read the metadata column '{column.name}' in other ways",
                        where=str(run.folder),
                        next="export each member by itself",
                    )
    return list(found.values())


def cell_numbers(columns: Sequence[Column], table: pd.DataFrame) -> NDArray[np.float64]:
    """[rows, columns] what the graph is given: a number (nan: missing), or the place of a word in its list (-1: none).

    Raises:
        FoldlineError: as `Encoding.encode`.
    """
    cells = np.full((len(table), len(columns)), np.nan)
    for place, column in enumerate(columns):
        cells[:, place] = column.as_numbers(table[column.name])
    return cells
