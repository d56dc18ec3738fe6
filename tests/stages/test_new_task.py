"""A new task is one entry of the dictionary: everything else asks what it is like, never what it is called."""

from pathlib import Path

import pytest
import yaml

from foldline.core.tables import read_csv, read_parquet
from foldline.core.task import TASKS, Task
from stages.test_several_targets import FACTS, Project


def test_a_task_that_nobody_knows_goes_from_the_table_to_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole numbers with another usual loss and kind of submission."""
    monkeypatch.setitem(TASKS, "counts", Task("counts", "numbers", "identity", "huber", "round", "value"))
    project = Project(tmp_path, rows=60)
    train = {**FACTS["train"], "target": "mm"}
    facts = {"task": "counts", "metric": "rmse", "train": train, "holdout": {"fraction": 0.25}, "folds": {"k": 2}}
    project.write("competition", {**facts, "source": project.facts["source"]})
    quick = tmp_path / "configs" / "bars" / "quick.yaml"
    choices = yaml.safe_load(quick.read_text())
    choices["train"]["epochs"] = 1
    quick.write_text(yaml.safe_dump(choices))
    for stage in ("download", "folds"):
        assert project.run(stage) == 0
    for stage in ("train", "predict", "ensemble", "report"):
        assert project.run(stage, "--run", "quick") == 0
    assert project.run("score", "--name", "quick") == 0
    assert "value" in read_parquet(project.layout.run("bars", "quick") / "oof.parquet").columns
    assert read_csv(project.layout.submission("bars", "quick")).columns.tolist() == ["row_id", "target"]
    assert "counts" in (project.layout.run("bars", "quick") / "report.html").read_text()
