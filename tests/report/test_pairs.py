"""Pictures that occur twice, in the order of what matters; and what would explain them in the facts."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from foldline.core.competition import Competition
from foldline.core.tables import sha256_file
from foldline.core.task import TASKS
from foldline.readers.rows import read_rows
from foldline.report.explore.advice import advise
from foldline.report.explore.leak import Leaks
from foldline.report.explore.pairs import Collected, Pairs, Place, find_pairs
from tiny import FACTS, TinyProject

PATIENTS = 14


def picture(seed: int) -> Any:
    """Random blobs of several sizes, the finer the fainter, as in photographs."""
    rng = np.random.default_rng(seed)
    grey = np.zeros((96, 96), dtype=np.float32)
    for cells in (4, 8, 16, 32, 64):
        blobs = rng.normal(size=(cells, cells)).astype(np.float32) / cells**0.7
        grey += cv2.resize(blobs, (96, 96), interpolation=cv2.INTER_CUBIC)
    return np.clip(grey * 100 + 120, 0, 255).astype(np.uint8)


def save(root: Path, name: str, pixels: Any, *options: int) -> str:
    assert cv2.imwrite(str(root / name), pixels, list(options))
    return name


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients with two pictures each that look the same; copies of other kinds."""
    root = tmp_path_factory.mktemp("pairs")
    for patient in range(PATIENTS):
        save(root, f"pt{patient:02d}_left.png", picture(patient))
        save(root, f"pt{patient:02d}_right.png", np.clip(picture(patient) * 1.1 + 3, 0, 255).astype(np.uint8))
    save(root, "solo_one.png", picture(90))
    save(root, "same_bytes.png", picture(0))
    save(root, "same_pixels.png", picture(1), cv2.IMWRITE_PNG_COMPRESSION, 0)
    save(root, "test_0.png", picture(2))
    save(root, "test_1.png", picture(91))
    save(root, "flat_1.png", np.zeros((40, 40), dtype=np.uint8))
    save(root, "flat_2.png", np.zeros((40, 40), dtype=np.uint8))
    (root / "words_1.png").write_text("no picture")
    return root


def tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = sorted(path.stem for path in root.glob("*.png") if not path.stem.startswith("test"))
    frame = pd.DataFrame({"row_id": names, "image": [f"{name}.png" for name in names]})
    frame["target"] = ["good" if name.startswith("pt") or name.startswith("flat") else "bad" for name in names]
    frame["fold"] = np.arange(len(names)) % 2
    frame["site"] = [name[:4] for name in names]
    test = pd.DataFrame({"row_id": ["test_0", "test_1"], "image": ["test_0.png", "test_1.png"]})
    return frame, test


def found(root: Path, frame: pd.DataFrame, test: pd.DataFrame, **options: int) -> Pairs:
    hashes = {path.name: sha256_file(path) for path in root.glob("*.png")}
    return find_pairs(root, frame, test, hashes, TASKS["binary"], ["good", "bad"], **options)


def test_pairs_come_by_what_they_mean(root: Path) -> None:
    frame, test = tables(root)
    pairs = found(root, frame, test)
    named = [(_name(frame, test, pair.left), _name(frame, test, pair.right), pair) for pair in pairs.pairs]
    first = {(left, right): pair for left, right, pair in named[:2]}
    assert first["pt00_left", "same_bytes"].kind == "bytes"
    assert first["pt01_left", "same_pixels"].kind == "pixels"
    assert all(pair.labels == "conflict" for pair in first.values())
    across = [(left, right) for left, right, pair in named if pair.across]
    assert ("pt02_left", "test_0") in across
    assert [pair.rank for pair in pairs.pairs] == sorted(pair.rank for pair in pairs.pairs)
    assert ("flat_1", "flat_2") in [(left, right) for left, right, _ in named], "the same bytes need no look"
    everyone = {f"pt{i:02d}_left" for i in range(PATIENTS)}
    assert everyone <= {left for left, right, _ in named if right.endswith("right")}
    assert "solo_one" not in {name for left, right, _ in named for name in (left, right)}
    assert pairs.counts["across"] == len(across)
    assert pairs.counts["train_rows"] == 2 * PATIENTS + 4
    assert pairs.counts["test_rows"] == 1
    assert "3 pictures were compared by their bytes alone" in pairs.left_out[0]


def _name(frame: pd.DataFrame, test: pd.DataFrame, place: Place) -> str:
    return str((frame if place.table == "train" else test)["row_id"].iloc[place.row])


def test_sets_join_both_tables(root: Path) -> None:
    frame, test = tables(root)
    pairs = found(root, frame, test)
    same = dict(zip([*frame["row_id"], *test["row_id"]], [*pairs.same_train, *pairs.same_test], strict=True))
    assert same["pt02_left"] == same["pt02_right"] == same["test_0"] != ""
    assert same["solo_one"] == same["test_1"] == ""
    assert sorted(_name(frame, test, place) for place in pairs.sets[0]) == ["pt00_left", "pt00_right", "same_bytes"]
    assert sum(map(len, pairs.sets)) == pairs.counts["train_rows"] + pairs.counts["test_rows"]


