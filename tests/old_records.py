"""One file of each kind between stages, as foldline wrote them before they had classes of their own."""

from pathlib import Path
from typing import Any

from foldline.core.tables import read_json, write_json

FOLDER = Path(__file__).parent / "old_format"


def old(kind: str, /, **changes: Any) -> dict[str, Any]:
    """The content of `old_format/<kind>.json`; `changes` go over it."""
    content: dict[str, Any] = read_json(FOLDER / f"{kind}.json")
    return content | changes


def write_manifest(path: Path, files: list[dict[str, Any]]) -> None:
    """A manifest of these files; a size that is not given is 0."""
    write_json(path, old("manifest", files=[{"bytes": 0, **file} for file in files]))
