"""`make bench`: the table, and that every row has its sides."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import bench
from bench import ROWS, one_number, table, write_csv, write_page
from rows import kit
from rows.kit import Measured, Row

ROOT = Path(__file__).parents[1]
MEASURED = [
    Measured("a", Row("epochs", "images/s", ("foldline", "bare"), "≤ 1"), {"foldline": [10, 20, 30], "bare": [40, 40]}),
    Measured("b", Row("train", "s", ("foldline", "fastai")), {"foldline": [3.0]}, {"fastai": "is not installed"}),
]


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_a_function_for_each_side(name: str) -> None:
    module = import_module(f"rows.{name}")
    assert list(module.SIDES) == list(module.ROW.sides)
    assert module.ROW.sides[0] == "foldline"


def test_the_table_has_medians_ranges_and_what_is_missing() -> None:
    lines = table(MEASURED)
    assert lines[2].startswith("| epochs | 20.0 (10.0 to 30.0) images/s | bare | 40.0 (40.0 to 40.0) images/s | 2.00x")
    assert "| n/a: is not installed | n/a | none | 1 |" in lines[3]


def test_results_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "machine", lambda: "Some CPU, 2 cores")
    write_csv(MEASURED, tmp_path)
    (path,) = tmp_path.glob("*-some-cpu-2-cores.csv")
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4
    page = tmp_path / "performance.md"
    page.write_text((ROOT / "docs" / "performance.md").read_text(encoding="utf-8"), encoding="utf-8")
    for words in ("first", "second"):
        write_page(page, table(MEASURED), words)
    assert page.read_text(encoding="utf-8").count("| epochs |") == 1


def test_a_side_without_its_packages_is_not_applicable(tmp_path: Path) -> None:
    assert "requirements-bench.txt" in str(one_number(tmp_path / "python", []))


def test_doctests() -> None:
    assert not doctest.testmod(kit).failed
