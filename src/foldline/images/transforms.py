"""`augment.transforms`: albumentations by name from a run's YAML, checked before training. Reads no files."""

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

from foldline.core.errors import FoldlineError, unknown

Entry = str | dict[str, dict[str, Any]]
WHERE = "augment.transforms"
FOREIGN = {"BaseCompose", "BasicTransform", "Compose", "DualTransform", "ImageOnlyTransform", "Lambda", "ReplayCompose",
           "ToTensor3D", "ToTensorV2", "Transform3D"}  # fmt: skip  # bases, and what YAML or an array cannot hold


def build_transforms(entries: Sequence[Any]) -> list[Any]:
    """The albumentations that a run's list names.

    Args:
        entries: names, or {name: {parameter: value}}; inside OneOf, SomeOf, RandomOrder and Sequential the parameter
            `transforms` is such a list again. A value such as BORDER_REFLECT_101 or INTER_AREA is OpenCV's constant.

    Raises:
        FoldlineError: an unknown transform or parameter, with the near names; a value that albumentations refuses or
            warns of.
    """
    return [_build(entry) for entry in entries]


def require_transforms(transforms: Any, *, where: str) -> list[Any]:
    """Raises FoldlineError for anything but a list of albumentations."""
    import albumentations as alb

    kinds = (alb.BasicTransform, alb.BaseCompose)
    if not isinstance(transforms, list) or not all(isinstance(transform, kinds) for transform in transforms):
        raise FoldlineError(f"must give a list of albumentations, not {transforms!r}", where=where)
    return transforms


def _build(entry: Any) -> Any:
    name, parameters = _name_and_parameters(entry)
    kind = _known().get(name)
    if kind is None:
        raise unknown("transform of albumentations", name, list(_known()), where=WHERE)
    accepted = [key for key in inspect.signature(kind.__init__).parameters if key not in ("self", "strict")]
    for key in parameters:
        if key not in accepted:
            raise unknown(f"parameter of {name}", key, accepted, where=WHERE)
    values = {key: _value(key, value) for key, value in parameters.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # albumentations warns and goes on with its defaults
        try:
            return kind(**values)
        except (ValueError, TypeError, ArithmeticError, Warning) as error:
            what = f"{name} does not accept its parameters: {_reason(error)}"
            raise FoldlineError(what, where=WHERE, next=f"its parameters: {', '.join(accepted)}") from error


def _name_and_parameters(entry: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, dict) and len(entry) == 1:
        ((name, parameters),) = entry.items()
        if isinstance(name, str) and isinstance(parameters, dict):
            return name, parameters
    raise FoldlineError(
        f"'{entry}' is no transform", where=WHERE, next="write a name, or {Name: {parameter: value}}, one an entry"
    )


def _known() -> dict[str, Any]:
    """Every transform and composition that turns an array into an array."""
    import albumentations as alb

    from foldline.images.policies import TimmPolicy

    kinds = (alb.BasicTransform, alb.BaseCompose)
    classes = inspect.getmembers(alb, inspect.isclass)
    known = {name: kind for name, kind in classes if issubclass(kind, kinds) and name not in FOREIGN}
    return known | {TimmPolicy.__name__: TimmPolicy}


def _value(key: str, value: Any) -> Any:
    import cv2

    if key == "transforms" and isinstance(value, list):
        return build_transforms(value)
    if isinstance(value, str) and value.startswith(("BORDER_", "INTER_")) and hasattr(cv2, value):
        return getattr(cv2, value)
    return tuple(value) if isinstance(value, list) else value


def _reason(error: Exception | Warning) -> str:
    """One line: pydantic's own messages where there are some."""
    import pydantic

    if isinstance(error.__cause__, pydantic.ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.__cause__.errors())
    return " ".join(str(error).split())
