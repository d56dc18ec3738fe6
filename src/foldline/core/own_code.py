"""The one door for code of the user's own: `file.py:name` or `module:name`, a function that the facts or a run name.

Reads and runs that file, once a command. `keep` writes its source into a fold's folder, so that a network is rebuilt
from there alone. What each such function takes and gives stands in docs/own-code.md.
"""

import hashlib
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.core.tables import atomic_path

IN_METRIC = re.compile(r"[^\s()*]+:\w+(?=\()")  # a function of one's own in a metric of several targets
KEPT = "code"  # the folder inside a fold's
# what trained weights depend on
SETTINGS = ("model.name", "augment.recipe", "sampling.function", "loss.name", "data.foreground")
WRITE = "write file.py:name (the file in configs/<comp>/ or in the project folder), or module:name"


def is_own(name: str) -> bool:
    """Whether a setting names a function of the user's own rather than something of foldline's or timm's.

    >>> is_own("network.py:small"), is_own("resnet18")
    (True, False)
    """
    return ":" in name


def locate(layout: Layout, comp: str, name: str) -> str:
    """`name`, with the file of `file.py:name` found in `configs/<comp>/`, else in the project folder.

    The path is as seen from the working folder, where the project is that; all other names stay as they are.

    Raises:
        FoldlineError: there is no such file.
    """
    if "(" in name:  # a metric of several targets: each name in it
        return IN_METRIC.sub(lambda match: locate(layout, comp, match[0]), name)
    file, _, function = name.rpartition(":")
    if not file.endswith(".py") or Path(file).is_absolute():
        return name
    places = [folder / file for folder in (layout.competition_config(comp).parent, layout.root)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise FoldlineError(
            f"there is no Python file '{file}' for '{name}'",
            where=f"looked in {layout.relative(places[0].parent)} and the project folder",
            next="write the function there, or mend the name",
        )
    seen = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{seen.as_posix()}:{function}"


def named_by(run: Run) -> dict[str, str]:
    """The functions of the user's own that training calls, by the setting that names them."""
    parts = {setting: setting.split(".") for setting in SETTINGS}
    names = {setting: getattr(getattr(run, section), key) for setting, (section, key) in parts.items()}
    return {setting: name for setting, name in names.items() if is_own(name)}


def located(layout: Layout, comp: str, run: Run) -> Run:
    """The run with the files of these functions found, as `locate` finds them."""
    for setting, name in named_by(run).items():
        section, key = setting.split(".")
        part = getattr(run, section).model_copy(update={key: locate(layout, comp, name)})
        run = run.model_copy(update={section: part})
    return run


def run_sha256(layout: Layout, comp: str, run: Run) -> dict[str, str]:
    """The hashes of their sources, by setting and name; of what is not there (any more) none."""
    hashes = {}
    for setting, name in named_by(run).items():
        with suppress(FoldlineError):
            hashes[f"{setting}: {name}"] = sha256(locate(layout, comp, name))
    return {key: digest for key, digest in hashes.items() if digest}


def load(name: str, takes: Sequence[str] | None = None, *, where: str = "") -> Callable[..., Any]:
    """The function that `name` stands for; its file's code is run, if it was not yet.

    Args:
        name: as `locate` gives it.
        takes: its arguments in their order, in words; None: it is not known how it is called.
        where: the setting that names it.

    Raises:
        FoldlineError: the file, module or function is not there, the code raises, or it takes other arguments.
    """
    place, _, function_name = name.rpartition(":")
    if not place or not function_name:
        raise FoldlineError(f"'{name}' names no function", where=where, next=WRITE)
    module = _of_file(Path(place), where) if place.endswith(".py") else _installed(place, where)
    function = getattr(module, function_name, None)
    if not callable(function):
        functions = [value for value in vars(module).values() if inspect.isfunction(value)]
        known = [value.__name__ for value in functions if value.__module__ == module.__name__]
        raise FoldlineError(
            f"'{place}' has no function '{function_name}'", where=where or name, next=f"it has: {', '.join(known)}"
        )
    if takes is not None:
        _require_arguments(function, name, takes, where)
    return function  # type: ignore[no-any-return]


def attempt(name: str, function: Callable[[], Any], *, where: str = "") -> Any:
    """What a call of the user's function gives; whatever it raises becomes a FoldlineError with file and line."""
    try:
        return function()
    except FoldlineError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise _failed(error, f"'{name}' fails", str(Path(name.rpartition(":")[0]).absolute()), where) from error


def sha256(name: str) -> str:
    """The hash of the source that `load` runs in this command; empty where it is no file of the user's own."""
    path = Path(name.rpartition(":")[0])
    return hashlib.sha256(_source(path.absolute())).hexdigest() if path.suffix == ".py" and path.is_file() else ""


def keep(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Writes the sources of files of the user's own to `folder/code/`; {file: sha256}.

    Raises:
        FoldlineError: two of them have the same name.
    """
    hashes: dict[str, str] = {}
    parts = [IN_METRIC.findall(name) if "(" in name else [name] for name in names]
    for name in chain.from_iterable(parts):
        path = Path(name.rpartition(":")[0]).absolute()
        if path.suffix != ".py":
            continue
        digest = hashlib.sha256(_source(path)).hexdigest()  # of what ran, whatever the file holds by now
        if hashes.setdefault(path.name, digest) != digest:
            raise FoldlineError(f"two files of code are called {path.name}", where=name, next="rename one of them")
        with atomic_path(folder / KEPT / path.name) as temporary:
            temporary.write_bytes(_source(path))
    return hashes


def kept(folder: Path, name: str, hashes: Mapping[str, str]) -> str:
    """The function in the source that `keep` wrote; other names stay as they are.

    Raises:
        FoldlineError: the source is gone, or is not what `hashes` (of `keep`) says.
    """
    file = Path(name.rpartition(":")[0])
    if file.suffix != ".py":
        return name
    copy = f"{(folder / KEPT / file.name).as_posix()}:{name.rpartition(':')[2]}"
    if hashes.get(file.name) != sha256(copy):
        raise FoldlineError(
            f"{KEPT}/{file.name} is not there, or is not the code that this fold was trained with",
            where=str(folder),
            next="copy the whole folder again, or delete it and train this fold again",
        )
    return copy


def forget() -> None:
    """Files are read anew from now on: each command begins so."""
    _source.cache_clear()
    _run.cache_clear()


@cache
def _source(path: Path) -> bytes:
    return path.read_bytes()


def _of_file(path: Path, where: str) -> ModuleType:
    if not path.is_file():
        raise FoldlineError(
            f"there is no Python file '{path}'", where=where, next="write the function there, or mend the name"
        )
    return _run(path.absolute())


@cache
def _run(path: Path) -> ModuleType:
    module = ModuleType(f"foldline_own_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(_source(path), str(path), "exec"), module.__dict__)  # noqa: S102 - the user's own code, named by them
    except Exception as error:  # the user's code may raise anything
        del sys.modules[module.__name__]
        raise _failed(error, f"'{path}' cannot be loaded", str(path), "") from error
    return module


def _installed(place: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ImportError as error:
        raise FoldlineError(
            f"there is no Python module '{error.name or place}': {error}", where=where, next=f"install it, or {WRITE}"
        ) from error


def _require_arguments(function: Callable[..., Any], name: str, takes: Sequence[str], where: str) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # compiled functions need not have one
        return
    try:
        signature.bind(*takes)
    except TypeError as error:
        raise FoldlineError(
            f"'{name}' takes {signature}, not ({', '.join(takes)}): {error}", where=where, next="see docs/own-code.md"
        ) from error


def _failed(error: Exception, what: str, file: str, where: str) -> FoldlineError:
    """The user's exception with the line of the user's file that it came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    place = f"{file}, line {line}" if line else where or file
    return FoldlineError(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}", where=place)
