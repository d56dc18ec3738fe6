"""Several networks as one function: those that differ in the classifier alone share one pass of all before it.

So do the starts of all folds (`train.keep_start`): one pretrained network, and a probe for each fold. Reads and writes
nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foldline.models.fusing import alike

UNFIT = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)

Forward = Callable[..., list[Tensor]]  # pictures and what is beside them -> each classifier's logits


@dataclass(frozen=True)
class _Body:
    """A network up to its classifier, the classifiers that go with it, and whose they are."""

    network: Any
    classifiers: list[nn.Module]
    places: list[int]

    def __call__(self, x: Tensor, *beside: Tensor) -> list[Tensor]:
        """Each one's logits."""
        if len(self.places) == 1:
            return [self.network(x, *beside)]
        features = self.network.forward_head(self.network.forward_features(x), *beside, pre_logits=True)
        return [classifier(features) for classifier in self.classifiers]


class Together:
    """Networks in eval mode as one function.

    Args:
        models: at least one; they are left alone.
        example: what they take, a row or two: bodies are shared where the logits stay the same.
    """

    def __init__(self, models: Sequence[nn.Module], *example: Tensor) -> None:
        self.count = len(models)
        self.wrapped: list[Forward] = []  # what stands in the bodies' place
        self.bodies = _alone(models)
        shared = _shared(models)
        if len(shared) < self.count:
            plain = self(*example)
            self.bodies = shared
            if not self._gives(plain, *example):
                self.bodies = _alone(models)

    def wrap(self, wrapper: Callable[[Forward], Forward]) -> None:
        """Runs each body as what the wrapper makes of it, a compiled one say."""
        self.wrapped = [wrapper(body.__call__) for body in self.bodies]

    def unwrap(self) -> None:
        """Runs the bodies as they are."""
        self.wrapped = []

    def _gives(self, logits: Tensor, *example: Tensor) -> bool:
        """Whether the example's logits are these; a network of the user's own may not be made for such a call."""
        try:
            return alike(self(*example), logits)
        except UNFIT:
            return False

    def __call__(self, x: Tensor, *beside: Tensor) -> Tensor:
        """[rows, ...] -> [models, rows, logits]."""
        logits: dict[int, Tensor] = {}
        forwards: Sequence[Forward] = self.wrapped or self.bodies
        for body, forward in zip(self.bodies, forwards, strict=True):
            logits |= zip(body.places, forward(x, *beside), strict=True)
        return torch.stack([logits[place] for place in range(self.count)])


def _alone(models: Sequence[nn.Module]) -> list[_Body]:
    return [_Body(model, [], [place]) for place, model in enumerate(models)]


def _shared(models: Sequence[nn.Module]) -> list[_Body]:
    """The bodies, each with all the networks that have it."""
    bodies: list[_Body] = []
    for place, model in enumerate(models):
        last = _classifier(model)
        if last is None:
            bodies.append(_Body(model, [], [place]))
            continue
        same = next((body for body in bodies if body.classifiers and _same_body(body, model, last)), None)
        if same is None:
            bodies.append(_Body(model, [last], [place]))
        else:
            same.classifiers.append(last)
            same.places.append(place)
    return bodies


def _classifier(model: nn.Module) -> nn.Linear | None:
    """The last layer; None for a network that cannot be taken apart before it."""
    parts = ("get_classifier", "forward_features", "forward_head")
    last = model.get_classifier() if all(hasattr(model, part) for part in parts) else None  # type: ignore[operator]
    return last if isinstance(last, nn.Linear) else None


def _same_body(body: _Body, model: nn.Module, classifier: nn.Linear) -> bool:
    if type(body.network) is not type(model):
        return False
    theirs, ours = _before(body.network, body.classifiers[0]), _before(model, classifier)
    return theirs.keys() == ours.keys() and all(torch.equal(theirs[name], value) for name, value in ours.items())


def _before(model: nn.Module, classifier: nn.Module) -> dict[str, Tensor]:
    """All that a network holds without its classifier."""
    left_out = {id(value) for value in classifier.state_dict(keep_vars=True).values()}
    return {name: value for name, value in model.state_dict(keep_vars=True).items() if id(value) not in left_out}
