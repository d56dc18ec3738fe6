"""Search files: the example of the documentation is one, and every setting of a range keeps its kind."""

import re
from pathlib import Path

import pytest

from foldline.core.run import Run
from foldline.core.search import Prune, Range, Search, number_type, override, setting_of
from foldline.core.yaml_models import apply_overrides, parse_yaml

PAGE = (Path(__file__).parents[2] / "docs" / "runs.md").read_text(encoding="utf-8")


def test_the_documented_search_is_valid() -> None:
    block = re.search(r"```yaml\n(base:.*?)```", PAGE, re.DOTALL)
    assert block
    found = Search.parse(parse_yaml(block[1], where="docs/runs.md"), where="docs/runs.md")
    kinds = {key: number_type(key, one, where="") for key, one in found.ranges.items()}
    assert kinds == {"optim.lr": float, "model.drop_rate": float, "train.epochs": int, "model.name": None}
    assert found.prune == Prune(), "the example shows the defaults"
    for key, one in found.ranges.items():
        for value in one.ends():
            run = Run.parse(apply_overrides({}, [override(key, value)]), where="")
            assert setting_of(run.choices(), key) == value


@pytest.mark.parametrize(
    ("found", "inside", "outside"),
    [
        (Range(low=1e-4, high=1.0, log=True), [1e-4, 0.3, 1], [0, 1.1, None, "a", True]),
        (Range(low=0.0, high=0.5, step=0.1), [0, 0.1, 0.30000000000000004, 0.5], [0.15, 0.6]),
        (Range(choices=["a", None, ["b"]]), ["a", None, ["b"]], ["b", "c"]),
    ],
)
def test_what_a_range_holds(found: Range, inside: list[object], outside: list[object]) -> None:
    assert all(found.holds(value) for value in inside)
    assert not [value for value in outside if found.holds(value)]
