"""What `data.fit` and crops from a larger original are worth, on generated pictures whose right answer is known.

    python benchmarks/what_is_seen.py        # a table: AUC of one fold, mean ± standard deviation of seeds, seconds

shape: a disc or an ellipse in a picture of any shape: squashed, both become ellipses. detail: fine stripes, lying or
standing, which a picture of 48 px does not hold any more. Writes nothing but a temporary folder.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from foldline.cli import main
from foldline.core.paths import Layout
from foldline.core.records.fold_meta import FoldMeta

ROWS, SEEDS, K = 360, (0, 1, 2), 3
Picture = NDArray[np.uint8]
FACTS = {
    "task": "binary", "classes": ["no", "yes"], "metric": "auc", "folds": {"k": K}, "holdout": {"fraction": 0.1},
    "train": {"file": "train.csv", "row_id": "id", "image": "{id}.png", "target": "label"},
}  # fmt: skip
RUN = {
    "model": {"name": "test_resnet", "weights": "none"}, "data": {"image_size": 48, "channels": 1},
    "augment": {"recipe": "none"}, "optim": {"lr": 3e-3},
    "train": {"epochs": 10, "batch_size": 16, "precision": "fp32", "log_to": []},
}  # fmt: skip


def shape(label: bool, rng: np.random.Generator) -> Picture:
    """A disc (yes) or an ellipse, lying or standing, in the middle of a picture of 80 to 200 px a side."""
    height, width = rng.integers(80, 201, 2).tolist()
    picture = rng.normal(90, 15, (height, width))
    radius = rng.uniform(18, 32)
    stretch = 1.0 if label else float(rng.choice([-1, 1]) * 0.25)
    axes = (radius, radius) if label else (radius * (1 + stretch), radius * (1 - stretch))
    cv2.ellipse(picture, (width // 2, height // 2), (int(axes[0]), int(axes[1])), 0, 0, 360, 180.0, -1)
    return picture.clip(0, 255).astype(np.uint8)


def detail(label: bool, rng: np.random.Generator) -> Picture:
    """Waves of 4 px, standing (yes) or lying, in 192 px, under noise and spots."""
    stripes = np.tile(30 * np.sin(np.arange(192) * np.pi / 2 + rng.uniform(0, 2 * np.pi)), (192, 1))
    picture = rng.normal(100, 10, (192, 192)) + (stripes if label else stripes.T)
    for x, y in rng.integers(0, 192, (4, 2)).tolist():
        cv2.circle(picture, (x, y), 15, 200.0, -1)
    result: Picture = picture.clip(0, 255).astype(np.uint8)
    return result


MADE: dict[str, Callable[[bool, np.random.Generator], Picture]] = {"shape": shape, "detail": detail}
CASES = {
    "shape": {fit: f"data.fit={fit}" for fit in ("squash", "letterbox", "pad", "crop")},
    "detail": {
        "48 px": "",
        "crops from 96 px, tested at 48": "data.original=2 augment.crop.name=jitter augment.crop.options.least=0.5",
        "crops from 96 px, tested at 96": "data.original=2 augment.crop.name=jitter augment.crop.options.least=0.5 "
        "predict.image_size=96",
        "96 px": "data.image_size=96",
    },
}


def prepared(root: Path, name: str) -> None:
    """A competition of generated pictures, with its folds."""
    raw, rng, lines = root / f"raw-{name}", np.random.default_rng(0), ["id,label"]
    raw.mkdir(parents=True)
    for i in range(ROWS):
        label = bool(i % 2)
        cv2.imwrite(str(raw / f"p{i:04d}.png"), MADE[name](label, rng))
        lines.append(f"p{i:04d},{'yes' if label else 'no'}")
    (raw / "train.csv").write_text("\n".join(lines) + "\n")
    configs = root / "configs" / name
    configs.mkdir(parents=True)
    facts = {"title": name, "source": {"kind": "folder", "name": str(raw)}, **FACTS}
    (configs / "competition.yaml").write_text(yaml.safe_dump(facts))
    (configs / "plain.yaml").write_text(yaml.safe_dump(RUN))
    for stage in ("download", "folds"):
        assert main([stage, "--root", str(root), "--comp", name]) == 0


def tried(root: Path, name: str, settings: str) -> tuple[list[float], float]:
    """The AUC of fold 0 for each seed, and the seconds of all trainings."""
    scores, begin = [], time.perf_counter()
    for seed in SEEDS:
        run = "".join(letter if letter.isalnum() else "-" for letter in f"{settings} {seed}").strip("-")
        given = ["--run", "plain", "--name", run, "--set", f"{settings} seed={seed}".strip()]
        assert main(["train", "--root", str(root), "--comp", name, *given, "--fold", "0", "--device", "cpu"]) == 0
        scores.append(FoldMeta.read(Layout(root).fold(name, run, 0) / "meta.json").score or 0.0)
    return scores, time.perf_counter() - begin


if __name__ == "__main__":
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or list(CASES):
            prepared(Path(folder), name)
            for case, settings in CASES[name].items():
                scores, seconds = tried(Path(folder), name, settings)
                table.append(
                    f"| {name} | {case} | {np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f} | {seconds:.0f} |"
                )
                print(table[-1], flush=True)
    print("| pictures | seen | AUC | s |\n|---|---|---|---|", *table, sep="\n")
