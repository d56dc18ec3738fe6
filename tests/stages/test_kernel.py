"""The bundle for a Kaggle notebook: what is in it, the same bytes for the same run, and what is refused."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foldline.core.competition import load_competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.records.bundle import Bundle
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.kernel import OWNER, KernelEntry, Pushed, Rehearsal, bundle_sha256, fill_in_owner
from foldline.core.run_folder import stored_run
from foldline.core.tables import read_json, read_parquet
from foldline.engine.bundle import trial
from foldline.engine.bundle.members import choose
from foldline.engine.finished.networks import FoldNetworks, mean_of_folds, predict_rows
from foldline.engine.problem import open_problem
from foldline.sources.kaggle_kernels import push_kernel, send_dataset
from foldline.stages.kernel import kernel
from sources.kaggle_site import running_site
from sources.trees import plant
from tiny import FACTS, RUN, TinyProject

NETWORK = """
from torch import nn

from foldline.models.classic import SmallNetwork


def small(outputs, channels, height_width):
    features = nn.Sequential(nn.Conv2d(channels, 4, 3, stride=2), nn.ReLU())
    return SmallNetwork(features, nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()), 64, outputs)
"""
METRIC = """
def bright_share(truth, prob):
    return float(prob[:, 1].mean())
"""
SHORT: dict[str, Any] = {**RUN, "train": {**RUN["train"], "epochs": 1}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Two predicted runs and their ensemble; one has a network of its own, the facts a metric of their own."""
    project = TinyProject(tmp_path_factory.mktemp("kernel"), rows=48)
    configs = project.root / "configs" / "tiny"
    (configs / "network.py").write_text(NETWORK)
    (configs / "share.py").write_text(METRIC)
    project.write_yaml("competition", {**FACTS, "metrics": ["share.py:bright_share"], "folds": {"k": 2}})
    project.write_yaml("quick", SHORT)
    project.write_yaml("own", {**SHORT, "model": {"name": "network.py:small", "weights": "none"}})
    project.prepare()
    for run in ("quick", "own"):
        assert project.run("train", "--run", run) == 0
        assert project.run("predict", "--run", run) == 0
    assert project.run("ensemble", "--runs", "quick own") == 0
    return project


@pytest.fixture
def project(trained: TinyProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TinyProject]:
    """The trained project, nobody known at Kaggle; what a test changes below `oof/` and `submissions/` is undone."""
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    shutil.copytree(trained.root / "oof", tmp_path / "oof")
    yield trained
    shutil.rmtree(trained.root / "oof")
    shutil.copytree(tmp_path / "oof", trained.root / "oof")
    shutil.rmtree(trained.layout.kernel("tiny", "quick"), ignore_errors=True)


def build(project: TinyProject, run: str = "quick", **options: Any) -> Path:
    """The bundle of a run, for CPUs."""
    kernel(project.layout, "tiny", run=run, gpu="none", device="cpu", **options)
    return project.layout.kernel("tiny", run)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_of_two_runs_holds_all_that_the_notebook_needs(project: TinyProject) -> None:
    place = build(project, "quick+own")
    bundle = Bundle.read(place / "dataset" / "bundle.json")
    bundle.require_files(place / "dataset")
    wheels = {name.split("-")[0] for name in bundle.files if name.startswith("wheels/")}
    inside = sorted(name for name in bundle.files if not name.startswith("wheels/") and "shared" not in name)
    of_run = {run: ["code/share.py", "meta.json", "model.safetensors"] for run in ("quick", "own")}
    of_run["own"].append("code/network.py")
    fold_files = [
        f"project/oof/tiny/{run}/fold_{k}/{file}" for run, files in of_run.items() for k in (0, 1) for file in files
    ]
    code = ["project/configs/tiny/competition.yaml", "project/configs/tiny/share.py", "project/folds/tiny.json"]
    assert inside == sorted([*code, *fold_files, *(f"project/oof/tiny/{run}/cv.json" for run in ("own", "quick"))])
    assert wheels == {"wheels/foldline", "wheels/timm"}
    scores = {run: Cv.read(project.layout.run("tiny", run) / "cv.json").pooled or 0.0 for run in ("quick", "own")}
    best_first = sorted(scores, key=lambda run: -scores[run])
    assert [(one.run, one.folds, one.views) for one in bundle.members] == [
        (run, [0, 1], ["identity", "hflip"]) for run in best_first
    ]
    frame = load_folds(project.layout, "tiny").frame
    assert bundle.prior == {name: pytest.approx((frame["target"] == name).mean()) for name in ("dark", "bright")}
    assert (bundle.blend, bundle.sample, bundle.half) == ("mean", "sample_submission.csv", True)
    facts = load_competition(Layout(place / "dataset" / "project"), "tiny")
    assert facts.holdout is None
    assert facts.test is not None
    assert (facts.test.target, facts.test.image, facts.submission.sample) == (None, "{id}.png", "sample_submission.csv")


