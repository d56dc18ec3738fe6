"""Pictures from anywhere: files, folders, arrays, Pillow's; and one of them decoded, at the sizes that are wanted.

Reads the files; writes nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.picture_kinds import HEAD, picture_kind
from foldline.core.progress import say
from foldline.core.records.framing import AS_USUAL, Framing
from foldline.core.walk import walk
from foldline.images.files.decode import BadImageError, Intensity, Pixels, decode, of_values
from foldline.images.framing import framed, on_picture
from foldline.readers.templates import IMAGE_SUFFIXES

Picture = str | Path | Sequence[str | Path] | NDArray[Any] | Image.Image
_PLAIN_MODES = ("1", "L", "LA", "RGB", "RGBA", "I;16", "I", "F")  # the numbers are those of the picture


@dataclass(frozen=True)
class Source:
    """One picture that is not read yet: its files (several are stacked as channels), numbers, or Pillow's picture."""

    name: str
    content: tuple[Path, ...] | NDArray[Any] | Image.Image

    @classmethod
    def of_row(cls, root: Path, image: str) -> Self:
        """A row's picture: its files below `root`, joined by `|`."""
        return cls(image, tuple(root / file for file in image.split("|")))


@dataclass(frozen=True)
class Spec:
    """What a network wants its pictures to be."""

    height: int
    width: int
    channels: int
    intensity: Intensity
    framing: Framing = AS_USUAL


def sources_of(pictures: "Picture | Iterable[Picture]") -> list[Source]:
    """The pictures that are meant, in their order.

    Args:
        pictures: files, folders (all pictures below them), arrays [height, width] or [height, width, channels] of any
            real type (colours as RGB), Pillow's pictures; one of them, or several. An array of four dimensions is
            several pictures; a tuple of files is one whose channels are stacked.

    Raises:
        FoldlineError: there is no such file or folder, nothing is given, or something that is no picture.
    """
    if isinstance(pictures, str | Path):
        return _of_path(Path(pictures), alone=True)
    if isinstance(pictures, Image.Image) or (isinstance(pictures, np.ndarray) and pictures.ndim < 4):
        return [Source("picture 0", pictures)]
    if not isinstance(pictures, Iterable):
        raise _no_picture(pictures, 0)
    sources = [source for i, picture in enumerate(pictures) for source in _of_one(picture, i)]
    if not sources:
        raise FoldlineError("no pictures are given", next="give files, folders, arrays or Pillow's pictures")
    return sources


def require_neighbours(sources: Sequence[Source], run: str, count: int) -> None:
    """Raises FoldlineError where a run sees each picture between `count` others on each side, and a file is alone."""
    alone = [own.name for own in sources if isinstance(own.content, tuple) and len(own.content) < 2 * count + 1]
    if alone:
        raise FoldlineError(
            f"run '{run}' sees each picture between {count} before and after it (data.neighbours), and these files "
            f"stand alone: {first_few(alone, 3)}",
            where="pictures",
            next=f"give tuples of {2 * count + 1} files in their order, by foldline.load(...).predict",
        )


def _of_one(picture: Any, place: int) -> list[Source]:
    if isinstance(picture, str | Path):
        return _of_path(Path(picture))
    if isinstance(picture, np.ndarray | Image.Image):
        return [Source(f"picture {place}", picture)]
    if isinstance(picture, tuple | list) and picture and all(isinstance(file, str | Path) for file in picture):
        return [Source("|".join(map(str, picture)), tuple(map(Path, picture)))]
    raise _no_picture(picture, place)


def _no_picture(picture: Any, place: int) -> FoldlineError:
    return FoldlineError(
        f"a {type(picture).__name__} is no picture: {str(picture)[:60]!r}",
        where=f"picture {place}",
        next="give files, folders, arrays [height, width, channels] or Pillow's pictures; several as a list",
    )


