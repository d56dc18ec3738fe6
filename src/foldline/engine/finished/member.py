"""A trained run as a part of what `foldline.load` gives: its folds' networks. Reads weights; writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from foldline.core.errors import FoldlineError
from foldline.core.records.fold_meta import FoldMeta
from foldline.engine.finished.networks import Among, FoldNetworks, predict_rows, preprocessing_of, spec_of
from foldline.engine.finished.pictures import Source, Spec, require_neighbours
from foldline.engine.infer import Predictions
from foldline.images.store import PictureStore
from foldline.images.views import require_views
from foldline.models.architecture import Preprocessing


@dataclass
class Member:
    """A trained run: all of a plain model, or a part of an ensemble. Its networks are loaded when they are needed.

    Attributes:
        run: its name.
        folder: where it lies.
        metas: of its folds, in their order.
        views: of each picture, over which its predictions are averaged.
    """

    run: str
    folder: Path
    metas: list[FoldMeta] = field(repr=False)
    views: list[str]
    device: torch.device
    _folders: list[Path] = field(repr=False)
    _loaded: dict[int, FoldNetworks] = field(default_factory=dict, repr=False)
    number: ClassVar[type[np.float32 | np.float64]] = np.float32  # in which it predicts

    @property
    def folds(self) -> list[int]:
        """The numbers of its folds."""
        return [meta.fold for meta in self.metas]

    @property
    def spec(self) -> Spec:
        """What its pictures are: size, channels, how numbers become 8 bits, what of them is seen."""
        return spec_of(self._folders[0], self.metas[0])

    @property
    def specs(self) -> list[Spec]:
        """`spec`, as other members have several."""
        return [self.spec]

    @property
    def preprocessing(self) -> Preprocessing:
        """How its pictures are scaled."""
        return preprocessing_of(self.metas[0])

    @property
    def metadata(self) -> list[str]:
        """The columns that its networks read beside the picture."""
        return [column["name"] for column in self.metas[0].metadata or []]

    def fold_networks(self, folds: Sequence[int] | None = None) -> list[FoldNetworks]:
        """Some folds, or all, ready to predict; each is loaded once and kept until `drop`.

        Raises:
            FoldlineError: there is no such fold, or its weights are not what its `meta.json` says.
        """
        wanted = known_folds(self.run, self.folds, folds)
        for meta, folder in zip(self.metas, self._folders, strict=True):
            if meta.fold in wanted and meta.fold not in self._loaded:
                self._loaded[meta.fold] = FoldNetworks.load(folder, meta, self.device)
        return [self._loaded[fold] for fold in wanted]

    def networks(self, folds: Sequence[int] | None = None) -> list[list[nn.Module]]:
        """[fold][network] of some folds, or of all; in eval mode, on the device."""
        return [fold.networks for fold in self.fold_networks(folds)]

    def drop(self) -> None:
        """Frees the networks' memory; they are loaded anew when they are needed again."""
        self._loaded.clear()

    def ready(self, folds: Sequence[int] | None = None) -> None:
        """Loads some folds, or all; raises as `fold_networks`."""
        self.fold_networks(folds)

    def move(self, device: torch.device, folds: Sequence[int] | None = None) -> None:
        """Some folds' networks, or all, lie there from now on."""
        for fold in self.networks(folds):
            for network in fold:
                network.to(device)

    def require(self, sources: Sequence[Source]) -> None:
        """Raises FoldlineError where networks want the neighbours of each picture and a file stands alone."""
        require_neighbours(sources, self.run, self.metas[0].neighbours)

    def predictions(
        self, stores: Mapping[Spec, PictureStore], positions: NDArray[np.int64], *, folds: Sequence[int] | None = None,
        views: Sequence[str] | None = None, metadata: pd.DataFrame | None = None, batch_size: int = 32,
        title: str = "predicting", among: Among | None = None,
    ) -> Annotated[Predictions, "folds rows outputs"]:  # fmt: skip
        """What some folds say of pictures that are decoded already; as `Model.fold_predictions`.

        Args:
            stores: pictures of each of `specs`.
        """
        chosen, store = self.views if views is None else views, stores[self.spec]
        require_views(chosen, store.height_width, where="views")
        return predict_rows(
            self.fold_networks(folds), store, positions, metadata, views=list(chosen), batch_size=batch_size,
            title=title, among=among,
        )  # fmt: skip


def known_folds(run: str, there: Sequence[int], asked: Sequence[int] | None) -> list[int]:
    """The folds that are asked for, None: all; raises FoldlineError for one that is not there, or none."""
    wanted = list(there) if asked is None else list(asked)
    unknown = [fold for fold in wanted if fold not in there]
    if unknown or not wanted:
        named = f"has no fold {', '.join(map(str, unknown))}" if unknown else "is to predict with no fold"
        raise FoldlineError(f"'{run}' {named}", where="folds", next=f"it has {', '.join(map(str, there))}")
    return wanted
