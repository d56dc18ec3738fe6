"""The fitted blends by name. A new one is a class with `fit` and `apply`, and its entry here."""

from typing import Any, Protocol

from foldline.core.task import Array, Task
from foldline.scoring.fitted.stacking import Stack, StackTrees
from foldline.scoring.fitted.target import Target
from foldline.scoring.fitted.temperature import Temperature
from foldline.scoring.fitted.weights import ClassWeights, HillClimb, SharedWeights


class Way(Protocol):
    """One way to fit a blend of one target's predictions.

    Attributes:
        words: what it is, for a person.
        linear: its parameters are `weights`, [members] or [members, outputs] >= 0 with the sum 1, and what it gives is
            the weighted mean; of some of the members the others' weights grow.
        needs_all: it has no meaning for some of the members.
        most: numbers of a member that it is fitted on: of more rows a sample is taken.
    """

    @property
    def words(self) -> str: ...  # noqa: D102 - above
    @property
    def linear(self) -> bool: ...  # noqa: D102
    @property
    def needs_all(self) -> bool: ...  # noqa: D102
    @property
    def most(self) -> int: ...  # noqa: D102

    def loss(self, target: Target) -> str:
        """What it makes small, or the metric, in words."""

    def fit(self, stack: Array, target: Target) -> dict[str, Any]:
        """Parameters, as JSON holds them.

        Args:
            stack: [members, rows, outputs] OOF predictions.
        """

    def apply(self, stack: Array, task: Task, fit: dict[str, Any]) -> Array:
        """[rows, outputs] the blend of [members, rows, outputs]; classes that exclude each other sum to 1."""


FITTED: dict[str, Way] = {
    "weights": SharedWeights(),
    "class_weights": ClassWeights(),
    "hill_climb": HillClimb(),
    "temperature": Temperature(),
    "stack": Stack(),
    "stack_lightgbm": StackTrees(),
}