def test_the_weights_in_it_say_what_the_run_says(project: TinyProject) -> None:
    inside = Bundle.project(build(project) / "dataset")
    choices = stored_run(project.layout, "tiny", "quick")
    assert choices is not None
    problem = open_problem(project.layout, "tiny", choices, torch.device("cpu"))
    test = read_parquet(project.layout.run("tiny", "quick") / "test.parquet")
    metas = {
        inside.fold("tiny", "quick", k): FoldMeta.read(inside.fold("tiny", "quick", k) / "meta.json") for k in (0, 1)
    }
    networks = [FoldNetworks.load(folder, meta, problem.device) for folder, meta in metas.items()]
    values = mean_of_folds(predict_rows(
        networks, problem.pictures, problem.cache.rows(problem.folds.test["image"].tolist()), None,
        views=choices.predict.views, batch_size=8, title="",
    ))  # fmt: skip
    moved = np.abs(values - test[["prob_dark", "prob_bright"]].to_numpy()).max()
    assert 0 < moved < 1e-3
    original = (project.fold(0) / "model.safetensors").stat().st_size
    assert (inside.fold("tiny", "quick", 0) / "model.safetensors").stat().st_size < 0.7 * original


def test_the_same_run_makes_the_same_bytes(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    place = build(project)
    before = files_of(place)
    build(project)
    assert "is up to date" in capsys.readouterr().out
    entry = KernelEntry.read(place / "kernel.json")
    rehearsal, pushed = (
        Rehearsal(passed=True, bundle=entry.bundle, time="t"),
        Pushed(bundle=entry.bundle, time="t", version=3),
    )
    entry.changed(rehearsal=rehearsal.model_dump(), pushed=pushed.model_dump()).write(place / "kernel.json")
    build(project, hidden_rows=7)
    again = KernelEntry.read(place / "kernel.json")
    assert (again.rehearsal, again.pushed) == (rehearsal, pushed), "of the same bytes"
    after = files_of(place)
    assert {name: after[name] for name in after if name != "kernel.json"} == {
        name: before[name] for name in before if name != "kernel.json"
    }
    assert KernelEntry.read(place / "kernel.json").bundle == bundle_sha256(place)


def test_code_that_the_facts_name_makes_another_bundle_when_it_changes(project: TinyProject) -> None:
    place, code = build(project), project.layout.competition_config("tiny").with_name("share.py")
    before = code.read_text()
    try:
        code.write_text(f"{before}# changed\n")
        build(project)
        inside = place / "dataset" / "project" / "configs" / "tiny" / "share.py"
        assert inside.read_text() == f"{before}# changed\n"
    finally:
        code.write_text(before)


def test_an_owner_who_is_known_later_changes_nothing_that_was_rehearsed(project: TinyProject) -> None:
    place = build(project)
    digest = bundle_sha256(place)
    metadata = place / "kernel" / "kernel-metadata.json"
    assert read_json(metadata)["id"] == f"{OWNER}/foldline-tiny-quick"
    build(project, owner="somebody")
    assert read_json(metadata)["dataset_sources"] == ["somebody/foldline-tiny-quick"]
    assert read_json(place / "dataset" / "dataset-metadata.json")["id"] == "somebody/foldline-tiny-quick"
    assert bundle_sha256(place) == digest
    assert KernelEntry.read(place / "kernel.json").owner == "somebody"


def test_the_notebook_is_one_and_its_code_compiles(project: TinyProject) -> None:
    nbformat = pytest.importorskip("nbformat")
    path = build(project) / "kernel" / "notebook.ipynb"
    nbformat.validate(nbformat.read(path, as_version=4))
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        compile("".join(cell["source"]), "cell", "exec")
    assert [cell["metadata"].get("tags") for cell in cells] == [None, ["install"], None, None]
    metadata = read_json(path.with_name("kernel-metadata.json"))
    assert (metadata["enable_internet"], metadata["enable_gpu"], metadata["code_file"]) == (False, False, path.name)


def test_weights_stay_as_they_are_where_half_precision_moves_the_score(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trial, "LARGEST_MOVE", 0.0)
    place = build(project)
    assert "quick: the weights stay float32" in capsys.readouterr().out
    metas = [FoldMeta.read(folder / "fold_0" / "meta.json") for folder in (
        project.layout.run("tiny", "quick"), Bundle.project(place / "dataset").run("tiny", "quick")
    )]  # fmt: skip
    assert metas[0].sha256.weights == metas[1].sha256.weights
    assert not Bundle.read(place / "dataset" / "bundle.json").half
    assert KernelEntry.read(place / "kernel.json").half == []


def test_fewer_folds_and_views_take_part(project: TinyProject) -> None:
    place = build(project)
    entry = KernelEntry.read(place / "kernel.json")
    rehearsal = Rehearsal(passed=True, bundle=entry.bundle, time="t").model_dump()
    entry.changed(rehearsal=rehearsal).write(place / "kernel.json")
    build(project, folds=[1], views=["hflip"])
    assert KernelEntry.read(place / "kernel.json").rehearsal is None, "it was of other bytes"
    (member,) = Bundle.read(place / "dataset" / "bundle.json").members
    assert (member.folds, member.views) == ([1], ["hflip"])
    assert not Bundle.project(place / "dataset").fold("tiny", "quick", 0).exists()


def test_over_the_limit_it_says_what_to_leave_out(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    build(project, hidden_rows=40_000_000, hours=1.0)
    said = capsys.readouterr().out
    assert "2 folds x 2 views x 40,000,000 pictures" in said
    assert "over the limit" in said
    assert "make kernel COMP=tiny RUN=quick VIEWS=" in said
    assert "as HIDDEN_ROWS says" in said


def change_cv(project: TinyProject, run: str, /, **fields: Any) -> None:
    path = project.layout.run("tiny", run) / "cv.json"
    Cv.read(path).changed(**fields).write(path)


def test_kaggles_client_takes_what_was_built_and_the_dataset_arrives_whole(
    project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real client, against a site on loopback; folders travel as archives, which Kaggle unpacks."""
    folder, there = build(project), tmp_path / "there"
    digest = bundle_sha256(folder)
    with running_site(tmp_path, monkeypatch) as site:
        dataset, notebook = fill_in_owner(folder, lambda: "u")
        send_dataset(folder / "dataset", dataset, "", new=True)
        push = push_kernel(folder / "kernel", notebook)
    assert (push.ref, push.version, push.missing) == ("u/foldline-tiny-quick", 1, "")
    assert site.notebooks.kernels[push.ref][0].asked["datasetDataSources"] == [dataset]
    assert bundle_sha256(folder) == digest
    for name, content in site.notebooks.blobs.items():
        plant(there, {name: content})
        if name.endswith(".zip"):
            zipfile.ZipFile(there / name).extractall(there / name.removesuffix(".zip"))
    Bundle.read(there / "bundle.json").require_files(there)


def test_what_is_stale_is_refused(project: TinyProject) -> None:
    layout, folds = project.layout, load_folds(project.layout, "tiny")

    def chosen(name: str, **options: Any) -> None:
        choose(layout, "tiny", name, folds.sha256, folds.k, **options)

    with pytest.raises(FoldlineError, match="no fold 7"):
        chosen("quick", only_folds=[7])
    with pytest.raises(FoldlineError, match="unknown view 'rot90'"):
        chosen("quick", only_views=["rot90"])
    with pytest.raises(FoldlineError, match="other folds"):
        choose(layout, "tiny", "quick", "0" * 64, folds.k)
    change_cv(project, "quick", diverged=["fold 0: it ran away"])
    with pytest.raises(FoldlineError, match="'quick' diverged: fold 0"):
        chosen("quick+own")
    chosen("quick+own", with_diverged=True)
    change_cv(project, "own", members=["quick"])
    with pytest.raises(FoldlineError, match="'own' is an ensemble itself"):
        chosen("quick+own", with_diverged=True)
    hashes = Cv.read(layout.run("tiny", "own") / "cv.json").sha256.model_dump(exclude_unset=True)
    change_cv(project, "own", members=[], run="quick")
    with pytest.raises(FoldlineError, match="the folder of 'own' holds the predictions of 'quick'"):
        chosen("own")
    change_cv(project, "own", run="own", sha256={**hashes, "weights": ["0" * 64]})
    with pytest.raises(FoldlineError, match="fold_0 was trained anew"):
        chosen("own")
    hashes = Cv.read(layout.run("tiny", "quick+own") / "cv.json").sha256.model_dump(exclude_unset=True)
    change_cv(project, "quick+own", sha256={**hashes, "members": {**hashes["members"], "quick": "0" * 64}})
    with pytest.raises(FoldlineError, match="its member 'quick' has other predictions"):
        chosen("quick+own", with_diverged=True)


def test_what_is_not_predicted_or_not_blended_is_refused(project: TinyProject) -> None:
    with pytest.raises(FoldlineError) as raised:
        kernel(project.layout, "tiny", run="nothing")
    assert raised.value.next == "make predict COMP=tiny RUN=nothing"
    with pytest.raises(FoldlineError) as raised:
        kernel(project.layout, "tiny", runs=["own", "quick"])
    assert raised.value.next == 'make ensemble COMP=tiny RUNS="own quick" NAME=own+quick'
    with pytest.raises(FoldlineError, match="'quick\\+own' is no ensemble of quick and third"):
        kernel(project.layout, "tiny", name="quick+own", runs=["quick", "third"])
