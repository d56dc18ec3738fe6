"""What cleaning labels finds and gains where the right labels are known: generated pictures, some labels flipped.

    python benchmarks/noisy_labels.py

Four classes of stripes in noise; the given label of a row is flipped to one of the other classes by chance. Runs: the
labels as given; without suspects and relabelled by networks that saw no row of the fold (`train.labels: exclude`,
`relabel`); as a person would who looks at the suspects and knows the truth (`file`); and the suspects of the run itself
written into the file unseen, which is what one must not do. Printed as a Markdown table, mean ± std over seeds.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml

from foldline.cli import main as foldline
from foldline.core.paths import Layout
from foldline.core.row_losses import mean_losses
from foldline.core.tables import read_csv, read_parquet, write_csv
from foldline.core.task import TASKS
from foldline.scoring.label_errors import suspects
from foldline.scoring.row_loss import row_loss

CLASSES = ["a", "b", "c", "d"]
FACTS: dict[str, Any] = {
    "title": "stripes", "task": "multiclass", "classes": CLASSES, "metric": "accuracy",
    "train": {"file": "train.csv", "row_id": "id", "image": "{id}.png", "target": "label"},
    "test": {"file": "test.csv", "row_id": "id", "image": "{id}.png", "target": "label"},
    "folds": {"k": 5},
}  # fmt: skip
RUN: dict[str, Any] = {
    "model": {"name": "test_resnet", "weights": "none"},
    "data": {"image_size": 32, "channels": 1},
    "augment": {"recipe": "none"},
    "optim": {"lr": 3e-3},
    "train": {"epochs": 6, "batch_size": 32, "precision": "fp32", "log_to": []},
}


def make(root: Path, rows: int, tests: int, flipped: float, seed: int, noise: float = 60) -> dict[str, str]:
    """The project folder, pictures with noise of so many gray levels; gives the true label of each training row."""
    rng = np.random.default_rng(seed)
    raw, configs = root / "raw", root / "configs" / "stripes"
    raw.mkdir(parents=True)
    configs.mkdir(parents=True)
    truth: dict[str, str] = {}
    y, x = np.mgrid[0:32, 0:32]
    for part, count in (("train", rows), ("test", tests)):
        lines = []
        for i in range(count):
            label, name = int(rng.integers(4)), f"{part}{i:05d}"
            angle = label * np.pi / 4 + rng.normal(0, 0.1)
            wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.7, 1.3) + rng.uniform(0, 7))
            picture = 128 + 30 * wave + rng.normal(0, noise, (32, 32))
            cv2.imwrite(str(raw / f"{name}.png"), np.clip(picture, 0, 255).astype(np.uint8))
            given = label
            if part == "train":
                truth[name] = CLASSES[label]
                if rng.random() < flipped:
                    given = int(rng.integers(4)) if flipped == 1 else (label + int(rng.integers(1, 4))) % 4
            lines.append((name, CLASSES[given]))
        write_csv(raw / f"{part}.csv", pd.DataFrame(lines, columns=["id", "label"]))
    facts = {**FACTS, "source": {"kind": "folder", "name": str(raw)}}
    (configs / "competition.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))
    (configs / "base.yaml").write_text(yaml.safe_dump({**RUN, "seed": seed}, sort_keys=False))
    return truth


def command(root: Path, *words: str) -> None:
    """A command of foldline; ends where it fails."""
    if foldline([words[0], "--root", str(root), "--comp", "stripes", *words[1:], "--quiet"]):
        raise SystemExit(f"failed: {' '.join(words)}")


def decide(root: Path, truth: dict[str, str] | None, action: str) -> None:
    """Fills in labels.csv: by the truth as a person who looks, or unseen with the action alone."""
    path = root / "configs" / "stripes" / "labels.csv"
    lines = read_csv(path)
    if truth is None:
        lines["action"] = action
    else:
        right = lines["row_id"].map(truth)
        lines["label"] = right
        lines["action"] = np.where(right == lines["given"], "keep", "relabel")
    write_csv(path, lines)


def measured(root: Path, run: str, truth: dict[str, str]) -> dict[str, float]:
    """Accuracy on the given labels out of fold, on the true ones out of fold, and on the test rows' true ones."""
    layout = Layout(root)
    oof, test = (read_parquet(layout.run("stripes", run) / f"{kind}.parquet") for kind in ("oof", "test"))
    columns = [f"prob_{name}" for name in CLASSES]
    said, said_test = (np.array(CLASSES)[table[columns].to_numpy().argmax(1)] for table in (oof, test))
    right = read_csv(root / "raw" / "test.csv").set_index("id")["label"].loc[test["row_id"]].to_numpy()
    return {
        "oof, given": float((said == oof["target"]).mean()),
        "oof, true": float((said == oof["row_id"].map(truth)).mean()),
        "test, true": float((said_test == right).mean()),
    }


