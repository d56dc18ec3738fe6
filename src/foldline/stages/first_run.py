"""A first run for pictures that nobody has tried yet: reads the folds and the heads of pictures, writes a run file.

What it chooses by: how many rows there are, how large the pictures are, whether they are gray, and the machine. Where
the numbers come from: configs/baseline.yaml and EXPERIMENTS.md, measured on two CPU cores with this network.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path

import yaml
from PIL import Image

from foldline.core.folds import load_folds
from foldline.core.paths import USUAL_RUN, Layout, shipped
from foldline.core.progress import say
from foldline.core.schema import HEADS, write_schemas
from foldline.core.tables import write_text
from foldline.core.yaml_models import load_yaml
from foldline.images.files.decode import content_of, preview
from foldline.images.files.header import BadImageError, read_header

SAMPLE = 48  # pictures whose size and colours are looked at
STEP = 32  # px: what the network halves five times
SMALLEST, USUAL, QUICK = 96, 224, 160  # px of a picture's side


@dataclass(frozen=True)
class Ground:
    """What a first run is chosen by.

    Attributes:
        rows: training rows.
        side: the median of the pictures' shorter sides in px; 0 where no header told it.
        gray: whether none of the pictures that were looked at has colours.
        gpu: whether a GPU trains.
    """

    rows: int
    side: int
    gray: bool
    gpu: bool


def first_run(layout: Layout, comp: str, run: str, *, device: str = "auto") -> bool:
    """Writes `configs/<comp>/<run>.yaml`, unless there is one or the run has been trained; returns whether it did."""
    path, shared = layout.run_config(comp, run), layout.run_file(comp, run)
    given = path.is_file() or (shared.is_file() and run != USUAL_RUN)  # the usual one is for no pictures in particular
    if given:
        path = path if path.is_file() else shared
        say(f"{layout.relative(path)} is there already, and is used as it stands")
        return False
    if (layout.run(comp, run) / "run.json").is_file():
        return False
    from foldline.engine.machine.device import pick_device

    rows = load_folds(layout, comp).frame["image"].tolist()
    paths = _some([layout.input(comp) / image.split("|")[0] for image in rows])
    side, gray = _looks(paths)
    if clear := sum(map(_is_transparent, paths)):
        say(
            f"warning: {clear} of {len(paths)} pictures looked at have transparent parts; that is left out, and "
            "the network sees what lies under them. Look at them (make explore), and save them as they should be seen"
        )
    ground = Ground(len(rows), side, gray, pick_device(device).type != "cpu")
    write_schemas(layout)
    write_text(path, HEADS["run"] + run_text(ground, comp))
    say(f"wrote {layout.relative(path)}: {in_words(ground)}")
    return True


def _some(paths: list[Path]) -> list[Path]:
    """`SAMPLE` of the pictures, evenly among them."""
    return paths[:: max(1, len(paths) // SAMPLE)][:SAMPLE]


def _is_transparent(path: Path) -> bool:
    """Whether any of the picture is not wholly opaque."""
    try:
        with Image.open(path) as picture:
            if not picture.has_transparency_data:
                return False
            return min(picture.convert("RGBA").getchannel("A").tobytes()) < 255
    except (OSError, ValueError, Image.DecompressionBombError):  # named where pictures are decoded
        return False


def _looks(paths: list[Path]) -> tuple[int, bool]:
    """(the median shorter side in px, whether all are gray) of pictures."""
    sides, gray = [], True
    for path in paths:
        try:
            header = read_header(content_of(path))
            pixels = preview(path)
        except BadImageError:
            continue
        sides.append(min(header.height, header.width) or min(pixels.shape[:2]))
        gray = gray and bool((pixels[..., :1] == pixels).all())
    return int(statistics.median(sides)) if sides else 0, gray and bool(sides)


def side_px(ground: Ground) -> int:
    """The side that the network sees: the pictures' own up to a limit, since none gains by being blown up much.

    >>> [side_px(Ground(rows, side, False, False)) for rows, side in ((100, 3000), (3000, 300), (500, 28), (100, 150))]
    [224, 160, 96, 160]
    """
    most = USUAL if ground.gpu or ground.rows <= 600 else QUICK
    own = -(-ground.side // STEP) * STEP if ground.side else most
    return max(SMALLEST, min(most, own))


def epochs(ground: Ground) -> int:
    """Few rows need more passes; many take their time. A GPU has time for twice as many.

    >>> [epochs(Ground(rows, 300, False, False)) for rows in (100, 500, 2000, 8000, 50_000)]
    [6, 5, 3, 2, 1]
    """
    usual = next(
        count for rows, count in ((300, 6), (1000, 5), (4000, 3), (20_000, 2), (10**12, 1)) if ground.rows <= rows
    )
    return usual * 2 if ground.gpu else usual


def batch(ground: Ground) -> int:
    """Pictures a step: at least some six steps an epoch."""
    return 32 if ground.rows >= 300 else 16 if ground.rows >= 80 else 8


def in_words(ground: Ground) -> str:
    """One line for the person."""
    machine = "a GPU" if ground.gpu else "a CPU"
    colours = "gray" if ground.gray else "colour"
    return (
        f"{side_px(ground)} px {colours} pictures (yours: {ground.side} px), {epochs(ground)} epochs, batches of "
        f"{batch(ground)}, chosen for {ground.rows} pictures on {machine}"
    )


def run_text(ground: Ground, comp: str) -> str:
    """The run file, to be read and edited: each choice with its reason."""
    base = load_yaml(shipped() / "baseline.yaml")
    model = yaml.safe_dump({"model": base["model"]}, sort_keys=False, default_flow_style=False).rstrip("\n")
    many = (
        ""
        if ground.gpu
        else "\n  # stem and first three stages stay as they are: 1.7 times faster, the score the same (EXPERIMENTS.md)"
    )
    freeze = "" if ground.gpu else "\n  freeze: [conv_stem, bn1, blocks.0., blocks.1., blocks.2.]"
    return f"""\
# A first run for {comp}, chosen by its pictures and this machine:
# {in_words(ground)}.
# To change it, copy this file under another name, or SET="train.epochs=10" NAME=longer. docs/runs.md has all settings.
# A small network that a CPU can fine-tune; on a GPU a larger one pays: name: convnext_small.in12k_ft_in1k, weights: hub
{model}
data:
  image_size: {side_px(ground)}  # px a side; yours have {ground.side} (the shorter side, median)
  channels: {1 if ground.gray else 3}
  bad_images: skip  # pictures that cannot be read are left out, and named in the report
# photographs: mirrored, moved and lit a little; `document`, `medical`: never mirrored; `dihedral`: no up and down
augment: {{recipe: light}}
loss: {{smoothing: 0.1}}
optim: {{lr: 2e-4, layer_decay: 0.8, options: {{eps: 1e-6}}}}
train:
  epochs: {epochs(ground)}  # by the number of pictures, {ground.rows}
  batch_size: {batch(ground)}
  probe: {{}}  # the classifier starts as a logistic regression on frozen features
  batch_norm: frozen{many}{freeze}
  keep_start: true  # the predictions of probe and fine-tuned network are averaged: they err differently
predict: {{views: [identity, hflip], batch_size: 16}}  # each picture as it is, and mirrored
"""
