"""A first run for pictures that nobody has tried yet: reads the folds and the heads of pictures, writes a run file.

What it chooses by: how many rows and which classes there are, how large the pictures are, whether they are gray or
transparent, the machine, and the minutes that training may take. Each rule stands with its measurement
in EXPERIMENTS.md ("How a first run is chosen"), on a CPU with EfficientNet-Lite0; what a GPU gets is not measured.
"""

import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from PIL import Image

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds
from foldline.core.paths import USUAL_RUN, Layout, shipped
from foldline.core.progress import say, unsaid
from foldline.core.run import Run
from foldline.core.schema import HEADS, write_schemas
from foldline.core.tables import write_text
from foldline.core.typed import as_typed
from foldline.core.yaml_models import load_yaml, parse_yaml
from foldline.images.files.decode import content_of, preview
from foldline.images.files.header import BadImageError, read_header
from foldline.images.framing import usual_fit
from foldline.models.tiers import TIERS, tier_for

SAMPLE = 48  # pictures whose size and colours are looked at
STEP = 32  # px: what the network halves five times
SMALLEST, USUAL, QUICK = 64, 224, 160  # px of a picture's side
FEW = 2500  # training rows: up to so many a probe is as good as fine-tuning and errs differently
STEPS = 300  # of a training: half as many end about where the probe began
MOST_EPOCHS = 10  # by that rule: more were no better, and few rows take their time too
MANY = 20_000  # training rows: one pass over more of them is enough
MOST = 3  # times the usual number of epochs, where the minutes allow it
CHARACTERS = 10  # classes at least that are one letter or digit each, whose mirror image is another or none


@dataclass(frozen=True)
class Ground:
    """What a first run is chosen by.

    Attributes:
        rows: training rows.
        side: the median of the pictures' shorter sides in px; 0 where no header told it.
        gray: whether none of the pictures that were looked at has colours.
        gpu: whether a GPU trains.
        classes: their names, where a picture has one and they have no order.
        numbers: whether numbers are told, and no classes.
        clear: whether some of them are transparent in parts.
        memory_gb: of the GPU; 0 where that is not known.
        epochs: that the minutes allow; None: as many as the rows need.
        shapes: why another fit than squash might be tried; empty: the pictures are of about one shape.
    """

    rows: int
    side: int
    gray: bool
    gpu: bool
    classes: tuple[str, ...] = ()
    numbers: bool = False
    clear: bool = False
    memory_gb: float = 0.0
    epochs: int | None = None
    shapes: str = ""


def first_run(layout: Layout, comp: str, run: str, *, device: str = "auto", minutes: float | None = None) -> bool:
    """Writes `configs/<comp>/<run>.yaml`, unless there is one or the run has been trained; returns whether it did.

    Args:
        minutes: that training and prediction may take here, as a few steps of the network foretell it.
    """
    path, shared = layout.run_config(comp, run), layout.run_file(comp, run)
    given = path.is_file() or (shared.is_file() and run != USUAL_RUN)  # the usual one is for no pictures in particular
    if given:
        path = path if path.is_file() else shared
        say(f"{layout.relative(path)} is there already, and is used as it stands")
        return False
    if (layout.run(comp, run) / "run.json").is_file():
        return False
    folds = load_folds(layout, comp)
    paths = _some([layout.input(comp) / image.split("|")[0] for image in folds.frame["image"].tolist()])
    side, gray = _looks(paths)
    clear = sum(map(_is_transparent, paths))
    if clear:
        say(f"{clear} of {len(paths)} pictures looked at have transparent parts: these are laid over white")
    on, memory_gb = _machine(device)
    names = tuple(folds.outputs) if folds.task.exclusive and not folds.task.ordered else ()
    ground = Ground(
        len(folds.frame), side, gray, on, names, not folds.task.has_classes, bool(clear), memory_gb,
        shapes=_other_shapes(paths),
    )  # fmt: skip
    if minutes is not None:
        ground = replace(ground, epochs=_epochs_in(layout, comp, ground, minutes, device))
    write_schemas(layout)
    write_text(path, HEADS["run"] + run_text(ground, comp))
    say(f"wrote {layout.relative(path)}: {in_words(ground)}")
    return True


