"""The files below a folder, as every stage sees them: one walk for downloading and for reading.

Linked folders are walked like others. Left out and counted: what systems, network drives and editors put beside
pictures, hidden files, and links that lead nowhere or back to a folder above.
"""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from foldline.core.counted import counted
from foldline.core.errors import first_few
from foldline.core.progress import say

# Synology, QNAP, Windows, macOS: thumbnails, recycle bins and settings of folders.
JUNK = {
    "__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found",
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
}  # fmt: skip
NOWHERE, BACK, HIDDEN = "links that lead nowhere", "links to a folder above", "hidden files"


@dataclass(frozen=True)
class Walk:
    """What lies below a folder.

    Attributes:
        files: their paths below it, with `/`, sorted.
        left_out: what was no file to read -> how many; hidden names directly below the folder are not counted.
        empty: the folders below it that hold nothing, sorted.
    """

    files: list[str]
    left_out: "Counter[str]"
    empty: list[str]

    @property
    def left_out_in_words(self) -> str:
        """Such as `2 Thumbs.db, 24 in @eaDir`; empty where nothing was left out."""
        return ", ".join(f"{count} {name}" for name, count in sorted(self.left_out.items()))

    def remark(self, folder: str) -> None:
        """Says what was left out below a folder of this name, and which folders hold nothing."""
        if self.left_out:
            say(f"{folder}: left out, since it is no data: {self.left_out_in_words}")
        if self.empty:
            say(f"{folder}: {counted(len(self.empty), 'folders are')} empty: {first_few(self.empty)}")


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is never data.

    >>> is_junk("__MACOSX"), is_junk("._0.jpg"), is_junk("thumbs")
    (True, True, False)
    """
    return name.startswith("._") or name.lower() in JUNK


def walk(root: Path) -> Walk:
    """All files below `root`; of a folder that is linked in several times each of its paths."""
    files, empty, left_out = list[str](), list[str](), Counter[str]()
    pending = [("", os.path.realpath(root), frozenset[str]())]
    while pending:
        prefix, folder, above = pending.pop()
        entries = list(os.scandir(folder))
        empty += [] if entries or not prefix else [prefix.rstrip("/")]
        for entry in entries:
            name = entry.name
            if name[0] != "." and name.lower() not in JUNK and entry.is_file(follow_symlinks=False):
                files.append(prefix + name)  # nearly all
                continue
            reason = _reason(entry, above | {folder})
            if reason and (prefix or not entry.name.startswith(".")):
                left_out[reason] += _count(entry)
            elif not reason and entry.is_dir():
                pending.append((f"{prefix}{entry.name}/", os.path.realpath(entry.path), above | {folder}))
            elif not reason and entry.is_file():
                files.append(prefix + entry.name)
    return Walk(sorted(files), left_out, sorted(empty))


def _reason(entry: "os.DirEntry[str]", above: frozenset[str]) -> str:
    """Why an entry is no data; empty where it may be."""
    folder = entry.is_dir()
    if entry.name.startswith("."):
        return f"in {entry.name}" if folder else HIDDEN
    if is_junk(entry.name):
        return f"in {entry.name}" if folder else entry.name.strip()
    if not entry.is_symlink():
        return ""
    if not folder and not entry.is_file():
        return NOWHERE
    return BACK if folder and os.path.realpath(entry.path) in above else ""


def _count(entry: "os.DirEntry[str]") -> int:
    """The files in a folder that is left out; else 1."""
    if entry.is_symlink() or not entry.is_dir():
        return 1
    return sum(len(names) for _, _, names in os.walk(entry.path))
