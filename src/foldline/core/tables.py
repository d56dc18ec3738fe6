"""The only reader and writer of CSV, Parquet and JSON; every write is whole or absent.

A file is written under a temporary name beside its place, flushed to the disk, and renamed. Whoever
reads a path therefore sees the old content or the new, never a half.
"""

import codecs
import csv
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.csv_text import csv_text
from foldline.core.errors import FoldlineError, first_few
from foldline.core.modes import set_mode, usual_mode
from foldline.core.processes import is_gone, owner
from foldline.core.row_groups import RowGroups, parquet_errors

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic_path(path: Path, *, former: Path | None = None) -> Iterator[Path]:
    """A temporary path to write to; it takes the name `path` when the block ends without an error.

    The temporary file is removed when the block raises, so nothing half-written stays behind; that of a process that
    was killed is removed by the next one.

    Args:
        former: the name that a file takes which has the name `path` so far; None: it is replaced.

    Raises:
        OSError: a full disk, a folder that cannot be written to; it names `path`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(path.parent)
        temporary = temporary_name(path)
        try:
            mode = usual_mode(temporary)  # makes it
            yield temporary
            set_mode(temporary, mode)
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            if former is not None and path.is_file():
                _name_also(path, former)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink()
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(temporary_name(path))):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def scratch_folder(parent: Path, name: str = "scratch") -> Iterator[Path]:
    """An empty folder inside `parent`, removed when the block ends, or by the next process if this one is killed."""
    parent.mkdir(parents=True, exist_ok=True)
    remove_orphans(parent)
    folder = temporary_name(parent / name)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary_name(path: Path) -> Path:
    """The name under which this process writes `path`: it says whose it is."""
    return path.with_name(f".{path.name}.{owner()}.tmp")


@cache
def remove_orphans(folder: Path) -> None:
    """Removes what processes that are gone were writing into a folder, once for each folder."""
    for path in folder.glob(".*.tmp"):
        if is_gone(path, ".".join(path.name.removesuffix(".tmp").rsplit(".", 3)[1:])):
            remove(path)


def remove(path: Path) -> None:
    """Removes a file or a folder with all that is in it, as far as that is allowed."""
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _name_also(path: Path, former: Path) -> None:
    """Gives a file a second name, so that it is never without one; a file system that has no such renames it."""
    former.unlink(missing_ok=True)
    try:
        former.hardlink_to(path)
    except OSError:
        path.replace(former)


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` survive a power cut; a no-op where folders cannot be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Writes UTF-8 text, or the pieces of one, with `\\n` line ends, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as handle:
        handle.writelines([text] if isinstance(text, str) else text)


def read_json(path: Path, *, next: str = "", exact: bool = False) -> Any:
    """The content of a JSON file; raises FoldlineError with the line where it is broken.

    Args:
        exact: NaN and Infinity are refused, which are no JSON.
    """
    require_file(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_no_number if exact else None)
        if re.search(r"\\u[dD][89a-fA-F]", text):  # half of a letter can be written so, and never as UTF-8
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise FoldlineError(f"not valid JSON: {error}", where=str(path), next=next) from error
    return content


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Writes an array as `.npy`; by itself numpy says of a full disk how many numbers it wrote, and not why."""
    with path.open("wb") as handle:
        np.lib.format.write_array(SimpleNamespace(write=handle.write), array, allow_pickle=False)


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as indented JSON, atomically; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_csv(
    path: Path,
    *,
    required: Sequence[str] = (),
    separator: str = ",",
    columns: Sequence[str] | None = None,
    encoding: str = "utf-8",
) -> "pd.DataFrame":
    """A table whose every cell is a string, exactly as it stands in the file.

    `000123`, `1e5` and `NA` stay what they are: pandas would read 123.0, 100000.0 and a missing value.

    Args:
        path: the file; a name that ends in .gz, .zip, .bz2 or .xz is unpacked while reading.
        required: columns that must be there.
        separator: exactly these characters, or "whitespace" for runs of blanks.
        columns: names for a file that has no header line.
        encoding: of the file; a mark at its beginning is no part of the table.

    A row with more cells than the header is refused. A first column without a name (an index
    that somebody saved) is called "".
    """
    require_file(path)
    frame = _parse_csv(path, separator, columns, encoding)
    require_columns(frame, required, where=str(path))
    return frame


