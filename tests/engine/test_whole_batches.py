"""Losses of all rows of a batch together, and targets that are not learnt: refused or said where they mean nothing."""

from pathlib import Path
from typing import Any

import pytest

from foldline.engine.loop.step import Learner
from tiny import FACTS, RUN, TinyProject

ONE = "train.epochs=1 train.folds=[0] augment.recipe=none"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Pictures with an age, and a kind beside it."""
    project = TinyProject(tmp_path_factory.mktemp("numbers"), rows=48)
    table = project.root / "raw" / "train.csv"
    head, *lines = table.read_text().splitlines()
    table.write_text("\n".join([f"{head},age", *(f"{line},{20 + i}" for i, line in enumerate(lines))]) + "\n")
    train: dict[str, Any] = {**FACTS["train"], "target": "age"}
    facts = {**FACTS, "task": "regression", "metric": "rmse", "metrics": [], "train": train}
    project.write_yaml("competition", {key: value for key, value in facts.items() if key != "classes"})
    project.prepare()
    return project


def test_a_correlation_of_few_rows_is_refused(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    for loss in ("pearson", "concordance"):
        assert project.run("train", "--name", "few", "--set", f"{ONE} loss.name={loss} train.batch_size=4") == 2
        assert f"the loss '{loss}' is of the rows of a batch together" in capsys.readouterr().err


def test_a_correlation_of_parts_of_a_batch_is_refused(
    project: TinyProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Learner.__init__

    def in_parts(self: Learner, *given: Any) -> None:
        begin(self, *given)
        self.parts = 2

    monkeypatch.setattr(Learner, "__init__", in_parts)
    assert project.run("train", "--name", "parts", "--set", f"{ONE} loss.name=concordance") == 2
    assert "fits into the device's memory in 2 parts alone" in capsys.readouterr().err


def test_numbers_without_a_level_are_said_where_the_metric_asks_for_it(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    for loss, said in (("pearson", True), ("concordance", False)):
        assert project.run("train", "--name", loss, "--set", f"{ONE} loss.name={loss}") == 0
        assert ("predicts has neither level nor spread" in capsys.readouterr().out) == said


def test_a_target_that_is_not_learnt_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = TinyProject(tmp_path, rows=36)
    table = project.root / "raw" / "train.csv"
    table.write_text(table.read_text().replace("id,label,patient", "id,shade,patient"))
    train: dict[str, Any] = {**FACTS["train"], "target": {"columns": ["shade", "patient"]}, "group": "patient"}
    facts = {**FACTS, "task": {"shade": "binary", "who": "multiclass"}, "metric": "accuracy", "metrics": []}
    project.write_yaml("competition", {**facts, "train": train, "classes": None})
    project.write_yaml("quick", {**RUN, "loss": {"targets": {"who": 0}}})
    project.prepare()
    assert project.run("train", "--fold", "0", "--name", "half", "--set", ONE) == 0
    assert "warning: fold 0: target 'who' is not learnt" in capsys.readouterr().out
