"""Submissions in blocks of lines: the same bytes, errors and predictions as whole ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import made_predictions
from foldline.core import csv_blocks
from foldline.core.errors import FoldlineError
from foldline.core.prediction_blocks import PredictionWriter
from foldline.core.records.entry import Entry
from foldline.core.tables import read_csv, write_csv
from foldline.core.task import TASKS
from foldline.scoring.entities import AGGREGATES, aggregate
from foldline.stages.ensemble import ensemble
from foldline.submission import form as form_module
from foldline.submission import known
from foldline.submission.form import Form
from foldline.submission.known import draw
from foldline.submission.sample import columns_to_keep
from foldline.submission.source import InMemory, predictions_in
from foldline.submission.writing import write_submission
from submission.test_kinds import CASES, ENTITIES, empty_sample, facts, predictions, table


@pytest.fixture
def _a_line_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_blocks, "LINES", 1)


@pytest.mark.usefixtures("_a_line_a_block")
@pytest.mark.parametrize("case", CASES)
def test_every_kind_is_the_same_line_by_line(case: str, tmp_path: Path) -> None:
    text, about, outputs, values, expected = CASES[case]
    form = Form.open(table(text, tmp_path), about, outputs)
    entities = ENTITIES.get(case) or list(form.kind.lines.entities)
    source = InMemory(predictions(entities, about.task, outputs, values), form.kind.task.prediction_columns(outputs))
    path = tmp_path / "submission.csv"
    assert len(list(form.parts)) == len(form.sample) > 1
    assert write_submission(path, form, source, None, where="s.csv").lines == len(form.sample)
    assert path.read_text() == expected
    ids, values = form.read_file(path)
    wanted_ids, wanted = form.read_back(read_csv(path))
    assert ids == wanted_ids
    assert np.array_equal(values, wanted)


@pytest.mark.usefixtures("_a_line_a_block")
def test_what_lies_on_the_disk_passes_the_gate_or_the_former_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, about, outputs, values, _ = CASES["one probability"]
    form = Form.open(table(text, tmp_path), about, outputs)
    ids = list(form.kind.lines.entities)
    source = InMemory(predictions(ids, about.task, outputs, values), form.kind.task.prediction_columns(outputs))
    path = tmp_path / "submission.csv"
    path.write_text("the former one")
    blocks = [frame.assign(**{frame.columns[-1]: "7"}) for frame in form.blocks(source, None)]
    monkeypatch.setattr(Form, "blocks", lambda *_: iter(blocks))
    with pytest.raises(FoldlineError, match="outside 0 to 1"):
        write_submission(path, form, source, None, where="s.csv")
    assert path.read_text() == "the former one"
    assert [one.name for one in tmp_path.glob("*submission.csv*")] == ["submission.csv"]


GOOD = "id,label\na,0.5\nb,0.25\nc,1.0\n"


@pytest.mark.usefixtures("_a_line_a_block")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("1.0", "1.5"), "outside 0 to 1: line 4 (id c): '1.5'"),
        (GOOD.replace("0.25", ""), "has empty cells: line 3 (id b): ''"),
        (GOOD + "d,0.5\n", "1 id is not in the sample: d"),
        (GOOD + "a,0.5\n", "1 id occurs more than once: a"),
        (GOOD.replace("c,1.0\n", ""), "1 id of the sample is missing: c"),
        ("id,label\na,0.5\nc,0.25\nb,1.0\n", "line 3 has 'c', the sample has 'b'"),
        ("id,label\n", "3 ids of the sample are missing"),
        ("id,x\na,0.5\n", "lacks the column 'label'"),
    ],
)
def test_the_gate_sees_the_same_in_blocks(text: str, said: str, tmp_path: Path) -> None:
    form = Form.open(table(GOOD, tmp_path), facts("binary", "auc"), ["0", "1"])
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(FoldlineError) as error:
        form.check_file(path, "s.csv")
    assert said in str(error.value)


def test_of_a_long_file_it_says_which_lines_were_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(csv_blocks, "LINES", 5)
    ids = [f"r{i}" for i in range(12)]
    form = Form.open(empty_sample(ids, ["label"]), facts("binary", "auc"), ["0", "1"])
    write_csv(tmp_path / "s.csv", empty_sample(ids, ["label"]).assign(label="7"))
    with pytest.raises(FoldlineError, match="and 2 more in lines 2 to 6"):
        form.check_file(tmp_path / "s.csv", "s.csv")


def test_a_file_that_fails_is_never_there_and_the_former_one_stays(tmp_path: Path) -> None:
    form = Form.open(table(GOOD, tmp_path), facts("binary", "auc"), ["0", "1"])
    source = InMemory(predictions(["a", "b", "c"], TASKS["binary"], ["0", "1"]), ["prob_0", "prob_1"])
    path = tmp_path / "s.csv"
    path.write_text("former")

    def refuse() -> str:
        raise FoldlineError("another meaning")

    with pytest.raises(FoldlineError, match="another meaning"):
        write_submission(path, form, source, None, where="s.csv", judge=refuse)
    assert path.read_text() == "former"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["s.csv", "sample.csv"]


def test_of_a_wide_sample_placeholders_are_not_kept() -> None:
    names = [f"c{i:02d}" for i in range(40)]
    about, ids = facts("multiclass", "log_loss"), ["a", "b", "c"]
    sample = empty_sample(ids, names[::-1])
    keep = columns_to_keep(list(sample.columns), about, names, {})
    assert keep == list(sample.columns[:8])
    lean = Form.open(sample[keep], about, names, header=list(sample.columns))
    table = predictions(ids, about.task, names)
    assert lean.write(table).equals(Form.open(sample, about, names).write(table))
    assert lean.kind.columns == tuple(names[::-1])
    assert lean.about(["x", "y"]).write(predictions(["x", "y"], about.task, names)).shape == (2, 41)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"kind": "label"}, 41),  # other columns are copied from the sample
        ({"entity": "{c39}"}, 9),  # the facts ask for it
        ({"kind": "probabilities"}, 8),
    ],
)
def test_cells_that_somebody_reads_are_kept(change: dict[str, Any], kept: int) -> None:
    names = [f"c{i:02d}" for i in range(40)]
    assert len(columns_to_keep(["id", *names], facts("multiclass", "log_loss", **change), names, {})) == kept
    assert len(columns_to_keep(["id", *names, "more"], facts("multiclass", "log_loss", **change), names, {})) == 42


@pytest.mark.parametrize("how", AGGREGATES)
def test_entities_on_the_disk_are_those_in_memory(how: str, tmp_path: Path) -> None:
    rng, outputs, task = np.random.default_rng(0), ["x", "y", "z"], TASKS["multiclass"]
    values = rng.dirichlet(np.ones(3), 30).astype(np.float32)
    rows = pd.DataFrame({"row_id": [f"r{i}" for i in range(30)], "entity": [f"e{i}" for i in rng.integers(0, 7, 30)]})
    path = tmp_path / "test.parquet"
    with PredictionWriter.open(path, task, outputs, ids=rows["row_id"]) as writer:
        writer.write(rows, values)
    columns = task.prediction_columns(outputs)
    frame = pd.concat([rows, pd.DataFrame(values, columns=columns)], axis=1)
    wanted = aggregate(frame, "entity", how, task=task, outputs=outputs)
    with predictions_in(path, task, outputs, ids=rows["row_id"], how=how) as source:
        assert source.ids.tolist() == wanted["entity"].tolist()
        places = np.array([3, 0, 5, 5], dtype=np.int64)
        assert np.array_equal(source.values(places), wanted[columns].to_numpy()[places])
        assert source.values(places[:0]).shape == (0, 3)
    assert [each.name for each in tmp_path.iterdir()] == ["test.parquet"]


def test_drawn_rows_are_whole_entities_of_every_fold() -> None:
    rng = np.random.default_rng(0)
    units, of_unit = rng.integers(0, 300, 2000), rng.integers(0, 5, 300)
    drawn = draw(units, of_unit[units], 50)
    assert drawn.tolist() == draw(units, of_unit[units], 50).tolist()
    assert drawn.tolist() != draw(units, of_unit[units], 50, seed=1).tolist()
    taken = np.unique(units[drawn])
    assert np.bincount(of_unit[taken]).tolist() == [10] * 5
    assert not np.isin(units[~drawn], taken).any()
    assert draw(units, of_unit[units], 300).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_message_and_the_ledger_say_how_many_rows_were_graded(
    classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = made_predictions.make(tmp_path, 60, classes)
    monkeypatch.setattr(known, "GRADED", 20 * classes)
    assert ensemble(layout, "made", ["one"]) == ("one", True)
    words = "on 20 of 60 validation rows, drawn evenly from the folds with seed 0"
    assert words in capsys.readouterr().out
    path = layout.submission("made", "one")
    assert words in Entry.read(path.with_suffix(".json")).graded
    drawn = path.read_bytes()
    path.unlink()
    monkeypatch.undo()
    assert ensemble(layout, "made", ["one"]) == ("one", True)
    assert "on the validation rows" in capsys.readouterr().out
    assert path.read_bytes() == drawn


def test_more_numbers_than_a_block_holds_are_read_as_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about, outputs, ids = facts("multiclass", "log_loss"), ["x", "y", "z"], ["a", "b", "c"]
    form = Form.open(empty_sample(ids, outputs), about, outputs)
    write_csv(tmp_path / "s.csv", form.write(predictions(ids, about.task, outputs)))
    few = form.read_file(tmp_path / "s.csv")[1]
    monkeypatch.setattr(form_module, "CELLS", 8)
    many = form.read_file(tmp_path / "s.csv")[1]
    assert [few.dtype.name, many.dtype.name] == ["float64", "float32"]
    assert np.abs(few - many).max() < 1e-7
