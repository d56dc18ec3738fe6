"""From a downloaded competition by every way out of a trained run, for two shapes: several pictures to a line in a long
format, with metadata; and a ranking of the files of a folder. All ways say the same of the same pictures.

Kaggle is a site on loopback: it gives the files, takes data set and notebook, and scores. The client is the real one.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

import foldline
from bundles import raw_copy
from foldline.cli import main
from foldline.core.paths import Layout
from foldline.core.records.cv import Cv
from foldline.core.records.entry import Entry, Kaggle
from foldline.core.records.kernel import KernelEntry, bundle_sha256
from foldline.core.tables import read_csv, read_parquet
from foldline.stages.offline import REPORT, offline
from foldline.stages.submit import ledger
from foldline.stages.submit_kernel import submit_kernel
from sources.kaggle_site import Site, running_site
from sources.trees import zipped
from tiny import RUN

STUDIES: dict[str, Any] = {
    "source": {"kind": "kaggle", "name": "studies"},
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
    "source": {"kind": "kaggle", "name": "whales"},
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


def mean_of_studies(table: pd.DataFrame) -> dict[str, float]:
    """The mean over each study's pictures, a line a class."""
    means = table.groupby(table["path"].map(lambda path: Path(path).name[:4]))[
        ["prob_round", "prob_sharp", "prob_wide"]
    ]
    return {f"{study}_{str(name)[5:]}": value for study, row in means.mean().iterrows() for name, value in row.items()}


def best_three(table: pd.DataFrame) -> dict[str, str]:
    """The three likeliest animals of each picture."""
    prob = table.set_index(table["path"].map(lambda path: Path(path).name)).filter(like="prob_")
    return {str(name): " ".join(row.nlargest(3).index.str.removeprefix("prob_")) for name, row in prob.iterrows()}


@dataclass(frozen=True)
class Shape:
    """A competition: its facts, what writes its files, what its networks read beside the picture, and how a table of
    predictions becomes the answers of its sample, in the test's own words."""

    comp: str
    facts: dict[str, Any]
    write: Callable[[Path], None]
    metadata: list[str]
    answers: Callable[[pd.DataFrame], dict[str, Any]]


SHAPES = [
    Shape("studies", STUDIES, studies, ["age"], mean_of_studies),
    Shape("whales", WHALES, whales, [], best_three),
]


@dataclass(frozen=True)
class Finished:
    """A project with a trained run and its submission, Kaggle's site, and the test pictures as new files."""

    shape: Shape
    layout: Layout
    site: Site
    rows: pd.DataFrame
    new: Path

    def run(self, *command: str) -> None:
        where = ["--root", str(self.layout.root), "--comp", self.shape.comp]
        assert main([*command, *where, *([] if command[0] in ("download", "folds") else ["--run", "quick"])]) == 0

    def home(self) -> pd.Series:
        """id -> cell of the submission that was made at home."""
        return read_csv(self.layout.submission(self.shape.comp, "quick")).pipe(answers_of)

    def require_alike(self, found: "dict[str, Any] | pd.Series", within: float, others: int = 0) -> None:
        """The answers are those of the submission at home: numbers nearly, rankings but for `others` of the lines."""
        home, found = self.home(), pd.Series(found)
        assert sorted(found.index) == sorted(home.index)
        found = found[home.index]
        if self.shape.answers is best_three:
            assert home.nunique() > 2  # the networks have learnt to tell pictures apart
            assert (found != home).sum() <= others
        else:
            assert np.abs(found.astype(float) - home.astype(float)).max() < within


