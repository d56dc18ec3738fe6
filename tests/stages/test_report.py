"""The stage `report`: the page and the list of suspected labels, whole or absent."""

from pathlib import Path

import pytest

from foldline.core.errors import FoldlineError
from foldline.core.tables import read_csv
from foldline.core.task import TASKS
from foldline.stages.report import report
from report.made_runs import COMP, RUN, make_run


def test_writes_the_page_and_the_suspects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    before = set(tmp_path.rglob("*"))
    report(layout, COMP, RUN)
    path = layout.run(COMP, RUN) / "report.html"
    listed = path.with_name("suspects.csv")
    assert set(tmp_path.rglob("*")) - before == {path, listed}
    suspects = read_csv(listed)
    assert list(suspects) == ["row_id", "target", "given", "predicted", "score"]
    assert (suspects["given"] != suspects["predicted"]).all()
    assert suspects["score"].astype(float).is_monotonic_decreasing
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "oof/made/quick/report.html" in capsys.readouterr().out


def test_a_broken_run_keeps_the_old_report(tmp_path: Path) -> None:
    layout = make_run(tmp_path, TASKS["binary"])
    report(layout, COMP, RUN)
    path = layout.run(COMP, RUN) / "report.html"
    old = path.read_bytes()
    (layout.run(COMP, RUN) / "oof.parquet").write_bytes(b"broken")
    with pytest.raises(FoldlineError, match="not a Parquet file"):
        report(layout, COMP, RUN)
    assert path.read_bytes() == old
