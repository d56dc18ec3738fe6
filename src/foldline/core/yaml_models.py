"""Strict YAML into strict models: a typo is an error that names the key, never a silent default."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from foldline.core.errors import FoldlineError, unknown
from foldline.core.tables import require_file

DEEPEST = 40  # levels of a file; no setting needs more than ten
DIGITS = 100  # of a whole number

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Side = Annotated[int, Field(ge=1, le=16_384)]  # of a picture in px


def ascending(ends: tuple[float, float]) -> tuple[float, float]:
    """The ends of a range; raises ValueError unless the first is the smaller one."""
    if not ends[0] < ends[1]:
        raise ValueError("the first number must be below the second")
    return ends


class Strict(BaseModel):
    """A frozen model that refuses keys that it does not know, numbers that are not finite, and yes and no as numbers.

    Attributes:
        moved: dotted settings of before -> what says the same now; a file with an old one is refused in these words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    moved: ClassVar[dict[str, str]] = {}

    @classmethod
    def parse(cls, content: Any, *, where: str) -> Self:
        """Validates `content`; every problem becomes a line of one FoldlineError."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problems = [_problem(cls, item) for item in error.errors()]
            more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
            raise FoldlineError(
                "; ".join(problems[:5]) + more, where=where, next="mend the setting and run the command again"
            ) from error

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads no, yes, on and off as truth values; pydantic would take them for 0 and 1."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if model_of(annotation) is not None:
            return value  # the model inside looks for itself
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if not _takes(annotation, bool) and any(isinstance(item, bool) for item in items):
            raise ValueError("YAML reads yes, no, on and off as truth values: put a text in quotes, or give a number")
        if not _finite(value) and not _takes(annotation, float):
            raise ValueError("holds a number that is not finite")
        if not is_text(value):
            raise ValueError("holds a letter that no file can hold")
        return value


class Off(Strict):
    """Settings with a `compile` among them, which may be off."""

    @field_validator("compile", mode="before", check_fields=False)
    @classmethod
    def _off(cls, value: Any) -> Any:
        """The word, which YAML reads as false where it stands bare; asked before truth values are refused."""
        return "off" if value is False else value


def _takes(annotation: Any, kind: type) -> bool:
    """Whether values of this type have a place in an annotation; what is free (Any) takes yes and no."""
    inner = [_takes(part, kind) for part in get_args(annotation)]
    return annotation is kind or (annotation is Any and kind is bool) or any(inner)


def _finite(value: Any) -> bool:
    """Whether all numbers in a nested value are finite."""
    if isinstance(value, dict | list | tuple):
        return all(map(_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def is_text(value: Any) -> bool:
    """Whether all texts in a nested value can be written: no half of a surrogate pair, as `\\ud800` in quotes is."""
    if isinstance(value, dict):
        return all(is_text(key) and is_text(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_text, value))
    return not isinstance(value, str) or value.isascii() or not re.search("[\ud800-\udfff]", value)


def _problem(model: type[Strict], item: Any) -> str:
    """One validation error in the user's words."""
    tag = re.compile(r"(constrained-)?(int|float|str)|\w+\[.*")  # what pydantic calls a way to read the value
    key = ".".join(str(part) for part in item["loc"] if not tag.fullmatch(str(part)))
    if key in model.moved:
        return f"setting '{key}' is now {model.moved[key]}"
    if item["type"] == "extra_forbidden":
        known = _known_keys(model, item["loc"][:-1])
        return str(unknown("setting", key, known)).replace("\n  next:  ", "; ")
    if item["type"] == "missing":
        return f"setting '{key}' is missing"
    if item["type"] == "string_type" and isinstance(item["input"], int | float):
        return f"setting '{key}' must be text, and {item['input']!r} is a number: put it in quotes"
    message = item["msg"].removeprefix("Value error, ")
    value = repr(item["input"])
    got = "" if isinstance(item["input"], dict) else f", got {value if len(value) <= 100 else value[:100] + '...'}"
    return f"setting '{key}': {message}{got}" if key else message


