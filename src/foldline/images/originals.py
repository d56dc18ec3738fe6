"""How large the pictures are kept that training cuts from. Reads the first bytes of some of them; writes nothing."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from foldline.core.counted import counted
from foldline.core.progress import say
from foldline.images.files.decode import BadImageError, content_of
from foldline.images.files.header import read_header

LOOKED_AT = 64  # pictures, spread evenly
LARGEST, STEP = 2.0, 0.25  # parts of a larger picture than that are looked at in full detail at once
MOST_BYTES = 32e9  # of the cache; a fixed number, since what a disk has free must not change what is learnt


def usual_original(root: Path, images: Sequence[str], height_width: tuple[int, int], channels: int) -> float:
    """The side of the pictures that are cut from as a multiple of the training's, and says it.

    As large as the median picture is in the side that has fewest px for its own, up to `LARGEST`, and so that the cache
    takes at most `MOST_BYTES`. Of files whose headers are not read (DICOM, webp ...) `LARGEST` is taken.

    Args:
        images: paths below `root`; several files of a picture are joined by `|`.
        channels: of a whole picture.
    """
    named = sorted(set(images))
    sizes = [size for name in named[:: -(-len(named) // LOOKED_AT)] if (size := _size(root / name.split("|")[0]))]
    shares = [min(size[0] / height_width[0], size[1] / height_width[1]) for size in sizes]
    wanted = min(max(median(shares) if shares else LARGEST, 1.0), LARGEST)
    wanted -= wanted % STEP
    each = height_width[0] * height_width[1] * channels
    chosen = wanted
    while chosen > 1 and len(named) * each * chosen**2 > MOST_BYTES:
        chosen -= STEP
    less = f", not {wanted:g}, so that they take at most {MOST_BYTES / 1e9:.0f} GB" if chosen < wanted else ""
    found = f"by {counted(len(sizes), 'files')}" if sizes else "since the files do not say how large they are"
    say(f"data.original: {chosen:g} {found}{less}: crops are cut from pictures of so many times the training's side")
    return chosen


def _size(path: Path) -> tuple[int, int] | None:
    """(height, width) in px where the file says it."""
    try:
        header = read_header(content_of(path))
    except BadImageError:
        return None
    return (header.height, header.width) if header.height and header.width else None
