"""Which rows have a mask: by a column whose cells may be empty, or a template whose files may be missing."""

from pathlib import Path
from typing import Any

import pytest

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.readers import read_rows

FACTS: dict[str, Any] = {
    "source": {"kind": "folder", "name": "raw"}, "task": "binary", "metric": "auc", "holdout": {"fraction": 0.5},
    "train": {"file": "train.csv", "row_id": "id", "image": "{id}.png", "target": "label"},
}  # fmt: skip


def masks_of(root: Path, mask: str, cells: list[str], files: list[str]) -> list[str]:
    for name in ("a", "b", "c", *files):
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    lines = [f"{name},{place % 2},{cell}" for place, (name, cell) in enumerate(zip("abc", cells, strict=True))]
    (root / "train.csv").write_text("\n".join(["id,label,marked", *lines]) + "\n")
    facts = Competition.parse({**FACTS, "train": {**FACTS["train"], "mask": mask}}, where="")
    found = read_rows(root, facts.train, facts, with_target=True)
    assert "mask_file" not in read_rows(root, facts.train, facts, with_target=False), "test rows have none"
    return found["mask_file"].tolist()


def test_an_empty_cell_is_a_row_without_a_mask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = masks_of(tmp_path, "marked", ["masks/m.png", "", "NA"], ["masks/m"])
    assert found == ["masks/m.png", "", ""]
    assert "1 of 3 rows have a mask" in capsys.readouterr().out


def test_a_template_names_files_that_may_be_missing(tmp_path: Path) -> None:
    assert masks_of(tmp_path, "masks/{id}.png", [""] * 3, ["masks/a", "masks/c"]) == ["masks/a.png", "", "masks/c.png"]


@pytest.mark.parametrize(
    ("mask", "cells", "words"),
    [
        ("marked", ["masks/m.png", "masks/other.png", ""], "1 mask is not there: masks/other.png"),
        ("marked", ["", "", ""], "none of 3 rows has a mask"),
        ("mask/{id}.png", ["", "", ""], "there is no file such as mask/a.png"),
        ("drawn", ["", "", ""], "'drawn' is no column"),
    ],
)
def test_what_is_no_mask_is_said(tmp_path: Path, mask: str, cells: list[str], words: str) -> None:
    with pytest.raises(FoldlineError, match=words):
        masks_of(tmp_path, mask, cells, ["masks/m"])


def test_test_rows_name_none() -> None:
    rows = FACTS["train"]
    facts = {**{key: value for key, value in FACTS.items() if key != "holdout"}, "train": rows}
    with pytest.raises(FoldlineError, match=r"leave 'test\.mask' out"):
        Competition.parse({**facts, "test": {"file": "test.csv", "mask": "m"}}, where="")
