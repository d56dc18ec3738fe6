"""Which file marks what is to be found in a row's picture. Reads the names of files; writes nothing."""

import pandas as pd

from foldline.core.cells import is_missing
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.progress import say
from foldline.readers.files import FileIndex, clean_path, resolve_images
from foldline.readers.templates import fill


def mask_files(lines: pd.DataFrame, mask: str, index: FileIndex, *, where: str) -> "pd.Series[str]":
    """The mask's file of each line, "" where it has none; how many have one is said.

    Args:
        mask: a column, whose cells name files or are empty; or a template, of which some files are not there.
        index: the files of the competition.

    Raises:
        FoldlineError: no line has a mask, or a cell names a file that is not there.
    """
    paths = fill(lines, mask, where=where)
    by_column = mask in lines.columns
    named = ~is_missing(paths) if by_column else pd.Series(True, index=paths.index)
    wanted = [clean_path(path) for path in paths[named].tolist()]
    found = pd.Series(resolve_images(index, wanted, where=where), index=paths.index[named], dtype=str)
    files = found.reindex(paths.index, fill_value="")
    lacking = paths[named & (files == "")].tolist()
    if by_column and lacking:
        raise FoldlineError(
            f"{counted(len(lacking), 'masks are')} not there: {first_few(lacking)}",
            where=where,
            next="correct these cells, or empty them: a row without a mask is learnt by its label alone",
        )
    count = int((files != "").sum())
    if not count:
        raise FoldlineError(
            f"none of {len(files)} rows has a mask" + (f": there is no file such as {lacking[0]}" if lacking else ""),
            where=where,
            next="correct 'mask' in the facts, or leave it out; files that came after the download are not in the "
            "competition's input folder yet: remove that folder and its manifest, then make download",
        )
    say(f"{where}: {count} of {len(files)} rows have a mask")
    return files
