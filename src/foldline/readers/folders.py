"""The reader of folders: every picture below a folder is a line, and its path gives the columns.

Columns: `path` (below `input/<comp>`), `name`, `stem`, `folder`, and one for each `{...}` of the pattern.
"""

from pathlib import Path

import pandas as pd

from foldline.core.competition import RowFacts
from foldline.core.errors import FoldlineError, first_few
from foldline.readers.files import list_files, raw_files
from foldline.readers.templates import IMAGE_SUFFIXES, PARTS, compile_pattern, split_suffix

LABELLED, UNLABELLED = "**/{label}/{stem}.{ext}", "**/{stem}.{ext}"  # the default patterns


def read_folders(root: Path, rows: RowFacts) -> pd.DataFrame:
    """The pictures below the folders `rows.file` (or below all of `root`) whose path matches `rows.pattern`.

    The pattern is matched against the path below that folder. A file counts as a picture when it ends like one, or
    when the pattern spells its ending out.
    """
    folders = raw_files(root, rows) if rows.file else [root]
    bases = ["" if folder == root else f"{folder.relative_to(root).as_posix()}/" for folder in folders]
    pattern = rows.pattern or (UNLABELLED if rows.target is None else LABELLED)
    compiled = compile_pattern(pattern, where="pattern")
    known = list_files(root)
    pictures = [
        (base, path) for base in bases for path in known if path.startswith(base) and _is_picture(path, pattern)
    ]
    hits = {path: hit for base, path in pictures if (hit := compiled.fullmatch(path[len(base) :]))}
    if not hits:
        seen = first_few([path[len(base) :] for base, path in pictures]) or "none"
        raise FoldlineError(
            f"no picture matches the pattern '{pattern}'",
            where=", ".join(str(root / base) for base in bases),
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
