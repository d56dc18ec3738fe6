"""A finished fold copied to where it is handed on: what predicts, and nothing else; in half precision by choice.

Reads a fold's `meta.json`, weights and code; writes the same files into another folder.
"""

import shutil
from pathlib import Path

import torch

from foldline.core.own_code import KEPT
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.tables import atomic_path
from foldline.engine.finished.networks import weights_sha256
from foldline.engine.loop.checkpoint import State, save_weights
from foldline.models.weights import read_state

LARGEST = float(torch.finfo(torch.float16).max)  # 65504


def copy_fold(folder: Path, meta: FoldMeta, target: Path, *, half: bool) -> FoldMeta:
    """Writes `meta.json`, the weights and the code of a fold into `target`; its meta as it stands there.

    Args:
        half: the weights take half the bytes (`halved`); the hash in the meta is of the float32 that they become again.
    """
    target.mkdir(parents=True, exist_ok=True)
    rounded: dict[str, State] = {}
    for file in meta.weights:
        if half:
            state = read_state(folder / file, next=FoldMeta.made_by)
            small = halved(state)
            save_weights(target / file, small)
            rounded[file] = {name: tensor.to(state[name].dtype) for name, tensor in small.items()}
        else:
            with atomic_path(target / file) as temporary:
                shutil.copyfile(folder / file, temporary)
    copy_code(folder, meta, target)
    if half:
        hashes = meta.sha256.model_copy(update={"weights": weights_sha256(rounded)})
        meta = meta.changed(sha256=hashes, rounded_from=meta.rounded_from or meta.sha256.weights)
    meta.write(target / "meta.json")
    return meta


def copy_code(folder: Path, meta: FoldMeta, target: Path) -> None:
    """Writes the user's own sources that a fold keeps into another fold's folder."""
    for file in meta.sha256.code:
        with atomic_path(target / KEPT / file) as temporary:
            shutil.copyfile(folder / KEPT / file, temporary)


def halved(state: State) -> State:
    """Kernels and matrices in float16. Vectors (biases, batch-norm's statistics) stay: they are few, and their range
    is large; so does a tensor with a number beyond float16."""
    return {
        name: tensor.half()
        if tensor.dtype == torch.float32 and tensor.ndim > 1 and bool((tensor.abs() <= LARGEST).all())
        else tensor
        for name, tensor in state.items()
    }
