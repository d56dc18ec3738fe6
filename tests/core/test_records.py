"""The files between stages: read from before, written as they were, refused in words."""

import json
from pathlib import Path
from typing import Any

import pytest

import foldline
from foldline.core.errors import FoldlineError
from foldline.core.records.cv import Cv
from foldline.core.records.entry import Entry
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.folds_meta import FoldsMeta
from foldline.core.records.manifest import Manifest, RawFile, RawHashes
from foldline.core.records.precision import StoredPrecision
from foldline.core.records.record import Record
from foldline.core.records.same import require_same
from foldline.core.tables import sha256_file, sha256_files
from old_records import FOLDER, old

RECORDS: dict[str, type[Record]] = {
    "meta": FoldMeta,
    "cv": Cv,
    "ensemble_cv": Cv,
    "folds": FoldsMeta,
    "manifest": Manifest,
    "ledger": Entry,
    "precision": StoredPrecision,
}
NEEDED = {"meta": "architecture", "cv": "metrics", "folds": "outputs", "manifest": "files", "ledger": "sha256"}


@pytest.mark.parametrize("name", RECORDS)
def test_a_file_of_before_is_read_and_written_as_it_was(tmp_path: Path, name: str) -> None:
    before = old(name)
    record = RECORDS[name].read(FOLDER / f"{name}.json")
    record.write(tmp_path / "a.json")
    after = json.loads((tmp_path / "a.json").read_text())
    assert {"schema": 1, **before} == after, "the same keys and the same floats, to their last digit"
    assert RECORDS[name].read(tmp_path / "a.json") == record
    record.write(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == after


@pytest.mark.parametrize("name", ["meta", "cv", "folds", "ledger"])
def test_keys_keep_their_order(tmp_path: Path, name: str) -> None:
    RECORDS[name].read(FOLDER / f"{name}.json").write(tmp_path / "a.json")
    further = {"facts_sha256", "crop", "private_metrics"}  # no longer written, or at the end
    keys = [list(json.loads(path.read_text())) for path in (FOLDER / f"{name}.json", tmp_path / "a.json")]
    assert [key for key in keys[0] if key not in further] == [key for key in keys[1] if key not in further]


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", '"text"', "{}", "lacking", "wrong", "\xff"])
def test_a_file_that_is_none_is_refused_in_words(tmp_path: Path, name: str, content: str) -> None:
    path, key = tmp_path / "a.json", NEEDED[name]
    record = old(name)
    if content == "lacking":
        record.pop(key)
    contents = {"lacking": record, "wrong": record | {key: 3}}
    text = json.dumps(contents[content]) if content in contents else content
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FoldlineError) as raised:
        RECORDS[name].read(path)
    assert (raised.value.where, raised.value.next) == (str(path), RECORDS[name].made_by)
    assert content not in contents or f"'{key}'" in raised.value.what


@pytest.mark.parametrize("name", RECORDS)
def test_a_later_schema_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"schema": 2, "something": "else"}))
    with pytest.raises(FoldlineError, match="its schema is 2"):
        RECORDS[name].read(tmp_path / "a.json")


def test_a_missing_file_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match="file not found") as raised:
        Cv.read(tmp_path / "cv.json", next="make predict COMP=tiny RUN=quick")
    assert raised.value.next == "make predict COMP=tiny RUN=quick"
    assert Cv.read_if_there(tmp_path / "cv.json") is None


def test_unknown_keys_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "cv.json"
    content = old("cv", note={"by": "hand"})
    path.write_text(json.dumps(content))
    Cv.read(path).changed(device="another").write(path)
    assert json.loads(path.read_text()) == content | {"device": "another"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"folds": "1" * 64}, ["fold 0 of run 'two' was made on other folds", "1" * 12, "leak"]),
        ({"run": "1" * 64}, ["fold 0 of run 'two' was made with other choices"]),
        ({"inputs": {"loss.teacher: a": "2"}}, ["loss.teacher: a is not what this fold was trained with"]),
        ({"folds": "1", "run": "1"}, ["other folds", "other choices"]),
    ],
)
def test_what_differs_is_named(given: dict[str, Any], words: list[str]) -> None:
    before = old("meta")
    hashes = before["sha256"] | {"inputs": {"loss.teacher: a": "1", "extra.rows: gone.csv": "3"}}
    meta = FoldMeta.model_validate(before | {"sha256": hashes})
    require_same(meta, folds=meta.sha256.folds, run=meta.sha256.run, inputs={"loss.teacher: a": "1"}, where="here")
    require_same(meta, where="here")
    with pytest.raises(FoldlineError) as raised:
        require_same(meta, **given, where="here", next="do that")
    assert all(word in raised.value.what for word in words), raised.value.what
    assert (raised.value.where, raised.value.next) == ("here", "do that")


def test_a_run_on_other_folds_is_no_leak() -> None:
    with pytest.raises(FoldlineError, match="run 'both' was made on other folds") as raised:
        require_same(Cv.model_validate(old("ensemble_cv")), folds="1" * 64, where="here")
    assert "leak" not in raised.value.what


def test_nobody_else_opens_the_files() -> None:
    """JSON is read by the records, of raw files by the readers."""
    house = Path(foldline.__file__).parent
    allowed = ("core/records/", "core/tables.py", "core/run_folder.py", "readers/")
    paths = [path.relative_to(house).as_posix() for path in house.rglob("*.py") if "read_json(" in path.read_text()]
    assert [path for path in paths if not path.startswith(allowed)] == []


def test_changed_predictions_and_submissions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "oof.parquet"
    path.write_bytes(b"as written")
    cv = Cv.model_validate(old("cv", files=sha256_files(tmp_path, ["oof.parquet"])))
    entry = Entry.model_validate(old("ledger", sha256=sha256_file(path)))
    cv.require_files(tmp_path)
    entry.require_file(path)
    path.write_bytes(b"as Written")
    with pytest.raises(FoldlineError, match=r"damaged.*: oof\.parquet"):
        cv.require_files(tmp_path)
    with pytest.raises(FoldlineError, match="damaged"):
        entry.require_file(path)
    path.unlink()
    with pytest.raises(FoldlineError, match="damaged"):
        cv.require_files(tmp_path)
    Cv.model_validate(old("cv")).require_files(tmp_path)  # earlier versions kept no hash


def test_files_that_differ_are_told_from_files_that_do_not_with_or_without_their_paths(tmp_path: Path) -> None:
    path, hashes = tmp_path / "manifest.json", ["a" * 64, "b" * 64, "c" * 64]
    for third, differ in ((hashes[2], True), (hashes[0], False)):
        content = [*hashes[:2], third]
        files = [RawFile(path=f'{i} "sha256": "{hashes[0]}".png', bytes=1, sha256=content[i]) for i in range(3)]
        Manifest(comp="x", source={}, files=files).write(path)
        for text in (path.read_text(), json.dumps(json.loads(path.read_text()))):  # as foldline writes it, and not
            path.write_text(text)
            known = RawHashes(path)
            assert known.all_differ() is differ
            assert dict(known) == {file.path: file.sha256 for file in files}
    path.write_text(path.read_text()[:-9])
    with pytest.raises(FoldlineError, match="make download again"):
        RawHashes(path).all_differ()
