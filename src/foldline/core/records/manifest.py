"""`input/<comp>/manifest.json`: what was downloaded; and the note that a download only has to be put in its place."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from foldline.core.records.record import SCHEMA, Part, Record
from foldline.core.tables import require_file


class RawFile(Part):
    """A raw file: its path below `input/<comp>`, its size in bytes, and the sha256 of its content."""

    path: str
    bytes: int
    sha256: str


class Manifest(Record):
    """The raw files.

    Attributes:
        source: where they came from, as the facts' `source`.
    """

    made_by: ClassVar[str] = "move this file away and run make download again"

    comp: str
    source: dict[str, Any]
    files: list[RawFile]

    @property
    def hashes(self) -> dict[str, str]:
        """The sha256 of each file, by its path."""
        return {file.path: file.sha256 for file in self.files}

    @classmethod
    def hashes_at(cls, path: Path) -> dict[str, str]:
        """`hashes` of a file, without a check of what else it says: a million files are read in a second."""
        require_file(path, next=cls.made_by)
        with suppress(ValueError, LookupError, TypeError, RecursionError):
            content = json.loads(path.read_bytes())
            found = {file["path"]: file["sha256"] for file in content["files"]}
            if content.get("schema", SCHEMA) <= SCHEMA and all(map(str.isascii, found.values())):
                return found
        return cls.read(path).hashes  # which refuses it in words

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether `path` is a file that foldline wrote, be it damaged, and no `manifest.json` of the data's own."""
        if not path.is_file():
            return False
        with path.open("rb") as handle:
            return re.match(rb'\s*(\{\s*"schema":.*|$)', handle.read(100), re.DOTALL) is not None


class RawHashes(Mapping[str, str]):
    """The sha256 of each raw file by its path, read when the first is asked for; whether all differ is seen
    without their paths, in a third of the time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _known(self) -> dict[str, str]:
        return Manifest.hashes_at(self.path)

    @cached_property
    def _values(self) -> list[bytes]:
        content = self.path.read_bytes()
        found = re.findall(rb'"sha256": "([0-9a-f]{64})"', content)
        usual = content.startswith(b'{\n "schema": %d,' % SCHEMA) and content.endswith(b"]\n}\n")
        whole = len(found) == content.count(b'"sha256"') == content.count(b'"path"')
        return found if usual and whole else [value.encode() for value in self._known.values()]

    def all_differ(self) -> bool:
        """Whether no two files have the same content."""
        return len(set(self._values)) == len(self._values)

    def __getitem__(self, path: str) -> str:
        return self._known[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class Fetched(Record):
    """All files of a download are there, and only have to be hashed and to take their place.

    Attributes:
        source: where they came from, as in the manifest.
    """

    made_by: ClassVar[str] = "remove this file and run make download again"

    comp: str
    source: dict[str, Any]
