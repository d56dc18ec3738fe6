"""The committed facts of the recipes read data of exactly their layout; every run file is valid."""

from pathlib import Path

import pytest
import yaml

from foldline.core.choices import Clip
from foldline.core.competition import load_competition
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.run import load_run
from foldline.core.tables import read_csv
from foldline.images.files.decode import decode
from foldline.sources import PLACED, SOURCES
from foldline.stages.download import download
from foldline.stages.folds import folds
from recipes.trees import CONFIGS, RECIPES, SIMPSONS, SIMPSONS_TEST, make_project, write_classes

ROOT = Layout(CONFIGS.parent)


def prepared(root: Path, comp: str) -> Layout:
    layout = make_project(root, comp)
    download(layout, comp)
    folds(layout, comp)
    return layout


@pytest.mark.parametrize("comp", RECIPES)
def test_rows_classes_and_labels(comp: str, tmp_path: Path) -> None:
    layout, recipe = prepared(tmp_path, comp), RECIPES[comp]
    folds = load_folds(layout, comp)
    assert folds.outputs == recipe.classes
    assert (len(folds.frame), len(folds.test)) == (recipe.train, recipe.test)
    assert set(folds.frame["target"]) == set(recipe.classes)
    assert set(folds.test.columns) - {"group"} == {"row_id", "image"}, "no label may be among the test rows"
    assert set(folds.frame["row_id"]).isdisjoint(folds.test["row_id"])
    assert set(folds.frame["image"]).isdisjoint(folds.test["image"])
    solution = read_csv(layout.holdout_solution(comp))
    assert solution["row_id"].tolist() == folds.test["row_id"].tolist()
    assert set(solution["target"]) <= set(recipe.classes)
    assert read_csv(layout.holdout_sample(comp))["row_id"].tolist() == folds.test["row_id"].tolist()


@pytest.mark.parametrize("comp", RECIPES)
def test_the_committed_files_are_valid(comp: str) -> None:
    facts = load_competition(ROOT, comp)
    assert facts.has_solution, "make score must be able to grade it"
    assert all(source.kind in (*SOURCES, PLACED) for source in facts.source.alternatives())
    runs = sorted(path.stem for path in (CONFIGS / comp).glob("*.yaml") if path.stem != "competition")
    assert runs == RECIPES[comp].runs
    for name in runs:
        run = load_run(ROOT, comp, name, [])
        assert run.train.probe is None or run.model.weights.name == "pypi"
        assert all(fold < facts.folds.k for fold in run.train.some_folds)
        assert (CONFIGS / comp / f"{name}.yaml").read_text().startswith("# make "), "the command comes first"


