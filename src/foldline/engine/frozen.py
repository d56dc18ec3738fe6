"""Frozen features of pictures: what reaches a pretrained network's classifier, kept in the cache folder.

Reads the images; writes the features.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from foldline.core.own_code import sha256
from foldline.core.processes import in_turn
from foldline.core.progress import Progress
from foldline.core.records.seal import Seal
from foldline.core.tables import atomic_path, save_array, sha256_json
from foldline.engine.problem import Problem
from foldline.images.store import PictureStore
from foldline.models.architecture import Architecture, Preprocessing
from foldline.models.fusing import fuse
from foldline.models.probe import Features, frozen_features

FEATURE_BATCH = 16  # images a batch, before views: activations that stay in a CPU's cache are several times faster


def features_path(problem: Problem, preprocessing: Preprocessing, digest: str, views: list[str], rows: str) -> Path:
    """Where the features of some rows are kept, whether or not they are there.

    Args:
        digest: of the network's weights.
        rows: what tells them from other rows of this cache.
    """
    network = asdict(problem.architecture)  # pooling and options have no weights, and make other features
    for of_entities in ("entity", "per_picture"):  # what comes behind these features
        del network[of_entities]
    network["name"] += sha256(problem.architecture.name)
    content = [
        problem.cache.key, rows, digest, network, views, problem.device.type, preprocessing.mean, preprocessing.std,
    ]  # fmt: skip
    return problem.layout.cache(problem.comp) / f"features-{sha256_json(content)[:16]}.npy"


def features_of(
    problem: Problem, model: nn.Module, preprocessing: Preprocessing, images: list[str], views: list[str], path: Path
) -> Features:
    """[views, images, features] float32, kept at `path` in the cache folder."""
    if Seal.of(path) is None:
        with in_turn(path.with_name(f".{path.stem}.lock"), "frozen features are being made"):
            if Seal.of(path) is None:
                _make(problem, model, preprocessing, images, views, path)
    loaded: Features = np.load(path)
    return loaded


def body_of(model: nn.Module, architecture: Architecture, device: torch.device) -> nn.Module:
    """The network as it sees pictures there: on a CPU with its batch-norms folded into the convolutions."""
    return fuse(model, architecture) if device.type == "cpu" else model.to(device)


def see(
    body: nn.Module, pictures: PictureStore, positions: NDArray[np.int64], views: Sequence[str],
    preprocessing: Preprocessing, title: str, *, batch_size: int = FEATURE_BATCH,
) -> Features:  # fmt: skip
    """[views, rows, features] float32 what reaches the classifier of a network that `body_of` gave.

    Args:
        positions: [rows] which picture each row is; at least one.
        title: of the progress bar.
    """
    batches, total = pictures.batches(positions, batch_size), -(-len(positions) // batch_size)
    with Progress() as progress:
        watched = progress.over(batches, title, total=total)
        return frozen_features(body, watched, len(positions), views, preprocessing, pictures.device)


def _make(
    problem: Problem, model: nn.Module, preprocessing: Preprocessing, images: list[str], views: list[str], path: Path
) -> None:
    body, positions = body_of(model, problem.architecture, problem.device), problem.cache.rows(images)
    features = see(body, problem.pictures, positions, views, preprocessing, "probe: frozen features")
    with atomic_path(path) as temporary:
        save_array(temporary, features)
    Seal.put(path)
    model.to("cpu")
