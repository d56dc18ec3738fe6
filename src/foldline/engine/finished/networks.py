"""A finished fold's networks, and what they say of pictures. Reads weights, `meta.json` and code; writes nothing.

Whatever predicts with finished networks does it here: the prediction stage, new pictures, an offline notebook.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from foldline.core import own_code
from foldline.core.errors import FoldlineError
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.tables import sha256_json
from foldline.engine.finished.pictures import Spec
from foldline.engine.infer import Asked, Predictions, predict, predict_batches
from foldline.engine.loop.checkpoint import State, load_state
from foldline.engine.machine.compiling import Compiling
from foldline.engine.machine.precision import Precision, has_bf16
from foldline.engine.row_arrays import RowArrays
from foldline.images.stacks import Stacks
from foldline.images.store import PictureStore
from foldline.images.views import ADAPTED, only_together
from foldline.models.architecture import Architecture, Preprocessing
from foldline.models.backbone import build, state_sha256
from foldline.models.fusing import fuse
from foldline.models.metadata import Encoding
from foldline.models.weights import read_state


@dataclass(frozen=True)
class FoldNetworks:
    """A finished fold, ready to predict: its meta, its networks, and the device they are on.

    Attributes:
        adapted: the networks of the view `adapted` (`engine.finished.adapting`); none: it cannot be asked for.
    """

    meta: FoldMeta
    networks: list[nn.Module]
    device: torch.device
    adapted: list[nn.Module] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path, meta: FoldMeta, device: torch.device) -> Self:
        """The fold of a folder; raises as `load_models`."""
        return cls(meta, load_models(folder, meta, device), device)

    @property
    def encoding(self) -> Encoding | None:
        """How the fold's metadata became numbers when it was trained; None: its networks read none."""
        return None if self.meta.metadata is None else Encoding.from_json(self.meta.metadata)

    @property
    def precision(self) -> Precision:
        """The number format in which its networks predict."""
        return precision_of(self.meta, self.device)


@dataclass(frozen=True)
class Among:
    """Of rows in stacks those that are predicted: the pictures' positions and table are then of all rows."""

    stacks: Stacks
    wanted: NDArray[np.int64]

    def seen(self, batch_size: int) -> int:
        """How many pictures go through the networks for the rows that are wanted, in packs of so many."""
        asked = np.zeros(len(self.stacks), dtype=bool)
        asked[self.stacks.of_row[self.wanted]] = True
        return sum(int(self.stacks.sizes[pack].sum()) for pack in self.stacks.packs(batch_size, asked))


def predict_rows(
    folds: Sequence[FoldNetworks],
    pictures: PictureStore,
    positions: NDArray[np.int64],
    table: pd.DataFrame | None,
    *,
    views: Sequence[str],
    batch_size: int,
    title: str,
    compiling: Compiling | None = None,
    among: Among | None = None,
) -> Annotated[Predictions, "folds rows outputs"]:
    """What each fold of a run says of rows: the mean over its networks and the views.

    All folds see a picture one after the other, unless each has metadata or a number format of its own.

    Args:
        folds: at least one; they differ in weights, in how metadata become numbers, and in how numbers are scaled.
        positions: [rows] which picture each row is.
        table: the rows' metadata columns as text; None where the networks read none.
        title: of the progress bar.
        compiling: as `engine.infer.predict` takes it.
        among: of networks that answer for entities, which rows these are of which stacks.

    Raises:
        FoldlineError: networks answer for entities, and nobody says which pictures these are; the view `adapted`.
    """
    if ADAPTED in views:
        raise only_together("views")
    outputs = len(folds[0].meta.outputs)
    if not len(positions if among is None else among.wanted):
        return np.zeros((len(folds), 0, outputs), dtype=np.float32)
    parts = []
    for some in at_once(folds):
        given, asked = _asked(some, pictures, positions, table, views, batch_size, title, compiling, among)
        parts.append(predict(*given, some[0].precision, **asked))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def at_once(folds: Sequence[FoldNetworks]) -> list[list[FoldNetworks]]:
    """The folds that see a picture together: all, unless each has metadata or a number format of its own."""
    apart = folds[0].meta.metadata is not None or len({fold.precision.choice for fold in folds}) > 1
    return [[fold] for fold in folds] if apart else [list(folds)]


def predict_some(
    some: Sequence[FoldNetworks],
    pictures: PictureStore,
    positions: NDArray[np.int64],
    table: pd.DataFrame | None,
    *,
    views: Sequence[str],
    batch_size: int,
    title: str,
    compiling: Compiling | None = None,
    exact: bool = False,
    among: Among | None = None,
) -> Iterator[tuple[slice, Predictions]]:
    """`predict_rows` of folds that see a picture together (`at_once`), batch by batch.

    Args:
        exact: in fp32, whatever they were trained in.

    Raises:
        HalfPrecisionError: fp16 does not hold all numbers.
    """
    precision = replace(some[0].precision, choice="fp32") if exact else some[0].precision
    plain = [view for view in views if view != ADAPTED]
    streams = []
    if plain:
        given, asked = _asked(some, pictures, positions, table, plain, batch_size, title, compiling, among)
        streams.append(predict_batches(*given, precision, **asked))
    if len(plain) < len(views):
        if not all(fold.adapted for fold in some):
            raise only_together("predict.views")
        own = [replace(fold, networks=fold.adapted) for fold in some]
        words = f"{title}, {ADAPTED}"
        given, asked = _asked(own, pictures, positions, table, ["identity"], batch_size, words, None, among)
        streams.append(predict_batches(*given, precision, **asked))
    return streams[0] if len(streams) == 1 else _mean_of_views(streams[0], streams[1], len(plain))


