"""`foldline soup`: the mean of weights within each fold is a run, with an honest score beside the ensemble's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import foldline
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.tables import read_parquet
from tiny import FACTS, RUN, TinyProject

CHOICES = {**RUN, "train": {**RUN["train"], "epochs": 1}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Two runs from one start, and one from another."""
    project = TinyProject(tmp_path_factory.mktemp("soup"), rows=48)
    project.write_yaml("competition", {**FACTS, "metrics": [], "folds": {"k": 2}})
    project.write_yaml("quick", CHOICES)
    project.write_yaml("slower", {**CHOICES, "optim": {"lr": 1e-3}})
    project.write_yaml("stranger", {**CHOICES, "seed": 1})
    project.prepare()
    for run in ("quick", "slower", "stranger"):
        assert project.run("train", "--run", run) == 0
        assert project.run("predict", "--run", run) == 0
    return project


def weights(project: TinyProject, run: str, fold: int = 0) -> dict[str, torch.Tensor]:
    return dict(load_file(project.fold(fold, run) / "model.safetensors"))


def test_a_soup_is_a_run_whose_rows_no_part_has_seen(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run("soup", "--runs", "quick slower") == 0
    said = capsys.readouterr().out
    name = "quick+slower-soup"
    parts = [weights(project, run, fold=1) for run in ("quick", "slower")]
    mean = weights(project, name, fold=1)
    assert torch.allclose(
        mean["classifier.weight"], (parts[0]["classifier.weight"] + parts[1]["classifier.weight"]) / 2
    )
    assert "fold 1: one network of 2" in said
    assert "batch-norm statistics are taken anew from" in said
    assert not torch.allclose(
        mean["bn1.running_mean"], (parts[0]["bn1.running_mean"] + parts[1]["bn1.running_mean"]) / 2
    )
    cv = Cv.read(project.layout.run("tiny", name) / "cv.json")
    assert f"soup {name}: OOF auc {cv.pooled:.4f} with one network a fold; the ensemble of its parts" in said
    meta = FoldMeta.read(project.fold(0, name) / "meta.json")
    assert {key for key in meta.sha256.inputs if key.startswith("soup: ")} == {"soup: quick", "soup: slower"}
    oof = read_parquet(project.layout.run("tiny", name) / "oof.parquet").set_index("row_id")
    own = oof.index[oof["fold"] == 0][:5]
    alone = foldline.load(project.fold(0, name), device="cpu")
    files = [project.layout.input("tiny") / f"{row}.png" for row in own]
    assert np.allclose(alone.predict(files)["prob_bright"], oof.loc[own, "prob_bright"], atol=1e-6)
    assert project.run("ensemble", "--run", name) == 0
    assert (project.layout.run("tiny", name) / "report.html").is_file()
    assert project.run("soup", "--runs", "quick slower") == 0
    assert f"the soup tiny/{name} is up to date" in capsys.readouterr().out


def test_a_greedy_soup_holds_what_the_other_folds_choose(
    project: TinyProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is worse on the other folds stays out; one fold's rows choose nothing of its own soup."""
    from foldline.engine.finished import greedy

    asked: list[list[int]] = []
    real = greedy._Tried.value

    def value(self: "greedy._Tried", places: list[int], chosen: tuple[int, ...]) -> float:
        asked.append(list(places))
        real(self, places, chosen)
        return {(0,): 0.6, (1,): 0.7, (0, 1): 0.8 if places == [1] else 0.5}[chosen]  # fold 0 is judged by fold 1

    monkeypatch.setattr(greedy._Tried, "value", value)
    assert project.run("soup", "--runs", "quick slower", "--name", "picky", "--greedy") == 0
    said = capsys.readouterr().out
    assert asked == [[1]] * 3 + [[0]] * 3
    assert "fold 0: of 2 runs the other folds chose quick, slower" in said
    assert "fold 1: of 2 runs the other folds chose slower" in said
    assert "6 means of weights were tried" in said
    alone, both = weights(project, "picky", 1)["classifier.weight"], weights(project, "picky", 0)["classifier.weight"]
    assert torch.equal(alone, weights(project, "slower", 1)["classifier.weight"])
    parts = [weights(project, run)["classifier.weight"] for run in ("quick", "slower")]
    assert torch.allclose(both, (parts[0] + parts[1]) / 2)
    assert project.run("soup", "--runs", "quick slower", "--name", "picky", "--greedy") == 0
    assert "the soup tiny/picky is up to date" in capsys.readouterr().out
    assert project.run("soup", "--runs", "quick slower", "--name", "picky") == 2
    assert "the run 'picky' is something else" in capsys.readouterr().err
    assert project.run("soup", "--run", "quick", "--name", "x", "--greedy") == 2
    assert "nothing to average" in capsys.readouterr().err


def test_a_network_and_its_start_are_one(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    train = {**CHOICES["train"], "probe": {"c": 0.1}, "keep_start": True, "batch_norm": "frozen"}
    project.write_yaml("kept", {**CHOICES, "train": train})
    assert project.run("train", "--run", "kept") == 0
    assert project.run("predict", "--run", "kept") == 0
    assert project.run("soup", "--run", "kept") == 0
    said = capsys.readouterr().out
    assert "the ensemble of its parts " in said
    assert " with 2; the runs " in said
    assert "batch-norm statistics are taken anew" not in said  # they are the start's in both
    start = dict(load_file(project.fold(0, "kept") / "start.safetensors"))
    mean = (start["classifier.weight"] + weights(project, "kept")["classifier.weight"]) / 2
    assert torch.allclose(weights(project, "kept-soup")["classifier.weight"], mean)


def test_what_has_no_honest_or_no_meaningful_mean_is_refused(
    project: TinyProject, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    project.write_yaml("chosen", {**CHOICES, "train": {**CHOICES["train"], "select": "best"}})
    assert project.run("train", "--run", "chosen") == 0
    assert project.run("ensemble", "--runs", "quick stranger", "--name", "both") == 0
    for arguments, words in (
        (["--run", "quick"], "keeps one network: within the fold there is nothing to average"),
        (["--run", "quick"], "The mean over all folds would have seen every row"),
        (["--runs", "quick stranger"], "did not start from the same weights"),
        (["--runs", "quick chosen"], "the score of 'chosen' is a little too good"),
        (["--run", "both"], 'of its members: RUNS="quick stranger"'),
        (["--runs", "quick slower", "--name", "stranger"], "the run 'stranger' is something else"),
        (["--runs", "quick slower", "--name", "both"], "the run 'both' is something else"),
        (["--runs", "quick slower", "--name", "quick"], "cannot have its part's name"),
    ):
        assert project.run("soup", *arguments) == 2
        assert words in capsys.readouterr().err


def test_a_training_that_is_not_whole_is_never_written_over(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write_yaml("partly", {**CHOICES, "seed": 2})
    assert project.run("train", "--run", "partly", "--fold", "1") == 0
    files = {path: path.read_bytes() for path in project.layout.run("tiny", "partly").rglob("*.*") if path.is_file()}
    assert project.run("soup", "--runs", "quick slower", "--name", "partly") == 2
    assert "the run 'partly' is something else" in capsys.readouterr().err
    assert all(path.read_bytes() == content for path, content in files.items())
    for path in files:
        if path.parent.name == "fold_1":
            path.unlink()  # as while its first fold is trained
    assert project.run("soup", "--runs", "quick slower", "--name", "partly") == 2


def test_runs_that_went_on_from_others_have_their_start(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    """The random numbers of one seed, in whose place another run's weights were put, are no start that they share."""
    for name, other in (("on-quick", "quick"), ("on-stranger", "stranger")):
        weights_of = {"name": "run", "options": {"run": other}}
        project.write_yaml(name, {**CHOICES, "model": {**CHOICES["model"], "weights": weights_of}})
        assert project.run("train", "--run", name) == 0
    capsys.readouterr()
    assert project.run("soup", "--runs", "on-quick on-stranger", "--name", "x") == 2
    assert "did not start from the same weights" in capsys.readouterr().err
    assert project.run("soup", "--runs", "stranger on-stranger", "--name", "x") == 2  # not predicted
    assert "did not start from the same weights" not in capsys.readouterr().err


def test_a_soup_of_what_its_part_was_before_is_refused(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run("soup", "--runs", "quick slower", "--name", "older") == 0
    path = project.fold(1, "slower") / "meta.json"
    meta = FoldMeta.read(path)
    meta.changed(sha256=meta.sha256.model_copy(update={"weights": "0" * 64})).write(path)
    assert project.run("ensemble", "--run", "older") == 2
    assert "fold_1 of its part 'slower' was trained anew" in capsys.readouterr().err
    meta.write(path)
    assert project.run("ensemble", "--run", "older") == 0
