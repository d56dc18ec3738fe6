"""The reader of folders: every picture below a folder is a line, and its path gives the columns.

Columns: `path` (below `input/<comp>`), `name`, `stem`, `folder`, and one for each `{...}` of the pattern.
"""

from pathlib import Path

import pandas as pd

from foldline.core.competition import Rows
from foldline.core.errors import FoldlineError, first_few
from foldline.readers.files import list_files, raw_files
from foldline.readers.templates import IMAGE_SUFFIXES, PARTS, compile_pattern, split_suffix

LABELLED, UNLABELLED = "**/{label}/{stem}.{ext}", "**/{stem}.{ext}"  # the default patterns


def read_folders(root: Path, rows: Rows) -> pd.DataFrame:
    """The pictures below `rows.file` (or below all of `root`) whose path matches `rows.pattern`.

    The pattern is matched against the path below that folder. A file counts as a picture when it ends like one, or
    when the pattern spells its ending out.
    """
    base = f"{raw_files(root, rows)[0].relative_to(root).as_posix()}/" if rows.file else ""
    pattern = rows.pattern or (UNLABELLED if rows.target is None else LABELLED)
    compiled = compile_pattern(pattern, where="pattern")
    pictures = [path for path in list_files(root) if path.startswith(base) and _is_picture(path, pattern)]
    hits = {path: hit for path in pictures if (hit := compiled.fullmatch(path[len(base) :]))}
    if not hits:
        seen = first_few([path[len(base) :] for path in pictures]) or "none"
        raise FoldlineError(
            f"no picture matches the pattern '{pattern}'",
            where=str(root / base),
            next=f"the pictures there are: {seen}",
        )
    paths = pd.Series(list(hits), dtype=str)
    frame = pd.DataFrame({"path": paths, **{part: paths.map(PARTS[part]) for part in ("name", "stem", "folder")}})
    for name in compiled.groupindex:
        frame[name] = pd.Series([hit[name] for hit in hits.values()], dtype=str)
    return frame


def _is_picture(path: str, pattern: str) -> bool:
    spelled = "." + pattern.rpartition(".")[2]
    is_other = "{" not in spelled and "*" not in spelled and spelled not in IMAGE_SUFFIXES
    return split_suffix(path)[1] != "" or (is_other and path.endswith(spelled))
