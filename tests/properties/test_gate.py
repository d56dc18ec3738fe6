"""The gate: any sample and any submission is read, or refused in words; what it takes is what was written."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from foldline.core.tables import read_csv, write_csv
from foldline.submission.form import Form
from properties.mutations import many, mutated, words_or_success
from submission.test_kinds import CASES, predictions


@many(30)
@given(data=st.data())
def test_a_sample_with_changed_bytes(data: st.DataObject) -> None:
    sample, facts, outputs, _, _ = CASES[data.draw(st.sampled_from(list(CASES)))]
    with tempfile.TemporaryDirectory() as folder, words_or_success():
        path = Path(folder, "s.csv")
        path.write_bytes(data.draw(mutated(sample.encode())))
        form = Form.open(read_csv(path), facts, outputs)
        ids = list(form.kind.ids)
        written = form.write(predictions(ids, form.kind.task, outputs))
        write_csv(path, written)
        form.check(read_csv(path), "s.csv")
        back, _ = form.read_back(read_csv(path))
        assert back == ids


@many(30)
@given(data=st.data())
def test_a_submission_with_changed_bytes(data: st.DataObject) -> None:
    sample, facts, outputs, _, expected = CASES[data.draw(st.sampled_from(list(CASES)))]
    with tempfile.TemporaryDirectory() as folder, words_or_success():
        path = Path(folder, "s.csv")
        path.write_text(sample)
        form = Form.open(read_csv(path), facts, outputs)
        path.write_bytes(data.draw(mutated(expected.encode())))
        frame = read_csv(path)
        form.check(frame, "s.csv")
        ids, read = form.read_back(frame)
        assert ids == list(form.kind.ids)
        assert np.isfinite(read).all()
