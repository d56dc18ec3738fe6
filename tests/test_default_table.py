"""benchmarks/default_table.py: what is drawn for it, how it is scored and printed; no training."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import default_sets
import default_table


def test_a_tenth_is_of_each_fold_and_class() -> None:
    rows = [(f"r{i}", "ab"[i % 2], str(i % 3)) for i in range(240)]
    frame = pd.DataFrame(rows, columns=["row_id", "target", "fold"])
    some = default_sets.drawn(frame, 0.1)
    assert some.groupby(["target", "fold"]).size().tolist() == [4] * 6
    assert some.index.is_monotonic_increasing
    assert default_sets.drawn(frame, 1.0).equals(frame)


def test_transparent_pictures_are_copied_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    default_sets.copy_opaque(tmp_path / "clear.png", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        assert (np.asarray(picture) == 255).all()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four rows of two classes, and what two sides said of them."""
    (tmp_path / "folds").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "folds" / "pics.json").write_text(json.dumps({"outputs": ["no", "yes"]}))
    lines = ["row_id,target", "a,no", "b,yes", "c,no", "d,yes"]
    (tmp_path / "folds" / "pics.csv").write_text("\n".join(lines) + "\n")
    for side, says in (("default", [0.1, 0.4, 0.5, 0.9]), ("probe", [0.1, 0.8, 0.1, 0.9])):
        table = pd.DataFrame({"row_id": list("abcd"), "no": [1 - p for p in says], "yes": says})
        table.iloc[::-1].to_csv(tmp_path / "out" / f"pics-{side}-0.csv", index=False)
    return tmp_path


def test_rows_are_scored_by_their_ids_and_blends_by_their_mean(folder: Path) -> None:
    files = [folder / "out" / f"pics-{side}-0.csv" for side in ("default", "probe")]
    assert default_table.score(folder, "pics", files[:1]) == 0.75
    assert default_table.score(folder, "pics", files) == 1.0


def test_the_table_says_what_is_missing(folder: Path) -> None:
    default_table.record(
        folder, {"set": "pics", "side": "default", "seed": 0, "score": 0.75, "cpu": 90.0, "wall": 99.0}
    )
    *_, line = default_table.table(folder).splitlines()
    assert line == "| pics | 0.7500 (n = 1), 1.5 min | not measured | not measured | not measured | not measured |"
