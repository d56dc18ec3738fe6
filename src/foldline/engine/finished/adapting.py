"""Networks whose batch-norms have seen the pictures that they predict: the view `adapted`. Reads weights and pictures.

A batch-norm scales by statistics of training's pictures; where test pictures are of another camera, hospital or plate,
these are others, and taking them anew needs no label (Schneider et al. 2020, arXiv:2006.16971). The test rows count
together, and a fold's validation rows do in their place, so that the OOF score is of what the test rows go through.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldline.core.counted import counted
from foldline.core.progress import say
from foldline.engine.finished.networks import FoldNetworks, load_models, preprocessing_of
from foldline.engine.problem import Problem
from foldline.engine.refused import require_adaptable
from foldline.images.normalise import Normaliser
from foldline.images.views import ADAPTED
from foldline.models.norms import batch_norms, counted_anew

PRIOR = 16  # pictures that the statistics of training count as: the paper's N, its best for small samples
MOST_PICTURES, BATCH = 2048, 64


def adapt(fold: FoldNetworks, folder: Path, problem: Problem, frame: pd.DataFrame) -> FoldNetworks:
    """The fold with its networks once more, adapted to rows: a function of the weights and the rows alone.

    Args:
        folder: the fold's.
        frame: all rows that are predicted together; of more than 2,048 as many are taken, evenly spread.

    Raises:
        FoldlineError: the network has no batch-norm that keeps statistics.
    """
    networks = load_models(folder, fold.meta, fold.device, fused=False)
    for network in networks:
        require_adaptable(network, fold.meta.model, [ADAPTED])
    if len(frame) < 2:
        say(
            f"warning: view '{ADAPTED}': {counted(len(frame), 'pictures have')} no statistics: the networks stay "
            "as they are"
        )
    else:
        chosen = frame.iloc[_spread(len(frame))]
        for network in networks:
            with fold.precision.autocast(fold.device):
                _adapt(network, _batches(fold, problem, chosen), len(chosen))
    return replace(fold, adapted=networks)


@torch.no_grad()
def _adapt(network: nn.Module, batches: Iterator[tuple[Tensor, ...]], pictures: int) -> None:
    """Statistics of these pictures, in which those of training count as `PRIOR` more."""
    layers = batch_norms(network.eval())
    trained = [(layer.running_mean, layer.running_var) for layer in layers]
    kept = [(mean.clone(), var.clone()) for mean, var in trained if mean is not None and var is not None]
    with counted_anew(network):
        for layer in layers:
            layer.train()
        for inputs in batches:
            network(*inputs)
    share = pictures / (pictures + PRIOR)
    for layer, old in zip(layers, kept, strict=True):
        for now, before in zip((layer.running_mean, layer.running_var), old, strict=True):
            assert now is not None
            now.copy_(torch.lerp(before, now, share))
    network.eval()


def _spread(rows: int) -> NDArray[np.int64]:
    """At most 2,048 of so many rows, evenly spread, in one random order: a table may be sorted by what is asked."""
    number = min(rows, MOST_PICTURES)
    chosen = np.linspace(0, rows - 1, number).round().astype(np.int64)
    return np.random.default_rng(0).permutation(chosen)


def _batches(fold: FoldNetworks, problem: Problem, frame: pd.DataFrame) -> Iterator[tuple[Tensor, ...]]:
    """What the network takes of these rows, in batches of much the same size, none of a single picture."""
    preprocessing, encoding = preprocessing_of(fold.meta), fold.encoding
    normaliser = Normaliser(preprocessing.mean, preprocessing.std, fold.device)
    for rows in np.array_split(np.arange(len(frame)), -(-len(frame) // BATCH)):
        own = frame.iloc[rows]
        positions = problem.cache.rows(own["image"].tolist())
        ((images, _),) = problem.pictures.batches(positions, len(own))
        metadata = () if encoding is None else (torch.from_numpy(encoding.encode(own)).to(fold.device),)
        yield normaliser(images), *metadata
