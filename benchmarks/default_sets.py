"""The sets that the default run is measured on, as small competitions of a project: pictures, a table, fixed folds.

Reads `folds/<recipe>.csv` and the pictures; writes `input/<set>/` (pictures, train.csv, test.csv), `configs/<set>/` and
the starting weights in timm's names, so that foldline and fastai read the same files.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from PIL import Image


@dataclass(frozen=True)
class Drawn:
    """A set.

    Attributes:
        recipe: where it is from.
        share: of its training rows, the same of each fold and class.
    """

    recipe: str
    share: float = 1.0


SETS = {
    "elpv": Drawn("elpv"),
    "stamps": Drawn("stamps"),
    "mnist": Drawn("mnist"),
    "fashion": Drawn("fashion"),
    "mnist-tenth": Drawn("mnist", 0.1),
    "fashion-tenth": Drawn("fashion", 0.1),
    "elpv-tenth": Drawn("elpv", 0.1),
    "stamps-tenth": Drawn("stamps", 0.1),
}
NETWORK = "tf_efficientnet_lite0"


def drawn(frame: pd.DataFrame, share: float) -> pd.DataFrame:
    """That share of each fold and class, at least two rows of a class in all, in the frame's order."""
    if share == 1:
        return frame
    shuffled = frame.sample(frac=1, random_state=0)
    place = shuffled.groupby(["target", "fold"]).cumcount()
    size = shuffled.groupby(["target", "fold"])["row_id"].transform("size")
    return shuffled[place < (size * share).round()].sort_index()


def write_set(source: Path, folder: Path, name: str) -> None:
    """The set's pictures, table and facts."""
    one = SETS[name]
    frame = pd.read_csv(source / "folds" / f"{one.recipe}.csv", dtype=str, keep_default_na=False)
    frame = drawn(frame, one.share)
    place = folder / "input" / name
    for image in frame["image"]:
        target = place / "pictures" / image.lstrip(".")
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_opaque(source / "input" / one.recipe / image, target)
    frame = frame.assign(image="pictures/" + frame["image"].str.lstrip("."))
    frame[["row_id", "image", "target", "fold"]].to_csv(place / "train.csv", index=False)
    frame[["image"]].head(1).assign(row_id="test", target=frame["target"].iloc[0]).to_csv(place / "test.csv")
    facts = yaml.safe_load((source / "configs" / one.recipe / "competition.yaml").read_text(encoding="utf-8"))
    columns = {"row_id": "row_id", "image": "{image}", "target": "target"}
    kept = {key: facts[key] for key in ("task", "classes", "metric") if key in facts}
    written = kept | {
        "source": {"kind": "placed"},
        "train": {"file": "train.csv", **columns, "metadata": ["fold"]},
        "test": {"file": "test.csv", **columns},
        "folds": {"k": frame["fold"].nunique(), "splitter": "column", "column": "fold", "allow_missing_class": True},
    }
    config = folder / "configs" / name / "competition.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")


def copy_opaque(picture: Path, target: Path) -> None:
    """Copies a picture; what is transparent is laid over white, so that all sides see the same."""
    with Image.open(picture) as opened:
        if not opened.has_transparency_data:
            shutil.copyfile(picture, target)
            return
        cut = opened.convert("RGBA")
    white = Image.new("RGBA", cut.size, (255, 255, 255, 255))
    white.alpha_composite(cut)
    white.convert("RGB").save(target, "png")


def write_weights(folder: Path) -> Path:
    """The default run's backbone in timm's names, for whoever reads no other."""
    import timm
    import torch

    from foldline.core.paths import Layout, shipped
    from foldline.core.run import Run
    from foldline.core.yaml_models import load_yaml
    from foldline.models.weights import timm_state

    run = Run.parse(load_yaml(shipped() / "baseline.yaml"), where="baseline.yaml")
    state, _ = timm_state(run.model.weights, timm.create_model(NETWORK), Layout(folder))
    torch.save(state, folder / "weights.pth")
    return folder / "weights.pth"
