"""One batch of training pictures as the run's recipe draws it. Reads pictures; writes nothing."""

from dataclasses import dataclass

import numpy as np

from foldline.core.errors import FoldlineError
from foldline.core.own_code import located
from foldline.images.augment import Augmenter
from foldline.images.files.decode import BadImageError, Pixels, decode
from foldline.images.framing import framed
from foldline.models.framing import trained_frame
from foldline.report.explore.explored import Explored
from foldline.report.explore.thumbs import Thumb, of_pixels
from foldline.report.look import formats

ROWS, DRAWS = 5, 4
MIXES = {"mixup": "mixup blends pairs", "cutmix": "cutmix pastes boxes", "both": "mixup and cutmix join pairs"}


@dataclass(frozen=True)
class Batch:
    """Rows of pictures: the picture as the network would see it unchanged, then some draws of the recipe.

    Attributes:
        words: what the recipe is; `missing` why nothing is shown.
    """

    lines: list[list[Thumb]]
    words: str
    missing: str = ""


def batch(explored: Explored) -> Batch:
    """Some rows, each drawn several times: (seed, fold 0, epoch, row) are the keys of a training."""
    run = explored.run
    pictures = _pictures(explored)
    if not pictures:
        return Batch([], "", "no picture could be decoded")
    channels = pictures[0][1].shape[2]
    try:
        own = located(explored.layout, explored.comp, run)
        augmenter = Augmenter(own.augment, run.data.height_width, channels)
        lines = [_line(augmenter, row, pixels, run.seed, explored) for row, pixels in pictures]
    except FoldlineError as error:
        return Batch([], "", formats.printable(error.what, 300))
    return Batch(lines, _words(explored))


def _line(augmenter: Augmenter, row: int, pixels: Pixels, seed: int, explored: Explored) -> list[Thumb]:
    name = formats.printable(str(explored.frame["row_id"].iloc[row]), 40)
    drawn = [augmenter(pixels, seed, 0, epoch, row) for epoch in range(DRAWS)]
    return [of_pixels(_to_show(picture), name, side_px=160) for picture in [pixels, *drawn]]


def _pictures(explored: Explored) -> list[tuple[int, Pixels]]:
    """(row, its picture at the run's size), of a few rows drawn at random."""
    looks, data = explored.train_looks, explored.run.data
    original = 1.0 if data.original == "auto" else data.original
    size, framing = trained_frame(located(explored.layout, explored.comp, explored.run), original)
    rows = [int(row) for row in np.random.default_rng(1).permutation(looks.rows[looks.whole])]
    found: list[tuple[int, Pixels]] = []
    for row in rows[: 4 * ROWS]:
        files = str(explored.frame["image"].iloc[row]).split("|")
        paths = [explored.layout.input(explored.comp) / file for file in files]
        try:
            parts = [decode(path, data.channels, data.intensity) for path in paths]
            picture, _ = framed(parts, *size, framing)
        except (BadImageError, FoldlineError):
            continue
        found.append((row, picture))
        if len(found) == ROWS:
            break
    return found


def _to_show(pixels: Pixels) -> Pixels:
    """RGB as it is, else the first channel as grey."""
    return np.ascontiguousarray(pixels if pixels.shape[2] == 3 else np.repeat(pixels[:, :, :1], 3, axis=2))


def _words(explored: Explored) -> str:
    augment, (height, width) = explored.run.augment, explored.run.data.height_width
    recipe = "transforms of your own" if augment.transforms is not None else f"the recipe {augment.recipe}"
    strength = f" at strength {augment.strength:g}" if augment.strength != 1 and augment.transforms is None else ""
    text = f"At {width} x {height} px, by {recipe}{strength}: the picture as it is, then as {DRAWS} epochs draw it."
    if augment.erasing:
        text += f" Of {formats.share(augment.erasing)} of the pictures a patch is erased."
    if augment.mix.name in MIXES:
        text += f" On top of this, {MIXES[augment.mix.name]} of a batch, which is not shown."
    return text
