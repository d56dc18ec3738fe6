"""What the view `adapted` is worth where each fold's pictures are of a camera that training has not seen.

    python benchmarks/another_camera.py      # a table: mean of the folds' AUC and pooled AUC, mean ± std of three seeds

Two or three cameras differ in contrast and brightness; a spot in the middle is brighter (yes) or darker than the noise
around it. Of two, training sees one; of three, two together. `alike`: two that do not differ, where adapting can only
lose. Writes nothing but a temporary folder.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import yaml

from foldline.cli import main
from foldline.core.paths import Layout
from foldline.core.records.cv import Cv

ROWS, SEEDS = 360, (0, 1, 2)
CAMERAS = {
    "two": ((1.0, 0.0), (0.35, 150.0)), "three": ((1.0, 0.0), (0.35, 150.0), (0.6, -20.0)), "alike": ((1.0, 0.0),) * 2,
}  # fmt: skip
VIEWS = ("identity", "adapted", "identity,adapted")
FACTS = {
    "task": "binary", "classes": ["no", "yes"], "metric": "auc",
    "train": {"file": "train.csv", "row_id": "id", "image": "{id}.png", "target": "label", "group": "camera"},
    "test": {"file": "test.csv", "row_id": "id", "image": "{id}.png"},
}  # fmt: skip
RUN = {
    "model": {"name": "test_resnet", "weights": "none"}, "data": {"image_size": 48, "channels": 1},
    "augment": {"recipe": "light"}, "optim": {"lr": 3e-3},
    "train": {"epochs": 6, "batch_size": 16, "precision": "fp32", "log_to": []},
}  # fmt: skip


def prepared(root: Path, name: str) -> None:
    """A competition of generated pictures, with its folds, one camera each."""
    raw, rng, lines = root / f"raw-{name}", np.random.default_rng(0), ["id,label,camera"]
    raw.mkdir(parents=True)
    for i in range(ROWS + 6):
        camera, label = i % len(CAMERAS[name]), i // len(CAMERAS[name]) % 2
        picture = rng.normal(110, 40, (56, 56))
        picture[18:38, 18:38] += 12 if label else -12
        gain, offset = CAMERAS[name][camera]
        cv2.imwrite(str(raw / f"p{i:03d}.png"), (picture * gain + offset).clip(0, 255).astype(np.uint8))
        lines.append(f"p{i:03d},{'yes' if label else 'no'},camera{camera}")
    (raw / "train.csv").write_text("\n".join(lines[: ROWS + 1]) + "\n")
    (raw / "test.csv").write_text("\n".join(["id", *(line.split(",")[0] for line in lines[ROWS + 1 :])]) + "\n")
    configs = root / "configs" / name
    configs.mkdir(parents=True)
    facts = {"title": name, "source": {"kind": "folder", "name": str(raw)}, "folds": {"k": len(CAMERAS[name])}, **FACTS}
    (configs / "competition.yaml").write_text(yaml.safe_dump(facts))
    for stage in ("download", "folds"):
        assert main([stage, "--root", str(root), "--comp", name]) == 0


def scored(root: Path, name: str, seed: int, views: str) -> tuple[float, float]:
    """The mean of the folds' scores and the pooled one; the run is trained once."""
    (root / "configs" / name / f"s{seed}.yaml").write_text(
        yaml.safe_dump({**RUN, "seed": seed, "predict": {"views": views.split(",")}})
    )
    for stage in ("train", "predict"):
        assert main([stage, "--root", str(root), "--comp", name, "--run", f"s{seed}", "--device", "cpu"]) == 0
    cv = Cv.read(Layout(root).run(name, f"s{seed}") / "cv.json")
    return float(np.mean([score or 0.0 for score in cv.per_fold])), float(cv.pooled or 0.0)


if __name__ == "__main__":
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for name in CAMERAS:
            prepared(Path(folder), name)
            for views in VIEWS:
                both = np.array([scored(Path(folder), name, seed, views) for seed in SEEDS])
                cells = [f"{mean:.3f} ± {std:.3f}" for mean, std in zip(both.mean(0), both.std(0, ddof=1), strict=True)]
                table.append(f"| {name} | {views} | {' | '.join(cells)} |")
                print(table[-1], flush=True)
    print("| cameras | views | AUC, mean of folds | AUC, pooled |\n|---|---|---|---|", *table, sep="\n")
