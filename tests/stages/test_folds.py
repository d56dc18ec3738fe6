"""The stage folds through the real readers: files of the contract, idempotence, and every refusal."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

import old_records
from foldline.core import own_code
from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.tables import read_csv, read_json, sha256_file
from foldline.stages.folds import folds

FACTS = """\
source: {kind: folder, name: raw}
task: binary
classes: [intact, broken]
metric: auc
train:
  file: labels.csv
  row_id: id
  image: "images/{id}.png"
  target: label
  metadata: [kind]
holdout: {fraction: 0.25, stratify: [target, kind]}
folds: {k: 4, stratify: [target, kind]}
"""
ROWS = 80


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A competition of 80 tiny pictures, downloaded."""
    project = Layout(tmp_path)
    root = project.input("tiny")
    (root / "images").mkdir(parents=True)
    lines = ["id,label,kind,patient,part"]
    for i in range(ROWS):
        pixels = np.random.default_rng(i).integers(0, 255, (16, 16)).astype(np.uint8)
        assert cv2.imwrite(str(root / f"images/00{i}.png"), pixels)
        lines.append(
            f"00{i},{'broken' if i % 3 == 0 else 'intact'},{'mono' if i % 2 else 'poly'},p{i // 3},{i % 5 + 1}"
        )
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    write_facts(project, FACTS)
    write_manifest(project)
    return project


def write_facts(layout: Layout, text: str) -> None:
    layout.competition_config("tiny").parent.mkdir(parents=True, exist_ok=True)
    layout.competition_config("tiny").write_text(text)


def write_manifest(layout: Layout) -> None:
    root = layout.input("tiny")
    entries = [
        {"path": path.relative_to(root).as_posix(), "sha256": sha256_file(path)}
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    ]
    old_records.write_manifest(layout.manifest("tiny"), entries)


