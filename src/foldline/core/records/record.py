"""What the records have in common: how they are read, written, and refused in words."""

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foldline.core.errors import FoldlineError
from foldline.core.tables import read_json, require_file, write_json

SCHEMA = 1


class Part(BaseModel):
    """A frozen part of a record. Keys that this version does not know are kept, and written back with the rest."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Record(Part):
    """One file. What a file of before lacks has a default here, and is not written into it."""

    made_by: ClassVar[str]  # what to type for a new file
    schema_version: int = Field(SCHEMA, alias="schema")

    @classmethod
    def read(cls, path: Path, *, next: str = "") -> Self:
        """The content of the file.

        Args:
            next: what to do where there is no file.

        Raises:
            FoldlineError: no file, no JSON, no mapping, a key that is missing or holds something else, or a schema
                that a later version wrote.
        """
        require_file(path, next=next or cls.made_by)
        content = read_json(path, next=cls.made_by, exact=True)
        schema = content.get("schema", SCHEMA) if isinstance(content, dict) else None
        if isinstance(schema, int) and schema > SCHEMA:
            what = (
                f"a later version of foldline wrote this file: its schema is {schema}, and this version reads {SCHEMA}"
            )
            raise FoldlineError(what, where=str(path), next=f"use that version, or: {cls.made_by}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problems = "; ".join(_problem(item) for item in error.errors()[:5])
            raise FoldlineError(f"is not what foldline wrote: {problems}", where=str(path), next=cls.made_by) from error

    @classmethod
    def read_if_there(cls, path: Path) -> Self | None:
        """The content of the file, None where there is no file; raises as `read`."""
        return cls.read(path) if path.is_file() else None

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        write_json(
            path, {"schema": self.schema_version} | self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        )

    def changed(self, **fields: Any) -> Self:
        """The record with these fields instead, validated."""
        return self.model_validate(self.model_dump(by_alias=True, exclude_unset=True) | fields)


def _problem(item: Any) -> str:
    """One validation error in the user's words."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return f"the key '{key}' is missing"
    if not key:
        return "it holds no `key: value` mapping"
    return f"'{key}': {item['msg'].removeprefix('Value error, ')}, got {str(item['input'])[:40]!r}"