def _known_keys(model: Any, path: tuple[Any, ...]) -> list[str]:
    """The keys of the sub-model that `path` leads to, dotted."""
    prefix = ""
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        model = model_of(field.annotation) if field else model
        prefix += f"{part}."
    return [prefix + name for name in getattr(model, "model_fields", {})]


def model_of(annotation: Any) -> Any:
    """The model class inside an annotation such as `Holdout | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [model_of(part) for part in getattr(annotation, "__args__", ())]
    return next((part for part in inner if part is not None), None)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses equal keys, tags and what would grow without end, and reads `1e-3` as YAML 1.2 does."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.written = 0
        self.sizes: dict[int, int] = {}  # of each node, with what its aliases stand for

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; raises ComposerError for one that is nested too deep, tagged, or holds itself."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        self.depth += 1
        self.written += 1
        if self.depth > DEEPEST:
            raise _refused(f"is nested more than {DEEPEST} deep", event)
        if getattr(event, "tag", None) is not None:
            raise _refused(f"tags such as {event.tag} are not read", event)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None and not isinstance(event, yaml.AliasEvent):
            self.sizes[id(node)] = 1 + sum(self._size(part, event) for part in _parts(node))
            if self.sizes[id(node)] > 10 * self.written + 1000:
                raise _refused("grows without end: an alias (*name) stands for others", event)
        return node

    def _size(self, node: yaml.Node, event: yaml.Event) -> int:
        if id(node) not in self.sizes:
            raise _refused("holds itself by an alias (*name)", event)
        return self.sizes[id(node)]


def _parts(node: yaml.Node) -> list[yaml.Node]:
    """The nodes directly below a node."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _refused(what: str, place: Any) -> yaml.MarkedYAMLError:
    """The error for an event or a node."""
    return yaml.MarkedYAMLError(None, None, what, place.start_mark)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    content: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _refused("a key is one word, not a list or a mapping", key_node)
        key = loader.construct_object(key_node, deep=True)
        if key in content:
            raise _refused(f"the key '{key}' stands here twice", key_node)
        content[key] = loader.construct_object(value_node, deep=True)
    return content


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    value = loader.construct_yaml_int(node) if len(node.value) <= DIGITS else None
    if value is None or abs(value) >= 2**63:
        raise _refused("a whole number of more than 18 digits; put a text in quotes", node)
    return int(value)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, *, where: str) -> Any:
    """The content of a YAML text; raises FoldlineError with line and column where it is broken."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        raise FoldlineError(f"not valid YAML: {error}", where=where, next="mend it in an editor") from error


def load_yaml(path: Path, *, next: str = "") -> dict[str, Any]:
    """A YAML file that holds a mapping; an empty file is an empty mapping."""
    require_file(path, next=next)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FoldlineError(
            f"is no UTF-8 text: {error}", where=str(path), next="open it in an editor and save it as UTF-8"
        ) from error
    content = parse_yaml(text, where=str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise FoldlineError("must hold `key: value` lines", where=str(path))
    return content


def apply_overrides(content: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """`content` with `a.b=value` settings laid over it; values are read as YAML.

    >>> apply_overrides({"optim": {"lr": 1}}, ["optim.lr=1e-3", "seed=2"])
    {'optim': {'lr': 0.001}, 'seed': 2}
    """
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in content.items()}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise FoldlineError(f"'{override}' is not key=value", where="SET", next='for example SET="optim.lr=3e-4"')
        *parents, leaf = key.split(".")
        level = result
        for parent in parents:
            child = level.get(parent)
            short = {"name": child} if isinstance(child, str) else {}  # `head: arcface` is {name: arcface}
            level[parent] = dict(child) if isinstance(child, dict) else short
            level = level[parent]
        level[leaf] = parse_yaml(value, where=f"SET {key}")
    return result
