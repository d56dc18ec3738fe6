"""Pictures that stand inside tables, arrays and databases are written once, as files, below `.pictures`.

Reads pixels or encoded bytes, writes `input/<comp>/.pictures/<key>/<shard>/<number>.png` (`.npy` for pictures of
2 or more than 3 channels). A picture folder takes its name when it is whole, so a half-written one is never used.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import Pixels, RowFacts
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.picture_kinds import picture_kind
from foldline.core.progress import Progress
from foldline.core.tables import remove, require_columns, save_array, sha256_file, sha256_json, temporary_name
from foldline.readers.files import raw_files

PICTURE = "picture"  # the column that holds the written picture's path
FOLDER = ".pictures"
SHARD = 1000  # files a folder


class PictureFolder:
    """`with PictureFolder(root, files, settings) as pictures: path = pictures.add(array or bytes)`

    Pictures are numbered in the order in which they come. Where the folder exists already, made of the same files by
    the same settings, nothing is written and the same paths come back.
    """

    def __init__(self, root: Path, files: list[Path], settings: Any) -> None:
        hashes = [[path.relative_to(root).as_posix(), sha256_file(path)] for path in files]
        key = f"{files[0].name.partition('.')[0].strip('*') or 'pictures'}-{sha256_json([hashes, settings])[:8]}"
        self.root = root
        self.place = root / FOLDER / key
        self.part = temporary_name(self.place)
        self.done = self.place.is_dir()
        self.count = 0

    def __enter__(self) -> Self:
        if not self.done:
            if not os.access(self.root, os.W_OK):
                raise FoldlineError(
                    "pictures that stand inside a file are written beside it, and this folder is read-only",
                    where=str(self.root),
                    next="copy it: source.kind: folder and source.name: the folder in the facts, then make download",
                )
            self.part.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.done:
            return
        if error is None and not self.place.is_dir():  # else another process has made it meanwhile
            self.part.rename(self.place)
        remove(self.part)

    def add(self, picture: NDArray[np.uint8] | bytes) -> str:
        """Writes one picture ([height, width, channels] or [height, width], RGB; or an encoded file).

        Returns:
            Its path below `input/<comp>`.
        """
        suffix = _suffix(picture)
        name = f"{self.count // SHARD:04d}/{self.count:07d}{suffix}"
        self.count += 1
        if not self.done:
            path = self.part / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(picture) if isinstance(picture, bytes) else _write(path, picture)
        return f"{FOLDER}/{self.place.name}/{name}"

    def add_all(self, pictures: Iterable[NDArray[np.uint8] | bytes], total: int) -> list[str]:
        """The path of each picture, written while a progress line counts to `total`."""
        with Progress() as progress:
            return [self.add(picture) for picture in progress.over(pictures, "write pictures", total=total)]


def _suffix(picture: NDArray[np.uint8] | bytes) -> str:
    if not isinstance(picture, bytes):
        return ".png" if picture.ndim == 2 or picture.shape[2] in (1, 3) else ".npy"
    kind = picture_kind(picture)
    if not kind:
        raise FoldlineError(f"a cell holds no jpg, png, gif, bmp, tif or webp picture: it begins with {picture[:8]!r}")
    return f".{kind}"


def _write(path: Path, picture: NDArray[np.uint8]) -> None:
    import cv2

    if path.suffix == ".npy":
        save_array(path, picture)
        return
    coloured = picture.ndim == 3 and picture.shape[2] == 3
    done, content = cv2.imencode(".png", picture[:, :, ::-1] if coloured else picture)
    assert done, "a png of uint8 pixels can always be made"
    path.write_bytes(content.tobytes())


def write_pixels(lines: pd.DataFrame, root: Path, rows: RowFacts, pixels: Pixels, *, where: str) -> pd.DataFrame:
    """Replaces the cells that hold pixels by the column `picture`, the path of the written file."""
    columns = _pixel_columns(lines, pixels, where)
    cells = lines[columns].to_numpy()
    settings = pixels.model_dump(mode="json")
    pictures = (_picture(line, pixels, f"{where}, line {number}") for number, line in enumerate(cells, 1))
    with PictureFolder(root, raw_files(root, rows), settings) as folder:
        paths = folder.add_all(pictures, len(cells))
    return lines.drop(columns=columns).assign(**{PICTURE: paths})


def _pixel_columns(lines: pd.DataFrame, pixels: Pixels, where: str) -> list[str]:
    """The named columns; `pixel*` means pixel0, pixel1 ... in the order of their numbers."""
    columns = [name for name in pixels.columns if name in lines.columns] + numbered_columns(lines, pixels)
    if not columns:
        raise FoldlineError(
            f"no pixel column {first_few(pixels.columns)}",
            where=where,
            next=f"the columns are: {first_few([str(name) for name in lines.columns], 20)}",
        )
    return columns


def numbered_columns(lines: pd.DataFrame, pixels: Pixels) -> list[str]:
    """The columns that names such as `pixel*` mean: pixel0, pixel1 ... in the order of their numbers."""
    columns: list[str] = []
    for prefix in (name.removesuffix("*") for name in pixels.columns if name.endswith("*")):
        numbered = [c for c in lines.columns if c.startswith(prefix) and c[len(prefix) :].isdigit()]
        columns += sorted(numbered, key=lambda c: int(c[len(prefix) :]))
    return columns


def _picture(line: NDArray[Any], pixels: Pixels, where: str) -> NDArray[np.uint8]:
    """The picture of one line: [height, width, channels] uint8."""
    height, width = pixels.height_width
    if pixels.columns[0].endswith("*"):
        channels = [_numbers(line, where)]
    else:
        channels = [_numbers(_split(cell, pixels.separator), where) for cell in line]
    expected = height * width * pixels.channels
    for values in channels:
        if len(values) != expected:
            raise FoldlineError(
                f"{counted(len(values), 'numbers')}, expected {height} x {width} x {pixels.channels} = {expected}",
                where=where,
                next="correct pixels.height_width, channels or separator",
            )
    image = np.concatenate([values.reshape(height, width, pixels.channels) for values in channels], axis=2)
    return _to_bytes(image, pixels, where)


def _split(cell: Any, separator: str) -> list[Any]:
    if not isinstance(cell, str):
        return list(cell)
    return cell.strip("[] ").split(None if separator in (" ", "whitespace") else separator)


def _numbers(cells: list[Any] | NDArray[Any], where: str) -> NDArray[np.float64]:
    try:
        return np.asarray(cells, dtype=np.float64)
    except ValueError as error:
        raise FoldlineError(f"a pixel is no number: {error}", where=where) from error


def _to_bytes(image: NDArray[np.float64], pixels: Pixels, where: str) -> NDArray[np.uint8]:
    """Scales `range` to 0..255, NaN as its low end; without it the numbers must be whole and lie there already."""
    known = image[np.isfinite(image)]
    if not known.size:
        raise FoldlineError("no pixel is a finite number", where=where, next="leave this row out: train.without")
    if pixels.range is not None:
        low, high = pixels.range
        image = np.rint((np.nan_to_num(image, nan=low) - low) / (high - low) * 255).clip(0, 255)
    elif not ((image >= 0) & (image <= 255) & (image == np.rint(image))).all():
        raise FoldlineError(
            f"the numbers run from {known.min():g} to {known.max():g}, {image.size - known.size} of {image.size} are "
            "NaN or infinite: no whole numbers of 0 to 255",
            where=where,
            next=f"set pixels.range, for example [{known.min():g}, {known.max():g}]",
        )
    return image.astype(np.uint8)


def write_encoded(table: pd.DataFrame, frame: pd.DataFrame, root: Path, path: Path, column: str) -> pd.DataFrame:
    """`table` with the column `picture`, for `frame[column]` that holds whole files (bytes, or a map with `bytes`)."""
    require_columns(frame, [column], where=str(path))
    with PictureFolder(root, [path], {"encoded": column}) as folder:
        cells = [cell["bytes"] if isinstance(cell, dict) else cell for cell in frame[column]]
        return table.assign(**{PICTURE: [folder.add(bytes(cell)) for cell in cells]})
