"""A generated competition of many rows: a table, empty picture files and their manifest; or pictures alone."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.paths import Layout

COMP = "made"
FACTS = """title: made
source: {{kind: folder, name: made}}
task: multiclass
metric: accuracy
train: {{reader: csv, file: train.csv, row_id: id, image: image, target: label{group}}}
test: {{reader: csv, file: test.csv, row_id: id, image: image}}
folds: {{k: 5, seed: 0, allow_missing_class: true}}
submission: {{kind: label}}
"""


def make(folder: Path, rows: int, classes: int, groups: int = 0) -> None:
    """Writes facts and raw files of so many training rows, and ten test rows.

    Args:
        groups: about how many; 0: the rows have none.
    """
    rng, root = np.random.default_rng(0), Layout(folder).input(COMP)
    root.mkdir(parents=True)
    config = Layout(folder).competition_config(COMP)
    config.parent.mkdir(parents=True)
    config.write_text(FACTS.format(group=", group: group" if groups else ""))
    ids = [f"{i:08d}" for i in rng.permutation(rows)]
    codes = np.concatenate([np.arange(min(classes, rows)), rng.integers(0, classes, max(rows - classes, 0))])
    table = pd.DataFrame(
        {"id": ids, "image": [f"{i[-3:]}/{i}.png" for i in ids], "label": [f"c{i:05d}" for i in codes]}
    )
    if groups:
        table["group"] = [f"g{i}" for i in rng.integers(0, groups, rows)]
    tests = [f"t{i}" for i in range(10)]
    test = pd.DataFrame({"id": tests, "image": [f"test/{i}.png" for i in tests]})
    table.to_csv(root / "train.csv", index=False)
    test.to_csv(root / "test.csv", index=False)
    images = [*table["image"], *test["image"]]
    for name in {image.rpartition("/")[0] for image in images}:
        (root / name).mkdir()
    for image in images:
        open(root / image, "wb").close()  # noqa: PTH123 - a million
    files = [{"path": image, "bytes": 0, "sha256": sha256(image.encode()).hexdigest()} for image in images]
    record = {"schema": 1, "comp": COMP, "source": {"kind": "folder"}, "files": files}
    Layout(folder).manifest(COMP).write_text(json.dumps(record, indent=1) + "\n")


def make_pictures(folder: Path, count: int, side: int = 32) -> list[str]:
    """Writes so many small gray PNG files below `folder`, and their manifest; gives their names."""
    import cv2

    rng = np.random.default_rng(0)
    contents = []
    for _ in range(100):
        small = rng.integers(0, 256, (4, 4), dtype=np.uint8)
        picture = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
        contents.append(cv2.imencode(".png", picture)[1].tobytes())
    names = [f"{i % 1000:03d}/{i:07d}.png" for i in range(count)]
    for name in {name.partition("/")[0] for name in names}:
        (folder / name).mkdir(parents=True)
    for i, name in enumerate(names):
        (folder / name).write_bytes(contents[i % 100])
    digests = [sha256(content).hexdigest() for content in contents]
    files = [{"path": name, "bytes": 0, "sha256": digests[i % 100]} for i, name in enumerate(names)]
    record = {"schema": 1, "comp": COMP, "source": {"kind": "folder"}, "files": files}
    (folder / "manifest.json").write_text(json.dumps(record, indent=1) + "\n")
    return names
