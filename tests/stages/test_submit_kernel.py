"""A bundle is pushed, run and submitted: the real Kaggle client as a subprocess, against a site on loopback."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foldline.cli import main
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.records.entry import Entry, Kaggle, Notebook
from foldline.core.records.kernel import KernelEntry, Pushed, Rehearsal, bundle_sha256
from foldline.core.records.offline import OfflineReport
from foldline.sources.kaggle import client_error
from foldline.stages.submit import ledger
from foldline.stages.submit_kernel import submit_kernel
from old_records import old
from sources.kaggle_notebooks import Dataset, Run
from sources.kaggle_site import Site, running_site
from sources.trees import plant
from stages.test_submit import FACTS, SCORED

DATASET, KERNEL = "u/toy-best-weights", "u/toy-best"
SUBMISSION = b"id,label\n001,0.25\n002,0.75\n"
LOG = json.dumps([
    {"stream_name": "stdout", "time": 30.0, "data": "predicting\n"},
    {"stream_name": "stderr", "time": 90.0, "data": "Traceback\nOutOfMemoryError: CUDA is full\n"},
])  # fmt: skip
METADATA = {
    "dataset": {"title": "toy best weights", "id": "OWNER/toy-best-weights", "licenses": [{"name": "other"}]},
    "kernel": {
        "id": "OWNER/toy-best", "title": "toy best", "code_file": "notebook.ipynb", "language": "python",
        "kernel_type": "notebook", "is_private": True, "enable_gpu": True, "enable_internet": False,
        "dataset_sources": ["OWNER/toy-best-weights"], "competition_sources": ["cats"],
    },
}  # fmt: skip


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A project with a bundle that was rehearsed."""
    files: dict[str, str | bytes] = {
        "configs/toy/competition.yaml": FACTS,
        "input/toy/sample.csv": "id,label\n001,0\n002,0\n",
        "folds/toy.json": json.dumps(old("folds", outputs=["0", "1"])),
        "oof/toy/best/cv.json": json.dumps(old("cv", comp="toy", run="best")),
    }
    bundle: dict[str, str | bytes] = {
        "dataset/dataset-metadata.json": json.dumps(METADATA["dataset"]),
        "dataset/bundle.json": "{}",
        "dataset/wheels/foldline-1-py3-none-any.whl": b"wheel",
        "dataset/project/oof/toy/best/fold_0/model.safetensors": b"weights",
        "kernel/kernel-metadata.json": json.dumps(METADATA["kernel"]),
        "kernel/notebook.ipynb": json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}),
    }
    layout = Layout(plant(tmp_path / "project", files))
    folder = plant(layout.kernel("toy", "best"), bundle)
    digest = bundle_sha256(folder)
    KernelEntry(
        comp="toy", name="best", members=["best"], made_from={}, bundle=digest, time="2026-11-01T12:00:00+00:00",
        rehearsal=Rehearsal(passed=True, bundle=digest, time="2026-11-01T12:30:00+00:00"),
    ).write(folder / "kernel.json")  # fmt: skip
    return layout


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "home").mkdir()
    with running_site(tmp_path / "home", monkeypatch) as site:
        site.notebooks.output, site.notebooks.log = {"submission.csv": SUBMISSION, "big.bin": b"x"}, LOG
        site.answers = [{}, SCORED]
        yield site


def send(layout: Layout, *, wait_seconds: float = 120.0, **options: Any) -> Entry:
    return submit_kernel(layout, "toy", "best", "", yes=True, wait_seconds=wait_seconds, poll_seconds=0.01, **options)


def record(layout: Layout) -> KernelEntry:
    return KernelEntry.read(layout.kernel("toy", "best") / "kernel.json")


def put(layout: Layout, **fields: Any) -> None:
    """The pushing has come so far."""
    entry = record(layout)
    pushed = Pushed(bundle=entry.bundle, time=entry.time, dataset=DATASET, kernel=KERNEL, **fields)
    entry.changed(pushed=pushed.model_dump()).write(layout.kernel("toy", "best") / "kernel.json")
    filled = {f"{kind}/{kind}-metadata.json": json.dumps(METADATA[kind]).replace("OWNER", "u") for kind in METADATA}
    plant(layout.kernel("toy", "best"), {**filled})


