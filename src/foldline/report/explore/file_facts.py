"""What the files of a table's rows tell beside their pixels: one line a row, and the files that are broken.

Reads the headers of picture files, and names; decodes and writes nothing. Facts that every format has come first.
The time at which a file was written is left out: downloading, copying and unpacking set it anew, so it would tell of
our own work and not of the pictures.
"""

import os
import re
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from foldline.core.progress import Progress
from foldline.images.files.header import BadImageError
from foldline.readers.templates import split_suffix
from foldline.report.explore.one_file import Told, facts_of
from foldline.splits.shuffle import Indices


@dataclass(frozen=True)
class Fact:
    """One fact of a file.

    Attributes:
        kind: what it is about: bytes, dimensions, format, exif, name or order.
        says: what it is, for a reader.
        word: it is a word; else a number.
    """

    kind: str
    says: str
    word: bool = False


FACTS: dict[str, Fact] = {
    "bytes": Fact("bytes", "bytes of the file"),
    "bits_per_pixel": Fact("bytes", "bits a pixel"),
    "width": Fact("dimensions", "width, px"),
    "height": Fact("dimensions", "height, px"),
    "aspect": Fact("dimensions", "width / height"),
    "megapixels": Fact("dimensions", "megapixels"),
    "format": Fact("format", "format", word=True),
    "channels": Fact("format", "channels"),
    "bit_depth": Fact("format", "bits a number"),
    "palette": Fact("format", "has a palette"),
    "jpeg_quality": Fact("format", "JPEG quality, estimated"),
    "progressive": Fact("format", "progressive or interlaced"),
    "icc": Fact("format", "has a colour profile"),
    "dpi": Fact("format", "dots per inch"),
    "files": Fact("format", "files of the row"),
    "exif": Fact("exif", "has EXIF"),
    "camera": Fact("exif", "camera", word=True),
    "software": Fact("exif", "software", word=True),
    "orientation": Fact("exif", "EXIF orientation"),
    "taken_day": Fact("exif", "day of the picture"),
    "taken_hour": Fact("exif", "hour of the picture"),
    "name_length": Fact("name", "letters of the name"),
    "name_digits": Fact("name", "digits in the name"),
    "name_form": Fact("name", "form of the name", word=True),
    "name_order": Fact("order", "place in the order of names"),
    "table_order": Fact("order", "place in the raw table"),
}
KINDS: dict[str, tuple[str, ...]] = {
    kind: tuple(name for name, fact in FACTS.items() if fact.kind == kind)
    for kind in dict.fromkeys(fact.kind for fact in FACTS.values())
}


@dataclass(frozen=True)
class Broken:
    """A file that is no whole picture: the row (its place in the table), the file below the folder, and why."""

    row: int
    file: str
    why: str


@dataclass(frozen=True)
class FileFacts:
    """The facts of a table's rows.

    Attributes:
        table: one line a row, a column each fact of FACTS. Numbers are float64, NaN where it is not known; words are
            strings, "" where it is not known.
        broken: the files that are no whole pictures.
    """

    table: pd.DataFrame
    broken: list[Broken] = field(default_factory=list)

    @property
    def known(self) -> list[str]:
        """The facts that at least one row has."""
        return [name for name in self.table.columns if not _unknown(self.table[name]).all()]

    @property
    def missing(self) -> list[str]:
        """The facts that no row has."""
        return [name for name in self.table.columns if name not in self.known]

    def varying(self, kind: str) -> list[str]:
        """The facts of a kind that are not the same in all rows: only these can tell rows apart.

        >>> table = pd.DataFrame({"bytes": [10.0, 20.0], "width": [8.0, 8.0], "height": [8.0, float("nan")]})
        >>> FileFacts(table).varying("bytes"), FileFacts(table).varying("dimensions")
        (['bytes'], ['height'])
        """
        names = [name for name in KINDS[kind] if name in self.table.columns]
        return [name for name in names if self.table[name].nunique(dropna=False) > 1]

    def common(self, name: str) -> list[tuple[str, int]]:
        """The values of a fact and how many rows have each, the most frequent first; unknown ones are left out."""
        column = self.table[name]
        counts = column[~_unknown(column)].value_counts()
        pairs = [(value if isinstance(value, str) else f"{value:g}", int(n)) for value, n in counts.items()]
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


