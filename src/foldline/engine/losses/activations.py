"""What turns a network's logits into predictions, and numbers back into logits. The name stands in each fold's
meta.json. Pure."""

import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from foldline.core.errors import unknown
from foldline.core.task import Array, Task
from foldline.engine.losses.softmax import log_tempered_softmax

Logits = Annotated[Tensor, "*batch logits"]
Outputs = Annotated[Tensor, "*batch outputs"]


def activate(logits: Logits, activation: str) -> Outputs:
    """Predictions of logits [..., logits].

    Args:
        activation: "softmax"; "sigmoid"; "identity" leaves values alone; "scaled(mean,std,...)": mean + std x logit,
            a pair for each logit; "shares": sigmoids over their sum; "tempered(t)": the heavy-tailed softmax of
            `bi_tempered`; "bounded(low,high)": a sigmoid scaled to [low, high]; "corn" and "cumulative":
            probabilities of one class more than there are logits;
            "blocks(softmax:3|identity:1)": one after the other, each of so many logits.

    Returns:
        [..., outputs]; classes that exclude each other are >= 0 and sum to 1.

    Raises:
        FoldlineError: the name is unknown.

    >>> activate(torch.tensor([0.0, 0.0]), "softmax")
    tensor([0.5000, 0.5000])
    >>> activate(torch.tensor([0.0]), "bounded(2.0,6.0)")
    tensor([4.])
    """
    blocks = blocks_in(activation)
    if blocks:
        parts = torch.split(logits, [size for _, size in blocks], -1)
        return torch.cat([activate(part, name) for part, (name, _) in zip(parts, blocks, strict=True)], -1)
    name, numbers = _parse(activation)
    if name not in ACTIVATIONS:
        raise unknown("activation", activation, list(ACTIVATIONS), where="meta.json")
    return ACTIVATIONS[name](logits, *numbers)


def _parse(activation: str) -> tuple[str, list[float]]:
    """A name and its numbers.

    >>> _parse("bounded(0.0,4.0)")
    ('bounded', [0.0, 4.0])
    """
    match = re.fullmatch(r"(\w+)\(([^()]*)\)", activation)
    return (activation, []) if match is None else (match[1], [float(number) for number in match[2].split(",")])


def blocks_of(blocks: Sequence[tuple[str, int]]) -> str:
    """The activation of several targets from each one's and its number of logits.

    >>> blocks_of([("softmax", 3), ("bounded(0.0,4.0)", 1)])
    'blocks(softmax:3|bounded(0.0,4.0):1)'
    """
    return f"blocks({'|'.join(f'{name}:{size}' for name, size in blocks)})"


def blocks_in(activation: str) -> list[tuple[str, int]]:
    """What `blocks_of` was given; empty for the activation of one target.

    >>> blocks_in("blocks(softmax:3|bounded(0.0,4.0):1)")
    [('softmax', 3), ('bounded(0.0,4.0)', 1)]
    """
    if not activation.startswith("blocks("):
        return []
    pairs = [part.rpartition(":") for part in activation[len("blocks(") : -1].split("|")]
    return [(name, int(size)) for name, _, size in pairs]


def scaled_by(truth: Array) -> str:
    """The activation of a network that learns these numbers [rows, outputs] with mean 0 and standard deviation 1.

    Numbers that are all the same are only shifted.

    >>> scaled_by(np.array([[1.0, 5.0], [3.0, 5.0]]))
    'scaled(2.0,1.0,5.0,1.0)'
    """
    mean, std = truth.mean(axis=0), truth.std(axis=0)
    std[std <= 1e-9 * np.abs(mean)] = 1.0
    return f"scaled({','.join(repr(float(number)) for pair in zip(mean, std, strict=True) for number in pair)})"


def kind_of(activation: str) -> str:
    """The activation without its numbers where it only scales: networks of one kind can teach and start each other.

    >>> kind_of("blocks(softmax:3|scaled(3.5,1.0):1)")
    'blocks(softmax:3|identity:1)'
    """
    return re.sub(r"scaled\([^()]*\)", "identity", activation)