def _of_path(path: Path, *, alone: bool = False) -> list[Source]:
    """The file, or the pictures below the folder. Of many a file that is not there is a bad picture, no mistake."""
    path = path.expanduser()
    if path.is_dir():
        return _below(path)
    if alone and not path.exists():
        raise FoldlineError("there is no such file or folder", where=str(path)[:300], next="mend the path")
    return [Source(str(path), (path,))]


def _below(folder: Path) -> list[Source]:
    """The pictures below a folder, sorted; says what else lies there."""
    seen = walk(folder)
    seen.remark(str(folder))
    pictures = [name for name in seen.files if name.lower().endswith(IMAGE_SUFFIXES) or _is_picture(folder / name)]
    others = sorted(set(seen.files) - set(pictures))
    if not pictures:
        raise FoldlineError("no picture lies below this folder", where=str(folder), next="give another folder")
    if others:
        say(
            f"{folder}: {counted(len(pictures), 'pictures')}; {counted(len(others), 'other files are')} left "
            f"out: {first_few(others)}"
        )
    return [Source(str(folder / name), (folder / name,)) for name in pictures]


def _is_picture(path: Path) -> bool:
    with path.open("rb") as handle:
        return bool(picture_kind(handle.read(HEAD)))


def load_picture(
    source: Source, specs: Sequence[Spec], on_whole: Callable[[str], None] | None = None
) -> "list[Pixels] | str":
    """[height, width, channels] uint8 for each spec, or what is wrong with it.

    Args:
        on_whole: called with its name where no foreground was found in it.
    """
    decoded: dict[tuple[int, Intensity], list[Pixels]] = {}
    result = []
    try:
        for spec in specs:
            kind = (spec.channels, spec.intensity)
            if kind not in decoded:
                decoded[kind] = _decoded(source.content, *kind)
            picture, whole = framed(decoded[kind], spec.height, spec.width, spec.framing)
            result.append(picture)
            if whole and on_whole is not None:
                on_whole(source.name)
    except BadImageError as error:
        return str(error)
    return result


def heat_on_picture(heat: NDArray[np.float32], files: Sequence[Path], spec: Spec) -> NDArray[np.float32]:
    """A heat map of what a network saw of a picture, as a map of the whole picture.

    Args:
        heat: [height, width] of the network's picture; it is given back where the network sees all of it, squashed.

    Raises:
        FoldlineError: the picture cannot be read.
    """
    if spec.framing.model_copy(update={"interpolation": AS_USUAL.interpolation}) == AS_USUAL:
        return heat
    try:
        return on_picture(heat, _decoded(tuple(files), spec.channels, spec.intensity), spec.framing)
    except BadImageError as error:
        raise FoldlineError(str(error)) from error


def _decoded(
    content: tuple[Path, ...] | NDArray[Any] | Image.Image, channels: int, intensity: Intensity
) -> list[Pixels]:
    """[height, width, channels] uint8 of each file, at its own size."""
    if isinstance(content, Image.Image):
        return [_of_pillow(content, channels, intensity)]
    if isinstance(content, np.ndarray):
        return [of_values(content, channels, intensity, has_alpha=content.ndim == 3 and content.shape[2] == 4)]
    if channels % len(content):
        raise BadImageError(f"{counted(len(content), 'files cannot')} be stacked as {counted(channels, 'channels')}")
    return [decode(file, channels // len(content), intensity) for file in content]


def _of_pillow(picture: Image.Image, channels: int, intensity: Intensity) -> Pixels:
    """Turned as its EXIF data say, like a file."""
    has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    try:
        if picture.mode not in _PLAIN_MODES:
            picture = picture.convert("RGBA" if has_alpha else "RGB")
        values = np.asarray(ImageOps.exif_transpose(picture))
    except (OSError, ValueError) as error:  # files are read late
        raise BadImageError(f"Pillow cannot read it: {error}") from error
    return of_values(values, channels, intensity, has_alpha=picture.mode in ("RGBA", "LA"))