def _machine(device: str) -> tuple[bool, float]:
    """(whether it is a GPU, its memory in GB where CUDA tells)."""
    import torch

    from foldline.engine.machine.device import pick_device

    on = pick_device(device)
    return on.type != "cpu", torch.cuda.get_device_properties(on).total_memory / 1e9 if on.type == "cuda" else 0.0


def _epochs_in(layout: Layout, comp: str, ground: Ground, minutes: float, device: str) -> int:
    """So many epochs as fit into the minutes, at most `MOST` times the usual number; 0: the probe alone."""
    from foldline.engine.forecast import forecast

    run = Run.parse(parse_yaml(run_text(ground, comp), where="the first run"), where="the first run")
    with unsaid():
        expected = forecast(layout, comp, run, device=device)
    plan = expected.fold
    fixed = expected.total_s - expected.folds * plan.epochs * plan.epoch_seconds
    fits = int((60 * minutes - fixed) / (expected.folds * plan.epoch_seconds))
    usual = epochs(ground)
    if fixed > 60 * minutes:
        raise FoldlineError(
            f"even without fine-tuning this takes {fixed / 60:.1f} minutes here", where="--minutes", next="give more"
        )
    return max(0, min(fits, MOST * usual))


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


def _other_shapes(paths: list[Path]) -> str:
    """Why these pictures might be seen whole between bars and not squashed; empty where they are of about one shape."""
    sizes = []
    for path in paths:
        with suppress(BadImageError):
            header = read_header(content_of(path))
            sizes += [(header.width, header.height)] if header.width and header.height else []
    fit, why = usual_fit(*zip(*sizes, strict=True)) if sizes else ("squash", "")
    return "" if fit == "squash" else why


def backbone(ground: Ground) -> dict[str, object]:
    """`model` of the run file: by the GPU's memory, else the small network of configs/baseline.yaml."""
    tier = tier_for(ground.memory_gb)
    if tier is None:
        model: dict[str, object] = load_yaml(shipped() / "baseline.yaml")["model"]
        return model
    return {"name": tier.backbones[0].name, "weights": "hub"}