def _mean_of_views(
    plain: Iterator[tuple[slice, Predictions]], adapted: Iterator[tuple[slice, Predictions]], count: int
) -> Iterator[tuple[slice, Predictions]]:
    """The mean over so many plain views, which are one stream, and the adapted one."""
    for (place, values), (_, own) in zip(plain, adapted, strict=True):
        yield place, (values * np.float32(count) + own) / np.float32(count + 1)


Given = tuple[list[list[nn.Module]], PictureStore, RowArrays, Preprocessing, torch.device]


def _asked(
    some: Sequence[FoldNetworks], pictures: PictureStore, positions: NDArray[np.int64], table: pd.DataFrame | None,
    views: Sequence[str], batch_size: int, title: str, compiling: Compiling | None, among: Among | None,
) -> tuple[Given, Asked]:  # fmt: skip
    """What `engine.infer` takes, but for the number format."""
    if some[0].meta.sees_entities and among is None:
        raise one_by_one(some[0].meta)
    first, which = some[0], "all folds" if len(some) > 1 else f"fold {some[0].meta.fold}"
    encoding = first.encoding
    numbers = None if encoding is None else encoding.encode(pd.DataFrame() if table is None else table)
    rows = RowArrays(positions, np.empty(0), numbers)
    if among is not None:
        rows = replace(rows, stacks=among.stacks, wanted=among.wanted)
    return ([fold.networks for fold in some], pictures, rows, preprocessing_of(first.meta), first.device), {
        "views": views, "activation": [fold.meta.activation for fold in some], "batch_size": batch_size,
        "title": f"{title}, {which}", "compiling": compiling or Compiling(),
    }  # fmt: skip


def one_by_one(meta: FoldMeta) -> FoldlineError:
    """That networks which answer for entities are asked about pictures one by one."""
    return FoldlineError(
        f"run '{meta.run}' answers for an entity by all of its pictures together, and here pictures come one by one",
        where="model.entity",
        next="predict the competition's rows (make predict); for pictures alone take a run with model.entity: none",
    )


def mean_of_folds(values: NDArray[Any]) -> NDArray[Any]:
    """[folds, rows, outputs] -> [rows, outputs] what a run says: the mean over its folds, added up in their order."""
    total: NDArray[Any] = values[0].copy()
    for fold in values[1:]:
        np.add(total, fold, out=total)
    total /= np.float32(len(values))
    return total


def load_models(folder: Path, meta: FoldMeta, device: torch.device, *, fused: bool = True) -> list[nn.Module]:
    """A fold's network, and its start where that is kept, from its folder alone: meta, weights and code, no YAML.

    Weights may be stored in half precision: they become float32, and their hash is that of float32.

    Args:
        fused: whether batch-norms may become part of the convolutions before them (`ready`).

    Raises:
        FoldlineError: the weights or the code are not there, or are not those that `meta.json` is of.
    """
    architecture = architecture_of(folder, meta)
    models = []
    for file in meta.weights:
        model = build(architecture)
        load_state(model, read_state(folder / file, next=FoldMeta.made_by), where=str(folder / file))
        models.append(model)
    if (
        weights_sha256({file: model.state_dict() for file, model in zip(meta.weights, models, strict=True)})
        != meta.sha256.weights
    ):
        raise FoldlineError(
            "the weights are not those that were trained here: their sha256 is not the one in meta.json",
            where=str(folder),
            next="copy the whole folder again, or delete it and train this fold again",
        )
    if not fused:
        return [model.to(device).eval() for model in models]
    return [ready(model.to(device), architecture, precision_of(meta, device)) for model in models]


def architecture_of(folder: Path, meta: FoldMeta) -> Architecture:
    """What rebuilds the fold's network; of the user's own code that which is kept in the folder."""
    architecture = Architecture(**meta.architecture)
    return replace(architecture, name=own_code.kept(folder, architecture.name, meta.sha256.code))


def weights_sha256(members: Mapping[str, State]) -> str:
    """One hash of a fold's networks, by file name: what `meta.json` says of its weights."""
    return sha256_json({file: state_sha256(state) for file, state in members.items()})


def ready(model: nn.Module, architecture: Architecture, precision: Precision) -> nn.Module:
    """The network as it predicts: on a CPU in fp32 its batch-norms are folded into the convolutions."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    return fuse(model, architecture) if on_cpu and precision.choice == "fp32" else model.eval()


def precision_of(meta: FoldMeta, device: torch.device) -> Precision:
    """The number format that the fold was trained in, or its nearest: fp16, which a CPU computes slowly, becomes fp32
    there, and bf16 fp16 on a GPU that has none (T4)."""
    choice = meta.precision.choice
    if choice == "fp16" and device.type != "cuda":
        choice = "fp32"
    if choice == "bf16" and device.type == "cuda" and not has_bf16():
        choice = "fp16"
    return Precision(choice, meta.device, {})


def spec_of(folder: Path, meta: FoldMeta) -> Spec:
    """What the fold's networks want their pictures to be; of the user's own code that which is kept in the folder."""
    own = own_code.kept(folder, meta.framing.foreground, meta.sha256.code)
    framing = meta.framing.model_copy(update={"foreground": own})
    return Spec(*meta.height_width, meta.channels, meta.intensity, framing)


def preprocessing_of(meta: FoldMeta) -> Preprocessing:
    """How the fold's pictures are scaled."""
    return Preprocessing(meta.mean, meta.std, meta.interpolation)
