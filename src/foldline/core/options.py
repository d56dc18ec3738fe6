"""A choice by name with options of its own, `{name, options}`: one rule for all that a run chooses so.

An option that the chosen one does not take is an error that lists those that it takes. Short for a name alone:
`schedule: linear` is `schedule: {name: linear}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from foldline.core.errors import FoldlineError, unknown
from foldline.core.yaml_models import Strict

TINY = 1e-9  # the smallest of what must be above 0
MANY = 1_000_000  # the largest of what has no end of its own: more is a slip of the keys
ANY = "<run>"  # the key of `Choice.known` for every name that is no other key


@dataclass(frozen=True)
class Option:
    """One value of `options`.

    Attributes:
        default: its value where the run does not give it; None: off. It says the type: a whole number takes whole
            numbers alone, a text takes texts, a list takes one or more numbers.
        low, high: the smallest and the largest number accepted, in a list of each.
        description: what it is, for the documentation.
        kinds: the kinds of tasks for which it means something; None: all of its owner's.
        needed: an empty text is refused.
    """

    default: float | str | list[float] | None
    low: float = 0.0
    high: float = MANY
    description: str = ""
    kinds: tuple[str, ...] | None = None
    needed: bool = False

    @property
    def type(self) -> type[Any]:
        """int, float, str or list."""
        return float if self.default is None else type(self.default)

    @property
    def range(self) -> str:
        """The numbers accepted, in words."""
        if self.low == TINY:
            return f"above 0 and up to {self.high:.10g}"
        return f"between {self.low:g} and {self.high:.10g}"

    def read(self, value: Any, *, where: str) -> Any:
        """`value` in the option's type; raises FoldlineError where it is of another type or out of range."""
        if self.type is list:
            return self._numbers(value, where=where)
        types = (int, float) if self.type is float else self.type
        if isinstance(value, bool) or not isinstance(value, types):
            kind = {int: "whole number", float: "number", str: "text"}[self.type]
            raise FoldlineError(f"{value!r} is no {kind}", where=where, next=f"give a {kind}")
        if not isinstance(value, str) and not self.low <= value <= self.high:
            raise FoldlineError(
                f"{where.rpartition('.')[2]} is {value}, not {self.range}",
                where=where,
                next=f"leave it out for the usual {self.default}",
            )
        return self.type(value)

    def _numbers(self, value: Any, *, where: str) -> list[float]:
        """A list of one or more numbers, each in range."""
        assert isinstance(self.default, list)
        one = Option(self.default[0], self.low, self.high)
        if not isinstance(value, list) or not value:
            raise FoldlineError(f"{value!r} is no list of numbers", where=where, next=f"give one, as {self.default}")
        return [one.read(number, where=where) for number in value]


def read_options(owner: str, known: Mapping[str, Option], given: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Every option of `owner`, as given or its default.

    Args:
        owner: in words, for errors: "the schedule 'poly'".
        where: the dotted setting that holds the options.

    Raises:
        FoldlineError: an option that the owner does not take, or one that it needs and has not; a value of another
            type or out of range.
    """
    for key in given:
        if not known:
            raise FoldlineError(f"{owner} has no options", where=where, next=f"leave '{key}' out")
        if key not in known:
            raise unknown(f"option of {owner}:", key, list(known), where=where)
    for key, option in known.items():
        if option.needed and given.get(key, "") == "":
            raise FoldlineError(
                f"{owner} needs the option '{key}'", where=where, next=f"give {key}: {option.description}"
            )
    return {
        key: option.read(given[key], where=f"{where}.{key}") if key in given else option.default
        for key, option in known.items()
    }


class Choice(Strict):
    """One of several by name, with the options that this one takes; validated, `options` holds all of them.

    Attributes:
        what: what is chosen, in a word.
        known: for each name the options that it takes.
    """

    what: ClassVar[str]
    known: ClassVar[Mapping[str, Mapping[str, Option]]]

    name: str
    options: dict[str, Any] = Field(
        default_factory=dict, validate_default=True, description="what the chosen one takes, see below"
    )

    @classmethod
    def taken_by(cls, name: str) -> Mapping[str, Option]:
        """The options of `name`; raises FoldlineError that lists the known names."""
        if name in cls.known or ANY in cls.known:
            return cls.known.get(name, cls.known.get(ANY, {}))
        raise unknown(cls.what, name, list(cls.known))

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, content: Any) -> Any:
        return {"name": content} if isinstance(content, str) else content

    @field_validator("options")
    @classmethod
    def _filled(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "name" not in info.data:
            return given  # its own error is told
        name = info.data["name"]
        try:
            return read_options(f"the {cls.what} '{name}'", cls.taken_by(name), given, where="options")
        except FoldlineError as error:
            raise ValueError(f"{error.what}; {error.next}") from error

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Where defaults are left out, those of options are too: a new option changes no run's hash."""
        content: dict[str, Any] = write(self)
        if info.exclude_defaults and "options" in content:
            usual = {key: option.default for key, option in self.taken_by(self.name).items()}
            content["options"] = {key: value for key, value in self.options.items() if value != usual[key]}
        return {key: value for key, value in content.items() if value != {} or not info.exclude_defaults}