def answers_of(table: pd.DataFrame) -> pd.Series:
    return table.set_index(table.columns[0]).iloc[:, 0]


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: shape.comp)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """From Kaggle's archive to a submission."""
    shape, root = request.param, tmp_path_factory.mktemp(request.param.comp)
    raw, configs, home = root / "raw", root / "configs" / shape.comp, root / "home"
    for folder in (raw, configs, home):
        folder.mkdir(parents=True)
    shape.write(raw)
    choices = {**RUN, "model": {**RUN["model"], "metadata": shape.metadata}, "train": {**RUN["train"], "epochs": 6}}
    for name, content in (("competition", shape.facts), ("quick", choices)):
        (configs / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch, running_site(home, patch) as site:
        site.archive = zipped({str(p.relative_to(raw)): p.read_bytes() for p in sorted(raw.rglob("*")) if p.is_file()})
        layout = Layout(root)
        line = Finished(shape, layout, site, pd.DataFrame(), root / "new")
        for stage in ("download", "folds", "train", "predict", "ensemble"):
            line.run(stage)
        rows = read_csv(layout.test_rows(shape.comp))
        line.new.mkdir()
        for image in rows["image"]:
            (line.new / Path(image).name).write_bytes((layout.input(shape.comp) / image).read_bytes())
        yield Finished(shape, layout, site, rows, line.new)


def test_new_pictures_are_answered_alike_by_command_python_and_onnx(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, run = finished.shape, finished.layout.run(finished.shape.comp, "quick")
    names = finished.rows["image"].map(lambda image: Path(image).name)
    finished.rows[shape.metadata].assign(path=names).to_csv(tmp_path / "known.csv", index=False)
    known = ["--metadata", str(tmp_path / "known.csv")] if shape.metadata else []
    out = tmp_path / "out.csv"
    finished.run("predict-files", str(finished.new), "--out", str(out), *known)
    table = pd.read_csv(out, dtype={"problem": str})
    stored = read_parquet(run / "test.parquet").set_index(names).loc[table["path"].map(lambda path: Path(path).name)]
    prob = table.filter(like="prob_").columns.tolist()
    assert np.abs(table[prob].to_numpy() - stored[prob].to_numpy()).max() < 2e-6
    finished.require_alike(shape.answers(table), within=1e-5)

    monkeypatch.chdir(tmp_path)
    model = foldline.load(os.path.relpath(run, tmp_path), device="cpu")
    said = model.predict(os.path.relpath(finished.new, tmp_path), metadata=known[1] if known else None)
    assert model.score == Cv.read(run / "cv.json").pooled
    assert said["label"].fillna("").tolist() == table["label"].fillna("").tolist()
    assert np.abs(said[prob].to_numpy() - table[prob].to_numpy()).max() < 1e-6

    finished.run("export", "onnx", "--out", str(tmp_path / "model.onnx"))
    values, parity = by_onnx(tmp_path / "model.onnx", table["path"], tmp_path / "known.csv", shape.metadata)
    assert parity < 1e-5
    assert np.abs(values - table[prob].to_numpy()).max() < 1e-5


def by_onnx(file: Path, paths: pd.Series, known: Path, metadata: list[str]) -> tuple[Any, float]:
    """What onnxruntime and OpenCV say [pictures, classes], and how far the file says to be from torch."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    size = (int(said["width"]), int(said["height"]))
    read = [cv2.imread(path, cv2.IMREAD_GRAYSCALE) for path in paths]
    gray = [cv2.resize(np.asarray(picture), size, interpolation=cv2.INTER_AREA) for picture in read]
    given = {"pictures": np.stack(gray)[..., None]}
    if metadata:
        table = pd.read_csv(known).set_index("path").loc[[Path(path).name for path in paths]]
        given["metadata"] = table[metadata].to_numpy(np.float64)
    return session.run(None, given)[0], float(said["max_difference_from_torch"])


def test_the_notebook_is_rehearsed_submitted_and_scored(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comp, layout, site = finished.shape.comp, finished.layout, finished.site
    place = layout.kernel(comp, "quick")
    finished.run("kernel", "--gpu", "none", "--device", "cpu")
    finished.run("rehearse", "--fast")
    assert "hidden lines" in capsys.readouterr().out
    rehearsal = KernelEntry.read(place / "kernel.json").rehearsal
    assert rehearsal is not None
    assert rehearsal.passed
    assert rehearsal.bundle == bundle_sha256(place)
    assert rehearsal.rows > 1.9 * len(finished.home())
    assert rehearsal.score == pytest.approx(rehearsal.expected, abs=0.005)
    assert any("no row of class" in note for note in rehearsal.notes) == (comp == "whales")  # of five classes or more

    folder, working = raw_copy(layout, comp, tmp_path / "input"), tmp_path / "working"
    report = offline(place / "dataset", folder.parent, working / "submission.csv", device="cpu")
    assert (report.rows_predicted, report.priors, report.failed) == (len(finished.rows), {}, {})
    by_halves = answers_of(read_csv(working / "submission.csv"))  # weights in half precision
    finished.require_alike(by_halves, within=0.005, others=1)

    site.notebooks.output = {name: (working / name).read_bytes() for name in ("submission.csv", REPORT)}
    site.notebooks.dataset_statuses, site.notebooks.run_statuses = ["READY"], ["COMPLETE"]
    site.answers = [{"status": "COMPLETE", "publicScore": "0.61", "privateScore": "0.59"}]
    entry = submit_kernel(layout, comp, "quick", "", yes=True, wait_seconds=60, poll_seconds=0.01)
    sent = site.code_submission
    (kernel,) = site.notebooks.kernels
    assert site.notebooks.kernels[kernel][0].asked["competitionDataSources"] == [comp]
    assert (f"{sent['kernelOwner']}/{sent['kernelSlug']}", sent["kernelVersion"]) == (kernel, 1)
    assert entry == Entry.read(layout.kernel_entry(comp, "quick"))
    assert (entry.public, entry.private, entry.kaggle) == (0.61, 0.59, Kaggle(ref="100", status="complete"))
    assert entry.score.pooled == Cv.read(layout.run(comp, "quick") / "cv.json").pooled
    ledger(layout, comp)
    assert "0.61" in capsys.readouterr().out
