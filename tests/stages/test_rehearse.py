"""A bundle rehearsed: its own notebook on a hidden test set, without network, graded against OOF."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from foldline.cli import main
from foldline.core.paths import Layout
from foldline.core.records.kernel import KernelEntry, bundle_sha256
from tiny import FACTS, RUN, TinyProject

SHORT: dict[str, Any] = {**RUN, "train": {**RUN["train"], "epochs": 1}}
STUDIES: dict[str, Any] = {
    "source": {"kind": "folder", "name": "raw"},
    "task": "multilabel",
    "classes": ["round", "sharp", "wide"],
    "metric": "log_loss",
    "train": {
        "file": "train.csv", "row_id": "image", "image": "{study}/{image}.png", "entity": "study", "group": "study",
        "target": {"columns": ["round", "sharp", "wide"]}, "metadata": ["age"],
    },
    "test": {
        "file": "test.csv", "row_id": "image", "image": "{study}/{image}.png", "entity": "study", "metadata": ["age"],
    },
    "submission": {"sample": "sample_submission.csv"},
    "folds": {"k": 2},
}  # fmt: skip
WHALES: dict[str, Any] = {
    "source": {"kind": "folder", "name": "raw"},
    "task": "multiclass",
    "metric": "map@3",
    "train": {"file": "train.csv", "row_id": "Image", "image": "train/{Image}", "target": "Id"},
    "test": {"reader": "folders", "file": "test", "row_id": "name"},
    "submission": {"sample": "sample_submission.csv", "kind": "ranked", "top_k": 3},
    "folds": {"k": 2},
}


def picture(path: Path, level: int, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.clip(rng.normal(level, 20, (34, 36)), 0, 255).astype(np.uint8))


def studies(raw: Path) -> None:
    """Two or three pictures of each study; a line of the sample for each study and class."""
    rng, tables = np.random.default_rng(0), {"train": ["study,image,age,round,sharp,wide"], "test": ["study,image,age"]}
    sample = ["row_id,prob"]
    for study in range(1001, 1031):
        part, labels = "train" if study < 1023 else "test", [int(x) for x in rng.integers(0, 2, 3)]
        sample += [f"{study}_{name},0.5" for name in STUDIES["classes"]] if part == "test" else []
        for number in range(2 + study % 2):
            picture(raw / f"{study}" / f"{study}{number}7.png", 40 + 60 * sum(labels), rng)
            known = [study, f"{study}{number}7", 40 + study % 9, *(labels if part == "train" else [])]
            tables[part].append(",".join(map(str, known)))
    for name, lines in {**tables, "sample_submission": sample}.items():
        (raw / f"{name}.csv").write_text("\n".join(lines) + "\n")


def whales(raw: Path) -> None:
    """Six animals; the best three are ranked in one cell."""
    rng, names = np.random.default_rng(0), [f"w_{n}f" for n in range(6)]
    train = [(f"t{n:04d}.png", names[n % 6], n % 6) for n in range(48)]
    for name, _, kind in train:
        picture(raw / "train" / name, 30 + 35 * kind, rng)
    for n in range(10):
        picture(raw / "test" / f"{n:05d}.png", 30 + 35 * (n % 6), rng)
    lines = [f"{n:05d}.png,{' '.join(names[:3])}" for n in range(10)]
    (raw / "train.csv").write_text("\n".join(["Image,Id", *(f"{name},{label}" for name, label, _ in train)]) + "\n")
    (raw / "sample_submission.csv").write_text("\n".join(["Image,Id", *lines]) + "\n")


def bundled(root: Path, comp: str, facts: dict[str, Any], write: Callable[[Path], None]) -> Layout:
    """A project with one competition from raw files to a bundle."""
    write(root / "raw")
    configs = root / "configs" / comp
    configs.mkdir(parents=True)
    source = {**facts["source"], "name": str(root / "raw")}
    for name, content in (("competition", {**facts, "source": source}), ("quick", SHORT)):
        (configs / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for stage in ("download", "folds", "train", "predict", "kernel"):
        run = ["--run", "quick"] if stage in ("train", "predict", "kernel") else []
        gpu = ["--gpu", "none", "--device", "cpu"] if stage == "kernel" else []
        assert main([stage, "--root", str(root), "--comp", comp, *run, *gpu]) == 0
    return Layout(root)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """The bundle of a competition without a test set of its own."""
    project = TinyProject(tmp_path_factory.mktemp("rehearse"), rows=72)
    project.write_yaml("competition", {**FACTS, "folds": {"k": 2}})
    project.write_yaml("quick", SHORT)
    project.prepare()
    for stage in ("train", "predict"):
        assert project.run(stage) == 0
    assert project.run("kernel", "--run", "quick", "--gpu", "none", "--device", "cpu") == 0
    return project


def rehearsed(layout: Layout, comp: str) -> KernelEntry:
    return KernelEntry.read(layout.kernel(comp, "quick") / "kernel.json")


def test_a_bundle_is_rehearsed_in_a_fresh_environment(tiny: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.run("rehearse", "--run", "quick") == 0
    said, found = capsys.readouterr().out, rehearsed(tiny.layout, "tiny").rehearsal
    assert found is not None
    assert "in a fresh environment" in said
    assert "is broken" in said
    assert found.passed
    assert found.bundle == bundle_sha256(tiny.layout.kernel("tiny", "quick"))
    assert found.rows > 1.9 * 18
    assert found.score == pytest.approx(found.expected, abs=0.005)


def test_a_run_that_its_clock_cuts_writes_a_valid_file(tiny: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    before = rehearsed(tiny.layout, "tiny")
    assert tiny.run("rehearse", "--run", "quick", "--fast", "--limit", "0.5") == 0
    assert "valid, but cut: 0 of 4 passes; the gate accepts the" in capsys.readouterr().out
    assert rehearsed(tiny.layout, "tiny") == before


def test_several_pictures_a_line_in_a_long_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = bundled(tmp_path, "studies", STUDIES, studies)
    assert main(["rehearse", "--root", str(tmp_path), "--comp", "studies", "--run", "quick", "--fast"]) == 0
    found = rehearsed(layout, "studies").rehearsal
    assert found is not None
    assert found.passed
    assert found.rows > 30
    assert found.score == pytest.approx(found.expected, abs=0.005)
    assert "hidden lines" in capsys.readouterr().out


def test_a_ranking_of_the_files_of_a_folder(tmp_path: Path) -> None:
    layout = bundled(tmp_path, "whales", WHALES, whales)
    assert main(["rehearse", "--root", str(tmp_path), "--comp", "whales", "--run", "quick", "--fast"]) == 0
    found = rehearsed(layout, "whales").rehearsal
    assert found is not None
    assert found.passed
    assert any("no row of class" in note for note in found.notes)


STUB = """
import json, os, csv
inputs = os.environ["FOLDLINE_INPUTS"]
rows = list(csv.reader(open(os.path.join(inputs, "tiny", "sample_submission.csv"))))
report = {{"schema": 1, "name": "quick", "sample": "", "device": "", "limit_seconds": 1, "lines": len(rows) - 1}}
json.dump(report, open("offline.json", "w"))
{body}
csv.writer(open("submission.csv", "w"), lineterminator="\\n").writerows(rows)
"""
FAULTS = {
    "raise SystemExit('no weights')": ("the notebook failed: exit code 1", "no weights"),
    "raise SystemExit(0)": ("it wrote no submission.csv", ""),
    "rows.pop()": ("ids of the sample are missing", ""),
    "rows[1:] = [[row[0], 0.5] for row in rows[1:]]": ("auc 0.5000 of", "by OOF"),
    "import socket; socket.create_connection(('127.0.0.1', 9))": ("exit code 1", "no network in a rehearsal"),
}


@pytest.mark.parametrize("body", FAULTS)
def test_what_goes_wrong_is_said_and_kept(
    body: str, tiny: TinyProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    place, kept = tiny.layout.kernel("tiny", "quick"), tmp_path / "kept"
    shutil.copytree(place, kept)
    cells = [{"cell_type": "code", "metadata": {}, "source": STUB.format(body=body)}]
    (place / "kernel" / "notebook.ipynb").write_text(json.dumps({"cells": cells}))
    try:
        assert tiny.run("rehearse", "--run", "quick", "--fast") == 2
        said = "".join(capsys.readouterr())
        assert all(words in said for words in FAULTS[body])
        found = rehearsed(tiny.layout, "tiny").rehearsal
        assert found is not None
        assert not found.passed
        assert (place / "rehearsal.log").is_file()
    finally:
        shutil.rmtree(place)
        shutil.copytree(kept, place)


def test_a_bundle_that_is_not_there(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run("rehearse", "--run", "quick") == 2
    assert "make kernel COMP=tiny NAME=quick" in capsys.readouterr().err
