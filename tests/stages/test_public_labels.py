"""Official test sets with public labels: they go into the solution, and nowhere else."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.tables import read_csv, read_json, sha256_file, write_csv, write_json
from foldline.core.yaml_models import parse_yaml
from foldline.stages.folds import folds
from foldline.stages.score import score_submission
from foldline.submission.form import sample_path
from old_records import old, write_manifest

FACTS = """\
source: {kind: placed}
task: multiclass
metric: accuracy
train: {file: train.csv, row_id: id, image: "{id}.png", target: label}
test: {file: test.csv, row_id: id, image: "{id}.png", target: label, metadata: [camera]}
folds: {k: 3}
"""
CLASSES = ["cat", "dog", "eel"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """24 training and 8 test pictures; the test rows lack one class."""
    project = Layout(tmp_path)
    root = project.input("tiny")
    root.mkdir(parents=True)
    for table, count in (("train", 24), ("test", 8)):
        lines = ["id,label,camera"]
        for i in range(count):
            pixels = np.random.default_rng(i).integers(0, 255, (8, 8)).astype(np.uint8)
            cv2.imwrite(str(root / f"{table}{i:02d}.png"), pixels)
            lines.append(f"{table}{i:02d},{CLASSES[i % (3 if table == 'train' else 2)]},c{i % 2}")
        (root / f"{table}.csv").write_text("\n".join(lines) + "\n")
    write_facts(project, FACTS)
    entries = [{"path": p.name, "sha256": sha256_file(p)} for p in sorted(root.iterdir())]
    write_manifest(project.manifest("tiny"), entries)
    return project


def write_facts(layout: Layout, text: str) -> None:
    path = layout.competition_config("tiny")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def edit_test(layout: Layout, old: str, new: str) -> None:
    path = layout.input("tiny") / "test.csv"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))


def test_the_labels_are_in_the_solution_and_nowhere_else(layout: Layout) -> None:
    folds(layout, "tiny")
    test = read_csv(layout.test_rows("tiny"))
    assert test.columns.tolist() == ["row_id", "image", "camera"]
    assert not any(name in layout.test_rows("tiny").read_text() for name in CLASSES)
    solution, sample = read_csv(layout.holdout_solution("tiny")), read_csv(layout.holdout_sample("tiny"))
    assert solution.columns.tolist() == ["row_id", "target"]
    assert solution["target"].tolist() == [CLASSES[i % 2] for i in range(8)]
    assert sample.columns.tolist() == ["row_id", *CLASSES]
    assert sample["row_id"].tolist() == solution["row_id"].tolist() == test["row_id"].tolist()
    assert load_folds(layout, "tiny").test.equals(test)
    assert set(read_json(layout.folds_meta("tiny"))["sha256"]) == {"folds", "test", "solution", "sample"}


def test_the_folds_are_those_without_the_labels(layout: Layout) -> None:
    folds(layout, "tiny")
    labelled = layout.folds("tiny").read_bytes(), layout.test_rows("tiny").read_bytes()
    for path in layout.root.glob("folds/*"):
        path.unlink()
    write_facts(layout, FACTS.replace("target: label, metadata", "metadata"))
    folds(layout, "tiny")
    assert (layout.folds("tiny").read_bytes(), layout.test_rows("tiny").read_bytes()) == labelled
    assert not layout.holdout_solution("tiny").exists()
    assert not load_competition(layout, "tiny").has_solution


def test_a_submission_is_graded(layout: Layout) -> None:
    folds(layout, "tiny")
    sample = read_csv(layout.holdout_sample("tiny"))
    right = [CLASSES[i % 2] for i in range(6)] + ["eel", "eel"]  # 6 of 8
    answers = {name: ["0.8" if name == answer else "0.1" for answer in right] for name in CLASSES}
    write_csv(layout.submission("tiny", "mine"), sample.assign(**answers))
    digest = sha256_file(layout.submission("tiny", "mine"))
    write_json(layout.submission("tiny", "mine").with_suffix(".json"), old("ledger", sha256=digest))
    assert score_submission(layout, "tiny", "mine") == {"accuracy": 0.75}
    assert read_json(layout.submission("tiny", "mine").with_suffix(".json"))["private"] == 0.75


def test_names_and_a_sample_of_its_own(layout: Layout) -> None:
    """The labels of the test rows are named as the training rows' are; a sample that is there stays the truth."""
    (layout.input("tiny") / "sample.csv").write_text("id,label\n" + "".join(f"test{i:02d},cat\n" for i in range(8)))
    facts = FACTS.replace("target: label", "target: {column: label, names: {cat: Cat, dog: Dog, eel: Eel}}")
    write_facts(layout, facts + "submission: {sample: sample.csv, kind: label}\n")
    folds(layout, "tiny")
    assert set(read_csv(layout.holdout_solution("tiny"))["target"]) == {"Cat", "Dog"}
    assert not layout.holdout_sample("tiny").exists()
    assert sample_path(layout, "tiny", load_competition(layout, "tiny")) == layout.input("tiny") / "sample.csv"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("test03,dog", "test03,", "no label.*test03"), ("test03,dog", "test03,yak", "none of cat, dog, eel.*test03")],
)
def test_a_test_row_without_a_known_label_is_named(layout: Layout, old: str, new: str, words: str) -> None:
    edit_test(layout, old, new)
    with pytest.raises(FoldlineError, match=words):
        folds(layout, "tiny")
    assert not list(layout.root.glob("folds/*"))


