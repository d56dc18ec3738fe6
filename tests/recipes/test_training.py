"""Every run file of the recipes through the real networks, on few pictures: training, prediction, submission, score."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import yaml

from foldline.cli import main
from foldline.core.paths import Layout
from foldline.core.run import load_run
from foldline.core.tables import read_csv, read_json, read_parquet
from foldline.core.yaml_models import apply_overrides
from recipes.trees import RECIPES, make_project

QUICK = ["train.precision=fp32", "train.epochs=1", "train.folds=[0]", "train.batch_size=16"]


@dataclass(frozen=True)
class Small:
    """What of a run is made smaller than its file says."""

    comp: str
    run: str
    more: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.comp}-{self.run}"


OFFLINE = "model.weights=none"
RUNS = [
    Small("mnist", "baseline"),
    Small("mnist", "timm"),
    Small("fashion", "baseline"),
    Small("cifar10", "baseline"),
    Small("fish", "baseline", [OFFLINE, "data.image_size=32"]),
    Small("simpsons", "baseline"),
    Small("pepe", "baseline", ["data.image_size=64", "model.options.hidden=16"]),
    Small("pepe", "no-batch-norm", ["data.image_size=64", "model.options.hidden=16"]),
    Small("stamps", "baseline", [OFFLINE, "train.probe=null", "train.keep_start=false", "data.image_size=32"]),
    Small("dere", "baseline", ["data.image_size=32"]),
    Small("dere", "resnet", [OFFLINE, "data.image_size=32"]),
]


def make_small(layout: Layout, comp: str, run: str, overrides: list[str]) -> None:
    """Lays the overrides over the run file, as SET does, so that the run keeps its name."""
    path = layout.run_config(comp, run)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(apply_overrides(content, [*QUICK, *overrides])), encoding="utf-8")


def whole_line(layout: Layout, comp: str, run: str) -> None:
    for stage in ("download", "folds", "train", "predict", "ensemble", "score"):
        arguments = [] if stage in ("download", "folds") else ["--run", run]
        assert main([stage, "--root", str(layout.root), "--comp", comp, *arguments]) == 0, stage


@pytest.mark.parametrize("small", RUNS, ids=str)
def test_the_whole_line(small: Small, tmp_path: Path) -> None:
    layout = make_project(tmp_path, small.comp)
    make_small(layout, small.comp, small.run, small.more)
    whole_line(layout, small.comp, small.run)
    recipe = RECIPES[small.comp]
    assert [path.name for path in layout.run(small.comp, small.run).glob("fold_*")] == ["fold_0"]
    log = read_csv(layout.fold(small.comp, small.run, 0) / "log.csv")
    assert log["epoch"].tolist() == ["0", "1"]
    assert [f"accuracy_{name}" for name in recipe.classes] == [c for c in log.columns if c.startswith("accuracy_")]
    table = read_parquet(layout.run(small.comp, small.run) / "test.parquet")
    assert len(table) == recipe.test
    assert table.filter(regex="^prob_").columns.tolist() == [f"prob_{name}" for name in recipe.classes]
    entry = read_json(layout.submission(small.comp, small.run).with_suffix(".json"))
    assert 0 <= entry["private"] <= 1
    assert set(entry["private_metrics"]) >= {"accuracy", "log_loss"}


def test_further_goes_on_from_the_saved_parameters(tmp_path: Path) -> None:
    """cifar10: the second run's network before its first step is the first run's after its last."""
    layout = make_project(tmp_path, "cifar10")
    for run in ("baseline", "further"):
        make_small(layout, "cifar10", run, [])
        whole_line(layout, "cifar10", run)
    logs = {run: read_csv(layout.fold("cifar10", run, 0) / "log.csv") for run in ("baseline", "further")}
    assert float(logs["further"]["valid_loss"].iloc[0]) == pytest.approx(float(logs["baseline"]["valid_loss"].iloc[-1]))
    assert load_run(layout, "cifar10", "further", []).model.weights.options["run"] == "baseline"


@pytest.mark.parametrize("run", ["baseline", "no-batch-norm"])
def test_a_network_that_says_nothing_has_a_loss_of_ln_2(run: str, tmp_path: Path) -> None:
    """pepe: where the documented experiment starts from, and may stay."""
    layout = make_project(tmp_path, "pepe")
    make_small(layout, "pepe", run, ["data.image_size=64", "optim.lr=1e-12"])
    whole_line(layout, "pepe", run)
    losses = read_csv(layout.fold("pepe", run, 0) / "log.csv")["valid_loss"].astype(float)
    assert losses.to_numpy() == pytest.approx(np.log(2), abs=0.05)
