"""What networks with a head over an entity's pictures say of entities: some pictures at a time go through the body, and
their features wait until the entity is whole. Reads pictures; writes nothing."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldline.core.progress import Progress
from foldline.engine.machine.memory import more_parts
from foldline.engine.machine.precision import Precision
from foldline.engine.row_arrays import RowArrays
from foldline.images.normalise import Normaliser
from foldline.images.store import PictureStore
from foldline.images.views import all_views
from foldline.models.entity_heads import MISSING

Indices = NDArray[np.int64]


class StackInference:
    """`for rows, logits in StackInference(...)`

    Args:
        models: with a head over pictures, in eval mode.
        rows: pictures in stacks.
        batch_size: pictures that go through the body together, before views; so many are in memory, or those of a
            larger entity.
    """

    def __init__(
        self, models: Sequence[nn.Module], pictures: PictureStore, rows: RowArrays, normaliser: Normaliser,
        precision: Precision, *, views: Sequence[str], batch_size: int,
    ) -> None:  # fmt: skip
        self.models: list[Any] = list(models)
        self.pictures, self.rows, self.normaliser, self.precision = pictures, rows, normaliser, precision
        self.views, self.batch_size, self.parts = list(views), batch_size, 1

    def logits(self, title: str) -> Iterator[tuple[Indices, Tensor]]:
        """Some whole entities after the others: their rows, and [networks, views, rows, logits] in float32."""
        rows, stacks = self.rows, self.rows.stacks
        assert stacks is not None
        wanted = np.zeros(len(stacks), dtype=bool)
        wanted[stacks.of_row if rows.wanted is None else stacks.of_row[rows.wanted]] = True
        by_stack = np.argsort(stacks.of_row, kind="stable")
        packs, sorted_stacks = list(stacks.packs(self.batch_size, wanted)), stacks.of_row[by_stack]
        with Progress() as progress:
            for pack in progress.over(packs, title, total=len(packs)):
                first, end = np.searchsorted(sorted_stacks, [pack.start, pack.stop])
                own = by_stack[first:end].astype(np.int64)
                yield own, self._of_pack(pack, own)

    def _of_pack(self, pack: range, own: Indices) -> Tensor:
        """[networks, views, rows, logits] of the rows of some stacks."""
        stacks = self.rows.stacks
        assert stacks is not None
        seen = stacks.order[stacks.starts[pack.start] : stacks.starts[pack.stop]]
        features = self._features(seen)
        sizes, device = stacks.sizes[pack.start : pack.stop], features[0].device
        steps = np.arange(sizes.max())
        starts = stacks.starts[pack.start : pack.stop] - stacks.starts[pack.start]
        there = steps < sizes[:, None]
        place = torch.from_numpy(np.where(there, starts[:, None] + steps, 0)).to(device)
        missing = torch.from_numpy(~there).to(device)
        places = torch.from_numpy(stacks.place[seen]).to(device)[place].masked_fill(missing, MISSING)
        of_row = torch.from_numpy(stacks.of_row[own] - pack.start).to(device)
        slot = torch.from_numpy(stacks.slot[own]).to(device)
        return torch.stack(
            [self._rows(model, own_features[:, place], places, of_row, slot)
             for model, own_features in zip(self.models, features, strict=True)]
        )  # fmt: skip

    def _rows(self, model: Any, features: Tensor, places: Tensor, of_row: Tensor, slot: Tensor) -> Tensor:
        """[views, entities, pictures, features] -> [views, rows, logits]."""
        views, entities = features.shape[:2]
        logits: Tensor = model.answer(features.flatten(0, 1), places.repeat(views, 1))
        logits = torch.unflatten(logits, 0, (views, entities))
        if logits.ndim == 3:
            return logits[:, of_row]
        there = (places >= 0)[:, :, None]  # a row whose picture cannot be read has the mean of its entity's
        mean = (logits * there).sum(2) / there.sum(1)
        return torch.where((slot >= 0)[:, None], logits[:, of_row, slot.clamp(min=0)], mean[:, of_row])

    def _features(self, seen: Indices) -> list[Tensor]:
        """Of each network [views, pictures, features] of these rows' pictures."""
        found: list[list[Tensor]] = [[] for _ in self.models]
        metadata = self.rows.metadata
        for images, part in self.pictures.batches(self.rows.positions[seen], self.batch_size):
            groups = all_views(self.normaliser(images), self.views)
            beside = [] if metadata is None else [torch.from_numpy(metadata[seen[part]]).to(groups[0][0].device)]
            for model, parts in zip(self.models, found, strict=True):
                of_views = [
                    torch.unflatten(
                        self._body(model, x, *(values.repeat(count, 1) for values in beside)), 0, (count, -1)
                    )
                    for x, count in groups
                ]
                parts.append(torch.cat(of_views))
        return [torch.cat(parts, dim=1) for parts in found]

    def _body(self, model: Any, *inputs: Tensor) -> Tensor:
        """[views * pictures, features] in float32, in as many parts as the memory makes necessary."""
        count = len(inputs[0])
        while True:
            size = -(-count // self.parts)
            try:
                with self.precision.autocast(inputs[0].device):
                    parts = [
                        model.picture_features(*(values[i : i + size] for values in inputs)).float()
                        for i in range(0, count, size)
                    ]
                return torch.cat(parts)
            except torch.OutOfMemoryError:
                self.parts = more_parts(self.parts, count)
            if inputs[0].is_cuda:
                torch.cuda.empty_cache()
