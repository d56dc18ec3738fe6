"""Records between stages: a changed file is refused in words, and a changed hash is never taken."""

import json
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.records.cv import Cv
from foldline.core.records.entry import Entry
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.folds_meta import FoldsMeta
from foldline.core.records.manifest import Manifest
from foldline.core.records.record import Record
from foldline.core.tables import sha256_file, write_csv
from old_records import old
from properties.mutations import changed, many, mutated, words_or_success

KINDS: dict[str, type[Record]] = {"cv": Cv, "ledger": Entry, "meta": FoldMeta, "folds": FoldsMeta, "manifest": Manifest}


@many(30)
@given(data=st.data())
def test_a_record_with_changed_values_or_bytes(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(KINDS)))
    content = old(kind)
    if data.draw(st.booleans()):
        written = json.dumps(data.draw(changed(content))).encode()
    else:
        written = data.draw(mutated(json.dumps(content).encode()))
    with tempfile.TemporaryDirectory() as folder, words_or_success():
        path = Path(folder, "x.json")
        path.write_bytes(written)
        record = KINDS[kind].read(path)
        record.write(path)
        assert KINDS[kind].read(path) == record


FOLDS = pd.DataFrame(
    {"row_id": list("abcd"), "image": list("wxyz"), "target": ["0", "1"] * 2, "fold": list("0101")}, dtype=str
)


@many(25)
@given(data=st.data())
def test_folds_with_any_byte_changed_are_refused(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        write_csv(layout.folds("c"), FOLDS)
        write_csv(layout.test_rows("c"), FOLDS[["row_id", "image"]])
        hashes = {"folds": sha256_file(layout.folds("c")), "test": sha256_file(layout.test_rows("c"))}
        layout.folds_meta("c").write_text(
            json.dumps(old("folds", sha256=hashes, k=2, task="binary", outputs=["0", "1"]))
        )
        assert len(load_folds(layout, "c").frame) == 4
        path = data.draw(st.sampled_from([layout.folds("c"), layout.test_rows("c")]))
        good = path.read_bytes()
        path.write_bytes(data.draw(mutated(good)))
        if path.read_bytes() != good:
            with pytest.raises(FoldlineError, match="sha256"):
                load_folds(layout, "c")
