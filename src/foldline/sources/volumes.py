"""Archives in parts: `train.zip.001`, `train.zip.002` ... become `train.zip`. Reads and joins files below a folder.

Such parts (7-Zip calls them volumes) are an archive cut into pieces, of whatever kind it is; joined, it is unpacked as
safely as any other.
"""

import re
import shutil
from collections import defaultdict
from itertools import count, islice
from pathlib import Path

from foldline.core.errors import FoldlineError

_PART = re.compile(r"(.+\.(?:zip|7z|tar|tgz|tbz2|txz|tar\.gz|tar\.bz2|tar\.xz))\.(\d{3,})", re.IGNORECASE)
_ONLY = "If these are no parts of an archive, set source.unpack: false"
_SPANNED = re.compile(r"(.+)\.z\d{2,}", re.IGNORECASE)


def is_volume(path: Path) -> bool:
    """Whether a name is that of one part of an archive.

    >>> is_volume(Path("train.zip.001")), is_volume(Path("train.zip")), is_volume(Path("scan.001"))
    (True, False, False)
    """
    return _PART.fullmatch(path.name) is not None


def join_volumes(folder: Path) -> None:
    """Joins all archives in parts below `folder`; each part goes when it is joined, so it needs little room.

    Raises:
        FoldlineError: a part is missing, the whole archive lies there too, or the parts are those of a spanned zip
            (`.z01` ... `.zip`), which is no cut file.
    """
    parts: dict[Path, dict[int, Path]] = defaultdict(dict)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if (hit := _PART.fullmatch(path.name)) is not None:
            numbered = parts[path.with_name(hit[1])]
            if int(hit[2]) in {0, *numbered}:
                raise FoldlineError(
                    "two parts of an archive have the same number, or one has 0", where=str(path), next=_ONLY
                )
            numbered[int(hit[2])] = path
        elif (spanned := _SPANNED.fullmatch(path.name)) and path.with_name(f"{spanned[1]}.zip").is_file():
            raise FoldlineError(
                f"a zip that spans several files ({path.name} ...) cannot be unpacked here",
                where=str(path.with_name(f"{spanned[1]}.zip")),
                next=f"join it with `zip -s 0 {spanned[1]}.zip --out {spanned[1]}-whole.zip` and use that folder",
            )
    for whole, numbered in parts.items():
        _join(whole, numbered)


def _join(whole: Path, numbered: dict[int, Path]) -> None:
    """Appends the parts to one another, in the order of their numbers, under the archive's name."""
    lacking = max(numbered) - len(numbered)
    if lacking:
        missing = islice((number for number in count(1) if number not in numbered), min(lacking, 5))
        names = ", ".join(f"{whole.name}.{number:03d}" for number in missing)
        raise FoldlineError(
            f"the archive lacks {lacking} of its parts: {names}{' ...' if lacking > 5 else ''}",
            where=str(whole),
            next=f"download all parts; they are numbered from 001. {_ONLY}",
        )
    if whole.exists():
        raise FoldlineError("the archive lies there whole and in parts", where=str(whole), next="remove one of them")
    with whole.open("xb") as target:
        for number in sorted(numbered):
            with numbered[number].open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
            numbered[number].unlink()