def made(layout: Layout) -> dict[str, str]:
    """The hash of each file of the stage."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(layout.root.glob("folds/*"))}


def renew(layout: Layout, facts: str) -> dict[str, str]:
    for path in layout.root.glob("folds/*"):
        path.unlink()
    write_facts(layout, facts)
    folds(layout, "tiny")
    return made(layout)


def test_the_files_of_the_contract(layout: Layout) -> None:
    folds(layout, "tiny")
    assert list(made(layout)) == [
        "tiny.csv",
        "tiny.json",
        "tiny.sample_submission.csv",
        "tiny.solution.csv",
        "tiny.test.csv",
    ]
    frame, test = read_csv(layout.folds("tiny")), read_csv(layout.test_rows("tiny"))
    assert frame.columns.tolist() == ["row_id", "image", "target", "kind", "fold"]
    assert test.columns.tolist() == ["row_id", "image", "kind"]
    assert (len(frame), len(test)) == (60, 20)
    assert set(frame["row_id"]) | set(test["row_id"]) == {f"00{i}" for i in range(ROWS)}
    assert frame["row_id"].tolist() == sorted(frame["row_id"])
    assert frame.groupby(["target", "kind", "fold"]).size().groupby(["target", "kind"]).agg(np.ptp).max() <= 1
    solution, sample = read_csv(layout.holdout_solution("tiny")), read_csv(layout.holdout_sample("tiny"))
    assert solution.columns.tolist() == sample.columns.tolist() == ["row_id", "target"]
    assert solution["row_id"].tolist() == sample["row_id"].tolist() == test["row_id"].tolist()
    assert (solution["target"] == "broken").sum() in (6, 7)
    assert set(sample["target"]) == {"0.5"}
    meta = read_json(layout.folds_meta("tiny"))
    assert (meta["k"], meta["seed"], meta["splitter"], meta["outputs"]) == (4, 0, "stratified", ["intact", "broken"])
    assert meta["sha256"]["folds"] == made(layout)["tiny.csv"]
    assert sum(fold["broken"] for fold in meta["counts"].values()) == (frame["target"] == "broken").sum()
    assert meta["facts"]["folds"] == {"k": 4, "stratify": ["target", "kind"]}, "a default is no fact of this file"
    assert meta["checks"][0] == "60 rows in 4 folds of 15 to 15 rows"


def test_same_bytes_again_and_for_rows_in_another_order(layout: Layout) -> None:
    folds(layout, "tiny")
    before = made(layout)
    assert renew(layout, FACTS) == before
    table = layout.input("tiny") / "labels.csv"
    head, *lines = table.read_text().splitlines()
    table.write_text("\n".join([head, *reversed(lines)]) + "\n")
    meta = read_json(layout.folds_meta("tiny"))
    again, meta_again = renew(layout, FACTS), read_json(layout.folds_meta("tiny"))
    assert meta_again["made_from"].pop("tables") != meta["made_from"].pop("tables"), "the table has other bytes"
    assert (again | {"tiny.json": ""}, meta_again) == (before | {"tiny.json": ""}, meta)
    other = renew(layout, FACTS.replace("k: 4,", "k: 4, seed: 1,"))
    assert other["tiny.csv"] != before["tiny.csv"]
    assert other["tiny.test.csv"] == before["tiny.test.csv"]


def test_a_second_call_does_nothing(layout: Layout, capsys: Any) -> None:
    folds(layout, "tiny")
    times = [path.stat().st_mtime_ns for path in sorted(layout.root.glob("folds/*"))]
    capsys.readouterr()
    folds(layout, "tiny")
    assert [path.stat().st_mtime_ns for path in sorted(layout.root.glob("folds/*"))] == times
    assert "folds/tiny.csv is up to date: 60 rows in 4 folds, 20 test rows" in capsys.readouterr().out


def test_the_second_call_imports_nothing_heavy(layout: Layout) -> None:
    folds(layout, "tiny")
    code = (
        "import sys; from pathlib import Path; from foldline.core.paths import Layout; "
        f"from foldline.stages.folds import folds; folds(Layout(Path({str(layout.root)!r})), 'tiny'); "
        "print([name for name in ('torch', 'sklearn', 'scipy', 'cv2', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_facts_that_do_not_shape_the_folds_may_change(layout: Layout) -> None:
    folds(layout, "tiny")
    before = made(layout)
    write_facts(layout, "title: cells\n" + FACTS.replace("metric: auc", "metric: log_loss"))
    folds(layout, "tiny")
    assert made(layout) == before


def test_changed_facts_are_refused(layout: Layout) -> None:
    folds(layout, "tiny")
    before = made(layout)
    write_facts(layout, FACTS.replace("k: 4", "k: 3"))
    with pytest.raises(FoldlineError, match=r"the facts changed since the folds were made: folds\.k: 4 -> 3") as caught:
        folds(layout, "tiny")
    assert "rm folds/tiny.csv folds/tiny.json && make folds COMP=tiny" in caught.value.next
    assert "cannot be blended" in caught.value.next
    assert made(layout) == before


@pytest.mark.parametrize("edit", ["csv", "no json"])
def test_folds_edited_by_hand_are_refused(layout: Layout, edit: str) -> None:
    folds(layout, "tiny")
    if edit == "csv":
        text = layout.folds("tiny").read_text()
        layout.folds("tiny").write_text(text.replace(",0\n", ",1\n", 1))
        with pytest.raises(FoldlineError, match="changed by hand"):
            load_folds(layout, "tiny")
    else:
        layout.folds_meta("tiny").unlink()
    with pytest.raises(FoldlineError, match="changed by hand") as caught:
        folds(layout, "tiny")
    assert "splitter: column" in caught.value.next


def test_a_missing_side_file_is_made_again(layout: Layout) -> None:
    folds(layout, "tiny")
    before = made(layout)
    layout.holdout_solution("tiny").unlink()
    layout.test_rows("tiny").write_text("broken")
    folds(layout, "tiny")
    assert made(layout) == before


def test_the_sample_follows_the_submission_and_the_folds_stay(layout: Layout) -> None:
    folds(layout, "tiny")
    before = made(layout)
    write_facts(layout, FACTS.replace("metric: auc", "metric: accuracy") + "submission: {kind: label}\n")
    folds(layout, "tiny")
    assert set(read_csv(layout.holdout_sample("tiny"))["target"]) == {"intact"}
    assert made(layout)["tiny.csv"] == before["tiny.csv"]


def test_changed_raw_files_are_refused_only_where_the_folds_differ(layout: Layout) -> None:
    folds(layout, "tiny")
    before = made(layout)
    (layout.input("tiny") / "readme.txt").write_text("a new file")
    write_manifest(layout)
    folds(layout, "tiny")
    assert made(layout)["tiny.csv"] == before["tiny.csv"]
    table = layout.input("tiny") / "labels.csv"
    table.write_text(table.read_text().replace("001,intact", "001,broken"))
    write_manifest(layout)
    with pytest.raises(FoldlineError, match="the raw files changed since the folds were made"):
        folds(layout, "tiny")
    assert made(layout)["tiny.csv"] == before["tiny.csv"]


def test_a_corrected_table_is_noticed(layout: Layout) -> None:
    """Its size and the manifest stay: the files were placed by hand, or mended after the download."""
    folds(layout, "tiny")
    before = layout.folds("tiny").read_bytes()
    table = layout.input("tiny") / "labels.csv"
    text = table.read_text()
    table.write_text(text.replace("intact", "xxxxxx").replace("broken", "intact").replace("xxxxxx", "broken"))
    assert table.stat().st_size == len(text.encode())
    with pytest.raises(FoldlineError, match="the raw files changed since the folds were made") as raised:
        folds(layout, "tiny")
    assert "make folds" in raised.value.next
    assert layout.folds("tiny").read_bytes() == before
    table.write_text(text)
    folds(layout, "tiny")


def test_a_reader_of_ones_own_that_changed_is_noticed(layout: Layout) -> None:
    code = "import pandas as pd\n\ndef read(folder):\n    return pd.read_csv(folder / 'labels.csv', dtype=str)\n"
    file = layout.competition_config("tiny").with_name("rows.py")
    file.write_text(code)
    write_facts(layout, FACTS.replace("  file: labels.csv", "  reader: python\n  function: rows.py:read"))
    own_code.forget()
    folds(layout, "tiny")
    folds(layout, "tiny")
    file.write_text(code.replace("dtype=str)", "dtype=str).iloc[1:]"))
    own_code.forget()
    with pytest.raises(FoldlineError, match="changed since the folds were made, and lead to other folds"):
        folds(layout, "tiny")
    file.write_text(code + "# other words\n")
    own_code.forget()
    folds(layout, "tiny")


def test_folds_of_before_are_made_again_and_compared(layout: Layout) -> None:
    folds(layout, "tiny")
    meta = read_json(layout.folds_meta("tiny"))
    tables = meta["made_from"].pop("tables")
    assert list(tables) == ["labels.csv"]
    layout.folds_meta("tiny").write_text(json.dumps(meta))
    assert load_folds(layout, "tiny").k == 4
    folds(layout, "tiny")
    assert read_json(layout.folds_meta("tiny"))["made_from"]["tables"] == tables


def test_nothing_downloaded(layout: Layout) -> None:
    layout.manifest("tiny").unlink()
    with pytest.raises(FoldlineError) as caught:
        folds(layout, "tiny")
    assert caught.value.next == "make download COMP=tiny"


def test_a_missing_image_leaves_nothing_behind(layout: Layout) -> None:
    (layout.input("tiny") / "images/0011.png").unlink()
    with pytest.raises(FoldlineError, match=r"1 .*0011"):
        folds(layout, "tiny")
    assert made(layout) == {}


def test_the_stage_checks_images_itself(layout: Layout, monkeypatch: Any) -> None:
    """Whatever a reader returns."""
    import foldline.readers

    read = foldline.readers.read_rows
    monkeypatch.setattr(
        "foldline.stages.folds.read_rows",
        lambda *args, **options: read(*args, **options).assign(image="images/lost.png|images/000.png"),
    )
    with pytest.raises(FoldlineError, match=r"1 image is missing: images/lost\.png"):
        folds(layout, "tiny")


def test_groups_stay_whole_on_both_sides_of_the_holdout(layout: Layout) -> None:
    renew(layout, FACTS.replace("metadata:", "group: patient\n  metadata:"))
    loaded = load_folds(layout, "tiny")
    assert loaded.frame.columns.tolist() == ["row_id", "image", "target", "group", "kind", "fold"]
    assert loaded.frame.groupby("group")["fold"].nunique().max() == 1
    assert set(loaded.frame["group"]).isdisjoint(loaded.test["group"])
    assert read_json(layout.folds_meta("tiny"))["splitter"] == "stratified_grouped"


def test_rows_of_an_entity_share_a_fold(layout: Layout) -> None:
    facts = FACTS.replace("metadata:", "entity: '{patient}_{label}'\n  metadata:")
    renew(layout, facts)
    frame = load_folds(layout, "tiny").frame
    assert (frame["group"] == frame["entity"]).all()
    assert frame.groupby("entity")["fold"].nunique().max() == 1
    sample = read_csv(layout.holdout_sample("tiny"))
    assert sample.columns.tolist() == ["entity", "target"]
    assert sample["entity"].is_unique


def test_duplicates_share_a_fold_where_the_facts_want_it(layout: Layout) -> None:
    root = layout.input("tiny")
    for i in range(0, ROWS, 4):  # each fourth picture stands twice
        if i % 8 == 0:  # no picture to OpenCV: only its bytes tell
            (root / f"images/00{i}.png").write_text(f"picture {i}")
        (root / f"images/00{i + 1}.png").write_bytes((root / f"images/00{i}.png").read_bytes())
    write_manifest(layout)
    renew(layout, FACTS)
    assert any("byte for byte in two folds" in line for line in read_json(layout.folds_meta("tiny"))["checks"])
    renew(layout, FACTS.replace("folds: {", "folds: {group_duplicates: true, "))
    loaded = load_folds(layout, "tiny")
    assert not [line for line in read_json(layout.folds_meta("tiny"))["checks"] if "byte for byte" in line]
    fold = dict(zip(loaded.frame["row_id"], loaded.frame["fold"], strict=True))
    for i in range(0, ROWS, 4):
        assert fold.get(f"00{i}") == fold.get(f"00{i + 1}")


def test_own_folds_are_used(layout: Layout) -> None:
    facts = FACTS.replace("[kind]\n", "[kind, part]\n").replace("k: 4,", "k: 5, splitter: column, column: part,")
    renew(layout, facts)
    frame = load_folds(layout, "tiny").frame
    assert (frame["fold"] == frame["part"].astype(int) - 1).all()


def test_test_rows_of_a_file(layout: Layout) -> None:
    (layout.input("tiny") / "test.csv").write_text("id\n0079\n0078\n")
    table = layout.input("tiny") / "labels.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-2]) + "\n")
    start = FACTS[: FACTS.index("holdout:")]
    renew(layout, start + "test: {file: test.csv, row_id: id, image: 'images/{id}.png'}\nfolds: {k: 4}\n")
    assert list(made(layout)) == ["tiny.csv", "tiny.json", "tiny.test.csv"]
    loaded = load_folds(layout, "tiny")
    assert (len(loaded.frame), loaded.test["row_id"].tolist()) == (78, ["0078", "0079"])


def test_load_folds(layout: Layout) -> None:
    with pytest.raises(FoldlineError) as caught:
        load_folds(layout, "tiny")
    assert caught.value.next == "make folds COMP=tiny"
    folds(layout, "tiny")
    loaded = load_folds(layout, "tiny")
    assert (loaded.task.name, loaded.k, loaded.outputs) == ("binary", 4, ["intact", "broken"])
    assert loaded.sha256 == sha256_file(layout.folds("tiny"))
    assert str(loaded.frame["fold"].dtype) == "int64"
    assert loaded.frame["row_id"].str.startswith("00").all()
    layout.test_rows("tiny").unlink()
    with pytest.raises(FoldlineError, match="file not found"):
        load_folds(layout, "tiny")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (",0\n", ",9\n", "folds outside"),
        (",0\n", ",x\n", "have no fold number"),
        (",0\n", ",1\n", "fold 0 has no rows"),
    ],
)
def test_load_folds_checks_what_the_hash_cannot(layout: Layout, old: str, new: str, words: str) -> None:
    """Folds whose hash was 'mended' by hand as well still have to be sound."""
    folds(layout, "tiny")
    layout.folds("tiny").write_text(layout.folds("tiny").read_text().replace(old, new))
    meta = read_json(layout.folds_meta("tiny"))
    meta["sha256"]["folds"] = sha256_file(layout.folds("tiny"))
    layout.folds_meta("tiny").write_text(json.dumps(meta))
    with pytest.raises(FoldlineError, match=words):
        load_folds(layout, "tiny")


def test_a_write_that_fails_leaves_no_valid_folds(layout: Layout, monkeypatch: Any) -> None:
    """The CSV comes last, so that a run after a crash starts again instead of trusting half of the files."""

    def full(path: Path, content: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("foldline.core.records.record.write_json", full)
        with pytest.raises(OSError, match="No space"):
            folds(layout, "tiny")
    assert not layout.folds("tiny").exists()
    folds(layout, "tiny")
    assert load_folds(layout, "tiny").k == 4


def test_a_patient_of_two_spellings_is_one_and_an_unknown_one_stands_alone(layout: Layout, capsys: Any) -> None:
    """The same patients in two tables, one of them saved as fractions; some are not known."""
    table = layout.input("tiny") / "labels.csv"
    head, *lines = [line.split(",") for line in table.read_text().splitlines()]
    for number, line in enumerate(lines):
        line[3] = "nan" if number >= 72 else f"{100 + number % 12}" + ".0" * (number % 24 < 12)
    table.chmod(0o644)
    table.write_text("\n".join(",".join(line) for line in [head, *lines]) + "\n")
    write_manifest(layout)
    write_facts(layout, FACTS.replace("  metadata", "  group: patient\n  metadata"))
    folds(layout, "tiny")
    train, test = read_csv(layout.folds("tiny")), read_csv(layout.test_rows("tiny"))
    known = train[train["group"].str.startswith("1")]
    assert set(known["group"]) <= {str(100 + i) for i in range(12)}, "no patient has two names"
    assert set(known["group"]).isdisjoint(test["group"]), "none is in training and holdout"
    assert known.groupby("group")["fold"].nunique().max() == 1
    unknown = pd.concat([train, test])[lambda frame: frame["group"].str.startswith("00")]
    assert len(unknown) == 8
    assert unknown["group"].equals(unknown["row_id"]), "a word for nothing is no patient"
    said = capsys.readouterr().out
    assert "groups of several spellings stay together: '100.0' -> '100' (3 rows)" in said
    assert "8 rows have no group ('nan'): each stands alone" in said


def test_rows_that_are_never_validated_on_are_no_sixth_fold(layout: Layout) -> None:
    table = layout.input("tiny") / "labels.csv"
    table.chmod(0o644)
    table.write_text(table.read_text().replace(",5\n", ",-1\n"))
    write_manifest(layout)
    write_facts(layout, FACTS.replace("[kind]", "[kind, part]").replace("k: 4", "k: 4, splitter: column, column: part"))
    with pytest.raises(FoldlineError, match="16 rows are in fold -1, so never validated on") as error:
        folds(layout, "tiny")
    assert 'train.without: {part: "-1"}' in error.value.next
    assert "extra.rows" in error.value.next


def test_files_that_came_after_the_download_are_said(layout: Layout, capsys: Any) -> None:
    root = layout.input("tiny")
    for number, path in enumerate(sorted((root / "images").iterdir())):
        place = root / "images" / ("ab"[number % 2]) / path.name
        place.parent.mkdir(exist_ok=True)
        path.rename(place)
    write_manifest(layout)
    head, tail = FACTS.partition("train:")[0], FACTS.partition("holdout:")[2].replace(", kind", "")
    write_facts(layout, head.replace("[intact, broken]", "[a, b]") + "train: {reader: folders, file: images, target: "
                "label}\nholdout:" + tail)  # fmt: skip
    folds(layout, "tiny")
    assert "came later" not in capsys.readouterr().out
    shutil.copy(root / "images/a/000.png", root / "images/b/new.png")
    folds(layout, "tiny")
    said = capsys.readouterr().out
    assert "warning: 1 file is not in input/tiny/manifest.json, so they came later: images/b/new.png" in said
    assert "  rows of the 2 classes: a 30, b 30" in said, "the classes are printed whenever folds is called"
