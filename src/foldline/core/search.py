"""A search over settings, read from `configs/<comp>/<name>.search.yaml`: what is varied, how often, on which folds."""

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictFloat, StrictInt, model_validator

from foldline.core.errors import FoldlineError, unknown
from foldline.core.options import MANY, Choice
from foldline.core.paths import Layout
from foldline.core.run import Run, load_run
from foldline.core.yaml_models import Seed, Strict, apply_overrides, load_yaml, model_of

Number = StrictInt | StrictFloat
NOT_SEARCHED = {
    "seed": "the best seed of many is luck, and no better on new pictures",
    "train.folds": "the search's own `folds` say on which folds a trial is trained",
    "train.folds_of": "no row is left to score a network on all rows",
}


class Stop(Exception):  # noqa: N818 - no error: the wish of whoever watches a training
    """Raised by a watcher of epochs to end a training; it passes through `train_folds` after the log was written."""


class Range(Strict):
    """The values that one setting may take: a list in the file, or {low, high, log, step}."""

    low: Number | None = Field(None, description="the smallest value")
    high: Number | None = Field(None, description="the largest value")
    log: bool = Field(False, description="drawn evenly in the logarithm, as learning rates should be")
    step: Number | None = Field(None, description="only low, low + step, low + 2 step ...")
    choices: list[Any] = Field(default_factory=list, description="or a list of values; in the file simply a list")

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, content: Any) -> Any:
        return {"choices": content} if isinstance(content, list) else content

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.choices:
            if any(value is not None for value in (self.low, self.high, self.step)) or self.log:
                raise ValueError("give either a list of values or low and high")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high, or a list of values")
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs low above 0 and no step")
        if self.step is not None and self.step <= 0:
            raise ValueError("step must be above 0")
        return self

    def holds(self, value: Any) -> bool:
        """Whether the value is one that the range may give."""
        if self.choices:
            return value in self.choices
        assert self.low is not None and self.high is not None  # noqa: PT018
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-9

    def ends(self) -> list[Any]:
        """The values to try whether the setting takes them at all."""
        return list(self.choices) or [self.low, self.high]


class Prune(Strict):
    """When a trial is given up before its last epoch."""

    method: Literal["median", "hyperband", "none"] = Field(
        "median",
        description="median: worse than the median of the other trials at this epoch; hyperband: only the best third "
        "goes on, at epoch 1, 3, 9 ...; none",
    )
    warmup: int = Field(1, ge=0, le=MANY, description="the first epochs, in which nothing is given up")
    after_trials: int = Field(
        4, ge=1, le=MANY, description="median: trials that are trained to the end before any is given up"
    )


class Search(Strict):
    """One search."""

    base: str = Field("baseline", description="the run whose other settings every trial has; it is the first trial")
    trials: int = Field(20, ge=1, le=MANY, description="how many; a higher number later goes on where the search ended")
    folds: list[Annotated[int, Field(ge=0, le=999)]] = Field(
        [0], min_length=1, description="where a trial is trained; its score is the folds' mean"
    )
    seed: Seed = Field(0, description="of what is drawn; training has the base's own seed")
    prune: Prune = Field(default_factory=Prune)
    ranges: dict[str, Range] = Field(
        ..., min_length=1, description="setting: {low, high, log, step}, or a list of values"
    )

    def identity(self) -> dict[str, Any]:
        """What must stay the same for a search to go on: all but the number of trials."""
        return self.model_dump(mode="json", exclude={"trials"}, exclude_defaults=True)


def load_search(layout: Layout, comp: str, name: str) -> Search:
    """The search `name`, with every range tried against the base run's settings.

    Raises:
        FoldlineError: an unknown key anywhere; a setting that no run has, or that refuses a value of its range.
    """
    path = layout.search_config(comp, name)
    file = layout.relative(path)
    search = Search.parse(load_yaml(path, next="write this file (docs/runs.md, Searching)"), where=file)
    load_run(layout, comp, search.base, [])
    content = load_yaml(layout.run_file(comp, search.base))
    for key, choice in search.ranges.items():
        where = f"{file}: ranges.{key}"
        if key in NOT_SEARCHED:
            raise FoldlineError(f"'{key}' is not searched: {NOT_SEARCHED[key]}", where=where, next="leave it out")
        number_type(key, choice, where=where)
        for value in choice.ends():
            Run.parse(apply_overrides(content, [override(key, value)]), where=where)
    return search


def number_type(key: str, choice: Range, *, where: str) -> type[int] | type[float] | None:
    """Whether the setting takes whole numbers or fractions; None for a list of values.

    Inside a free mapping, such as `optim.options`, the range itself says it.
    """
    kind = setting_type(key, where=where)
    if choice.choices:
        return None
    kinds = [getattr(part, "__origin__", part) for part in (kind, *getattr(kind, "__args__", ()))]  # int of a Side
    if kind is not Any and int not in kinds and float not in kinds:
        raise FoldlineError(f"'{key}' is no number", where=where, next="give a list of values: [a, b]")
    whole = isinstance(choice.low, int) and isinstance(choice.high, int) and not isinstance(choice.step, float)
    if kind is Any:
        return int if whole else float
    if float not in kinds and not whole:
        raise FoldlineError(f"'{key}' takes whole numbers", where=where, next="give whole low, high and step")
    return float if float in kinds else int


def setting_type(key: str, *, where: str) -> Any:
    """The annotation of a dotted setting of a run; Any inside a free mapping such as `optim.options`.

    >>> setting_type("optim.lr", where=""), setting_type("schedule.options.cycles", where="")
    (<class 'float'>, <class 'int'>)
    """
    model: Any = Run
    annotation: Any = Any
    prefix = ""
    for part in key.split("."):
        if model is None:
            return Any
        if key in Run.moved:
            raise FoldlineError(f"setting '{key}' is now {Run.moved[key]}", where=where)
        if prefix.endswith(".options."):
            return _option_type(model, part, key, where)
        if part not in model.model_fields:
            raise unknown("setting", key, [prefix + name for name in model.model_fields], where=where)
        annotation, prefix = model.model_fields[part].annotation, f"{prefix}{part}."
        if part != "options" or not issubclass(model, Choice):
            model = model_of(annotation)
    return annotation


def _option_type(choice: type[Choice], name: str, key: str, where: str) -> type[Any]:
    """int, float or str, as the option is for all that take it."""
    types = {key: option.type for options in choice.known.values() for key, option in options.items()}
    if name not in types:
        raise unknown("option", key, [f"{key.removesuffix(name)}{one}" for one in types], where=where)
    return types[name]


def override(key: str, value: Any) -> str:
    """A setting as `SET` has it; values are written as JSON, which YAML reads.

    >>> override("train.freeze", ["classifier"])
    'train.freeze=["classifier"]'
    """
    return f"{key}={json.dumps(value)}"


def range_value(value: Any) -> Any:
    """A drawn number with four digits, as a person would write it.

    >>> range_value(0.00123456), range_value(7)
    (0.001235, 7)
    """
    return float(f"{value:.4g}") if isinstance(value, float) else value


def setting_of(choices: dict[str, Any], key: str) -> Any:
    """The value of a dotted setting; None where a parent of it is absent."""
    value: Any = choices
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


OnEpoch = Callable[[int, int, float], None]  # (fold, epoch, score)