def found(root: Path, truth: dict[str, str]) -> dict[str, float]:
    """Of the suspects of `base`: how many are flipped (precision), how many of the flipped these are (recall)."""
    oof = read_parquet(Layout(root).run("stripes", "base") / "oof.parquet")
    task = TASKS["multiclass"].of(CLASSES)
    given = task.truth(oof, CLASSES, where="")
    prob = oof[[f"prob_{name}" for name in CLASSES]].to_numpy()
    odd = [one.row for one in suspects(task, given, prob, CLASSES)]
    wrong = (oof["target"] != oof["row_id"].map(truth)).to_numpy()
    number, folders = int(wrong.sum()), [Layout(root).fold("stripes", "base", fold) for fold in range(5)]
    over_epochs = mean_losses(folders, oof["row_id"])
    loss = row_loss(task, given, prob)
    ranked = {
        "confident learning": np.array(odd[:number]),
        "loss of the last epoch": np.argsort(-loss)[:number],
        "loss over epochs": np.argsort(-over_epochs)[:number],
        "suspects, by loss over epochs": np.array(sorted(odd, key=lambda row: -over_epochs[row])[:number]),
    }
    return {
        "suspects": len(odd), "flipped": number, "precision of all suspects": wrong[odd].mean() if odd else np.nan,
        "recall of all suspects": wrong[odd].sum() / max(number, 1),
        **{f"precision of the first {name}": wrong[rows].mean() for name, rows in ranked.items()},
    }  # fmt: skip


def one_seed(root: Path, args: argparse.Namespace, seed: int) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """All runs of one seed."""
    truth = make(root, args.rows, args.tests, args.flipped, seed)
    command(root, "download")
    command(root, "folds")
    for stage in ("train", "predict"):
        command(root, stage, "--run", "base")
    for action in ("exclude", "relabel"):
        command(root, "clean", "--run", "base", "--action", action)
    file = root / "configs" / "stripes" / "labels.csv"
    empty = file.read_bytes()
    for name, known, action in (
        ("by a person", truth, ""), ("unseen exclude", None, "exclude"), ("unseen relabel", None, "relabel")
    ):  # fmt: skip
        file.write_bytes(empty)
        decide(root, known, action)
        for stage in ("train", "predict"):
            command(root, stage, "--run", "base", "--name", name.replace(" ", "-"), "--set", "train.labels.name=file")
    runs = ("base", "base-exclude", "base-relabel", "by-a-person", "unseen-exclude", "unseen-relabel")
    return {run: measured(root, run, truth) for run in runs}, found(root, truth)


def main() -> None:
    """The tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--tests", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--flipped", type=float, default=0.2)
    args = parser.parse_args()
    every, details = [], []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory(prefix="e-noisy-") as folder:
            scores, detail = one_seed(Path(folder), args, seed)
        print(seed, scores, detail, flush=True)
        every.append(scores)
        details.append(detail)
    for key in details[0]:
        values = [detail[key] for detail in details]
        print(f"{key}: {np.mean(values):.3f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.3f}")
    print("| run | OOF, given labels | OOF, true labels | test, true labels |\n|---|---|---|---|")
    for run in every[0]:
        cells = []
        for key in every[0][run]:
            values = [scores[run][key] for scores in every]
            cells.append(f"{np.mean(values):.4f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.4f}")
        print(f"| {run} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
