"""Imports point down only, rooms of one floor do not know each other, and stages never import stages."""

import ast
from pathlib import Path

import foldline

HOUSE = Path(foldline.__file__).parent
FLOORS = {
    "cli": 6, "__main__": 7, "stages": 5, "engine": 4, "models": 3, "report": 3,
    "sources": 2, "readers": 2, "splits": 2, "images": 2, "scoring": 2, "core": 1,
}  # fmt: skip


def imports_of(path: Path) -> set[str]:
    """The modules of foldline that a file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("foldline."):
            found.add(node.module)
        elif isinstance(node, ast.ImportFrom) and node.module == "foldline":
            found |= {f"foldline.{alias.name}" for alias in node.names if (HOUSE / alias.name).exists()}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("foldline.")}
    return found


def wrong_imports(house: Path) -> list[str]:
    wrong = []
    for path in sorted(house.rglob("*.py")):
        room = path.relative_to(house).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for module in imports_of(path):
            other = module.split(".")[1]
            same_room = other == room and room != "stages"
            if not same_room and FLOORS[other] >= FLOORS[room]:
                wrong.append(f"{path.relative_to(house)} imports {module}")
    return wrong


def test_imports_point_down() -> None:
    assert wrong_imports(HOUSE) == []


def test_the_check_sees_an_upward_import(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "bad.py").write_text("def f():\n    from foldline.engine import fit\n")
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "bad.py").write_text("from foldline.stages.train import train\n")
    assert len(wrong_imports(tmp_path)) == 2


def test_core_knows_no_torch() -> None:
    for path in (HOUSE / "core").glob("*.py"):
        assert "import torch" not in path.read_text(encoding="utf-8"), path