def read_file_facts(root: Path, frame: pd.DataFrame, *, table_order: Sequence[int] | None = None) -> FileFacts:
    """The facts of each row's picture; of stacked ones those of the first file, and the bytes of all.

    Args:
        root: the folder `input/<comp>`.
        frame: [rows] with `image`, the path below `root`; several are joined by `|`.
        table_order: [rows] each row's place in the raw table; the folds' own table is sorted by id.
    """
    images = [image.split("|") for image in frame["image"].tolist()]
    told, broken = list[Told](), list[Broken]()
    with warnings.catch_warnings(), Progress() as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # Pillow's remarks on odd tags and large pictures: nothing is decoded here
        read = pool.map(lambda files: [_told(root / file) for file in files], images, chunksize=16)
        for row, results in enumerate(progress.over(read, "reading the files' headers", total=len(images))):
            broken += [
                Broken(row, file, result)
                for file, result in zip(images[row], results, strict=True)
                if isinstance(result, str)
            ]
            told.append(_joined(results))
    columns = {name: _column(name, told) for name in FACTS} | _name_facts([files[0] for files in images])
    del columns["table_order"]
    if table_order is not None:
        columns["table_order"] = pd.Series(np.asarray(table_order, dtype=np.float64))
    return FileFacts(pd.DataFrame(columns), broken)


def _told(path: Path) -> Told | str:
    """The facts of a file, or why there are none."""
    try:
        return facts_of(path)
    except BadImageError as error:
        return str(error)


def _joined(results: Sequence[Told | str]) -> Told:
    """The facts of a row of one or more files."""
    told: Told = {"files": float(len(results))}
    if results and isinstance(results[0], dict):
        told |= results[0]
    sizes = [result.get("bytes") for result in results if isinstance(result, dict)]
    if len(results) > 1 and len(sizes) == len(results):
        told["bytes"] = float(sum(size for size in sizes if isinstance(size, float)))
    return told


def _column(name: str, told: Iterable[Told]) -> "pd.Series[str] | pd.Series[float]":
    if FACTS[name].word:
        return pd.Series([str(row.get(name, "")) for row in told], dtype=str)
    return pd.Series([float(row.get(name, np.nan)) for row in told], dtype=np.float64)


def _unknown(column: "pd.Series[str] | pd.Series[float]") -> "pd.Series[bool]":
    return column.isna() if column.dtype == np.float64 else column == ""


def _name_facts(images: Sequence[str]) -> "dict[str, pd.Series[str] | pd.Series[float]]":
    """What the names tell, without their folders, which often are the labels."""
    stems = [split_suffix(PurePosixPath(image).name)[0] for image in images]
    return {
        "name_length": pd.Series([float(len(stem)) for stem in stems], dtype=np.float64),
        "name_digits": pd.Series([float(sum(map(str.isdigit, stem))) for stem in stems], dtype=np.float64),
        "name_form": pd.Series([name_form(stem) for stem in stems], dtype=str),
        "name_order": pd.Series(natural_ranks(stems), dtype=np.float64),
    }


def name_form(stem: str) -> str:
    """A name with `#` for each run of digits; long hexadecimal names are all alike.

    >>> name_form("IMG_0012-3"), name_form("9f86d081884c7d65")
    ('IMG_#-#', 'hexadecimal')
    """
    if re.fullmatch(r"(?=.*\d)[0-9a-fA-F-]{12,}", stem):
        return "hexadecimal"
    return re.sub(r"\d+", "#", stem)


def natural_ranks(names: Sequence[str]) -> Indices:
    """[names] the place of each in the order in which a person counts; equal names share theirs.

    >>> natural_ranks(["p10", "p9", "p10", "a"]).tolist()
    [2, 1, 2, 0]
    """
    place = {name: rank for rank, name in enumerate(sorted(set(names), key=_natural))}
    return np.array([place[name] for name in names], dtype=np.int64)


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part.casefold()) for part in parts], name
