"""Small competitions in a folder, to be explored: clean ones, and such as have what a person should know."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from foldline.cli import main
from foldline.core.paths import Layout

COMP = "made"
Pixels = NDArray[np.uint8]


@dataclass
class Made:
    """Rows to be written: pictures by name, and lines of the two tables.

    Attributes:
        train: (name, pixels, the cells of its line).
        test: the same, whose cells lack the label.
        jpeg: name -> the quality that it is saved with; all others are PNG.
    """

    seed: int = 0
    size: int = 40
    columns: list[str] = field(default_factory=lambda: ["label"])
    train: list[tuple[str, Pixels, list[str]]] = field(default_factory=list)
    test: list[tuple[str, Pixels, list[str]]] = field(default_factory=list)
    jpeg: dict[str, int] = field(default_factory=dict)
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def picture(self, brightness: float = 120, size: tuple[int, int] | None = None) -> Pixels:
        """Smooth noise in colour: different pictures are far apart."""
        height, width = size or (self.size, self.size)
        coarse = self.rng.normal(brightness, 45, (10, 10, 3))
        return np.clip(cv2.resize(coarse, (width, height)) + self.rng.normal(0, 4, (height, width, 3)), 0, 255).astype(
            np.uint8
        )

    def name(self) -> str:
        """An id that says nothing."""
        return bytes(self.rng.integers(0, 256, 6, dtype=np.uint8)).hex()

    def ordinary(self, rows: int, classes: list[str], test: int = 0) -> "Made":
        """Rows whose label a blob in the middle tells, and nothing else."""
        for number, label in enumerate(self.rng.permutation(np.arange(rows + test) % len(classes)).tolist()):
            pixels = self.picture()
            cv2.circle(pixels, (self.size // 2, self.size // 2), self.size // 6, (40, 40 + 60 * label, 200), -1)
            side, cells = (self.train, [classes[label]]) if number < rows else (self.test, [])
            side.append((self.name(), pixels, cells))
        return self

    def project(self, root: Path, **facts: Any) -> "Project":
        """The files of a project, downloaded."""
        raw = root / "raw"
        for part, rows in (("train", self.train), *([("test", self.test)] if self.test else [])):
            (raw / part).mkdir(parents=True)
            header = self.columns if part == "train" else self.columns[1:]
            lines = [",".join(["id", *header])]
            for name, pixels, cells in rows:
                quality = self.jpeg.get(name)
                options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
                cv2.imwrite(str(raw / part / f"{name}.{'png' if quality is None else 'jpg'}"), pixels, options)
                lines.append(",".join([name, *cells]))
            (raw / f"{part}.csv").write_text("\n".join(lines) + "\n")
        return Project(root, facts, tested=bool(self.test))


class Project:
    """A project folder whose raw files are there."""

    def __init__(self, root: Path, facts: dict[str, Any], *, tested: bool) -> None:
        self.root, self.layout = root, Layout(root)
        read = {"file": "train.csv", "row_id": "id", "image": "train/{id}"}
        train = {**read, "target": "label", **facts.pop("train", {})}
        train = {key: value for key, value in train.items() if value is not None}
        metadata = {"metadata": train["metadata"]} if "metadata" in train else {}
        test = {"test": {"file": "test.csv", "row_id": "id", "image": "test/{id}", **metadata}} if tested else {}
        content = {
            "source": {"kind": "folder", "name": str(root / "raw")},
            "task": "multiclass",
            "metric": "accuracy",
            "train": train,
            **(test or {"holdout": {"fraction": 0.2}}),
            "folds": {"k": 3},
            **facts,
        }
        self.write("competition", content)
        self.write("baseline", {"data": {"image_size": 32}, "model": {"name": "test_efficientnet"}})

    def write(self, name: str, content: dict[str, Any]) -> None:
        path = self.root / "configs" / COMP / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def run(self, stage: str, *arguments: str) -> int:
        """The exit code of a command."""
        return main([stage, "--root", str(self.root), "--comp", COMP, *arguments])

    @property
    def page(self) -> str:
        """The page as it was written."""
        return self.layout.explored(COMP).read_text(encoding="utf-8")


def messy(root: Path, before_download: Callable[[Path], None] = lambda _: None) -> Project:
    """What real folders are like: file size tells a label, twins in training and test, another light in the test set,
    broken, black, tiny and long pictures, a class with two rows, a site that goes with the label."""
    made = Made(seed=5, columns=["label", "site", "age"])
    classes = ["cat", "dog", "eel"]
    for number in range(180):
        label = number % 3
        name, pixels = made.name(), made.picture(size=(40, 64) if number % 4 else (40, 40))
        site = "north" if made.rng.random() < (0.8 if label == 0 else 0.2) else "south"
        age = str(int(made.rng.integers(20, 80))) if made.rng.random() < 0.9 else ""
        made.train.append((name, pixels, [classes[label], site, age]))
        made.jpeg[name] = 25 if label == 1 else 95
    for number in range(12):  # the same scene seen twice, in training
        name, (_, pixels, cells) = made.name(), made.train[number]
        again = np.clip(pixels.astype(np.float64) * 0.97 + 3, 0, 255).astype(np.uint8)
        said = "eel" if number == 0 else cells[0]
        made.train.append((name, again, [said, *cells[1:]]))
        made.jpeg[name] = 25 if cells[0] == "dog" else 95
    rare = [(made.name(), made.picture(), ["yak", "south", "33"]) for _ in range(2)]
    odd = [
        (made.name(), np.zeros((40, 40, 3), dtype=np.uint8), ["cat", "north", "40"]),
        (made.name(), made.picture(size=(6, 6)), ["dog", "south", "41"]),
        (made.name(), made.picture(size=(20, 200)), ["eel", "south", "42"]),
    ]
    made.train += [*rare, *odd]
    made.test += [(made.name(), made.picture(brightness=165, size=(40, 64)), ["south", "50"]) for _ in range(80)]
    made.test += [(made.name(), pixels, ["south", "50"]) for _, pixels, _ in made.train[20:26]]
    made.jpeg |= {name: 95 for name, *_ in made.test}
    project = made.project(root, train={"metadata": ["site", "age"]})
    pictures = sorted((root / "raw" / "train").glob("*.jpg"))
    pictures[3].write_bytes(pictures[3].read_bytes()[:300])
    pictures[7].write_bytes(b"")
    before_download(root / "raw")
    return project
