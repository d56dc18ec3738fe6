"""Inference: every picture is decoded and normalised once, then seen by all models in all views."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldline.core.errors import FoldlineError
from foldline.core.progress import Progress, say
from foldline.engine.losses import activate
from foldline.engine.machine.compiling import Compilable, Compiling
from foldline.engine.machine.memory import more_parts
from foldline.engine.machine.precision import Precision
from foldline.engine.stack_infer import StackInference
from foldline.images.normalise import Normaliser
from foldline.images.store import PictureStore
from foldline.images.views import all_views
from foldline.models.architecture import Preprocessing
from foldline.models.together import UNFIT, Together

if TYPE_CHECKING:
    from foldline.engine.row_arrays import RowArrays

Predictions = NDArray[np.float32]


@torch.inference_mode()
def predict(
    folds: Sequence[Sequence[nn.Module]],
    pictures: PictureStore,
    rows: "RowArrays",
    preprocessing: Preprocessing,
    device: torch.device,
    precision: Precision,
    *,
    views: Sequence[str],
    activation: str | Sequence[str],
    batch_size: int,
    title: str = "predicting",
    compiling: Compiling | None = None,
) -> Annotated[Predictions, "folds rows outputs"]:
    """What the networks of each fold say of each row: the mean over them and the views, after the activation.

    Where a batch does not fit into the device's memory, it goes through the networks in parts, which is said. So is it
    where fp16 does not hold what networks compute that were trained in bf16: all rows are predicted again in fp32.

    Args:
        folds: each fold's networks.
        pictures: of the competition, or of the rows.
        rows: which image each row is, and its metadata; the truth is not looked at. At least one.
        activation: of all folds, or of each.
        batch_size: images a batch, before views.
        compiling: whether the networks are compiled (`predict.compile`); None: they are used as they are.

    Returns:
        [folds, rows, outputs] float32; computed in float64, batch by batch.
    """
    given = (folds, pictures, rows, preprocessing, device)
    asked: Asked = {
        "views": views, "activation": activation, "batch_size": batch_size, "title": title,
        "compiling": compiling or Compiling(),
    }  # fmt: skip
    try:
        return _together(len(rows), predict_batches(*given, precision, **asked))
    except HalfPrecisionError as error:
        say(f"warning: {error}: they predict again, in fp32")
    return _together(len(rows), predict_batches(*given, replace(precision, choice="fp32"), **asked))


class HalfPrecisionError(ArithmeticError):
    """fp16 does not hold what networks compute that were trained in bf16."""


class Asked(TypedDict):
    """What `predict` and `predict_batches` are asked for alike."""

    views: Sequence[str]
    activation: str | Sequence[str]
    batch_size: int
    title: str
    compiling: Compiling


def _together(rows: int, batches: Iterator[tuple[slice, Predictions]]) -> Predictions:
    """[folds, rows, outputs] of all batches."""
    result: Predictions = np.empty(0, dtype=np.float32)
    for place, prob in batches:
        if not result.size:
            result = np.empty((len(prob), rows, prob.shape[2]), dtype=np.float32)
        result[:, place] = prob
    return result


@torch.inference_mode()
def predict_batches(
    folds: Sequence[Sequence[nn.Module]], pictures: PictureStore, rows: "RowArrays", preprocessing: Preprocessing,
    device: torch.device, precision: Precision, *, views: Sequence[str], activation: str | Sequence[str],
    batch_size: int, title: str, compiling: Compiling,
) -> Iterator[tuple[slice, Predictions]]:  # fmt: skip
    """`predict`, batch by batch: the rows' places in order, and [folds, batch, outputs] float32.

    Raises:
        HalfPrecisionError: fp16 does not hold a number, where it is another one that a network was trained in.
    """
    count = -(-len(rows) // batch_size)
    activations = [activation] * len(folds) if isinstance(activation, str) else list(activation)
    precision.prepare(device)
    normaliser = Normaliser(preprocessing.mean, preprocessing.std, device)
    if rows.stacks is not None:
        found = _of_stacks(folds, pictures, rows, normaliser, precision, views, activations, batch_size, title)
        yield slice(0, len(rows)), found
        return
    forward = _Forward([model.eval() for own in folds for model in own], compiling, device, count)
    landing = _Landing(half=precision.choice == "fp16")
    with Progress() as progress:
        for images, place in progress.over(pictures.batches(rows.positions, batch_size), title, total=count):
            size = batch_size if compiling.wants_full_batches else len(images)
            with precision.autocast(device):
                parts = [
                    forward(x, *_metadata(rows, place, size, count, device))
                    for x, count in all_views(normaliser(filled(images, size)), views)
                ]
            logits = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            logits = logits.double() if device.type != "mps" else logits.float()
            named = zip(torch.split(logits, [len(own) for own in folds]), activations, strict=True)
            prob = torch.stack([_mean(own, name, len(views)) for own, name in named]).float()
            yield from landing.send(prob[:, : len(images)], place)
    yield from landing.land()


def _of_stacks(
    folds: Sequence[Sequence[nn.Module]], pictures: PictureStore, rows: "RowArrays", normaliser: Normaliser,
    precision: Precision, views: Sequence[str], activations: Sequence[str], batch_size: int, title: str,
) -> Predictions:  # fmt: skip
    """[folds, rows, outputs] of pictures in stacks: all of them at the end, since an entity's rows may lie apart."""
    assert rows.stacks is not None
    models = [model.eval() for own in folds for model in own]
    inference = StackInference(models, pictures, rows, normaliser, precision, views=views, batch_size=batch_size)
    place = np.full(len(rows.stacks.of_row), -1, dtype=np.int64)
    place[np.arange(len(place)) if rows.wanted is None else rows.wanted] = np.arange(len(rows))
    result: Predictions = np.empty(0, dtype=np.float32)
    for own, logits in inference.logits(title):
        exact = logits.flatten(1, 2).double() if logits.device.type != "mps" else logits.flatten(1, 2)
        parts = zip(torch.split(exact, [len(some) for some in folds]), activations, strict=True)
        prob = torch.stack([_mean(part, name, len(views)) for part, name in parts]).float().cpu().numpy()
        if precision.choice == "fp16" and not np.isfinite(prob).all():
            raise HalfPrecisionError("fp16 does not hold all numbers that these networks compute")
        if not result.size:
            result = np.empty((len(prob), len(rows), prob.shape[2]), dtype=np.float32)
        asked = place[own] >= 0
        result[:, place[own[asked]]] = prob[:, asked]
    return result