def test_the_most_important_pairs_are_listed_and_all_counted(root: Path) -> None:
    frame, test = tables(root)
    whole, cut = found(root, frame, test), found(root, frame, test, most=3)
    assert cut.pairs == whole.pairs[:3]
    assert cut.counts == whole.counts
    assert "the 3 that matter most are listed" in cut.left_out[-1]


def test_no_rows_have_no_pairs(tmp_path: Path) -> None:
    empty = pd.DataFrame({"row_id": [], "image": [], "target": []}, dtype=str)
    pairs = found(tmp_path, empty, empty.drop(columns="target"))
    assert (pairs.pairs, pairs.sets, pairs.same_train) == ([], [], [])


def test_numbers_disagree_only_where_they_are_far_apart(root: Path) -> None:
    frame, test = tables(root)
    frame = frame.assign(target=[str(100 * i) for i in range(len(frame))])
    left, right = (frame["row_id"].tolist().index(name) for name in ("pt03_left", "pt03_right"))
    frame.loc[right, "target"] = str(100 * left + 1)
    pairs = find_pairs(root, frame, test, {}, TASKS["regression"], [""])
    labels = {(pair.left.row, pair.right.row): pair.labels for pair in pairs.pairs}
    assert labels[left, right] == "equal"
    place = frame["row_id"].tolist().index
    conflicts = {pair for pair, said in labels.items() if said == "conflict"}
    assert conflicts == {(place("pt00_left"), place("same_bytes")), (place("pt01_left"), place("same_pixels"))}


def test_films_are_counted_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sets stay whole where there are too many pairs to keep."""
    monkeypatch.setattr("foldline.report.explore.pairs.MOST_COUNTED", 10)
    monkeypatch.setattr("foldline.report.explore.pairs.PIECE", 5)
    collected = Collected(40)
    for start in range(0, 30):
        collected.add(np.array([[start], [start + 1]]), np.array([1]))
        collected.add(np.array([[start + 1], [start]]), np.array([1]))
    assert collected.full
    assert collected.names() == ["same:0"] * 31 + [""] * 9


FOLDERS: dict[str, Any] = {
    **FACTS,
    "train": {"reader": "folders", "pattern": "{stem}.png", "row_id": "stem", "target": "stem"},
}


def test_the_name_that_explains_the_pairs_is_found_and_its_lines_work(root: Path) -> None:
    frame, test = tables(root)
    frame = frame[frame["row_id"].str.contains("_")].drop(columns="site").reset_index(drop=True)
    facts = Competition.parse(FOLDERS, where="facts")
    advice = {one.name: one for one in advise(frame, test, facts, found(root, frame, test), Leaks(), [])}
    assert list(advice) == ["group", "duplicates", "conflicts", "across"]
    assert "'pt" in advice["group"].text
    changed = FOLDERS | {"train": FOLDERS["train"] | yaml.safe_load(advice["group"].yaml)["train"]}
    rows = read_rows(root, Competition.parse(changed, where="facts").train, facts, with_target=False)
    groups = dict(zip(rows["row_id"], rows["group"], strict=True))
    assert groups["pt03_left"] == groups["pt03_right"] == "pt03"
    without = FOLDERS["train"] | yaml.safe_load(advice["conflicts"].yaml)["train"]
    left = read_rows(
        root, Competition.parse(FOLDERS | {"train": without}, where="facts").train, facts, with_target=False
    )
    assert set(rows["row_id"]) - set(left["row_id"]) == {"pt00_left", "same_bytes", "pt01_left", "same_pixels"}
    assert yaml.safe_load(advice["duplicates"].yaml) == {"folds": {"group_duplicates": True}}
    assert advice["across"].text.startswith("1 of 2 test pictures")


def test_a_column_that_explains_the_pairs_comes_before_the_names(root: Path) -> None:
    frame, test = tables(root)
    pairs = found(root, frame, test)
    facts = Competition.parse(FACTS, where="facts")
    assert facts.train.group
    assert "group" not in {one.name for one in advise(frame, test, facts, pairs, Leaks(), [])}, "there is one already"
    facts = facts.model_copy(update={"train": facts.train.model_copy(update={"group": None})})
    group = advise(frame, test, facts, pairs, Leaks(), [])[0]
    assert yaml.safe_load(group.yaml) == {"train": {"group": "site"}}
    ages = [str(50 + i) if i % 9 else "" for i in pd.factorize(frame["site"])[0]]
    aged = frame.assign(site=ages).rename(columns={"site": "age"})
    assert "age" not in advise(aged, test, facts, pairs, Leaks(), [])[0].yaml, "twins share it, and it is no reason"
    shuffled = frame.assign(site=np.random.default_rng(0).permutation(frame["site"]))
    shuffled["image"] = frame["image"]
    assert "site" not in advise(shuffled, test, facts, pairs, Leaks(), [])[0].yaml


def test_nothing_found_is_no_advice(project: TinyProject) -> None:
    frame = pd.DataFrame({"row_id": ["a"], "image": ["a.png"], "target": ["dark"]})
    assert advise(frame, frame, Competition.parse(FACTS, where="facts"), Pairs(), Leaks(), []) == []
