"""A bundle rehearsed: its own notebook on a hidden test set, without network, graded against OOF."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from foldline.core.paths import Layout
from foldline.core.records.kernel import KernelEntry, bundle_sha256
from tiny import FACTS, RUN, TinyProject

SHORT: dict[str, Any] = {**RUN, "train": {**RUN["train"], "epochs": 1}}


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
    "rows.pop()": ("1 id of the sample is missing", ""),
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
