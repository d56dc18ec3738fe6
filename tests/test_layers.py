"""The architecture: imports point down only, between rooms and inside them; no circles; short functions and files."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import foldline

HOUSE = Path(foldline.__file__).parent
FLOORS = {
    "__main__": 12, "cli": 11, "completion": 10, "helping": 9, "commands": 8, "leaving": 7, "composed": 7,
    "trained_again": 7, "arguments": 7, "values": 7, "command": 6, "stages": 6, "app": 5, "engine": 4, "report": 4,
    "rehearsal": 4, "models": 3, "submission": 3, "sources": 2, "readers": 2, "splits": 2, "images": 2, "scoring": 2,
    "core": 1,
}  # fmt: skip
# Inside a room, from the ground up; what is not named stands above all of these, in no order, and stages stand alone.
WINGS = {
    "engine": [
        "machine auxiliary masks losses extra_rows refused seen training_labels writers teller entities row_arrays",
        "problem stack_infer", "frozen row_parts learnt_weights", "infer starting_weights", "evaluate", "loop",
        "finished", "row_files",
        "predict_run onnx both_sides", "features fold_job first_score", "forecast", "train_run bundle",
        "lr_find", "scale",
    ],
    "report": ["look", "run comparison", "live"],
    "images": ["files"],
    "scoring": ["metrics"],
    "stages": ["search_book", "search_trials", "search_on_ray"],
}  # fmt: skip
BY_NAME = re.compile(r"\btask (==|!=|in |not in )|\btask\.name (==|!=|(not )?in [(\[{'\"])")


def modules_of(house: Path) -> dict[str, Path]:
    paths = sorted(house.rglob("*.py"))
    return {".".join(("foldline", *path.relative_to(house).with_suffix("").parts)): path for path in paths}


def imports_of(path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules of foldline that a file imports, wherever the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {name if name in modules or f"{name}.__init__" in modules else str(node.module) for name in whole}
    inside = {name for name in names if name.split(".")[0] == "foldline"}
    return {name if name in modules else f"{name}.__init__" for name in inside}


def arrows(house: Path) -> Iterator[tuple[str, str]]:
    modules = modules_of(house)
    for module, path in modules.items():
        for other in sorted(imports_of(path, modules)):
            yield module, other


def wing_floor(room: str, wing: str) -> int:
    floors = WINGS.get(room, [])
    return next((floor for floor, wings in enumerate(floors) if wing in wings.split()), len(floors))


def allowed(module: str, other: str) -> bool:
    """Whether the floors let one module import the other.

    `__init__` of the package itself is the door: it may lead anywhere, when it is called, and all know its version.
    """
    (_, room, *inner), (_, room_of_other, *inner_of_other) = module.split("."), other.split(".")
    if "__init__" in (room, room_of_other):
        return True
    if room != room_of_other:
        return FLOORS[room_of_other] < FLOORS[room]
    wing, wing_of_other = inner[0], inner_of_other[0]
    if wing == wing_of_other:
        return True
    floor, floor_of_other = wing_floor(room, wing), wing_floor(room, wing_of_other)
    return floor_of_other < floor or (floor == floor_of_other == len(WINGS.get(room, [])) and room != "stages")


def wrong_imports(house: Path) -> list[str]:
    return [f"{module} imports {other}" for module, other in arrows(house) if not allowed(module, other)]


def circle(house: Path) -> list[str]:
    """One circle of imports, or nothing."""
    graph: dict[str, set[str]] = {}
    for module, other in arrows(house):
        if module != "foldline.__init__":  # it imports nothing but when it is called
            graph.setdefault(module, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        names: list[str] = error.args[1]
        return names
    return []


def test_imports_point_down() -> None:
    assert wrong_imports(HOUSE) == []


def test_no_circles() -> None:
    assert circle(HOUSE) == []


def plant(house: Path, **files: str) -> None:
    for name, text in files.items():
        path = house / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_checks_see_what_is_wrong(tmp_path: Path) -> None:
    plant(
        tmp_path,
        core__bad="def f():\n    from foldline.engine import fit\n",
        stages__bad="from foldline.stages.train import train\n",
        engine__draws="from foldline.report.look import palette\n",
        engine__machine__bad="import foldline.engine.loop.fit\n",
        report__run__bad="from foldline.report.comparison.page import build\n",
    )
    assert len(wrong_imports(tmp_path)) == 5
    assert circle(tmp_path) == []
    plant(
        tmp_path,
        core__a="from foldline.core import b\n",
        core__b="def f():\n    from foldline.core.c import x\n",
        core__c="from foldline.core.a import y\n",
    )
    assert len(circle(tmp_path)) == 4


def test_importing_foldline_imports_nothing_of_it() -> None:
    asks = "import sys, foldline; print([name for name in sys.modules if name.startswith(('foldline.', 'torch'))])"
    said = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_core_knows_no_torch() -> None:
    for path in (HOUSE / "core").rglob("*.py"):
        assert "import torch" not in path.read_text(encoding="utf-8"), path


def test_nobody_asks_a_task_for_its_name() -> None:
    """What a task means stands in `core/task.py`; whoever asks a task has a property to ask."""
    for path in [*HOUSE.rglob("*.py"), *HOUSE.rglob("*.html")]:
        if path != HOUSE / "core" / "task.py":
            lines = path.read_text(encoding="utf-8").splitlines()
            assert not [line for line in lines if BY_NAME.search(line)], path


def test_functions_and_files_are_short() -> None:
    for path in HOUSE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 350, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{path}: {node.name}"
