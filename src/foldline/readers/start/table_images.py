"""Which file each line of a table means: below one folder, or by its name wherever it lies."""

from pathlib import Path

import pandas as pd

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.readers.files import FileIndex, clean_path
from foldline.readers.start.understood import Understood
from foldline.readers.starter import image_template
from foldline.readers.templates import fill, split_suffix

# Names behind folders of another machine (`C:\\pictures\\a.png`), or without any.
_NAMES = r"{folders:(?:.*[/\\])?}{picture_name:[^/\\]*?}{blanks:\s*}"


def set_images(found: Understood, index: FileIndex, frame: pd.DataFrame, column: str, table: Path) -> "pd.Series[str]":
    """The picture of each line, empty where it has none; the facts say how it is found.

    One folder, or folders that other columns name, where that finds what there is; else the name, wherever it lies.

    Raises:
        FoldlineError: a name lies in several folders, and nothing says which is meant.
    """
    train = found.facts["train"]
    names = frame[column].map(lambda cell: clean_path(cell).rpartition("/")[2])
    anywhere = _hits(index, "**/" + names)
    template = image_template(index, frame[[column, *frame.columns.drop(column)]], column, prefer="train")
    below = _hits(index, fill(frame, template, where="image")) if template else anywhere
    if template and (below.map(len) == 1).sum() >= (anywhere.map(len) > 0).sum():
        train["image"], hits = template, below
        bare = ~frame[column].map(clean_path).str.contains("/", regex=False)
        _say_twins(found, anywhere[bare], hits[bare], template)
    else:
        train |= {"extract": {column: _NAMES}, "row_id": "picture_name", "image": "**/{picture_name}"}
        hits = anywhere
    unclear = hits[hits.map(len) > 1]
    if len(unclear):
        raise FoldlineError(
            f"{counted(len(unclear), 'lines')} could mean several pictures: {' or '.join(unclear.iloc[0][:2])}",
            where=f"{table}: {column}",
            next="write the folder into the table, before the name: the path below the table's folder",
        )
    return hits.map(lambda paths: paths[0] if paths else "")


def _hits(index: FileIndex, wanted: "pd.Series[str]") -> "pd.Series[list[str]]":
    return wanted.map(lambda path: index.candidates(clean_path(path)))


def _say_twins(
    found: Understood, anywhere: "pd.Series[list[str]]", hits: "pd.Series[list[str]]", template: str
) -> None:
    """Says where names lie in several folders, of which one was taken without being named in the table."""
    if "{" in template.rpartition("/")[0]:
        return
    twins = [(all_of, one) for all_of, one in zip(anywhere, hits, strict=True) if len(all_of) > 1 and len(one) == 1]
    if twins:
        (first, taken), where = twins[0], template.rpartition("/")[0] or "the table's folder"
        found.guesses["train.image"] = f"the pictures are those in '{where}'"
        found.said.append(
            f"warning: {counted(len(twins), 'picture names lie')} in several folders ({first_few(first, 3)}): "
            f"{taken[0]} and all others in '{where}' are taken"
        )


def plain_name(cell: str) -> str:
    """The name that a cell may mean, without folder and ending."""
    return split_suffix(cell.strip().replace("\\", "/").rpartition("/")[2])[0].casefold()
