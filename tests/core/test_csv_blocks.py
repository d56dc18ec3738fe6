"""CSV in blocks: the same cells and bytes as whole tables, whatever stands in the cells."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldline.core.cells import numbers
from foldline.core.csv_blocks import csv_blocks, csv_header, write_csv_blocks
from foldline.core.csv_text import csv_lines
from foldline.core.errors import FoldlineError
from foldline.core.tables import read_csv, write_csv

TEXTS = [
    "id,a\n1,x\n2,y\n3,z\n",
    ",a,b\n0,000123,NA\n1,1e5,\n2,nan,null\n",
    'id,a\n"1,5","a ""b"""\n2,"two\nlines"\n3,c\n4,d\n',
    "\ufeffid,ä\n1,é\n2,漢\n",
    "id,a,a\n1,2\n3,4,5\n",
    "id,a\n",
    "id,a\r\n1,2\r\n3,4\r\n",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("rows", [1, 2, 50])
def test_blocks_are_the_table(text: str, rows: int, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    whole, blocks = read_csv(path), list(csv_blocks(path, rows=rows))
    assert csv_header(path) == list(whole.columns)
    assert pd.concat(blocks, ignore_index=True).equals(whole)
    assert max(map(len, blocks)) <= rows
    some = [str(name) for name in whole.columns[:1]]
    assert pd.concat(list(csv_blocks(path, columns=some, rows=rows)), ignore_index=True).equals(whole[some])


@pytest.mark.parametrize(
    "text", ["id,a\n1,2\n3,4,5\n", "id,a\n1,2,3\n4,5,6\n", "", 'id,a\n1,"2\n', "id,a\n1,\x00\xff\n"]
)
def test_what_is_no_table_is_refused_alike(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode("latin-1"))
    said = []
    for read in (read_csv, lambda path: list(csv_blocks(path, rows=1))):
        with pytest.raises(FoldlineError) as error:
            read(path)
        said.append(error.value.what.partition(":")[0])
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "cells", [["1", "2"], ["a,b", "c"], ['a"b', "c"], ["a\nb", "c"], ["a\rb", "c"], ["", "ü"], [" a", "b "], []]
)
def test_lines_have_the_bytes_of_pandas(cells: list[str], tmp_path: Path) -> None:
    for columns in (["id"], ["id", "a"], ["id", "a", 'b,"c"']):
        frame = pd.DataFrame({column: pd.Series(cells, dtype=str) for column in columns})
        write_csv(tmp_path / "a.csv", frame)
        handle = BytesIO()
        assert write_csv_blocks(handle, [frame.iloc[:1], frame.iloc[1:]]) == len(frame)
        assert handle.getvalue() == (tmp_path / "a.csv").read_bytes()


def test_plain_cells_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd.DataFrame, "to_csv", None)
    assert csv_lines(pd.DataFrame({"id": ["1", "2"], "fold": [0, -3]})) == b"1,0\n2,-3\n"
    assert csv_lines(pd.DataFrame({"id": ["1", "2"], "a": ["0.5", ""]}, dtype=str)) == b"1,0.5\n2,\n"


def test_numbers_are_those_of_pandas_however_they_are_written() -> None:
    odd = [
        "1e3",
        " 2 ",
        "1_000",
        "",
        "+1",
        "0x10",
        "inf",
        "-Infinity",
        "NaN",
        "nan(1)",
        "1.",
        "-.5",
        "1d3",
        "1e400",
        "٣",
    ]
    odd += [
        "1,5",
        "true",
        "1e-320",
        "00012",
        "--1",
        "5\n",
        "0.1000000000000000055511151231257827",
        "12345678901234567890123",
    ]
    rng = np.random.default_rng(0)
    many = [repr(number) for number in (rng.random(500) * 10.0 ** rng.integers(-300, 300, 500)).tolist()]
    for cells in [*([cell, "1"] for cell in odd), many]:
        series = pd.Series(cells, dtype=str)
        wanted = pd.to_numeric(series.astype(object), errors="coerce").to_numpy(dtype=np.float64)
        assert np.array_equal(numbers(series), wanted, equal_nan=True), cells
