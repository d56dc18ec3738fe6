"""Small generated files in exactly the layouts of the recipes' data: the same folders, names, formats and traps.

The pictures are noise in a colour of their class, so that a network can learn something.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from foldline.core.paths import Layout

CONFIGS = Path(__file__).parents[2] / "configs"

FISH = [
    "Black Sea Sprat",
    "Gilt-Head Bream",
    "Hourse Mackerel",
    "Red Mullet",
    "Red Sea Bream",
    "Sea Bass",
    "Shrimp",
    "Striped Red Mullet",
    "Trout",
]
# Characters with the number of their training pictures: rare ones have fewer than there are folds.
SIMPSONS = {
    "abraham_grampa_simpson": 8,
    "bart_simpson": 10,
    "charles_montgomery_burns": 7,
    "homer_simpson": 12,
    "lionel_hutz": 3,
    "moe_szyslak": 6,
    "otto_mann": 4,
}
SIMPSONS_TEST = ["abraham_grampa_simpson", "bart_simpson", "homer_simpson", "moe_szyslak"]
DERE = ["dandere", "deredere", "kuudere", "tsundere", "yandere"]
STAMPS = {"animals": 18, "food": 12, "symbols": 20, "naturalforces": 3}  # and two more of the first two
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def noise(label: int, number: int, side: int, channels: int = 3) -> Any:
    """[side, side, channels] uint8, BGR."""
    rng = np.random.default_rng([label, number])
    middle = np.random.default_rng(label + 1000).integers(60, 195, channels)
    return np.clip(rng.normal(middle, 30, (side, side, channels)), 0, 255).astype(np.uint8)


def write_picture(path: Path, label: int, number: int, side: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), noise(label, number, side))


def write_idx(root: Path, train: int, test: int) -> None:
    """MNIST and Fashion-MNIST: four IDX files."""
    for name, count in (("train", train), ("t10k", test)):
        labels = np.arange(count) % 10
        pictures = np.stack([noise(int(label), i, 28, 1)[:, :, 0] for i, label in enumerate(labels)])
        for kind, code, array in (("images-idx3", 3, pictures), ("labels-idx1", 1, labels.astype(np.uint8))):
            head = bytes([0, 0, 8, code]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
            (root / f"{name}-{kind}-ubyte").write_bytes(head + array.tobytes())


def write_cifar(root: Path, train: int, test: int) -> None:
    """CIFAR-10: five pickled training batches, a test batch, the classes' names."""
    sizes = {f"data_batch_{i + 1}": train // 5 for i in range(5)} | {"test_batch": test}
    for name, count in sizes.items():
        labels = [i % 10 for i in range(count)]
        pictures = [noise(label, i, 32).transpose(2, 0, 1).reshape(-1) for i, label in enumerate(labels)]
        files = [f"{CIFAR[label]}_s_{i:06d}.png" for i, label in enumerate(labels)]
        batch = {"batch_label": name, "labels": labels, "data": np.stack(pictures), "filenames": files}
        (root / name).write_bytes(pickle.dumps(batch))
    meta = {"num_cases_per_batch": train // 5, "label_names": CIFAR, "num_vis": 3072}
    (root / "batches.meta").write_bytes(pickle.dumps(meta))
    (root / "readme.html").write_text("<html></html>")


def write_fish(root: Path, each: int) -> None:
    """Pictures, a folder of masks beside each class's, the photographs before augmentation, papers."""
    for label, name in enumerate(FISH):
        for i in range(1, each + 1):
            write_picture(root / f"Fish_Dataset/Fish_Dataset/{name}/{name}/{i:05d}.png", label, i)
            mask = root / f"Fish_Dataset/Fish_Dataset/{name}/{name} GT/{i:05d}.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(mask), np.eye(24, dtype=np.uint8) * 255)
        write_picture(root / f"NA_Fish_Dataset/{name}/00001.png", label, 1)
    (root / "Fish_Dataset/Fish_Dataset/README.txt").write_text("about")
    (root / "Fish_Dataset/Fish_Dataset/Segmentation_example_script.m").write_text("% code")


def write_simpsons(root: Path, test: int) -> None:
    """Class folders, the same once more inside them, test pictures in one folder, things that are no rows."""
    names = sorted(SIMPSONS)
    for label, name in enumerate(names):
        for i in range(SIMPSONS[name]):
            for folder in ("simpsons_dataset", "simpsons_dataset/simpsons_dataset"):
                write_picture(root / folder / name / f"pic_{i:04d}.jpg", label, i)
    for i in range(test):
        name = SIMPSONS_TEST[i % len(SIMPSONS_TEST)]
        place = root / "kaggle_simpson_testset/kaggle_simpson_testset"
        write_picture(place / f"{name}_{i // len(SIMPSONS_TEST)}.jpg", names.index(name), 100 + i)
    write_picture(root / "characters_illustration.png", 0, 0)
    (root / "annotation.txt").write_text("./characters/abraham_grampa_simpson/pic_0000.jpg,57,72,52,72,abraham\n")
    (root / "weights.best.hdf5").write_bytes(b"\x89HDF")


def write_classes(root: Path, names: Sequence[str], each: int) -> None:
    """A folder for each class; pictures of several formats."""
    for label, name in enumerate(names):
        for i in range(each):
            write_picture(root / name / f"{i:04d}{('.png', '.jpg', '.jpeg')[i % 3]}", label, i)


def write_stamps(root: Path) -> None:
    """Nested folders, transparent pictures whose colour is the alpha alone, sounds and texts beside them, one picture
    under two labels, one name in two folders; few pictures of the last class."""
    for label, name in enumerate(STAMPS):
        for i in range(STAMPS[name]):
            ground = noise(label, i, 24)
            cut = np.dstack([ground, np.where(np.arange(24) < 12 + i, 255, 0).repeat(24).reshape(24, 24)])
            inner = ("", "birds/", "birds/cartoon/")[i % 3]
            path = root / name / f"{inner}{name[:2]}{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), cut.astype(np.uint8))
            path.with_suffix(".txt").write_text("A stamp.\nde.utf8=Ein Stempel.")
            path.with_name(f"{path.stem}_desc.ogg").write_bytes(b"OggS")
            path.with_suffix(".svg").write_text("<svg/>")
    for name in list(STAMPS)[:2]:
        for picture, number in (("twin", 99), ("same", 100 + len(name))):
            write_picture(root / name / f"{picture}.png", 5, number)


@dataclass(frozen=True)
class Recipe:
    """One recipe's data in small.

    Attributes:
        write: makes the tree below a folder.
        classes: what the folds must find.
        train, test: how many rows there are in the smaller tree.
        runs: the run files beside the facts.
    """

    write: Callable[[Path], None]
    classes: list[str]
    train: int
    test: int
    runs: list[str]


DIGITS = [str(i) for i in range(10)]
CLOTHES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
RECIPES = {
    "mnist": Recipe(lambda root: write_idx(root, 60, 20), DIGITS, 60, 20, ["baseline", "timm"]),
    "fashion": Recipe(lambda root: write_idx(root, 60, 20), CLOTHES, 60, 20, ["baseline"]),
    "cifar10": Recipe(lambda root: write_cifar(root, 50, 20), CIFAR, 50, 20, ["baseline", "further"]),
    "fish": Recipe(lambda root: write_fish(root, 10), FISH, 72, 18, ["baseline"]),
    "simpsons": Recipe(lambda root: write_simpsons(root, 8), sorted(SIMPSONS), 50, 8, ["baseline"]),
    "pepe": Recipe(
        lambda root: write_classes(root, ["other", "pepe"], 20), ["other", "pepe"], 32, 8, ["baseline", "no-batch-norm"]
    ),
    "stamps": Recipe(write_stamps, sorted(STAMPS), 45, 12, ["baseline"]),
    "dere": Recipe(lambda root: write_classes(root, DERE, 10), DERE, 40, 10, ["baseline", "resnet"]),
}


def make_project(root: Path, comp: str, write: Callable[[Path], None] | None = None) -> Layout:
    """A project folder with the committed facts and runs of a recipe; the source alone is the generated tree."""
    raw, place = root / "raw", root / "configs" / comp
    raw.mkdir()
    (write or RECIPES[comp].write)(raw)
    place.mkdir(parents=True)
    for path in [*(CONFIGS / comp).glob("*.yaml"), *(CONFIGS / comp).glob("*.py")]:
        (place / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    facts = yaml.safe_load((place / "competition.yaml").read_text(encoding="utf-8"))
    facts["source"] = {"kind": "folder", "name": str(raw)}
    (place / "competition.yaml").write_text(yaml.safe_dump(facts, sort_keys=False), encoding="utf-8")
    return Layout(root)
