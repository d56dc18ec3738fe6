"""`benchmarks/scale.py`: its table, and that every stage runs."""

from importlib import import_module
from pathlib import Path

import pytest

import scale
from costs.kit import Cost, Measured
from foldline.scoring import cv

FOUND = Measured(
    "a", Cost("sorting", most_seconds=5.0), {1_000: [1.0, 3.0, 2.0], 10_000: [20.0]}, {1_000: [2**30], 10_000: [2**29]}
)


def test_the_table_has_medians_ranges_growth_and_goals() -> None:
    lines = scale.table([FOUND])
    assert lines[2] == "| sorting | 1,000 | 2.0 (1.0 to 3.0) |  | 1.00 |  |"
    assert (
        lines[3] == "| sorting | 10,000 | 20.0 | 1.00 | 0.50 | ≤ 2 GiB, ≤ 5 s: kept |"
    )  # the goal is of a million rows
    slow = Measured("a", Cost("sorting", (10,), most_seconds=5.0), {10: [6.0]}, {10: [2**30]})
    large = Measured("a", Cost("sorting", (10,)), {10: [6.0]}, {10: [2**32]})
    assert all("MISSED" in scale.table([row])[2] for row in (slow, large))


def test_the_page_gets_it(tmp_path: Path) -> None:
    page = tmp_path / "scale.md"
    page.write_text((Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8"), encoding="utf-8")
    for _ in range(2):
        scale.write_page(page, scale.table([FOUND]), "some machine")
    assert page.read_text(encoding="utf-8").count("| sorting | 10,000 |") == 1


@pytest.mark.parametrize("name", scale.COSTS)
def test_every_stage_runs_with_few_rows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv, "RESAMPLES", 20)  # of a thousand columns, with few rows
    module = import_module(f"costs.{name}")
    module.prepare(tmp_path, 60)
    module.run(tmp_path, 60)
    assert module.COST.words
    assert list(module.COST.sizes) == sorted(module.COST.sizes)
