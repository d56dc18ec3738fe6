"""Files on their way between machines, each with its sha256: written whole where they arrive, or not at all."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldline.core.errors import FoldlineError
from foldline.core.tables import atomic_path, sha256_file

LAST = ("meta.json", "shard.json")  # a fold, or a shard, is finished when it is there


@dataclass(frozen=True)
class Piece:
    """One file.

    Attributes:
        path: below the project folder, with `/`.
        content: its bytes as a uint8 array, or a reference to them that `get` below resolves.
    """

    path: str
    sha256: str
    content: Any


class DamagedError(Exception):
    """What arrived is not what was sent."""


Kept = dict[Path, tuple[tuple[int, ...], Piece]]  # pieces that were made before, with what tells a file's change


def stamp(path: Path) -> tuple[int, ...] | None:
    """What tells that a file has changed; None: it is gone."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def packed(
    root: Path, paths: Iterable[Path], put: Callable[[Any], Any] = lambda content: content, kept: Kept | None = None
) -> list[Piece]:
    """The files as they are now; one that is gone meanwhile is left out.

    Args:
        root: the project folder, which they lie in.
        put: what becomes of their content.
        kept: pieces to take again where their files are the same; the new ones are added.
    """
    pieces, kept = [], {} if kept is None else kept
    for path in sorted(set(paths)):
        now = stamp(path)
        if now is None:
            continue
        if path not in kept or kept[path][0] != now:
            try:
                content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
            except FileNotFoundError:
                continue
            kept[path] = now, Piece(path.relative_to(root).as_posix(), _sha256(content), put(content))
        pieces.append(kept[path][1])
    return pieces


def unpack(root: Path, pieces: Iterable[Piece], get: Callable[[Any], Any] = lambda content: content) -> list[str]:
    """Writes the files that do not lie there already with the same content, all or none; gives their names.

    A resume point is written behind what it counts on, and the record that marks a fold as finished behind all others.

    Raises:
        DamagedError: a content does not have its hash.
        FoldlineError: a name leads out of the project folder.
    """
    found = []
    for piece in sorted(pieces, key=lambda piece: (_rank(piece), piece.path)):
        path = _inside(root, piece.path)
        if path.is_file() and sha256_file(path) == piece.sha256:
            continue
        content = get(piece.content)
        if _sha256(content) != piece.sha256:
            raise DamagedError(f"{piece.path}: its content has another sha256 than was sent with it")
        found.append((path, content, piece.path))
    for path, content, _ in found:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content.data)
    return [name for _, _, name in found]


def _rank(piece: Piece) -> int:
    name = piece.path.rpartition("/")[2]
    return 2 if name in LAST else 1 if name == "resume" else 0


def _inside(root: Path, name: str) -> Path:
    parts = name.split("/")
    if not name or {"", ".", ".."} & set(parts) or "\\" in name or ":" in name:
        raise FoldlineError(f"a machine sent a file named {name[:100]!r}", next="look at who can reach the cluster")
    return root.joinpath(*parts)


def _sha256(content: Any) -> str:
    return hashlib.sha256(content.data).hexdigest()
