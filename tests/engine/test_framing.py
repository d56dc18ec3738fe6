"""A run whose pictures are not squashed: whatever reads pictures afterwards sees what training saw."""

from pathlib import Path

import numpy as np
import pytest

import foldline
from foldline.core.errors import FoldlineError
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.framing import AS_USUAL
from foldline.core.tables import read_csv, read_parquet, write_json
from foldline.images.files.decode import decode
from tiny import RUN, TinyProject

MNIST = f"{Path(__file__).parents[2]}/configs/mnist/network.py:mnist_mlp"
CUT = "def middle(image):\n    height, width = image.shape[:2]\n    return (0, width // 4, height, width - 2)\n"
DATA = {**RUN["data"], "fit": "letterbox", "interpolation": "bicubic", "crop_fraction": 0.9}
CHOICES = {**RUN, "data": {**DATA, "foreground": "cut.py:middle"}, "train": {**RUN["train"], "epochs": 1}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    project = TinyProject(tmp_path_factory.mktemp("framing"), rows=36)
    project.write_yaml("quick", CHOICES)
    (project.root / "configs" / "tiny" / "cut.py").write_text(CUT)
    project.prepare()
    for stage in ("train", "predict", "ensemble"):
        assert project.run(stage) == 0
    return project


def test_files_are_seen_as_training_saw_them(project: TinyProject) -> None:
    """By the function in the fold's folder, also where the user's file is another one now."""
    (project.root / "configs" / "tiny" / "cut.py").write_text("def middle(image):\n    return None\n")
    folder = project.layout.run("tiny", "quick")
    test = read_csv(project.layout.test_rows("tiny"))
    files = [project.layout.input("tiny") / image for image in test["image"]]
    model = foldline.load(folder, device="cpu")
    said = model.predict(files)[model.columns].to_numpy()
    assert np.abs(said - read_parquet(folder / "test.parquet")[model.columns].to_numpy()).max() < 1e-6
    (project.root / "configs" / "tiny" / "cut.py").write_text(CUT)


def test_the_folds_meta_says_it_and_that_of_before_is_squashed(project: TinyProject, tmp_path: Path) -> None:
    path = project.fold(0) / "meta.json"
    meta = FoldMeta.read(path)
    words = "fit letterbox, interpolation bicubic, crop_fraction 0.9, foreground cut.py:middle"
    assert meta.framing.in_words() == words
    assert (project.fold(0) / "code" / "cut.py").read_text() == CUT
    content = meta.model_dump(mode="json", by_alias=True)
    del content["framing"]
    write_json(tmp_path / "meta.json", content)
    assert FoldMeta.read(tmp_path / "meta.json").framing == AS_USUAL


def test_a_source_that_changed_is_noticed(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    file = project.root / "configs" / "tiny" / "cut.py"
    file.write_text(CUT.replace("- 2", "- 3"))
    assert project.run("predict") != 0
    assert "cut.py" in capsys.readouterr().err
    file.write_text(CUT)


@pytest.mark.parametrize("wrong", ["data.fit=stretch", "data.crop_fraction=0.1", "data.foreground=otsu"])
def test_what_there_is_not_is_refused(project: TinyProject, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run("train", "--name", "wrong", "--set", wrong) == 2
    assert wrong.partition("=")[0] in capsys.readouterr().err


LARGE = {
    **RUN,
    "data": {**RUN["data"], "original": "auto", "normalise": "pictures"},
    "augment": {"recipe": "light", "crop": {"name": "jitter", "options": {"least": 0.8}}},
    "train": {**RUN["train"], "epochs": 1, "probe": {"views": ["identity", "scale_0.75"]}},
    "predict": {"image_size": 40, "views": ["identity", "hflip", "scale_0.75", "cut_center"]},
}


@pytest.fixture(scope="module")
def large(project: TinyProject) -> TinyProject:
    """A run that cuts from a larger original, is tested larger than it is trained, and in views of other sizes."""
    project.write_yaml("large", {**LARGE, "data": {**LARGE["data"], "image_size": 24}})
    for stage in ("train", "predict", "ensemble"):
        assert project.run(stage, "--run", "large") == 0
    return project


def test_larger_pictures_are_tested_alike_everywhere(large: TinyProject) -> None:
    folder = large.layout.run("tiny", "large")
    test = read_csv(large.layout.test_rows("tiny"))
    files = [large.layout.input("tiny") / image for image in test["image"]]
    model = foldline.load(folder, device="cpu")
    stored = read_parquet(folder / "test.parquet")[model.columns].to_numpy()
    assert np.abs(model.predict(files)[model.columns].to_numpy() - stored).max() < 1e-6
    plain = model.predict(files, views=["identity"])[model.columns].to_numpy()
    assert np.abs(plain - stored).max() > 1e-4, "views of other sizes count"
    meta = FoldMeta.read(large.fold(0, "large") / "meta.json")
    assert (meta.height_width, meta.architecture["height"]) == ((40, 40), 24)
    caches = [np.load(path, mmap_mode="r").shape for path in large.layout.cache("tiny").glob("images-*.npy")]
    rows = len(read_csv(large.layout.folds("tiny")))
    assert (rows, 36, 36, 1) in caches, "1.5 times 24 px, of the training rows alone"
    assert (rows + len(test), 40, 40, 1) in caches


def test_pictures_own_mean_and_deviation_are_those_of_all_training_rows(large: TinyProject) -> None:
    metas = [FoldMeta.read(large.fold(fold, "large") / "meta.json") for fold in range(3)]
    assert len({(*meta.mean, *meta.std) for meta in metas}) == 1
    table = read_csv(large.layout.folds("tiny"))
    values = np.stack([decode(large.layout.input("tiny") / image, 1) for image in table["image"]])
    assert metas[0].mean[0] == pytest.approx(values.mean() / 255, abs=0.005)
    assert metas[0].std[0] == pytest.approx(values.std() / 255, rel=0.1)


def test_a_network_of_one_size_refuses_others_in_words(large: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    given = f"model.name={MNIST} train.probe=null predict.views=[identity] data.original=1 augment.crop=none"
    begin = ["train", "--run", "large", "--fold", "0", "--name"]
    for wrong in ("predict.image_size=32", "predict.image_size=24 predict.views=[identity,scale_1.25]"):
        assert large.run(*begin, "wrong", "--set", f"{given} {wrong}") == 2
        assert "does not take pictures of 32 x 32 px" in capsys.readouterr().err
    assert large.run(*begin, "stiff", "--set", f"{given} predict.image_size=24") == 0
    model = foldline.load(large.fold(0, "stiff"), device="cpu")
    with pytest.raises(FoldlineError, match="does not take a view of 32 x 32 px"):
        model.predict(np.zeros((24, 24), dtype=np.uint8), views=["identity", "scale_1.25"])


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ("data.original=2 augment.crop=none", "augment.crop"),
        ("augment.crop=jitter data.cache=gpu", "data.cache: gpu"),
        ("data.normalise=[[0.5,0.5],[0.5,0.5]]", "data.normalise"),
        ("data.normalise=[[0.5],[0]]", "data.normalise"),
        ("predict.views=[scale_3]", "scale_1.5"),
    ],
)
def test_what_cannot_work_together_is_refused(
    large: TinyProject, wrong: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = f"data.original=1 {wrong}" if "original" not in wrong else wrong
    assert large.run("train", "--run", "large", "--name", "wrong", "--set", given) == 2
    assert word in capsys.readouterr().err