@pytest.mark.parametrize("comp", ["mnist", "fashion"])
def test_every_source_brings_the_files_that_the_facts_name(comp: str) -> None:
    """`keep` names folders alone, so that whichever source serves, the files have the names of the data set."""
    facts = load_competition(ROOT, comp)
    assert len(facts.source.alternatives()) == 2
    assert all(len(source.keep) == 1 and source.unpack for source in facts.source.alternatives())
    assert {facts.train.file, facts.train.labels} == {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"}


def test_masks_of_fish_are_no_rows(tmp_path: Path) -> None:
    folds = load_folds(prepared(tmp_path, "fish"), "fish")
    images = [*folds.frame["image"], *folds.test["image"]]
    assert len(images) == len(set(images)) == 90
    assert not [path for path in images if " GT/" in path or path.startswith("NA_")]
    names = [path.split("/") for path in images]
    assert all(parts[-2] == parts[-3] for parts in names)


def test_simpsons_labels_are_those_of_folders_and_of_file_names(tmp_path: Path) -> None:
    layout = prepared(tmp_path, "simpsons")
    read = load_folds(layout, "simpsons")
    assert read.frame["target"].value_counts().to_dict() == SIMPSONS, "each picture once, though it lies there twice"
    assert all(path.count("simpsons_dataset") == 1 for path in read.frame["image"])
    solution = read_csv(layout.holdout_solution("simpsons"))
    assert set(solution["target"]) == set(SIMPSONS_TEST)
    assert all(row.rpartition("_")[0] == name for row, name in zip(solution["row_id"], solution["target"], strict=True))
    missing = read.frame.groupby("target")["fold"].nunique()
    assert missing["lionel_hutz"] == 3, "a class of three pictures is in three of five folds, and no error"


def test_cifar_rows_come_from_all_batches(tmp_path: Path) -> None:
    layout = prepared(tmp_path, "cifar10")
    folds = load_folds(layout, "cifar10")
    assert folds.frame["row_id"].tolist() == [f"train_{i:05d}" for i in range(50)]
    assert folds.frame.groupby(["target", "fold"]).size().to_numpy().tolist() == [1] * 50
    assert read_csv(layout.holdout_solution("cifar10"))["target"].tolist()[:3] == ["airplane", "automobile", "bird"]


def test_stamps_are_labelled_by_their_first_folder_and_keep_twins_together(tmp_path: Path) -> None:
    layout = prepared(tmp_path, "stamps")
    read = load_folds(layout, "stamps")
    labels = {**dict(zip(read.frame["image"], read.frame["target"], strict=True))}
    assert all(image.split("/")[0] == label for image, label in labels.items())
    assert {image.count("/") for image in labels} == {1, 2, 3}, "folders of every depth"
    assert all(image.endswith(".png") for image in labels)
    twins = read.frame[read.frame["image"].str.endswith("/twin.png")]
    assert len(set(twins["fold"])) <= 1, "one picture in two subjects' folders"


def test_stamps_are_seen_on_white(tmp_path: Path) -> None:
    layout = prepared(tmp_path, "stamps")
    run, image = load_run(layout, "stamps", "baseline", []), layout.input("stamps") / "animals" / "an0.png"
    assert (decode(image, 3, run.data.intensity)[12:] == 255).all()
    assert (decode(image, 3)[12:] != 255).any()


def test_pepe_is_split_300_100_100(tmp_path: Path) -> None:
    """The fixed split of 500 pictures a class: fold 0 validates, the other folds train, the holdout tests."""
    layout = make_project(tmp_path, "pepe", lambda root: write_classes(root, ["other", "pepe"], 500))
    download(layout, "pepe")
    folds(layout, "pepe")
    frame = load_folds(layout, "pepe").frame
    solution = read_csv(layout.holdout_solution("pepe"))
    assert load_run(layout, "pepe", "baseline", []).train.folds == [0]
    for name in ("other", "pepe"):
        rows = frame[frame["target"] == name]
        assert ((rows["fold"] != 0).sum(), (rows["fold"] == 0).sum()) == (300, 100)
        assert (solution["target"] == name).sum() == 100


def test_the_runs_say_what_the_systems_said() -> None:
    """The settings that the recipes are known by."""
    mnist = load_run(ROOT, "mnist", "baseline", [])
    assert (mnist.optim.name, mnist.optim.lr, mnist.train.batch_size, mnist.train.epochs) == ("sgd", 0.1, 100, 100)
    fish = load_run(ROOT, "fish", "baseline", [])
    assert (fish.model.name, fish.optim.clip) == ("resnet34", Clip(name="value", options={"limit": 0.1}))
    assert fish.schedule.name == "one_cycle"
    simpsons = load_run(ROOT, "simpsons", "baseline", [])
    assert (simpsons.train.batch_size, simpsons.optim.lr, simpsons.optim.weight_decay) == (64, 0.002, 1e-4)
    assert (simpsons.train.epochs, simpsons.loss.name) == (150, "focal")
    pepe = load_run(ROOT, "pepe", "baseline", [])
    assert (pepe.optim.lr, pepe.optim.weight_decay, pepe.optim.options["momentum"]) == (0.001, 0.07, 0.1)
    assert (pepe.train.batch_size, pepe.train.epochs) == (16, 35)
    assert load_run(ROOT, "dere", "baseline", []).data.height_width == (256, 256)


def test_the_experiment_without_batch_norm_differs_in_it_alone() -> None:
    one, other = (yaml.safe_load((CONFIGS / "pepe" / f"{name}.yaml").read_text()) for name in RECIPES["pepe"].runs)
    assert other["model"].pop("options") == {"batch_norm": False}
    assert one == other