def require_columns(frame: "pd.DataFrame", columns: Sequence[str], *, where: str) -> None:
    """Raises FoldlineError for columns that a table lacks; names those that it has."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        known = first_few(list(frame.columns), 20)
        raise FoldlineError(f"has no column {first_few(missing)}", where=where, next=f"its columns are: {known}")


def _parse_csv(path: Path, separator: str, columns: Sequence[str] | None, encoding: str) -> "pd.DataFrame":
    """The table of text; raises FoldlineError where pandas cannot read one."""
    import pandas as pd

    options = csv_options(separator, encoding)
    header = {"header": None, "names": list(columns)} if columns else {"header": "infer"}
    with csv_refusals(path, encoding):
        frame: pd.DataFrame = pd.read_csv(path, **options, **header)
        if "engine" in options:
            frame = frame.fillna("")  # Python's engine gives a number for a cell that a short line lacks
        if frame.columns[0] == "Unnamed: 0":
            first_cell = pd.read_csv(path, **options, header=None, nrows=1).iloc[0, 0]
            frame = frame.rename(columns={"Unnamed: 0": first_cell})
    return frame


def csv_options(separator: str = ",", encoding: str = "utf-8") -> dict[str, Any]:
    """What makes pandas give every cell as it stands in the file."""
    options: dict[str, Any] = {
        "dtype": str,
        "keep_default_na": False,
        "na_filter": False,
        "index_col": False,
        "sep": r"\s+" if separator == "whitespace" else separator,
        "encoding": "utf-8-sig" if encoding == "utf-8" else encoding,
    }
    if separator != "whitespace" and (len(separator) > 1 or not separator.isascii()):
        # pandas would take it for a regular expression
        options |= {"sep": re.escape(separator), "engine": "python"}
    return options


@contextmanager
def csv_refusals(path: Path, encoding: str = "utf-8") -> Iterator[None]:
    """Raises FoldlineError where pandas cannot read a table, or would read less than all of it."""
    import pandas as pd

    mend = "open it in an editor and mend it"
    try:
        with warnings.catch_warnings():
            # pandas only warns when a row has more cells than the header, and drops them.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except pd.errors.ParserWarning as error:
        raise FoldlineError("a row has more cells than the header", where=str(path), next=mend) from error
    except UnicodeError as error:
        raise _not_of_encoding(path, encoding) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
        raise FoldlineError(f"cannot be read as a table: {error}", where=str(path), next=mend) from error


def _not_of_encoding(path: Path, encoding: str) -> FoldlineError:
    """The error for a table of another encoding: which it most likely is, and what it would read."""
    with path.open("rb") as handle:
        head = handle.read(1 << 20)
    likely = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "cp1252"
    odd = [line for line in head.decode(likely, "replace").splitlines() if not line.isascii()]
    sample = f" ('{odd[0][:60].strip()}')" if odd and odd[0].isprintable() else ""
    return FoldlineError(
        f"the table is not written in {encoding}; it looks like {likely}{sample}",
        where=str(path),
        next=f"where the facts name this table (train, test, join) add encoding: {likely}; or save it as UTF-8",
    )


def write_csv(path: Path, frame: "pd.DataFrame") -> None:
    """Writes a table with `\\n` line ends and no index column, atomically."""
    write_text(path, csv_text(frame))


def read_parquet(path: Path, *, required: Sequence[str] = (), next: str = "") -> "pd.DataFrame":
    """A Parquet table; raises FoldlineError where it is missing, broken or lacks a column; `next` says what to do."""
    import pyarrow.parquet

    require_file(path, next=next)
    with parquet_errors(path, next):
        with path.open("rb") as handle:  # not pandas' reader: that of pandas 2 takes no options of pyarrow
            table = pyarrow.parquet.read_table(handle)
        # whole numbers beside holes would become floats, and merge
        frame: pd.DataFrame = table.to_pandas(integer_object_nulls=True)
    require_columns(frame, required, where=str(path))
    return frame


def write_parquet(path: Path, frame: "pd.DataFrame") -> None:
    """Writes a table as Parquet without an index, atomically; a large one in groups of rows, one after the other."""
    with atomic_path(path) as temporary, RowGroups(temporary) as groups:
        groups.write(frame)


def require_file(path: Path, *, next: str = "") -> None:
    """Raises FoldlineError unless `path` is a file."""
    if not path.is_file():
        raise FoldlineError("file not found", where=str(path), next=next)


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The sha256 of files of a folder, by their name; what is not there has an empty one."""
    paths = {name: folder / name for name in names}
    return {name: sha256_file(path) if path.is_file() else "" for name, path in paths.items()}


def file_stamp(path: Path) -> str:
    """Size and time of a file, which change with its content; empty where there is none. Cheaper than a hash."""
    return f"{path.stat().st_size} {path.stat().st_mtime_ns}" if path.is_file() else ""


def content_key(root: Path, file: str, hashes: Mapping[str, str]) -> str:
    """What tells the content of a file below `root`: its sha256, from `hashes` where it stands there; empty where there
    is no file. A hidden file was written by a reader into a folder that is named by its content: its path.
    """
    if file in hashes or file.startswith("."):
        return hashes.get(file, file)
    return sha256_file(root / file) if (root / file).is_file() else ""


def sha256_json(content: Any) -> str:
    """The sha256 of a JSON value, the same for equal values whatever their keys' order."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def require_unique(ids: "pd.Series[str]", *, where: str) -> None:
    """Raises FoldlineError where an id occurs twice, is empty, or is no string."""
    if (ids == "").any():
        raise FoldlineError(f"{counted(int((ids == '').sum()), 'rows have')} an empty id", where=where)
    if _rise(ids):
        return
    twice = ids[ids.duplicated()].unique().tolist()
    if twice:
        raise FoldlineError(f"{counted(len(twice), 'ids occur')} more than once: {first_few(twice)}", where=where)


def _rise(ids: "pd.Series[str]") -> bool:
    """Whether text that Arrow holds is in order and so each once, as is seen thirty times sooner than otherwise."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not hasattr(ids.array, "__arrow_array__") or len(ids) == 0:
        return False
    held = pa.array(ids.array)
    held = held.combine_chunks() if isinstance(held, pa.ChunkedArray) else held
    return pa.types.is_large_string(held.type) and pc.all(pc.less(held[:-1], held[1:])).as_py() is True
