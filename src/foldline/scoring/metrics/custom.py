"""A metric of the user's own: a Python function named in the facts or a run. Reads that Python file or module."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from foldline.core.errors import FoldlineError
from foldline.core.task import ALL
from foldline.scoring.metrics.catalogue import Metric

INPUTS = ("prob", "label", "rank", "value")


def custom_metric(name: str, *, where: str = "") -> Metric:
    """The metric `file.py:function` (the path as `core.competition.locate_metric` gives it) or `module:function`.

    The function takes (truth, prediction) as numpy arrays and returns a number. Attributes of the function
    may say more: `direction` ("max", the default, or "min") and `input` ("prob", the default, "label",
    "rank" or "value"; what they hold is told in `scoring.metrics.forms`). The file's code is run.

    Raises:
        FoldlineError: the file, module or function is not there, or an attribute is none of the above.
    """
    place, _, function_name = name.rpartition(":")
    function = getattr(_module(place, where), function_name, None)
    if not callable(function):
        raise FoldlineError(f"'{place}' has no function '{function_name}'", where=where or f"metric '{name}'")
    direction: Any = getattr(function, "direction", "max")
    reads: Any = getattr(function, "input", "prob")
    if direction not in ("max", "min") or reads not in INPUTS:
        raise FoldlineError(
            f"metric '{name}': direction is '{direction}' and input is '{reads}'",
            where=where,
            next=f"direction is max or min, input is one of {', '.join(INPUTS)}",
        )
    return Metric(name, function, direction, reads, ALL, (float("-inf"), float("inf")))


def _module(place: str, where: str) -> Any:
    if place.endswith(".py"):
        return _module_of_file(Path(place), where)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise FoldlineError(
            f"there is no Python module '{error.name}'", where=where, next="write file.py:function, or install it"
        ) from error


def _module_of_file(path: Path, where: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"foldline_custom_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FoldlineError(f"there is no Python file '{path}'", where=where, next="write the path and the function")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
