"""Losses of the validation rows by epoch: added one by one, also after a kill."""

from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.row_losses import FILE, add_epoch, mean_losses
from foldline.core.tables import read_parquet


def test_epochs_are_added_and_those_behind_a_resume_point_are_written_anew(tmp_path: Path) -> None:
    ids = pd.Series(["a", "b"])
    for epoch in (1, 2, 3):
        add_epoch(tmp_path, ids, epoch, np.array([epoch, 10.0 * epoch]))
    add_epoch(tmp_path, ids, 2, np.array([5.0, 7.0]))
    table = read_parquet(tmp_path / FILE)
    assert list(table) == ["row_id", "epoch_1", "epoch_2"]
    assert mean_losses([tmp_path], pd.Series(["b", "c", "a"])).tolist()[::2] == [8.5, 3.0]
    assert np.isnan(mean_losses([tmp_path], pd.Series(["c"]))).all()
    assert np.isnan(mean_losses([tmp_path / "none"], ids)).all()
    add_epoch(tmp_path, ids, 1, np.array([1.0, 1.0]))
    assert list(read_parquet(tmp_path / FILE)) == ["row_id", "epoch_1"]
