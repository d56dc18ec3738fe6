"""The notebook's code runs on a trained run and names pictures that are in no table."""

import json
from pathlib import Path
from typing import Any

from foldline.cli import main
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
    pictures = [tmp_path / f"new{i}.{ending}" for i, ending in enumerate(("png", "jpg", "jpeg", "png", "jpg"))]
    for number, path in enumerate(pictures):
        write_picture(path, number, 500, side=20 + 9 * number)
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
    assert titles == [values["likeliest"][path.name][0] for path in pictures]
