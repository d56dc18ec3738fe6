"""What masks on a third of the rows gain where the right answer is known: a faint object among distractors.

    python benchmarks/masks.py

Gray pictures of 64 px: noise, bright and dark discs that mean nothing, and in those of one class a faint ring, which
alone decides. Few rows; every third has a mask of the ring, empty where there is none. A tiny network from random
weights learns the class alone, or the masks beside it. Printed as a table: AUC of test rows that no network saw, mean ±
std over seeds.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from foldline.cli import main as foldline
from foldline.core.paths import Layout
from foldline.core.tables import read_csv, read_parquet

SIDE, RADIUS, LEVEL = 64, 5, 40  # px, px, gray levels
WAYS = {"label alone": "", "masks of a third of the rows": "1"}
FACTS: dict[str, Any] = {
    "source": {"kind": "folder", "name": "raw"},
    "task": "binary",
    "classes": ["without", "with"],
    "metric": "auc",
    "train": {"file": "train.csv", "row_id": "id", "image": "{id}.png", "mask": "mask", "target": "label"},
    "test": {"file": "test.csv", "row_id": "id", "image": "{id}.png"},
    "submission": {"sample": "sample.csv"},
    "folds": {"k": 2},
}
RUN: dict[str, Any] = {
    "model": {"name": "test_resnet", "weights": "none"},
    "data": {"image_size": SIDE, "channels": 1},
    "augment": {"recipe": "dihedral"},
    "optim": {"lr": 3e-3},
    "train": {"epochs": 60, "batch_size": 16, "precision": "fp32", "log_to": []},
}


def drawn(shown: bool, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(a picture, its mask), both [height, width]."""
    picture = rng.normal(100, 18, (SIDE, SIDE))
    for _ in range(4):
        y, x, size, level = *rng.integers(0, SIDE, 2), rng.integers(2, 7), rng.uniform(-60, 60)
        blob = np.zeros((SIDE, SIDE))
        cv2.circle(blob, (int(x), int(y)), int(size), 1.0, -1)
        picture += level * blob
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    if shown:
        y, x = rng.integers(RADIUS + 1, SIDE - RADIUS - 1, 2)
        cv2.circle(mask, (int(x), int(y)), RADIUS, 255, -1)
        ring = mask.copy()
        cv2.circle(ring, (int(x), int(y)), RADIUS - 2, 0, -1)
        picture += LEVEL * (ring > 0)
    return np.clip(picture, 0, 255).astype(np.uint8), mask


def make(root: Path, rows: int, tests: int, seed: int) -> dict[str, bool]:
    """Writes a project; returns the right answer of each test row."""
    rng, raw = np.random.default_rng(seed), root / "raw"
    raw.mkdir()
    lines, truth = ["id,label,mask"], dict[str, bool]()
    for number in range(rows + tests):
        shown = bool(number % 2)
        picture, mask = drawn(shown, rng)
        name = f"p{number:05d}"
        cv2.imwrite(str(raw / f"{name}.png"), picture)
        if number >= rows:
            truth[name] = shown
            continue
        marked = number % 3 == 0
        if marked:
            cv2.imwrite(str(raw / f"{name}_mask.png"), mask)
        lines.append(f"{name},{FACTS['classes'][shown]},{f'{name}_mask.png' if marked else ''}")
    (raw / "train.csv").write_text("\n".join(lines) + "\n")
    (raw / "test.csv").write_text("\n".join(["id", *truth]) + "\n")
    (raw / "sample.csv").write_text("\n".join(["id,label", *(f"{name},0.5" for name in truth)]) + "\n")
    folder = root / "configs" / "rings"
    folder.mkdir(parents=True)
    facts = {**FACTS, "source": {"kind": "folder", "name": str(raw)}}
    (folder / "competition.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))
    (folder / "base.yaml").write_text(yaml.safe_dump(RUN, sort_keys=False))
    return truth


def command(root: Path, *words: str) -> None:
    """A command of foldline; ends where it fails."""
    if foldline([words[0], "--root", str(root), "--comp", "rings", *words[1:], "--quiet"]):
        raise SystemExit(f"failed: {' '.join(words)}")


def one_seed(root: Path, args: argparse.Namespace, seed: int) -> dict[str, tuple[float, float]]:
    """(AUC on the test rows, Dice of the masks of validation rows) of each way."""
    truth = make(root, args.rows, args.tests, seed)
    command(root, "download")
    command(root, "folds")
    found, layout = {}, Layout(root)
    for number, (way, weight) in enumerate(WAYS.items()):
        given = ("--run", "base", "--name", f"way-{number}", "--set")
        settings = f"seed={seed} train.epochs={args.epochs} train.folds=[0] " + (
            f"loss.masks={weight}" if weight else ""
        )
        for stage in ("train", "predict"):
            command(root, stage, *given, settings)
        test = read_parquet(layout.run("rings", f"way-{number}") / "test.parquet")
        auc = float(roc_auc_score([truth[name] for name in test["row_id"]], test.filter(like="prob").iloc[:, -1]))
        log = read_csv(layout.fold("rings", f"way-{number}", 0) / "log.csv")
        found[way] = auc, float(log["mask_dice"].iloc[-1]) if "mask_dice" in log else np.nan
    return found


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--tests", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=RUN["train"]["epochs"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    every = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            every.append(one_seed(Path(folder), args, seed))
        print(seed, every[-1], flush=True)
    print("| learnt | AUC, test | Dice of masks, validation |\n|---|---|---|")
    for way in WAYS:
        auc, dice = np.array([found[way] for found in every]).T
        spread = [float(np.std(one, ddof=1)) if len(one) > 1 else 0.0 for one in (auc, dice)]
        print(f"| {way} | {auc.mean():.4f} ± {spread[0]:.4f} | {dice.mean():.3f} ± {spread[1]:.3f} |")


if __name__ == "__main__":
    main()