def _mean(logits: Tensor, activation: str, views: int) -> Tensor:
    """[networks, views * images, logits] -> [images, outputs]."""
    prob = torch.stack([activate(own, activation) for own in logits])
    return prob.view(len(logits), views, -1, prob.shape[2]).mean((0, 1))


class _Landing:
    """Predictions on their way to the host: a batch's are waited for when the next one was asked for, so that a GPU
    has work while the host makes pictures ready."""

    def __init__(self, *, half: bool) -> None:
        self.half = half
        self.on_the_way: tuple[Tensor, slice, torch.cuda.Event | None] | None = None

    def send(self, prob: Tensor, place: slice) -> Iterator[tuple[slice, Predictions]]:
        """[folds, batch, outputs] of some rows; those before them have landed then."""
        event = torch.cuda.Event() if prob.is_cuda else None  # type: ignore[no-untyped-call]
        copy = prob.to("cpu", non_blocking=prob.is_cuda)
        if event is not None:
            event.record()
        yield from self.land()
        self.on_the_way = copy, place, event

    def land(self) -> Iterator[tuple[slice, Predictions]]:
        """The rows that are on the way; raises as `predict_batches`."""
        if self.on_the_way is None:
            return
        copy, place, event = self.on_the_way
        self.on_the_way = None
        if event is not None:
            event.synchronize()
        prob: Predictions = copy.numpy()
        if self.half and not np.isfinite(prob).all():
            raise HalfPrecisionError("fp16 does not hold all numbers that these networks compute")
        yield place, prob


def filled(values: Tensor, size: int) -> Tensor:
    """[batch, ...] -> [size, ...] the last one repeated: what is compiled is so for batches of one size.

    >>> filled(torch.tensor([1, 2]), 4)
    tensor([1, 2, 2, 2])
    """
    lacking = size - len(values)
    return torch.cat([values, values[-1:].expand(lacking, *values.shape[1:])]) if lacking > 0 else values


class _Forward:
    """Networks as one function of a batch, which goes through them in as many parts as their memory makes necessary."""

    def __init__(self, models: Sequence[nn.Module], compiling: Compiling, device: torch.device, batches: int) -> None:
        self.models, self.parts = models, 1
        self.compiling, self.device, self.batches = compiling, device, batches
        self.together: Compilable | None = None
        self.taken: set[tuple[int, ...]] = set()  # sizes of pictures that the networks took

    def __call__(self, *inputs: Tensor) -> Tensor:
        """[views * images, ...] -> [networks, views * images, logits]."""
        if self.together is None:
            networks = Together(self.models, *(values[:2] for values in inputs))
            self.together = Compilable(networks, self.compiling, self.device, self.batches)
        pictures = len(inputs[0])
        while True:
            size = -(-pictures // self.parts)
            try:
                parts = [self.together(*(values[i : i + size] for values in inputs)) for i in range(0, pictures, size)]
                self.taken.add(tuple(inputs[0].shape[2:]))
                return torch.cat(parts, dim=1)
            except torch.OutOfMemoryError:
                self.parts = more_parts(self.parts, pictures)
            except UNFIT as error:
                if tuple(inputs[0].shape[2:]) in self.taken or not self.taken:
                    raise
                raise _one_size(inputs[0], error) from error
            if inputs[0].is_cuda:
                torch.cuda.empty_cache()


def _one_size(pictures: Tensor, error: Exception) -> FoldlineError:
    height, width = pictures.shape[2:]
    return FoldlineError(
        f"the network does not take a view of {height} x {width} px: {' '.join(str(error).split())}",
        where="views",
        next="leave views out that change the size (scale_, cut_); or let the network take other sizes, as timm's "
        "transformers do with model.options.dynamic_img_size=true, and train it so",
    )


def _metadata(rows: "RowArrays", place: slice, size: int, views: int, device: torch.device) -> tuple[Tensor, ...]:
    """The batch's metadata once for each view, filled up to a size; nothing where the network does not see any."""
    if rows.metadata is None:
        return ()
    values = filled(torch.from_numpy(rows.metadata[place]), size)
    return (values.repeat(views, 1).to(device, non_blocking=True),)