def test_a_bundle_becomes_a_notebook_with_a_score(
    layout: Layout, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    entry, notebooks = send(layout), site.notebooks
    assert sorted(notebooks.datasets[DATASET].versions[0]) == ["bundle.json", "project.zip", "wheels.zip"]
    with zipfile.ZipFile(io.BytesIO(notebooks.blobs["project.zip"])) as archive:
        assert archive.read("oof/toy/best/fold_0/model.safetensors") == b"weights"
    asked = notebooks.kernels[KERNEL][0].asked
    assert (asked["enableInternet"], asked["isPrivate"], asked["enableGpu"]) == (False, True, True)
    assert (asked["datasetDataSources"], asked["competitionDataSources"]) == ([DATASET], ["cats"])
    sent = site.code_submission
    assert (sent["kernelOwner"], sent["kernelSlug"], sent["kernelVersion"]) == ("u", "toy-best", 1)
    assert sent["fileName"] == "submission.csv"
    pushed = record(layout).pushed
    assert pushed is not None
    assert (pushed.dataset_version, pushed.version, pushed.minutes) == (1, 1, 1.5)
    assert (layout.kernel("toy", "best") / "output" / "submission.csv").read_bytes() == SUBMISSION
    assert not (layout.kernel("toy", "best") / "output" / "big.bin").exists()
    assert entry == Entry.read(layout.kernel_entry("toy", "best"))
    assert (entry.public, entry.kaggle, entry.file) == (0.91, Kaggle(ref="100", status="complete"), "best.kernel")
    assert entry.notebook == Notebook(kernel=KERNEL, version=1, minutes=1.5)
    assert entry.score.pooled is not None
    ledger(layout, "toy")
    assert "v1, 1.5 min" in capsys.readouterr().out
    calls = list(site.calls)
    with pytest.raises(FoldlineError, match=r"sent before: public score 0\.91"):
        send(layout, force=True)
    assert site.calls == calls


def test_a_changed_bundle_is_a_new_version_and_an_answer_that_is_lost_is_looked_for(layout: Layout, site: Site) -> None:
    """Kaggle still unpacks the version before: it takes no other one until then."""
    notebooks, place = site.notebooks, layout.kernel_entry("toy", "best")
    notebooks.datasets[DATASET] = Dataset([["old"]] * 4, ["BLOBS_RECEIVED", "READY"])
    notebooks.kernels[KERNEL] = [Run({})]
    notebooks.dataset_statuses, notebooks.run_statuses, site.answers = ["READY"], ["COMPLETE"], [SCORED]
    before = Entry.model_validate(
        {"comp": "toy", "run": "best", "name": "best", "file": "best.kernel", "sha256": "1" * 64, "time": "t",
         "metric": "auc", "folds_sha256": "f", "members": [], "kaggle": {"ref": "7", "status": "complete"}}
    )  # fmt: skip
    before.write(place)
    site.lost, site.lose_answer = {"SaveKernel"}, True
    refuse(layout, "cannot be reached")
    refuse(layout, "cannot be reached")
    entry = send(layout)
    assert (entry.public, entry.notebook and entry.notebook.version, entry.earlier) == (0.91, 2, [before])
    assert len(notebooks.datasets[DATASET].versions) == 5
    assert [site.calls.count(method) for method in ("SaveKernel", "CreateCodeSubmission")] == [1, 1]


def test_a_dataset_whose_answer_was_lost_is_found(layout: Layout, site: Site) -> None:
    """The client itself tries again, and is told that the name is taken: by the dataset of the first try."""
    site.lost, site.notebooks.dataset_statuses = {"CreateDataset"}, ["READY"]
    refuse(layout, "cannot be reached")
    site.notebooks.kernel_error = "Maximum batch GPU session count of 2 reached."  # said with exit code 0
    refuse(layout, "as it allows at once")
    assert len(site.notebooks.datasets[DATASET].versions) == 1


def refuse(layout: Layout, match: str, **options: Any) -> FoldlineError:
    with pytest.raises(FoldlineError, match=match) as caught:
        send(layout, **options)
    return caught.value


def test_only_what_was_rehearsed_is_pushed(layout: Layout) -> None:
    place, good = layout.kernel("toy", "best") / "kernel.json", record(layout)
    good.changed(rehearsal=None).write(place)
    assert "make rehearse COMP=toy NAME=best" in refuse(layout, "was not rehearsed").next
    assert good.rehearsal is not None
    failed = good.rehearsal.model_copy(update={"passed": False, "notes": ["the score is another one"]})
    good.changed(rehearsal=failed.model_dump()).write(place)
    refuse(layout, "rehearsal of bundle 'best' failed: the score is another one")
    good.changed(made_from={"cv": {"best": "0" * 64}}).write(place)
    assert "make kernel" in refuse(layout, "was made before best changed").next
    good.write(place)
    plant(layout.kernel("toy", "best"), {"dataset/bundle.json": '{"limit_seconds": 1}'})
    refuse(layout, "its files have changed since then")


def test_by_force_it_is_pushed_unrehearsed(
    layout: Layout, site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(layout).changed(rehearsal=None).write(layout.kernel("toy", "best") / "kernel.json")
    monkeypatch.delenv("KAGGLE_KEY")
    command = ["submit", "--kernel", "--force", "--yes", "--root", str(layout.root), "--comp", "toy", "--run", "best"]
    assert main(command) == 2
    said = capsys.readouterr()
    assert "was not rehearsed; pushed all the same" in said.out
    assert "no valid Kaggle credentials" in said.err
    assert main(["submit", "--force", "--root", str(layout.root)]) == 2


def test_a_dataset_that_is_processed_for_long_or_fails(layout: Layout, site: Site) -> None:
    put(layout, state="dataset sent", before=0)
    site.notebooks.datasets[DATASET] = Dataset([["a"]], ["BLOBS_DECOMPRESSED", "FAILED"])
    assert (
        "goes on waiting" in refuse(layout, "still being processed after 0 s: blobs_decompressed", wait_seconds=0).next
    )
    refuse(layout, "could not process the dataset: failed")


def test_what_is_over_quota_has_its_words() -> None:
    error = client_error("Kernel push error: You have used your weekly GPU quota of 30 hours", page="p")
    assert "GPU hours at Kaggle are used up" in error.what


def test_a_notebook_without_its_dataset(layout: Layout, site: Site) -> None:
    put(layout, state="dataset ready")
    site.notebooks.invalid_sources = [DATASET]
    refuse(layout, f"could not give it: .*{DATASET}")


def test_a_run_that_fails_shows_the_end_of_its_log_and_is_pushed_again_by_force_alone(
    layout: Layout, site: Site
) -> None:
    put(layout, state="kernel sent", version=1)
    site.notebooks.kernels[KERNEL] = [Run({}, ["RUNNING", "ERROR"], "Your notebook ran out of memory")]
    assert "goes on waiting" in refuse(layout, "still runs after 0 s", wait_seconds=0).next
    assert "OutOfMemoryError: CUDA is full" in refuse(layout, "failed at Kaggle: Your notebook ran out").what
    assert len(site.notebooks.kernels[KERNEL]) == 1
    site.notebooks.output.clear()
    refuse(layout, r"it wrote no submission\.csv", force=True)
    assert len(site.notebooks.kernels[KERNEL]) == 2


def test_what_the_run_wrote_passes_the_gate_before_a_slot_is_spent(layout: Layout, site: Site) -> None:
    put(layout, state="kernel complete", version=1)
    plant(layout.kernel("toy", "best"), {"output/submission.csv": "id,label\n001,0.25\n"})
    refuse(layout, "does not pass the gate: 1 id of")
    assert site.calls == []


def test_a_member_that_failed_at_kaggle_is_no_submission(
    layout: Layout, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    put(layout, state="kernel complete", version=1)
    report = OfflineReport(
        name="best", sample="s", device="a T4", limit_seconds=1, rows=2, rows_predicted=1, answers=2,
        priors={"its picture cannot be read": 1}, failed={"best": "CUDA is full"},
    )  # fmt: skip
    report.write(layout.kernel("toy", "best") / "output" / "offline.json")
    refuse(layout, "members failed at Kaggle, .* best: CUDA is full")
    assert "1 of 2 answers are the training prior: its picture cannot be read" in capsys.readouterr().out
    assert site.calls == []


def test_the_competition_refuses_or_cannot_score(layout: Layout, site: Site) -> None:
    put(layout, state="kernel complete", version=1)
    plant(layout.kernel("toy", "best"), {"output/submission.csv": SUBMISSION})
    site.errors["CreateCodeSubmission"] = (400, "You have exceeded your daily submission limit of 5")
    refuse(layout, "daily limit")
    site.errors.clear()
    site.answers, site.scoring_error = [{"status": "ERROR"}], "Notebook Threw Exception"
    refuse(layout, "could not score the submission: Notebook Threw Exception")
    entry = Entry.read(layout.kernel_entry("toy", "best"))
    assert entry.kaggle is not None
    assert entry.kaggle.status == "error"


def test_a_dataset_that_is_not_yours(layout: Layout, site: Site) -> None:
    put(layout, state="begun")
    site.errors["CreateDataset"] = (403, "Permission 'datasets.create' was denied")
    assert "dataset-metadata.json" in refuse(layout, f"not write the dataset {DATASET}").next
