"""Where raw files come from. Each source puts the files of a competition below a folder that it is given.

`destination` is a temporary folder: the download stage renames it to `input/<comp>` when the whole download has
worked. A large download that can go on where it stopped is parked in `archives.parking(destination)` instead.
"""

from collections.abc import Callable
from pathlib import Path

from foldline.core.competition import Source
from foldline.core.errors import unknown
from foldline.sources.folder import fetch_folder
from foldline.sources.huggingface import fetch_huggingface
from foldline.sources.kaggle import fetch_kaggle, fetch_kaggle_dataset
from foldline.sources.pypi import fetch_pypi
from foldline.sources.torchvision import fetch_torchvision

Fetch = Callable[[Source, Path], None]

PLACED = "placed"  # the source of files that the user has put into input/<comp> by hand: nothing is fetched

SOURCES: dict[str, Fetch] = {
    "folder": fetch_folder,
    "huggingface": fetch_huggingface,
    "kaggle": fetch_kaggle,
    "kaggle_dataset": fetch_kaggle_dataset,
    "pypi": fetch_pypi,
    "torchvision": fetch_torchvision,
}


def fetch(source: Source, destination: Path) -> None:
    """Puts the raw files of `source` below `destination`, archives inside them unpacked."""
    if source.kind not in SOURCES:
        raise unknown("source", source.kind, [*SOURCES, PLACED], where="source.kind")
    SOURCES[source.kind](source, destination)
