"""Files below `input/<comp>`: those that the facts name, and the id-to-file rule.

The rule says which file a template's path means where endings, case or folders differ.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from foldline.core.cells import plain, tidy
from foldline.core.competition import RowFacts
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import manifest_of
from foldline.core.progress import say
from foldline.core.walk import walk
from foldline.readers.templates import split_suffix

LONGEST = 255  # bytes of a name: what file systems take


def raw_path(root: Path, name: str, *, where: str) -> Path:
    """A path below `root` that facts or a table name; raises FoldlineError where it leaves `root`."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise FoldlineError(f"the path leaves the folder of the raw files: '{name}'", where=where)
    if "\0" in name or any(len(part.encode("utf-8", "replace")) > LONGEST for part in path.parts):
        raise FoldlineError(f"no file can have the name {name[:60]!r}", where=where)
    return root / path


def file_names(rows: RowFacts) -> list[str]:
    """The names and patterns of `rows.file`, in their order; none where it is missing."""
    return [rows.file] if isinstance(rows.file, str) and rows.file else list(rows.file or [])


def raw_files(root: Path, rows: RowFacts) -> list[Path]:
    """The files that `rows.file` names, each once: in the order of its list; those of one pattern sorted."""
    if not file_names(rows):
        raise FoldlineError("setting 'file' is missing", where=f"reader {rows.reader}", next="name the table to read")
    return list(dict.fromkeys(path for name in file_names(rows) for path in _matching(root, name)))


def tables_of(root: Path, rows: RowFacts) -> list[Path]:
    """The tables that `rows` are read from: their files, joined ones, names of labels; of those that are there."""
    names = [*file_names(rows), rows.labels or "", *(join.file for join in rows.join)]
    if rows.target is not None and not isinstance(rows.target, str):
        names.append(rows.target.names_file or "")
    files = [path for name in names if name for path in _hits(root, name.partition(":")[0])]  # file:array
    return sorted(path for path in files if path.is_file())


def _matching(root: Path, name: str) -> list[Path]:
    """The file of that name; `*` stands for several."""
    paths = [path for path in _hits(root, name) if "*" not in name or path.is_file()]
    if not paths or not paths[0].exists():
        raise _missing(root, raw_path(root, name, where="file"))
    return paths


def _hits(root: Path, name: str) -> list[Path]:
    """The paths that a name means: only `*` stands for others, brackets and question marks for themselves."""
    path = raw_path(root, name, where="file")
    if "*" not in name:
        return [path]
    pattern = path.relative_to(root).as_posix().replace("[", "[[]").replace("?", "[?]")
    try:
        return sorted(root.glob(pattern))
    except ValueError as error:
        raise FoldlineError(
            f"'{name}' is no pattern of paths: {error}", where="file", next="`**` stands for folders, between two /"
        ) from error


def _missing(root: Path, path: Path) -> FoldlineError:
    """Names what does lie there: the folder that holds it, or the first one that exists."""
    folder = path.parent
    while not folder.is_dir() and folder != root:
        folder = folder.parent
    held = sorted(child.name for child in folder.iterdir()) if folder.is_dir() else []
    return FoldlineError(
        f"no such file: {path.relative_to(root).as_posix()}",
        where=str(folder),
        next=f"it holds: {', '.join(held[:20]) or 'nothing'}; correct 'file' in the facts",
    )


def list_files(root: Path) -> list[str]:
    """All files below `root` as paths with `/`, hidden ones, junk and the manifest left out, sorted."""
    manifest = manifest_of(root)
    own, files = manifest.relative_to(root).as_posix() if manifest.is_relative_to(root) else None, walk(root).files
    place = bisect_left(files, own or "")  # they are sorted
    if place < len(files) and files[place] == own:
        del files[place]
    return files


@dataclass
class FileIndex:
    """The files of a competition, found by exact path, by path without ending, case and spelling, and by name."""

    root: Path

    @cached_property
    def files(self) -> set[str]:
        """Their paths below `root`."""
        return set(list_files(self.root))

    @cached_property
    def loose(self) -> dict[str, list[str]]:
        """Key -> files; only asked for where a path is no file's."""
        found = defaultdict[str, list[str]](list)
        for path in sorted(self.files):
            found[_key(path)].append(path)
        return found

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Last part of a key -> files."""
        found = defaultdict[str, list[str]](list)
        for key, paths in self.loose.items():
            found[key.rpartition("/")[2]] += paths
        return {name: sorted(paths) for name, paths in found.items()}

    def candidates(self, wanted: str) -> list[str]:
        """The files that a path may mean; the exact one alone where it exists."""
        if wanted in self.files:
            return [wanted]
        return next((hits for spelling in (tidy, plain) if (hits := self._alike(wanted, _key(wanted, spelling)))), [])

    def _alike(self, wanted: str, key: str) -> list[str]:
        """The files of a key, in any folder where it holds `**/`; those of the very path alone where there are."""
        before, anywhere, after = key.partition("**/")
        if not anywhere:
            return self.loose.get(key, [])
        same_name = self.names.get(after.rpartition("/")[2], [])
        hits = [p for p in same_name if _key(p).startswith(before) and f"/{_key(p)}".endswith(f"/{after}")]
        exact = [path for path in hits if path.endswith(wanted.rpartition("**/")[2])]
        return exact or hits


def _key(path: str, spelling: Callable[[str], str] = tidy) -> str:
    """A path without its picture ending, its names in one spelling and in small letters."""
    return "/".join(spelling(name) for name in split_suffix(path)[0].split("/")).casefold()


def clean_path(path: str) -> str:
    """A table's path in foldline's form: below the folder of the raw files, also where it begins with a slash.

    >>> clean_path(".\\\\train\\\\a.png"), clean_path("/a.png")
    ('train/a.png', 'a.png')
    """
    path = path.strip().replace("\\", "/")
    return re.sub(r"\A(\./|/)+", "", path) if path.startswith((".", "/")) else path


def resolve_images(index: FileIndex, wanted: list[str], *, where: str) -> list[str]:
    """The file of each wanted path, or "" where there is none. Differences are reported.

    Raises:
        FoldlineError: a path leaves the folder, or may mean several files.
    """
    files: list[str] = []
    unclear: list[str] = []
    listed = index.files
    if listed.issuperset(wanted):  # nearly always, and there may be millions
        return list(wanted)
    for path in wanted:
        if path in listed:
            files.append(path)
            continue
        hits = index.candidates(clean_path(path))
        files.append(hits[0] if hits else "")
        if len(hits) > 1:
            unclear.append(f"{path} ({' or '.join(hits[:2])})")
    if unclear:
        raise FoldlineError(
            f"{len(unclear)} image paths may mean several files: {first_few(unclear, 3)}",
            where=where,
            next="name the folder or the extension in the template",
        )
    _report(wanted, files, where)
    return files


def _report(wanted: list[str], files: list[str], where: str) -> None:
    """Says how many files are named otherwise than the facts say, unless the facts leave the ending or folder open."""
    differing = [
        f"{path} -> {hit}"
        for path, hit in zip(wanted, files, strict=True)
        if hit and hit != path and hit != clean_path(path) and "**/" not in path and split_suffix(path)[1]
    ]
    if differing:
        words = f"{counted(len(differing), 'image files differ')} from their ids in case, ending or spelling"
        say(f"{where}: {words}: {first_few(differing, 2)}")
