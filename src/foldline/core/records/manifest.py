"""`input/<comp>/manifest.json`: what was downloaded."""

from typing import Any, ClassVar

from foldline.core.records.record import Part, Record


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
