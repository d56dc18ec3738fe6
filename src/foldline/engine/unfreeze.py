"""Which parameters are trained, and when: frozen by name, or unfrozen group by group from the last to the first."""

from collections.abc import Sequence

from timm.models import group_parameters
from torch import nn

from foldline.core.errors import FoldlineError


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Parameters whose name begins with one of `prefixes` are not trained."""
    for prefix in prefixes:
        found = [parameter for name, parameter in model.named_parameters() if name.startswith(prefix)]
        if not found:
            tops = sorted({name.split(".")[0] for name, _ in model.named_parameters()})
            raise FoldlineError(
                f"no parameter's name begins with '{prefix}'",
                where="train.freeze",
                next=f"they begin with: {', '.join(tops)}",
            )
        for parameter in found:
            parameter.requires_grad_(False)


def classifier_names(model: nn.Module) -> set[str]:
    """The names of the last layer's parameters, by timm's `get_classifier`; some networks have two last layers."""
    heads = model.get_classifier()  # type: ignore[operator]
    heads = heads if isinstance(heads, tuple | list) else [heads]
    own = {id(parameter) for head in heads for parameter in head.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in own}


def layer_groups(model: nn.Module) -> list[list[str]]:
    """Parameter names, grouped from the input to the output: stem, stages or blocks, neck; the classifier is the last.

    The groups are timm's coarse ones (`group_matcher`); where a network has none, its top-level modules.
    """
    head = classifier_names(model)
    if hasattr(model, "group_matcher"):
        found = group_parameters(model, model.group_matcher(coarse=True))  # type: ignore[operator]
        groups = [found[i] for i in sorted(found)]
    else:
        tops: dict[str, list[str]] = {}
        for name, _ in model.named_parameters():
            tops.setdefault(name.split(".")[0], []).append(name)
        groups = list(tops.values())
    groups = [[name for name in group if name not in head] for group in groups]
    return [group for group in [*groups, [name for name, _ in model.named_parameters() if name in head]] if group]


def trainable_groups(step: int, steps: int, share: float, groups: int) -> int:
    """How many of the last groups are trained at a step: the head alone first, then one more after equal times.

    Args:
        step, steps: optimizer steps, from 0; how many the training has.
        share: the share of the steps at whose end all are trained; 0: all from the start.

    Source: gradual unfreezing, Howard and Ruder 2018, https://arxiv.org/abs/1801.06146.

    >>> [trainable_groups(step, 10, 0.6, 4) for step in range(10)]
    [1, 1, 2, 2, 3, 3, 4, 4, 4, 4]
    """
    if step >= share * steps:
        return groups
    return min(groups, 1 + int(step * (groups - 1) / (share * steps) + 1e-9))


def set_trainable(model: nn.Module, groups: Sequence[Sequence[str]], count: int, frozen: Sequence[str] = ()) -> None:
    """Trains the last `count` groups; the others have no gradient, so an optimizer leaves them alone.

    The optimizer must be built before, over everything that is trained some time. Batch-norm statistics of
    frozen groups still move: `train.batch_norm: frozen` keeps them.

    Args:
        groups: what `layer_groups` gives.
        frozen: parameters whose name begins so are never trained.
    """
    trained = {name for group in list(groups)[len(groups) - count :] for name in group}
    for name, parameter in model.named_parameters():
        on = name in trained and not name.startswith(tuple(frozen))
        parameter.requires_grad_(on)
        if not on:
            parameter.grad = None
