"""Shapes that stand in annotations, `Annotated[Tensor, "batch outputs"]`, are checked at every call while testing.

`install` makes every function of some modules check itself; in a run the annotations cost nothing. Names bind to
lengths in the order of the arguments, the result last. `*batch` is any number of lengths, ` | ` separates what else may
be, "" is a single number. Arguments that are None are let through.
"""

import ast
import sys
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import FunctionType, ModuleType
from typing import Any, get_args, get_origin

Lengths = dict[str, Any]


class ShapeError(TypeError):
    """An argument or a result has another shape than its annotation says."""


@cache
def _forms(text: str) -> tuple[tuple[list[str], int | None], ...]:
    """The names of each way that a shape may be, and where among them the starred one stands."""
    ways = [way.split() for way in text.split("|")]
    return tuple((way, next((i for i, name in enumerate(way) if name[0] == "*"), None)) for way in ways)


def _bound(shape: tuple[int, ...], names: list[str], star: int | None, known: Lengths) -> Lengths | None:
    """The lengths known after this shape; None where it does not fit."""
    if star is not None:
        end = len(shape) - (len(names) - star - 1)
        if end < star:
            return None
        parts: list[Any] = [*shape[:star], shape[star:end], *shape[end:]]
    else:
        parts = list(shape)
    if len(parts) != len(names):
        return None
    now = dict(known)
    return now if all(now.setdefault(name, part) == part for name, part in zip(names, parts, strict=True)) else None


def _expected(annotation: Any) -> Any:
    """The shape that an annotation names, a list of them for a tuple, else None."""
    if get_origin(annotation) is tuple:
        parts = [_expected(part) for part in get_args(annotation)]
        return parts if any(parts) else None
    if texts := [text for text in getattr(annotation, "__metadata__", ()) if isinstance(text, str)]:
        return texts[0]
    inside = [_expected(part) for part in get_args(annotation) if hasattr(part, "__metadata__")]
    return inside[0] if inside and type(None) in get_args(annotation) else None


def _hold(name: str, value: Any, expected: Any, known: Lengths) -> Lengths:
    if isinstance(expected, list):
        for place, (part, text) in enumerate(zip(value, expected, strict=True)):
            known = known if text is None else _hold(f"{name}[{place}]", part, text, known)
        return known
    if value is None:
        return known
    shape = tuple(value.shape)
    for names, star in _forms(expected):
        now = _bound(shape, names, star, known)
        if now is not None:
            return now
    lengths = ", ".join(f"{key}={length}" for key, length in known.items())
    raise ShapeError(f"{name} is {list(shape)}, not [{expected}] with {lengths or 'nothing known'}")


def checked(function: FunctionType) -> FunctionType:
    """The function, with its shapes held; it stays a function of its module, so that its doctests are found."""
    expected = {name: _expected(hint) for name, hint in function.__annotations__.items()}
    expected = {name: shape for name, shape in expected.items() if shape is not None}
    if not expected:
        return function
    code, result, hold, title = function.__code__, expected.pop("return", None), _hold, function.__qualname__
    places = {code.co_varnames.index(name): name for name in expected}

    def call(*args: Any, **kwargs: Any) -> Any:
        known: Lengths = {}
        for place, name in places.items():
            if place < len(args):
                known = hold(f"{title}: {name}", args[place], expected[name], known)
            elif name in kwargs:
                known = hold(f"{title}: {name}", kwargs[name], expected[name], known)
        value = function(*args, **kwargs)
        if result is not None:
            hold(f"{title}: what it returns", value, result, known)
        return value

    # The wrapper's own globals are the function's: that is how doctest tells whose function it is.
    wrapper = FunctionType(call.__code__, function.__globals__, function.__name__, None, call.__closure__)
    wrapper.__dict__.update(function.__dict__, __wrapped__=function)
    for name in ("__module__", "__qualname__", "__doc__", "__annotations__"):
        setattr(wrapper, name, getattr(function, name))
    return wrapper


class _Loader(SourceFileLoader):
    """Compiles a module with `@checked` at every function, nested ones too; nothing of it is written to __pycache__."""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                node.decorator_list.append(ast.copy_location(ast.Name(checked.__name__, ast.Load()), node))
        tree.body[1:1] = ast.parse(f"from {__name__} import {checked.__name__}").body  # after the docstring
        return compile(tree, path, "exec")


class _Finder(PathFinder):
    modules: tuple[str, ...] = ()

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        wanted = fullname.startswith(cls.modules)
        spec = super().find_spec(fullname, path, target) if wanted else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


def install(*modules: str) -> None:
    """From now on modules whose names begin so check their functions' shapes; none of them may be imported before."""
    early = [name for name in sys.modules if name.startswith(modules)]
    assert not early, f"imported before their shapes could be checked: {early}"
    _Finder.modules = modules
    sys.meta_path.insert(sys.meta_path.index(PathFinder), _Finder)
