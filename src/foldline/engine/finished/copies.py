"""A finished run copied to where it is handed on: what predicts, and nothing else, as small as it can be.

Half precision by choice, and what several folds have alike only once. Reads the folds' weights and `meta.json`; writes
`fold_<k>/` with both, the code, and `shared.safetensors` beside them.
"""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from foldline.core.modes import set_mode, usual_mode
from foldline.core.own_code import KEPT
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.heads import FILE, Heads
from foldline.core.tables import sha256_files
from foldline.engine.finished.folder import beside
from foldline.engine.finished.networks import weights_sha256
from foldline.models.weights import SHARED, State, read_state

LARGEST_LOSS = 0.05  # of the score by half precision, as a share of the width of its 95 % interval
LARGEST = float(torch.finfo(torch.float16).max)  # 65504


def write_run(folder: Path, folds: dict[Path, FoldMeta], *, half: bool) -> list[FoldMeta]:
    """Writes a run's folds.

    Args:
        folder: the run's, where it is copied to.
        folds: the folder and the meta of each fold that goes along.
        half: whether float32 becomes float16.

    Returns:
        The metas as written: their hash is of these weights, as they become float32 again.
    """
    keys = {  # one fold's tensors are in memory at a time; they are read twice, and hashed once
        source: {
            file: {name: _key(tensor) for name, tensor in state.items()}
            for file, state in _states(source, meta, half).items()
        }
        for source, meta in folds.items()
    }
    counts = Counter(key for files in keys.values() for own in files.values() for key in set(own.values()))
    shared: State = {}
    metas = []
    for source, meta in folds.items():
        place, of_fold = folder / f"fold_{meta.fold}", _states(source, meta, half)
        place.mkdir(parents=True)
        for file, state in of_fold.items():
            apart = {name: key for name, key in keys[source][file].items() if counts[key] > 1}
            shared |= {key: state[name] for name, key in apart.items()}
            metadata = {"shared": json.dumps(apart, sort_keys=True)} if apart else None
            own = {name: tensor for name, tensor in state.items() if name not in apart}
            _save(own, place / file, metadata)
        metas.append(_write_meta(place, source, meta, of_fold))
    if shared:
        _save(shared, folder / SHARED, None)
    return metas


def copy_heads(source: Path, heads: Heads, cv: Cv, folder: Path, folds: Sequence[int] | None = None) -> Heads:
    """Writes a run of frozen features: its heads, the networks that see for them, `cv.json`; the record as written.

    Args:
        source: the run's folder; the networks of another run that it sees through lie in it or beside it.
        folds: some alone; None: all.
    """
    kept = [one for one in heads.heads if folds is None or one.fold in folds]
    if len(kept) < len(heads.heads):
        heads = heads.changed(heads=[one.model_dump() for one in kept])
    for name in heads.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)
    for own in heads.sources:
        if own.folder:
            shutil.copytree(source / own.folder, folder / own.folder, copy_function=shutil.copyfile)
            continue
        theirs = beside(source, own.run, f"'{heads.run}' takes features of the networks of '{own.run}'")
        places = [theirs / f"fold_{fold}" for fold in heads.folds]
        write_run(folder / own.run, {place: FoldMeta.read(place / "meta.json") for place in places}, half=False)
    heads.write(folder / FILE)
    cv.changed(files=sha256_files(folder, [FILE])).write(folder / "cv.json")
    return heads


def _save(state: State, path: Path, metadata: dict[str, str] | None) -> None:
    mode = usual_mode(path)
    safetensors.torch.save_file(state, path, metadata)
    set_mode(path, mode)  # like the other files: the library makes it its owner's alone


def _write_meta(place: Path, source: Path, meta: FoldMeta, states: dict[str, State]) -> FoldMeta:
    """The fold's meta of its new weights, and the code that rebuilds its network."""
    loaded = {file: {name: _as_loaded(tensor) for name, tensor in state.items()} for file, state in states.items()}
    hashes = meta.sha256.model_copy(update={"weights": weights_sha256(loaded)})
    rounded = (
        {} if hashes.weights == meta.sha256.weights else {"rounded_from": meta.rounded_from or meta.sha256.weights}
    )
    meta = meta.changed(sha256=hashes.model_dump(exclude_unset=True), files={}, **rounded)
    meta.write(place / "meta.json")
    copy_code(source, meta, place)
    return meta


def of_weights(cv: Cv, metas: list[FoldMeta], **further: Any) -> Cv:
    """The score of these weights; the files of predictions do not go along."""
    hashes = cv.sha256.model_copy(update={"weights": [meta.sha256.weights for meta in metas]})
    return cv.changed(sha256=hashes.model_dump(exclude_unset=True), files={}, **further)


def copy_code(source: Path, meta: FoldMeta, place: Path) -> None:
    """Copies the user's own sources that a fold keeps into another fold's folder."""
    for file in meta.sha256.code:
        (place / KEPT).mkdir(exist_ok=True)
        shutil.copyfile(source / KEPT / file, place / KEPT / file)


def _states(source: Path, meta: FoldMeta, half: bool) -> dict[str, State]:
    """The tensors of each of a fold's files, as they are stored."""
    files = {file: read_state(source / file, next=FoldMeta.made_by) for file in meta.weights}
    return {file: halved(state) if half else state for file, state in files.items()}


def _as_loaded(tensor: Tensor) -> Tensor:
    """What the network gets of it."""
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def _key(tensor: Tensor) -> str:
    """Equal for equal tensors."""
    content = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode() + content).hexdigest()[:32]


def halved(state: State) -> State:
    """Kernels and matrices in float16. Vectors (biases, batch-norm's statistics) stay: they are few, and their range
    is large; so does a tensor with a number beyond float16."""
    return {
        name: tensor.half()
        if tensor.dtype == torch.float32 and tensor.ndim > 1 and bool((tensor.abs() <= LARGEST).all())
        else tensor
        for name, tensor in state.items()
    }
