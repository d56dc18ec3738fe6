"""Strict YAML into strict models: a typo is an error that names the key, never a silent default."""

import re
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from foldline.core.errors import FoldlineError, unknown
from foldline.core.tables import require_file


class Strict(BaseModel):
    """A frozen model that refuses keys that it does not know.

    Attributes:
        moved: dotted settings of before -> what says the same now; a file with an old one is refused in these words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
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


def _problem(model: type[Strict], item: Any) -> str:
    """One validation error in the user's words."""
    key = ".".join(str(part) for part in item["loc"])
    if key in model.moved:
        return f"setting '{key}' is now {model.moved[key]}"
    if item["type"] == "extra_forbidden":
        known = _known_keys(model, item["loc"][:-1])
        return str(unknown("setting", key, known)).replace("\n  next:  ", "; ")
    if item["type"] == "missing":
        return f"setting '{key}' is missing"
    message = item["msg"].removeprefix("Value error, ")
    got = "" if isinstance(item["input"], dict) else f", got {item['input']!r}"
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
    """SafeLoader that refuses equal keys and reads `1e-3` as a number, as YAML 1.2 does."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    content: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in content:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{key}' stands here twice", key_node.start_mark
            )
        content[key] = loader.construct_object(value_node, deep=True)
    return content


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, *, where: str) -> Any:
    """The content of a YAML text; raises FoldlineError with line and column where it is broken."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise FoldlineError(f"not valid YAML: {error}", where=where) from error


def load_yaml(path: Path, *, next: str = "") -> dict[str, Any]:
    """A YAML file that holds a mapping; an empty file is an empty mapping."""
    require_file(path, next=next)
    content = parse_yaml(path.read_text(encoding="utf-8"), where=str(path))
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