def center_and_spread(activation: str, logits: int) -> tuple[Tensor, Tensor]:
    """[logits] float64 each: number = center + spread x logit; 0 and 1 for logits that are not scaled.

    >>> center_and_spread("blocks(softmax:2|scaled(3.5,2.0):1)", 3)
    (tensor([0.0000, 0.0000, 3.5000], dtype=torch.float64), tensor([1., 1., 2.], dtype=torch.float64))
    """
    pairs: list[float] = []
    for name, size in blocks_in(activation) or [(activation, logits)]:
        pairs += _parse(name)[1] if name.startswith("scaled(") else [0.0, 1.0] * size
    both = torch.tensor(pairs, dtype=torch.float64)
    return both[::2], both[1::2]


def as_logits(truth: Array, task: Task, activation: str, kinds: Sequence[str] = ("scaled",)) -> Array:
    """The truth (`core.task.Task.truth`) with its numbers as the logits that would predict them.

    Args:
        kinds: the activations that are turned round; numbers of others stay as they are. Bounded numbers are kept
            off their bounds by a hundredth, where logits would be infinite.

    >>> from foldline.core.task import TASKS
    >>> as_logits(np.array([[1.0], [3.0]]), TASKS["regression"], "scaled(2.0,0.5)").tolist()
    [[-2.0], [2.0]]
    """
    result = np.array(truth, dtype=np.float64)
    names = [name for name, _ in blocks_in(activation)] or [activation]
    for block, text in zip(task.blocks, names, strict=True):
        name, numbers = _parse(text)
        if name not in kinds or name not in ("scaled", "bounded"):
            continue
        place = slice(None) if block.target is None else slice(block.target, block.target + 1)
        if name == "scaled":
            result[:, place] = (result[:, place] - numbers[::2]) / numbers[1::2]
        else:
            share = np.clip((result[:, place] - numbers[0]) / (numbers[1] - numbers[0]), 0.01, 0.99)
            result[:, place] = np.log(share / (1 - share))
    return result


def shares(logits: Logits) -> Logits:
    """Sigmoids divided by their sum: for one class a row, learned as yes or no each.

    >>> shares(torch.tensor([0.0, 0.0, -1000.0]))
    tensor([0.5000, 0.5000, 0.0000])
    """
    return F.logsigmoid(logits).softmax(-1)


def corn(logits: Logits) -> Outputs:
    """[..., classes - 1] conditional steps upwards -> [..., classes] probabilities.

    >>> corn(torch.tensor([0.0, 0.0]))
    tensor([0.5000, 0.2500, 0.2500])
    """
    reached = torch.cat([torch.ones_like(logits[..., :1]), _running(torch.mul, logits.sigmoid())], -1)
    stopped = torch.cat([torch.sigmoid(-logits), torch.ones_like(logits[..., :1])], -1)
    return reached * stopped


def cumulative(logits: Logits) -> Outputs:
    """[..., classes - 1] "above class k" -> [..., classes] probabilities.

    The thresholds are learned apart, so "above 2" can come out likelier than "above 1": each is cut off at the
    smallest before it.

    >>> cumulative(torch.tensor([0.0, 1000.0]))
    tensor([0.5000, 0.0000, 0.5000])
    """
    above = _running(torch.minimum, logits.sigmoid())
    ones = torch.ones_like(logits[..., :1])
    return torch.cat([ones, above], -1) - torch.cat([above, 0 * ones], -1)


def _running(function: Callable[[Tensor, Tensor], Tensor], values: Tensor) -> Tensor:
    """Like torch's cumprod and cummin along the last axis, in operations that ONNX has too."""
    return torch.stack(list(accumulate(values.unbind(-1), function)), -1)


def bounded(logits: Logits, low: float, high: float) -> Logits:
    """Values in [low, high]."""
    return low + (high - low) * logits.sigmoid()


def scaled(logits: Logits, *pairs: float) -> Logits:
    """mean + std x logit, with a mean and a std for each logit."""
    both = torch.tensor(pairs, dtype=logits.dtype).to(logits.device, non_blocking=True)  # a GPU is not waited for
    return both[::2] + both[1::2] * logits


ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "softmax": lambda logits: logits.softmax(-1),
    "sigmoid": torch.sigmoid,
    "identity": lambda logits: logits,
    "shares": shares,
    "tempered": lambda logits, t2: log_tempered_softmax(logits, t2).exp(),
    "bounded": bounded,
    "scaled": scaled,
    "corn": corn,
    "cumulative": cumulative,
}
