"""Predictions in blocks of rows: the bytes and the refusals are those of whole tables."""

import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from faults.damage import HARMS
from foldline.core import prediction_blocks, row_groups
from foldline.core.errors import FoldlineError
from foldline.core.prediction_blocks import PredictionBlocks, PredictionWriter
from foldline.core.predictions import predictions_table, read_predictions, write_predictions
from foldline.core.task import TASKS

TASK, OUTPUTS = TASKS["multiclass"], ["a", "b", "c"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_blocks, "BLOCK", 3 * 7)  # 7 rows


def made(rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    frame = pd.DataFrame({"row_id": [f"r{i}" for i in range(rows)], "fold": np.arange(rows) % 3})
    values = np.random.default_rng(0).dirichlet(np.ones(3), rows).astype(np.float32)
    return frame, values


def write(path: Path, frame: pd.DataFrame, values: np.ndarray, steps: list[int]) -> None:
    ends = np.cumsum(steps)
    assert ends[-1] == len(frame)
    with PredictionWriter.open(path, TASK, OUTPUTS, ids=frame["row_id"]) as writer:
        for start, end in zip(ends - steps, ends, strict=True):
            writer.write(frame.iloc[start:end], values[start:end])


def test_a_small_file_is_the_one_that_pandas_writes(tmp_path: Path) -> None:
    frame, values = made(30)
    write(tmp_path / "blocks.parquet", frame, values, [11, 0, 19])
    predictions_table(frame, values, TASK, OUTPUTS, keep=["fold"]).to_parquet(tmp_path / "pandas.parquet", index=False)
    assert (tmp_path / "blocks.parquet").read_bytes() == (tmp_path / "pandas.parquet").read_bytes()


@pytest.mark.parametrize("rows", [30, 36, 37])
def test_the_same_rows_give_the_same_bytes_however_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(row_groups, "GROUP_BYTES", 12 * (24 + 8 + 3 * 4))  # 12 rows
    frame, values = made(rows)
    table = predictions_table(frame, values, TASK, OUTPUTS, keep=["fold"])
    write_predictions(tmp_path / "whole.parquet", table, TASK, OUTPUTS, ids=frame["row_id"])
    for name, steps in {"ones": [1] * rows, "odd": [13, 2, rows - 15], "one": [rows]}.items():
        write(tmp_path / f"{name}.parquet", frame, values, steps)
        assert (tmp_path / f"{name}.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    blocks = PredictionBlocks(tmp_path / "whole.parquet", TASK, OUTPUTS, ids=frame["row_id"])
    assert [place.stop for place, _ in blocks] == [*range(7, rows, 7), rows]
    assert (blocks.values() == values).all()
    assert blocks.beside == ["fold"]
    pd.testing.assert_frame_equal(blocks.rows(), frame)
    pd.testing.assert_frame_equal(pd.concat(blocks.tables(), ignore_index=True), table)


def test_rows_come_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    frame, values = made(20)
    write(tmp_path / "a.parquet", frame, values, [20])
    ids = frame["row_id"].iloc[::-1]
    blocks = PredictionBlocks(tmp_path / "a.parquet", TASK, OUTPUTS, ids=ids)
    whole = read_predictions(tmp_path / "a.parquet", TASK, OUTPUTS, ids=ids)
    pd.testing.assert_frame_equal(pd.concat(blocks.tables(), ignore_index=True), whole)
    assert (blocks.values() == values[::-1]).all()
    assert blocks.rows()["row_id"].tolist() == ids.tolist()


def test_no_rows_are_one_empty_block(tmp_path: Path) -> None:
    frame, values = made(0)
    write(tmp_path / "a.parquet", frame, values, [0])
    blocks = PredictionBlocks(tmp_path / "a.parquet", TASK, OUTPUTS)
    assert [values.shape for _, values in blocks] == [(0, 3)]


def test_what_is_wrong_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    frame, values = made(20)
    broken, unequal, path = values.copy(), values * 2, tmp_path / "a.parquet"
    broken[17, 1] = np.nan
    with pytest.raises(FoldlineError, match=r"1 row holds no finite number: r17"):
        write(path, frame, broken, [9, 11])
    with pytest.raises(FoldlineError, match="sum to"):
        write(path, frame, unequal, [20])
    with (
        pytest.raises(FoldlineError, match="11 ids are missing or unknown: r10"),
        PredictionWriter.open(path, TASK, OUTPUTS, ids=frame["row_id"]) as writer,
    ):
        writer.write(frame.iloc[:9], values[:9])
    with (
        pytest.raises(FoldlineError, match="in another order"),
        PredictionWriter.open(path, TASK, OUTPUTS, ids=frame["row_id"]) as writer,
    ):
        writer.write(frame.iloc[::-1], values)
    assert list(tmp_path.iterdir()) == []
    predictions_table(frame, broken, TASK, OUTPUTS).to_parquet(path, index=False)
    with pytest.raises(FoldlineError, match="1 row holds no finite number"):
        PredictionBlocks(path, TASK, OUTPUTS).values()
    with pytest.raises(FoldlineError, match="1 id is missing or unknown: r19"):
        PredictionBlocks(path, TASK, OUTPUTS, ids=frame["row_id"].iloc[:19])
    with pytest.raises(FoldlineError, match="no column prob_d"):
        PredictionBlocks(path, TASK, [*OUTPUTS, "d"])


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_file_is_refused_in_words(tmp_path: Path, seed: int) -> None:
    frame, values = made(20)
    write(tmp_path / "a.parquet", frame, values, [20])
    HARMS[[name for name in HARMS if name not in ("without a key", "mistyped")][seed % 5]](
        tmp_path / "a.parquet", random.Random(seed)
    )
    with suppress(FoldlineError):
        assert PredictionBlocks(tmp_path / "a.parquet", TASK, OUTPUTS).values().shape[1] == 3


def test_some_columns_come_in_the_wanted_order(tmp_path: Path) -> None:
    frame, values = made(20)
    write(tmp_path / "x.parquet", frame, values, [20])
    turned = frame["row_id"][::-1].reset_index(drop=True)
    for ids, expected in ((None, values), (frame["row_id"], values), (turned, values[::-1])):
        blocks = PredictionBlocks(tmp_path / "x.parquet", TASK, OUTPUTS, ids=ids)
        assert np.array_equal(blocks.some_columns(slice(1, 3)), expected[:, 1:])
