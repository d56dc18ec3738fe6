"""The notebook's code runs on a trained run and names pictures that are in no table."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from foldline.cli import main
from foldline.core.folds import load_folds
from foldline.core.tables import read_parquet
from recipes.test_training import make_small
from recipes.trees import CONFIGS, make_project, write_picture

NOTEBOOK = CONFIGS.parent / "notebooks" / "simpsons-inference.ipynb"


def code_cells(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def test_it_is_kept_without_outputs() -> None:
    cells = code_cells(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    assert [cell["execution_count"] for cell in cells] == [None] * len(cells)
    assert [cell["metadata"].get("tags", []) for cell in cells] == [["parameters"]] + [[]] * (len(cells) - 1)


def test_it_names_new_pictures(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    layout = make_project(tmp_path, "simpsons")
    make_small(layout, "simpsons", "baseline", [])
    for stage in ("download", "folds", "train"):
        given = ["--run", "baseline"] if stage == "train" else []
        assert main([stage, "--root", str(layout.root), "--comp", "simpsons", *given]) == 0
    valid = read_parquet(layout.fold("simpsons", "baseline", 0) / "valid.parquet").set_index("row_id")
    images = load_folds(layout, "simpsons").frame.set_index("row_id")["image"]
    pictures = [tmp_path / f"new{i}.jpg" for i in range(4)]  # what training predicted under other names, and a new one
    for path, row in zip(pictures, valid.index, strict=False):
        shutil.copy(layout.input("simpsons") / images[row], path)
    pictures.append(tmp_path / "large.png")
    write_picture(pictures[-1], 3, 500, side=90)
    values: dict[str, Any] = {}
    parameters, *cells = code_cells(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    exec("".join(parameters["source"]), values)
    assert (values["COMP"], values["RUN"]) == ("simpsons", "baseline")
    values |= {"ROOT": tmp_path, "PICTURES": pictures}
    for cell in cells:
        exec("".join(cell["source"]), values)
    titles = [axis.get_title() for axis in values["axes"].flat if axis.get_title()]
    plt.close("all")
    assert values["probabilities"].index.tolist() == [path.name for path in pictures]
    assert values["probabilities"].to_numpy().sum(axis=1).round(4).tolist() == [1.0] * 5
    known = valid.filter(regex="^prob_").iloc[:4].to_numpy()
    assert np.ptp(known, axis=0).max() > 1e-4, "the pictures' answers differ"
    assert np.allclose(values["probabilities"].to_numpy()[:4], known, atol=1e-5)
    assert titles == [values["likeliest"][path.name][0] for path in pictures]
