import errno
from pathlib import Path

import pandas as pd
import pytest

from foldline.core.errors import FoldlineError
from foldline.core.tables import atomic_path, read_csv, read_json, write_csv, write_json


def test_ids_stay_what_they_are(tmp_path: Path) -> None:
    ids = ["000123", "1e5", "NA", "", "1.2.840.113", "=1+1", "été"]
    path = tmp_path / "a.csv"
    write_csv(path, pd.DataFrame({"id": ids, "x": "1"}))
    assert read_csv(path)["id"].tolist() == ids


def write_half(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(OSError, match="No space"):
        write_half(path)
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(FoldlineError, match="not valid JSON"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(FoldlineError, match="cannot be read as a table"):
        read_csv(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FoldlineError, match="has no column c"):
        read_csv(tmp_path / "b.csv", required=("c",))