def test_sets_of_labels(layout: Layout) -> None:
    """The columns are the training rows' classes, also where no test row has one of them."""
    target = "target: {column: label, separator: '+'}"
    write_facts(layout, FACTS.replace("multiclass", "multilabel").replace("target: label", target))
    edit_test(layout, "test03,dog", "test03,dog+cat")
    edit_test(layout, "test05,dog", "test05,")
    folds(layout, "tiny")
    solution = read_csv(layout.holdout_solution("tiny")).set_index("row_id")
    assert solution.columns.tolist() == ["target_cat", "target_dog", "target_eel"]
    assert list(solution.loc["test03"]) == ["1", "1", "0"]
    assert list(solution.loc["test05"]) == ["0", "0", "0"], "no label is a set of none"
    assert read_csv(layout.test_rows("tiny")).columns.tolist() == ["row_id", "image", "camera"]


def test_numbers(layout: Layout) -> None:
    write_facts(
        layout,
        FACTS.replace("multiclass", "regression").replace("accuracy", "rmse").replace("label", "{column: size}"),
    )
    for table in ("train", "test"):
        path = layout.input("tiny") / f"{table}.csv"
        head, *lines = path.read_text().splitlines()
        path.write_text("\n".join([f"{head},size", *(f"{line},{i / 2}" for i, line in enumerate(lines))]) + "\n")
    folds(layout, "tiny")
    assert read_csv(layout.holdout_solution("tiny"))["target"].tolist() == [str(i / 2) for i in range(8)]
    assert "size" not in read_csv(layout.test_rows("tiny")).columns
    edit_test(layout, "c1,1.5", "c1,tall")
    for path in layout.root.glob("folds/*"):
        path.unlink()
    with pytest.raises(FoldlineError, match=r"no finite number.*test03"):
        folds(layout, "tiny")


def test_what_the_facts_say_of_solution_and_sample() -> None:
    found = {}
    for name, change in {
        "labelled": ("", ""),
        "unlabelled": (", target: label, metadata: [camera]}", "}"),
        "sample": ("folds:", "submission: {sample: s.csv}\nfolds:"),
    }.items():
        facts = Competition.parse(parse_yaml(FACTS.replace(*change) if change[0] else FACTS, where=""), where="")
        found[name] = (facts.has_solution, facts.makes_sample)
    assert found == {"labelled": (True, True), "unlabelled": (False, False), "sample": (True, False)}


def test_a_score_that_is_undefined_is_null_and_said(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """AUC of held-out rows that are all of one class; and a run whose own score was undefined too."""
    folds(layout, "tiny")
    sample = read_csv(layout.holdout_sample("tiny"))
    write_csv(layout.submission("tiny", "mine"), sample.assign(**dict.fromkeys(CLASSES, "0.3333")))
    path = layout.submission("tiny", "mine").with_suffix(".json")
    digest = sha256_file(layout.submission("tiny", "mine"))
    write_json(path, old("ledger", sha256=digest, cv={"pooled": None, "mean": None, "std": None}))
    monkeypatch.setattr("foldline.stages.score.score", lambda *_, **__: float("nan"))
    assert score_submission(layout, "tiny", "mine") == {"accuracy": None}
    entry = read_json(path)
    assert (entry["private"], entry["private_metrics"]) == (None, {"accuracy": None})
    words = capsys.readouterr().out
    assert "accuracy undefined" in words
    assert words.rstrip().endswith("undefined)")