def side_px(ground: Ground) -> int:
    """The side that the network sees: the pictures' own up to a limit, since none gains by being blown up much.

    >>> [side_px(Ground(rows, side, False, False)) for rows, side in ((100, 3000), (3000, 300), (500, 28), (100, 150))]
    [224, 160, 64, 160]
    """
    tier = tier_for(ground.memory_gb)
    most = tier.backbones[0].side if tier else USUAL if ground.gpu or ground.rows <= 600 else QUICK
    own = -(-ground.side // STEP) * STEP if ground.side else most
    return max(SMALLEST, min(most, own))


def epochs(ground: Ground) -> int:
    """So many as make some `STEPS` steps, since the first fifteen cost what the next hundred buy back: ten at most,
    two at least up to 20,000 rows. A GPU has time for twice as many.

    >>> [epochs(Ground(rows, 300, False, False)) for rows in (100, 500, 2000, 4000, 8000, 50_000)]
    [10, 10, 6, 3, 2, 1]
    """
    if ground.epochs is not None:
        return ground.epochs
    steps = max(1.0, 0.8 * ground.rows / batch(ground))  # an epoch's, of five folds
    usual = max(2 if ground.rows <= MANY else 1, min(MOST_EPOCHS, round(STEPS / steps)))
    return usual * 2 if ground.gpu else usual


def batch(ground: Ground) -> int:
    """Pictures a step: at least some six steps an epoch."""
    return 32 if ground.rows >= 300 else 16 if ground.rows >= 80 else 8


def are_characters(classes: Sequence[str]) -> bool:
    """Whether the classes are letters or digits: mirrored, a 2 is none, and b is d.

    >>> are_characters([str(i) for i in range(10)]), are_characters(["0", "1"]), are_characters(["cat"] * 12)
    (True, False, False)
    """
    return len(classes) >= CHARACTERS and all(len(name) == 1 and name.isalnum() for name in classes)


def in_words(ground: Ground) -> str:
    """One line for the person."""
    machine = "a GPU" if ground.gpu else "a CPU"
    colours = "gray" if ground.gray else "colour"
    return (
        f"{side_px(ground)} px {colours} pictures (yours: {ground.side} px), "
        f"{counted(epochs(ground), 'epochs')}, batches of "
        f"{batch(ground)}, chosen for {counted(ground.rows, 'pictures')} on {machine}"
    )


def _model_text(ground: Ground) -> str:
    """`model` with what there is to say of it, and the other networks of the tier."""
    model = yaml.safe_dump({"model": backbone(ground)}, sort_keys=False, default_flow_style=False).rstrip("\n")
    tier = tier_for(ground.memory_gb)
    if tier is None:
        larger = f"a GPU of {TIERS[-1].least_gb} GB gets a larger one"
        return f"# A small network that a CPU can fine-tune; {larger}\n{model}"
    taken, *others = tier.backbones
    lines = [f"# For a GPU like {tier.name} (by timm's published tables, not measured here):", f"# {taken.in_words()}"]
    lines += [as_typed('# others for it, SET="model.name=...":'), *(f"# {other.in_words()}" for other in others)]
    return "\n".join([*lines, model])


def _data_text(ground: Ground) -> str:
    lines = [
        f"  image_size: {side_px(ground)}  # px a side; yours have {ground.side} (the shorter side, median)",
        f"  channels: {1 if ground.gray else 3}",
        "  bad_images: skip  # pictures that cannot be read are left out, and named in the report",
    ]
    if ground.clear:
        lines.append("  intensity: on_white  # what is transparent is seen white, not as the colours that lie under it")
    if ground.shapes:
        other = as_typed('SET="data.fit=letterbox" NAME=boxed')
        lines.append(f"  # {ground.shapes}: all are squashed to a square. {other}")
        lines.append(
            "  # keeps their shapes; on the one such set that was measured (stamps) it scored lower, 0.758 to 0.805"
        )
    return "\n".join(["data:", *lines])


def _train_text(ground: Ground, views: str) -> str:
    why = f"by the number of pictures, {ground.rows}"
    if ground.epochs is not None:
        most = ground.epochs == MOST * epochs(replace(ground, epochs=None))
        why = f"{MOST} times the usual number, the most that is taken" if most else "as fit into the minutes"
    lines = [f"  epochs: {epochs(ground)}  # {why}", f"  batch_size: {batch(ground)}"]
    if ground.rows <= FEW or not epochs(ground):
        fitted = "ridge" if ground.numbers else "logistic"
        start = f"# a {fitted} regression on frozen features starts the last layer"
        lines.append(f"  probe: {'{}' if ground.numbers else f'{{c: 0.03, views: {views}}}'}  {start}")
        if epochs(ground):
            both = "# the predictions of probe and fine-tuned network are averaged: they err differently"
            lines.append(f"  keep_start: true  {both}")
    lines.append("  batch_norm: frozen")
    if not ground.gpu:
        lines.append("  # stem and first three stages stay as they are: 1.7 times faster, the score the same")
        lines.append("  freeze: [conv_stem, bn1, blocks.0., blocks.1., blocks.2.]")
    return "\n".join(["train:", *lines])


SMOOTHED = "loss: {smoothing: 0.1}\n"
CHARACTERS_TEXT = """\
# letters and digits: turned, moved and lit a little, never mirrored
augment: {recipe: document}"""
PICTURES_TEXT = """\
# photographs: mirrored, moved and lit a little; `document`, `medical`: never mirrored; `dihedral`: no up and down
augment: {recipe: light}"""


def run_text(ground: Ground, comp: str) -> str:
    """The run file, to be read and edited: each choice with its reason."""
    characters = are_characters(ground.classes)
    views = "[identity]" if characters else "[identity, hflip]"
    tier = tier_for(ground.memory_gb)
    lr = tier.lr if tier else "2e-4" if ground.numbers else "1e-3"
    other = as_typed('SET="optim.lr=5e-4" NAME=other')
    return f"""\
# A first run for {comp}, chosen by its pictures and this machine:
# {in_words(ground)}.
# To change it, copy this file under another name, or {other}. docs/runs.md has all settings.
{_model_text(ground)}
{_data_text(ground)}
{CHARACTERS_TEXT if characters else PICTURES_TEXT}
{"" if ground.numbers else SMOOTHED}optim: {{lr: {lr}, layer_decay: 0.8, options: {{eps: 1e-6}}}}
{_train_text(ground, views)}
predict: {{views: {views}, batch_size: 16}}  # each picture as it is{"" if characters else ", and mirrored"}
"""
