"""Where raw files come from. Each source puts the files of a competition below a folder that it is given.

`destination` is a temporary folder: the download stage renames it to `input/<comp>` when the whole download has
worked. A large download that can go on where it stopped is parked in `placing.parking(destination)` instead.
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from foldline.core.errors import unknown
from foldline.core.progress import say
from foldline.core.source_facts import Source
from foldline.sources.folder import fetch_folder
from foldline.sources.huggingface import fetch_huggingface
from foldline.sources.kaggle import fetch_kaggle, fetch_kaggle_dataset
from foldline.sources.packages import NPM, PIP, fetch_debian, fetch_package
from foldline.sources.placing import parking
from foldline.sources.tools import UnreachableError
from foldline.sources.torchvision import fetch_torchvision

Fetch = Callable[[Source, Path], None]

PLACED = "placed"  # the source of files that the user has put into input/<comp> by hand: nothing is fetched

SOURCES: dict[str, Fetch] = {
    "debian": fetch_debian,
    "folder": fetch_folder,
    "huggingface": fetch_huggingface,
    "kaggle": fetch_kaggle,
    "kaggle_dataset": fetch_kaggle_dataset,
    "npm": partial(fetch_package, NPM),
    "pypi": partial(fetch_package, PIP),
    "torchvision": fetch_torchvision,
}


def fetch(source: Source, destination: Path) -> Source:
    """Puts the raw files of `source` below `destination`, archives inside them unpacked.

    Returns:
        The source that served: `source`, or where it cannot be reached the first of `source.otherwise` that can.

    Raises:
        FoldlineError: a source fails otherwise than by being out of reach; `UnreachableError` where all are.
    """
    candidates = [candidate for candidate in source.alternatives() if candidate.kind != PLACED]
    for candidate in candidates:
        if candidate.kind not in SOURCES:
            raise unknown("source", candidate.kind, [*SOURCES, PLACED], where="source.kind")
    failures: list[UnreachableError] = []
    for candidate in candidates:
        if failures:
            say(f"{failures[-1].what}; trying {candidate.kind} {candidate.name} instead")
            shutil.rmtree(parking(destination), ignore_errors=True)  # another source could take it for its own
        try:
            SOURCES[candidate.kind](candidate, destination)
        except UnreachableError as error:
            failures.append(error)
        else:
            return candidate
    if len(failures) == 1:
        raise failures[0]
    reasons = [f"{tried.kind} {tried.name}: {error.what}" for tried, error in zip(candidates, failures, strict=True)]
    raise UnreachableError(
        f"none of the {len(reasons)} sources can be reached: {'; '.join(reasons)}",
        where="source",
        next=" | ".join(dict.fromkeys(error.next for error in failures)),
    )
