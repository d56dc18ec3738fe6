"""The reader of folders: every picture below a folder is a line, and its path gives the columns.

Columns: `path` (below `input/<comp>`), `name`, `stem`, `folder`, and one for each `{...}` of the pattern.
"""

from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd

from foldline.core.competition import RowFacts
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.picture_kinds import HEAD, picture_kind
from foldline.core.progress import Progress, say
from foldline.core.walk import walk
from foldline.readers.files import list_files, raw_files
from foldline.readers.templates import IMAGE_SUFFIXES, PARTS, Pattern, split_suffix

LABELLED, UNLABELLED = "**/{label}/{stem}.{ext}", "**/{stem}.{ext}"  # the default patterns; the ending may be missing
TEST_WORDS = {"test", "tests", "testing"}
SPLIT_WORDS = TEST_WORDS | {"train", "training", "val", "valid", "validation", "holdout", "unlabeled", "unlabelled"}
NO_CLASSES = SPLIT_WORDS | {"thumb", "thumbs", "thumbnail", "thumbnails", "preview", "previews"}


def read_folders(root: Path, rows: RowFacts) -> pd.DataFrame:
    """The pictures below the folders `rows.file` (or below all of `root`) whose path matches `rows.pattern`.

    The pattern is matched against the path below that folder. A file is a picture when its content says so, when it
    ends like one, or when the pattern spells its ending out. How many files are no rows is said, and why.

    Raises:
        FoldlineError: no picture matches; by the default pattern a folder such as `test` would become a class.
    """
    folders = raw_files(root, rows) if rows.file else [root]
    bases = ["" if folder == root else f"{folder.relative_to(root).as_posix()}/" for folder in folders]
    default = UNLABELLED if rows.target is None else LABELLED
    patterns = [rows.pattern] if rows.pattern else [default, default.removesuffix(".{ext}")]
    compiled = [Pattern(pattern, where="pattern") for pattern in patterns]
    below = {path: path[len(base) :] for base in bases for path in list_files(root) if path.startswith(base)}
    pictures = _pictures(root, list(below), patterns[0])
    matched = [one.matches([below[path] for path in pictures]) for one in compiled]
    tried = zip(pictures, *reversed(matched), strict=True)  # of several that match, the first pattern counts
    hits = {path: hit for path, *found in tried for hit in found if hit is not None}
    if not hits:
        raise FoldlineError(
            f"no picture matches the pattern '{patterns[0]}'",
            where=", ".join(str(root / base) for base in bases),
            next=f"the pictures there are: {first_few([below[path] for path in pictures]) or 'none'}",
        )
    if not rows.pattern and rows.target is not None:
        labels = {below[path]: hit["label"] for path, hit in hits.items()}
        _check_classes(labels, f"configs/{root.name}/competition.yaml")
    _report(root, bases, below, pictures, set(hits))
    paths = pd.Series(list(hits), dtype=str)
    frame = pd.DataFrame({"path": paths, **{part: paths.map(PARTS[part]) for part in ("name", "stem", "folder")}})
    for name in compiled[0].columns:
        frame[name] = pd.Series([hit.get(name, "") for hit in hits.values()], dtype=str)
    return frame


def _pictures(root: Path, paths: list[str], pattern: str) -> list[str]:
    """Those of the files that are pictures; says which are called so and are none."""
    spelled = "." + pattern.rpartition(".")[2]
    is_other = "{" not in spelled and "*" not in spelled and spelled not in IMAGE_SUFFIXES
    pictures, doubtful = list[str](), list[str]()
    with Progress() as progress:
        for path in progress.over(paths, "look at files", total=len(paths)):
            suffix = split_suffix(path)[1].lower()
            if is_other and path.endswith(spelled):
                pictures.append(path)
                continue
            with (root / path).open("rb") as handle:
                kind = picture_kind(handle.read(HEAD))
            if kind or suffix:
                pictures.append(path)
            if not kind and suffix not in ("", ".dcm", ".dicom"):  # a DICOM may lack its mark
                doubtful.append(path)
    if doubtful:
        say(
            f"warning: {counted(len(doubtful), 'files are')} called pictures and hold none: "
            f"{first_few(doubtful)}; training will "
            "stop at them, or leave them out with data.bad_images=skip"
        )
    return pictures


def _report(root: Path, bases: list[str], below: dict[str, str], pictures: list[str], used: set[str]) -> None:
    """Says how many files below the folders are no rows and why, and which folders give none."""
    known, seen = set(pictures), walk(root)
    unmatched = [path for path in pictures if path not in used]
    others = [path for path in below if path not in known]
    reasons = [f"{len(others)} hold no picture that can be read ({first_few(others, 3)})"] if others else []
    reasons += [f"{len(unmatched)} do not match the pattern ({first_few(unmatched, 3)})"] if unmatched else []
    reasons += [seen.left_out_in_words] if seen.left_out else []
    if reasons:
        folders = ", ".join(f"{root.name}/{base}" for base in bases)
        say(f"{folders}: {len(used)} of {len(below)} files are rows; left out: {'; '.join(reasons)}")
    filled = {parent for path in used for parent in _folders(path)}
    held = [parent for path in below for parent in _folders(path)] + seen.empty
    none = {name for name in held if name not in filled and any(f"{name}/".startswith(base) for base in bases)}
    barren = sorted(name for name in none if name.rpartition("/")[0] not in none)
    if barren:
        say(f"warning: {counted(len(barren), 'folders give')} no row: {first_few(barren, 10)}")


def _folders(path: str) -> list[str]:
    """All folders above a file.

    >>> _folders("a/b/c.png")
    ['a', 'a/b']
    """
    parts = path.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _check_classes(labels: dict[str, str], where: str) -> None:
    """Refuses folders that are most likely no classes; says where class folders lie at different depths.

    Args:
        labels: the class of each path, found by the default pattern.
        where: for messages.
    """
    at_depth: dict[int, Counter[str]] = defaultdict(Counter)
    for path, label in labels.items():
        at_depth[path.count("/")][label] += 1
    usual = max(at_depth, key=lambda depth: (len(at_depth[depth]), depth))
    words = [
        f"{depth} deep: " + first_few([f"{name} ({counted(n, 'pictures')})" for name, n in counts.most_common()], 3)
        for depth, counts in sorted(at_depth.items())
    ]
    odd = [name for depth, names in at_depth.items() if depth != usual for name in names]
    no_class = sorted({name for name in odd if name.lower() in NO_CLASSES} - set(at_depth[usual]))
    if no_class:
        raise FoldlineError(
            f"the folder '{no_class[0]}' would become a class, and lies at another depth than the classes: "
            + "; ".join(words),
            where=f"{where}: pattern",
            next=f'without it: pattern: "{"*/" * (usual - 1)}{{label}}/{{stem}}.{{ext}}", or `file` with the folders '
            f'that hold classes; with it: pattern: "{LABELLED}"',
        )
    if len(at_depth) > 1:
        say(f"warning: class folders lie at different depths: {'; '.join(words)}")
    doubtful = sorted(name for name in at_depth[usual] if name.lower() in NO_CLASSES)
    if doubtful:
        say(f"warning: the folders {first_few(doubtful)} are classes here; if they are none, set `file` or `pattern`")
    parts = Counter(part for path in labels for part in path.split("/")[:-2] if part.lower() in SPLIT_WORDS)
    if any(part.lower() in TEST_WORDS for part in parts):
        counts = ", ".join(f"{part} ({counted(n, 'pictures')})" for part, n in parts.items())
        say(f"warning: all of these folders are training rows: {counts}; if that is not wanted set train.file")
