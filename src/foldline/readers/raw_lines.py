"""The raw lines that test rows are read from: read with the types of their cells, changed by name, written again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from foldline.core.cells import numbers
from foldline.core.competition import RowFacts
from foldline.core.errors import FoldlineError
from foldline.core.tables import read_csv, read_json, read_parquet, write_json, write_parquet, write_text
from foldline.readers.files import raw_files
from foldline.readers.folders import UNLABELLED, read_folders
from foldline.readers.pictures import numbered_columns
from foldline.readers.tables import is_parquet, separator_of, texts_of
from foldline.readers.templates import PARTS, Pattern, match, parts_of, split_suffix

TABLES = ("csv", "tsv", "parquet", "json", "coco", "folders")
PATH = "path"


class CannotBeMadeError(FoldlineError):
    """A hidden test set of this layout cannot be made."""


@dataclass(frozen=True)
class RawLines:
    """The lines of a test table, or the pictures of a test folder.

    Attributes:
        rows: how they become rows.
        files: the tables, none for the reader of folders.
        frame: a line each, cells of their own types; of folders the columns that the reader gives.
        texts: the cells as text, without those that hold pixels.
        extracted: the columns that `extract` makes -> the column that they are parts of.
    """

    rows: RowFacts
    files: list[Path]
    frame: pd.DataFrame
    texts: pd.DataFrame
    extracted: Mapping[str, str]

    @classmethod
    def read(cls, root: Path, rows: RowFacts) -> "RawLines":
        """The lines below `root`; raises CannotBeMadeError for a reader whose files cannot be written."""
        if rows.reader not in TABLES:
            raise CannotBeMadeError(f"no hidden test set can be made for reader {rows.reader}")
        files = [] if rows.reader == "folders" else raw_files(root, rows)
        frame = pd.concat([_read(path, rows) for path in files], ignore_index=True) if files else None
        frame = read_folders(root, rows) if frame is None else frame
        sources = {
            name: column for column, text in rows.extract.items() for name in Pattern(text, where="extract").columns
        }
        return cls(rows, files, frame, texts_of(frame[cls._words(frame, rows)]), sources)

    @staticmethod
    def _words(frame: pd.DataFrame, rows: RowFacts) -> list[str]:
        """The columns that hold no pixels."""
        pixels = {*rows.pixels.columns, *numbered_columns(frame, rows.pixels)} if rows.pixels else set[str]()
        return [name for name in frame.columns if name not in pixels and name != rows.encoded]

    @property
    def holds_pictures(self) -> bool:
        """Whether the pictures stand in the cells."""
        return self.rows.pixels is not None or self.rows.encoded is not None

    @property
    def picture_columns(self) -> list[str]:
        """The columns of pixels or of encoded pictures."""
        return [name for name in self.frame.columns if name not in self.texts.columns]

    def names_in(self, template: str) -> list[str]:
        """The names that a template, or a column, is made of; raises CannotBeMadeError for those of joined tables."""
        fields = [template] if template in self.texts.columns else []
        fields = fields or [field for _, field, _ in parts_of(template, where="template") if field]
        for field in fields:
            known = {*self.texts.columns, *self.extracted}
            if field not in known and field.rpartition(".")[0] not in known:
                raise CannotBeMadeError(f"'{field}' stands in no table that could be written anew")
        return fields

    def derived(self, texts: pd.DataFrame) -> pd.DataFrame:
        """Changed lines with the columns that are made of others, as the reader and `extract` make them."""
        if self.rows.reader == "folders":
            texts = texts.assign(**{part: texts[PATH].map(PARTS[part]) for part in ("name", "stem", "folder")})
            hits = [self._pattern(path).match for path in texts[PATH]]
            names = list(dict.fromkeys(name for hit in hits for name in hit.groupdict()))
            texts = texts.assign(**{name: [hit.groupdict().get(name) or "" for hit in hits] for name in names})
        for column, pattern in self.rows.extract.items():
            parts = match(texts[column], pattern, where="extract")
            texts = texts.assign(**{name: parts[name] for name in parts.columns})
        return texts

    def put(self, line: dict[str, str], name: str, text: str) -> None:
        """Changes a line so that `name`, a column, a part of one or a part of a pattern, reads `text`."""
        if self.rows.reader == "folders":
            found = self._pattern(line[PATH])
            if name in found.match.groupdict():
                line[PATH] = found.replaced(name, text)
            else:
                line[PATH] = with_part(line[PATH], "name" if name == PATH else name, PurePosixPath(text).name)
        elif name in self.extracted:
            column = self.extracted[name]
            line[column] = Found.of(line[column], "", [self.rows.extract[column]]).replaced(name, text)
        elif name in line:
            line[name] = text
        else:
            column, _, part = name.rpartition(".")
            line[column] = with_part(line[column], part, text)

    def _pattern(self, path: str) -> "Found":
        names = [self.rows.file] if isinstance(self.rows.file, str) else list(self.rows.file or [])
        base = next((f"{name.rstrip('/')}/" for name in names if path.startswith(f"{name.rstrip('/')}/")), "")
        given = [self.rows.pattern] if self.rows.pattern else [UNLABELLED, UNLABELLED.removesuffix(".{ext}")]
        return Found.of(path, base, given)

    def write(self, root: Path, lines: pd.DataFrame, source: Path) -> None:
        """Writes the table below `root`: all lines into the first file, the others keep none.

        Args:
            lines: cells of their own types.
            source: where `files` lie.
        """
        for number, path in enumerate(self.files):
            _write(root / path.relative_to(source), lines if number == 0 else lines.iloc[:0], path, self.rows)


@dataclass(frozen=True)
class Found:
    """A text that a pattern matches, behind `base`."""

    base: str
    match: Any

    @classmethod
    def of(cls, text: str, base: str, patterns: Sequence[str]) -> "Found":
        """The match of the first pattern that does."""
        for pattern in patterns:
            hit = Pattern(pattern, where="pattern").compiled.fullmatch(text[len(base) :])
            if hit is not None:
                return cls(base, hit)
        raise CannotBeMadeError(f"a new name does not match the pattern '{patterns[0]}': {text}")

    def replaced(self, name: str, text: str) -> str:
        """The text with another part."""
        begin, end = self.match.span(name)
        whole = self.match.string
        return f"{self.base}{whole[:begin]}{text}{whole[end:]}"


def with_part(path: str, part: str, text: str) -> str:
    """A path with another part (`readers.templates.PARTS`).

    >>> with_part("a/b.png", "stem", "c"), with_part("a/b.png", "name", "c.jpg")
    ('a/c.png', 'a/c.jpg')
    """
    old = PurePosixPath(path)
    if part == "stem":
        return str(old.with_name(text + split_suffix(old.name)[1]))
    if part == "name":
        return str(old.with_name(text))
    if part == "folder":
        return str(old.parent.with_name(text) / old.name)
    return str(PurePosixPath(text) / old.name)


def of_its_kind(text: str, cell: Any) -> Any:
    """Text as a cell of the same type as another one."""
    if isinstance(cell, int | np.integer) and text.lstrip("-").isdigit():
        return int(text)
    if isinstance(cell, float | np.floating):
        value = numbers(pd.Series([text], dtype=str))[0]
        return text if np.isnan(value) else float(value)
    return text


def _read(path: Path, rows: RowFacts) -> pd.DataFrame:
    if is_parquet(path):
        return read_parquet(path)
    if rows.reader in ("json", "coco"):
        content = read_json(path)
        records = content.get("images") if rows.reader == "coco" else content
        if not isinstance(records, list):
            raise CannotBeMadeError(f"{path.name} holds no list of objects")
        return pd.DataFrame({key: pd.Series([r.get(key) for r in records], dtype=object) for key in records[0]})
    return read_csv(path, separator=separator_of(path, rows), columns=rows.columns or (), encoding=rows.encoding)


def _write(path: Path, lines: pd.DataFrame, former: Path, rows: RowFacts) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_parquet(path):
        write_parquet(path, lines)
    elif rows.reader in ("json", "coco"):
        content = read_json(former)
        records = lines.to_dict(orient="records")
        write_json(path, content | {"images": records} if rows.reader == "coco" else records)
    else:
        separator = separator_of(path, rows)
        separator = " " if separator == "whitespace" else separator
        if len(separator) > 1 or path.suffix in (".gz", ".zip", ".bz2", ".xz"):
            raise CannotBeMadeError(f"{path.name}: no table with this separator or ending can be written")
        text = lines.to_csv(index=False, header=rows.columns is None, sep=separator, lineterminator="\n")
        write_text(path, text) if rows.encoding == "utf-8" else path.write_bytes(text.encode(rows.encoding))
