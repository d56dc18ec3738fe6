"""What the probes of `explore` find in made tables, and what they must not find."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from foldline.core.task import TASKS, Task, task_from
from foldline.report.explore.boosting import as_columns, out_of_fold
from foldline.report.explore.file_facts import FileFacts, natural_ranks, read_file_facts
from foldline.report.explore.leak import Leaks, probe_leaks
from foldline.report.explore.rows_to_probe import clusters, sampled
from foldline.report.explore.shift import facts_shift, features_shift

ROWS = 300


def made(seed: int, rows: int = ROWS) -> tuple[pd.DataFrame, FileFacts]:
    """Rows of two classes with facts that know nothing of them."""
    rng = np.random.default_rng(seed)
    ids = [f"r{i}" for i in range(rows)]
    width = rng.choice([800.0, 1024.0, 1600.0], rows)
    size = np.exp(rng.normal(10.3, 0.3, rows))
    frame = pd.DataFrame(
        {"row_id": ids, "image": [f"{name}.jpg" for name in ids], "site": rng.choice(["arm", "leg"], rows)}
    )
    frame["target"] = rng.choice(["bad", "good"], rows, p=[0.3, 0.7])
    frame["fold"] = np.arange(rows) % 5
    table = pd.DataFrame(
        {
            "bytes": size,
            "bits_per_pixel": 8 * size / width**2,
            "width": width,
            "format": rng.choice(["jpg", "png"], rows, p=[0.9, 0.1]),
            "camera": rng.choice(["A", "B", "C", ""], rows),
            "name_order": rng.permutation(rows).astype(float),
        }
    )
    return frame, FileFacts(table)


def probed(frame: pd.DataFrame, facts: FileFacts) -> Leaks:
    return probe_leaks(frame, facts, TASKS["binary"], ["good", "bad"])


def plant(frame: pd.DataFrame, facts: FileFacts, what: str) -> tuple[pd.DataFrame, FileFacts]:
    """The same rows with one leak."""
    bad, table = (frame["target"] == "bad").to_numpy(), facts.table.copy()
    rng = np.random.default_rng(sorted(CARRIED).index(what))
    some = bad & (rng.random(len(bad)) < 0.6)
    if what == "bytes":
        table.loc[bad, "bytes"] *= 1.5
    elif what == "dimensions":
        table.loc[some, "width"] = 1600.0
    elif what == "format":
        table.loc[some, "format"] = "png"
    elif what == "exif":
        table.loc[some, "camera"] = "Z"
    elif what == "order":
        table["name_order"] = np.argsort(np.argsort(bad + rng.normal(0, 0.4, len(bad)))).astype(float)
    else:
        frame = frame.assign(site=np.where(some, "leg", frame["site"]))
    return frame, FileFacts(table)


def test_clean_rows_raise_no_alarm() -> None:
    """A few of the draws whose rates docs/probes.md states."""
    suspected = [probed(*made(seed, rows)).suspected for seed, rows in enumerate([60] * 4 + [300] * 2)]
    assert sum(map(bool, suspected)) <= 1


CARRIED = {
    "bytes": "bytes of the file: median",
    "dimensions": "width",
    "format": "format: 'jpg' in",
    "exif": "'Z' in",
    "order": "place in the order of names",
    "metadata": "'leg' in",
}


def test_planted_leaks_are_found_and_named() -> None:
    frame, facts = made(3)
    for what in CARRIED:
        frame, facts = plant(frame, facts, what)
    found = probed(frame, facts)
    assert {one.name for one in found.suspected} == {*CARRIED, "files"}
    for finding in found.suspected:
        assert finding.low > 0.5
        assert "chance: 0.50" in finding.text
        assert CARRIED.get(finding.name, "") in finding.carriers[0].text
        assert ("perhaps by content" in finding.title) == (finding.name == "bytes")


def test_one_planted_leak_is_no_other() -> None:
    assert {one.name for one in probed(*plant(*made(3), "exif")).suspected} == {"exif", "files"}


def test_the_same_rows_in_another_order_tell_the_same() -> None:
    frame, facts = plant(*made(3), "bytes")
    order = np.random.default_rng(0).permutation(len(frame))
    once = probed(frame, facts)
    again = probed(frame.iloc[order].reset_index(drop=True), FileFacts(facts.table.iloc[order].reset_index(drop=True)))
    assert probed(frame, facts) == once
    assert {one.name: one.grade for one in once.findings} == {one.name: one.grade for one in again.findings}


def test_a_fact_of_the_group_alone_is_no_evidence_of_its_rows() -> None:
    """Twelve patients, each with one label and one camera: a split by rows would know them again."""
    frame, facts = made(4, 240)
    patient = np.arange(240) // 20
    label = np.random.default_rng(1).permutation([0, 1] * 6)
    frame = frame.assign(target=np.where(label[patient] == 1, "bad", "good"), group=[f"p{i}" for i in patient])
    facts = FileFacts(facts.table.assign(camera=[f"cam{i}" for i in patient], name_order=np.arange(240.0)))
    torn = probed(frame.drop(columns="group"), facts)
    whole = probed(frame.assign(fold=patient % 4), facts)
    assert {"exif", "order"} <= {one.name for one in torn.suspected}
    assert whole.suspected == []


TARGETS: list[tuple[Task, list[str]]] = [
    (TASKS["multiclass"], ["a", "b", "c"]),
    (TASKS["ordinal"], ["0", "1", "2"]),
    (TASKS["multilabel"], ["x", "y"]),
    (TASKS["soft"], ["x", "y"]),
    (TASKS["regression"], [""]),
    (TASKS["regression"], ["u", "v"]),
    (task_from({"side": "binary", "age": "regression"}), ["side=left", "side=right", "age="]),
]


def labelled(
    frame: pd.DataFrame, task: Task, outputs: Sequence[str], strength: float
) -> tuple[pd.DataFrame, FileFacts]:
    """Labels of any task, of which the width knows as much as `strength` says."""
    rng = np.random.default_rng(5)
    hidden = rng.random(len(frame))
    frame = frame.drop(columns="target")
    for column in task.target_columns(outputs):
        if column == "target" and task.single_label:
            frame[column] = [outputs[int(value * len(outputs))] for value in hidden]
        elif column == "target_side":
            frame[column] = np.where(hidden > 0.5, "right", "left")
        elif task.label_sets:
            frame[column] = (hidden > 0.5).astype(int).astype(str)
        else:
            values = 1 - hidden if column == "target_y" else hidden
            frame[column] = [f"{value:.4f}" for value in values]
    width = strength * hidden + (1 - strength) * rng.random(len(frame))
    return frame, FileFacts(
        pd.DataFrame({"width": width, "bytes": rng.random(len(frame)), "format": ["png"] * len(frame)})
    )


@pytest.mark.parametrize(("task", "outputs"), TARGETS)
def test_every_task_is_probed(task: Task, outputs: list[str]) -> None:
    frame, facts = labelled(made(6, 150)[0], task, outputs, 0.8)
    found = probe_leaks(frame, facts, task, outputs)
    assert {one.name for one in found.suspected} == {"dimensions", "files"}
    assert {one.target for one in found.suspected} == {name for name, _ in task.targets} or {""}
    assert found.equal == ["format", "exif", "name", "order"]


def test_one_class_of_many_is_enough() -> None:
    frame, facts = made(7, 400)
    frame["target"] = [f"class {i % 6}" for i in range(400)]
    facts = FileFacts(facts.table.assign(format=np.where(np.arange(400) % 6 == 3, "png", "jpg")))
    found = probe_leaks(
        frame.assign(fold=np.arange(400) // 6 % 5), facts, TASKS["multiclass"], [f"class {i}" for i in range(6)]
    )
    assert "format" in [one.name for one in found.suspected]
    finding = next(one for one in found.suspected if one.name == "format")
    assert max(finding.by_output, key=lambda name: finding.by_output[name]) == "class 3"
    assert "'class 3'" in finding.text


def test_names_that_hold_the_label_are_said_to() -> None:
    frame, facts = made(8)
    frame["image"] = [f"{label}_{i}.jpg" for i, label in enumerate(frame["target"])]
    found = probed(frame, facts)
    assert "the names hold the labels" in found.left_out[0]
    assert not {"name", "order"} & {one.name for one in found.findings}


def test_too_little_to_probe_is_said() -> None:
    frame, facts = made(1, 20)
    assert "20 rows are too few" in probed(frame, facts).left_out[0]
    frame, facts = made(1, 0)
    assert probed(frame, facts).findings == []
    frame, facts = made(1, 60)
    assert "no two classes" in probed(frame.assign(target=["bad"] * 3 + ["good"] * 57), facts).left_out[0]


def test_shift_of_files_is_found_and_named() -> None:
    (frame, facts), (test, other) = made(1), made(2)
    test = test.drop(columns=["target", "fold"])
    clean = facts_shift(frame, test, full(facts), full(other))
    assert clean is not None
    assert clean.grade == "none"
    shifted = FileFacts(
        full(other).table.assign(width=lambda table: np.where(np.arange(ROWS) < 200, 3000.0, table["width"]))
    )
    found = facts_shift(frame, test, full(facts), shifted)
    assert found is not None
    assert found.grade == "strong"
    assert found.carriers[0].text == "width, px: 3000 in 67% of 'test', 0% of 'training'"
    assert (found.telling(100) < 200).all()
    assert (found.most_train_like(50) >= 200).all()


def full(facts: FileFacts) -> FileFacts:
    """With the facts that the made table lacks, as they are where nobody knows them."""
    from foldline.report.explore.file_facts import FACTS

    lacking = {name: "" if fact.word else np.nan for name, fact in FACTS.items() if name not in facts.table.columns}
    return FileFacts(facts.table.assign(**lacking))


def test_features_shift_says_which_rows() -> None:
    rng = np.random.default_rng(0)
    (frame, _), (test, _) = made(1), made(2)
    features = rng.normal(size=(2, ROWS, 40)).astype(np.float32)
    clean = features_shift(frame, test, *features)
    assert clean is not None
    assert clean.grade == "none"
    features[1, :150, :5] += 2
    features[0, 7, :5] += 2
    features[1, 200, 0] = np.nan
    found = features_shift(frame, test, *features)
    assert found is not None
    assert found.grade in ("clear", "strong")
    assert (found.telling(80) < 150).mean() > 0.95
    assert 7 in found.most_test_like(15)
    assert "1 row has no finite features" in found.left_out[0]
    assert features_shift(frame[:5], test, features[0, :5], features[1]) is None


def test_pictures_that_come_in_sets_are_no_shift() -> None:
    """Test pictures in sets of ten near-duplicates: told apart only where it is not known that they belong together."""
    rng = np.random.default_rng(1)
    (frame, _), (test, _) = made(1), made(2)
    train = rng.normal(size=(ROWS, 40)).astype(np.float32)
    sets = np.repeat(rng.normal(size=(ROWS // 10, 40)), 10, axis=0).astype(np.float32)
    same = [f"same:{i // 10}" for i in range(ROWS)]
    faked = features_shift(frame, test, train, sets)
    known = features_shift(frame, test, train, sets, train_same=[""] * ROWS, test_same=same)
    assert faked is not None
    assert known is not None
    assert faked.grade in ("clear", "strong")
    assert known.grade == "none"


def test_samples_are_whole_groups_and_always_the_same() -> None:
    frame = pd.DataFrame({"row_id": [str(i) for i in range(1000)], "group": [f"g{i // 4}" for i in range(1000)]})
    rows = sampled(frame, 100, seed=0)
    assert 100 <= len(rows) <= 104
    assert (np.bincount(rows // 4)[np.unique(rows // 4)] == 4).all()
    again = sampled(frame[::-1].reset_index(drop=True), 100, seed=0)
    assert sorted(999 - again) == rows.tolist()
    assert len(sampled(frame.assign(group="one"), 100, seed=0)) == 100
    assert clusters(frame[:8], ["", "x", "", "", "", "", "", "x"]).tolist() == [0] * 8


def test_boosting_takes_missing_cells_and_words() -> None:
    rng = np.random.default_rng(0)
    word = rng.choice(["a", "b", ""], 200)
    columns = as_columns(pd.DataFrame({"word": word, "none": [np.nan] * 200, "one": [1.0] * 200}))
    predicted = out_of_fold(columns, (word == "").astype(float), 2, np.arange(200) % 4).predicted
    assert (predicted.argmax(axis=1) == (word == "")).all()


def write(path: Path, pixels: Any, **options: Any) -> None:
    Image.fromarray(pixels).save(path, **options)


def test_facts_of_files(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0110], exif[0x0131], exif[0x0132] = (
        6,
        "Acme",
        "One",
        "soft",
        "2024:05:17 12:30:00",
    )
    for quality in (30, 75, 95):
        write(tmp_path / f"q{quality}.jpg", pixels, quality=quality, exif=exif, dpi=(300, 300))
    write(tmp_path / "p10.png", pixels[:, :, 0])
    write(tmp_path / "p9.jpg", pixels, format="WEBP")
    cv2.imwrite(str(tmp_path / "deep.png"), pixels.astype(np.uint16))
    np.save(tmp_path / "a.npy", pixels)
    assert cv2.imwritemulti(str(tmp_path / "bands.tif"), [pixels[:, :, 0].astype(np.uint16)] * 2)
    (tmp_path / "cut.tif").write_bytes((tmp_path / "bands.tif").read_bytes()[:200])
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "q75.jpg").read_bytes()[:-40])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "words.png").write_text("no picture")
    names = [
        "q30.jpg",
        "q75.jpg",
        "q95.jpg",
        "p10.png",
        "p9.jpg",
        "deep.png",
        "a.npy",
        "cut.jpg",
        "empty.png",
        "words.png",
    ]
    images = [*names, "gone.png", "q30.jpg|p10.png", "bands.tif", "cut.tif"]
    facts = read_file_facts(tmp_path, pd.DataFrame({"row_id": images, "image": images}))
    table = facts.table
    assert [broken.file for broken in facts.broken] == ["cut.jpg", "empty.png", "words.png", "gone.png", "cut.tif"]
    assert table["jpeg_quality"][:3].tolist() == pytest.approx([30, 75, 95], abs=1)
    assert table["format"][:7].tolist() == ["jpg", "jpg", "jpg", "png", "webp", "png", "npy"]
    assert table["width"][:7].tolist() == [40.0] * 7
    assert table["channels"][:7].tolist() == [3, 3, 3, 1, 3, 3, 3]
    assert table["bit_depth"][[5, 12]].tolist() == [16, 16]
    told = {"camera": "Acme One", "software": "soft", "orientation": 6, "dpi": 300, "taken_hour": 12.5}
    assert {name: table[name][0] for name in told} == told
    assert table["bits_per_pixel"][0] == pytest.approx(8 * (tmp_path / "q30.jpg").stat().st_size / 1200)
    assert table["bytes"][11] == (tmp_path / "q30.jpg").stat().st_size + (tmp_path / "p10.png").stat().st_size
    assert table["name_order"][4] < table["name_order"][3], "9 comes before 10"
    assert facts.common("format")[0] == ("jpg", 4)


def test_a_header_of_too_many_pixels_is_broken(tmp_path: Path) -> None:
    write(tmp_path / "a.bmp", np.zeros((4, 4, 3), dtype=np.uint8))
    content = bytearray((tmp_path / "a.bmp").read_bytes())
    images = pd.DataFrame({"row_id": ["a"], "image": ["a.bmp"]})
    for side, why in ((20_000, "20000 x 20000 px is larger"), (14_500, "larger"), (14_000, "")):
        content[18:26] = side.to_bytes(4, "little") * 2
        (tmp_path / "a.bmp").write_bytes(content)
        facts = read_file_facts(tmp_path, images)
        assert why in (facts.broken[0].why if facts.broken else "")
    assert facts.table["width"].tolist() == [14_000], "196 million, which Pillow refuses and training takes"


def test_facts_of_dicom_files(tmp_path: Path) -> None:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.7"), generate_uid()
    made.Rows, made.Columns, made.SamplesPerPixel, made.BitsStored = 30, 40, 1, 12
    made.Manufacturer, made.ManufacturerModelName = "Acme", "Scan 3"
    made.save_as(tmp_path / "whole.dcm", enforce_file_format=True)
    (tmp_path / "bare.dcm").write_bytes((tmp_path / "whole.dcm").read_bytes()[132:])
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "whole.dcm").read_bytes()[:140])
    images = ["whole.dcm", "bare.dcm", "cut.dcm"]
    facts = read_file_facts(tmp_path, pd.DataFrame({"row_id": images, "image": images}))
    for name, value in {"width": 40, "height": 30, "bit_depth": 12, "camera": "Acme Scan 3", "format": "dcm"}.items():
        assert facts.table[name][:2].tolist() == [value, value]
    assert [one.file for one in facts.broken] == ["cut.dcm"]


def test_no_rows_have_no_facts(tmp_path: Path) -> None:
    facts = read_file_facts(tmp_path, pd.DataFrame({"row_id": [], "image": []}, dtype=str))
    assert len(facts.table) == 0
    assert facts.broken == []
    assert natural_ranks([]).tolist() == []


def test_a_class_of_two_rows_is_not_judged() -> None:
    frame, facts = made(5, 120)
    frame.loc[:1, "target"] = "odd"
    facts = FileFacts(facts.table.assign(width=np.where(np.arange(120) < 2, 9.0, facts.table["width"])))
    found = probe_leaks(frame, facts, TASKS["multiclass"], ["good", "bad", "odd"])
    assert found.suspected == []
    assert "1 rarer class (2 rows): not looked at" in found.left_out[0]
