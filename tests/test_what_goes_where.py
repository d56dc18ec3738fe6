"""What goes where: each kind of run through each way out says what its own test predictions say, or is refused in words
before anything takes time. The table of docs/finished-models.md is the one of this file.
"""

import io
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

import foldline
from bundles import raw_copy
from foldline.app.answers import ask_row
from foldline.app.looked_rows import look_at
from foldline.app.opened import OOF, open_run
from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.tables import read_csv, read_parquet, write_csv
from foldline.engine.bundle import trial
from foldline.engine.finished import networks, reading
from foldline.engine.finished.folder import FinishedRun, read_finished
from foldline.engine.finished.pictures import sources_of
from foldline.engine.finished.reading import in_chunks
from foldline.engine.onnx import export as exporting
from foldline.engine.onnx.graph import cell_numbers, graph_of, metadata_columns
from foldline.models.weights import read_state
from foldline.report.run.reported_run import read_run
from foldline.scoring.row_loss import row_loss
from foldline.stages import kernel as bundling
from foldline.stages.ensemble import ensemble
from foldline.stages.export_folder import export_folder
from foldline.stages.export_onnx import export_onnx
from foldline.stages.offline import offline
from stacks import StackProject
from tiny import FACTS, RUN, TinyProject

COMP = "tiny"
DOCS = Path(__file__).parents[1] / "docs" / "finished-models.md"
VIT = {"name": "test_vit", "weights": "none", "options": {"depth": 1}}
BASE: dict[str, Any] = {
    **RUN, "model": VIT, "optim": {"lr": 1e-3},
    "train": {**RUN["train"], "epochs": 1, "lora": {"rank": 2, "alpha": 64}},
}  # fmt: skip


def changed(**parts: dict[str, Any]) -> dict[str, Any]:
    """A run file: LoRA on a tiny transformer, and these settings."""
    return {**BASE, **{part: {**BASE.get(part, {}), **content} for part, content in parts.items()}}


WHOLE = {"epochs": 2, "average": {"name": "best", "options": {"epochs": 2}}}
PSEUDO = {"name": "lora", "options": {"least": 0.5}}
FROM = {"name": "run", "options": {"run": "lora"}}
FROZEN = {"model": VIT, "data": BASE["data"]}
HEAD = {"name": "knn", "options": {"k": 3, "temperature": 0.1}}
TARGETS = {"label": "binary", "size": "regression"}


@dataclass(frozen=True)
class Kind:
    """A kind of run.

    Attributes:
        words: in the table of the documentation.
        choices: its run file; empty: it is `made`.
        made: what makes it, and of which runs.
        on: what its competition is: `plain`, `targets`, `scans`.
        needs: kinds that it is made of.
    """

    words: str
    choices: dict[str, Any] = field(default_factory=dict)
    made: tuple[str, str] | None = None
    on: str = "plain"
    needs: tuple[str, ...] = ()


KINDS = {
    "lora": Kind("`train.lora`", changed()),
    "best": Kind("`train.average` of its best epochs", changed(train=WHOLE)),
    "kept": Kind("`train.keep_start`", changed(train={"probe": {"c": 1.0}, "keep_start": True})),
    "metadata": Kind("`model.metadata`", changed(model={"metadata": ["age"]})),
    "masks": Kind("`loss.masks`", changed(loss={"masks": 1.0})),
    "arc": Kind("`model.head: arcface`", changed(model={"head": "arcface"}, loss={"name": "arcface"})),
    "pseudo": Kind("`extra.pseudo`", changed(extra={"pseudo": PSEUDO}), needs=("lora",)),
    "further": Kind("`model.weights: run`", changed(model={"weights": FROM}), needs=("lora",)),
    "all": Kind("`train.folds: all`", changed(train={"folds": "all", "folds_of": "lora"}), needs=("lora",)),
    "soup": Kind("soup", made=("soup", "lora further"), needs=("further",)),
    "blend": Kind("ensemble", made=("ensemble", "lora arc"), needs=("lora", "arc")),
    "heads": Kind("frozen features", {"features": FROZEN, "head": HEAD}),
    "targets": Kind("several targets", changed(), on="targets"),
    "entity": Kind("`model.entity`", changed(model={"entity": "attention"}), on="scans"),
    "between": Kind("`data.neighbours`", changed(data={"neighbours": 1}), on="scans"),
}  # fmt: skip


def facts(on: str) -> dict[str, Any]:
    """The competition's, with a column of metadata, and masks that test rows have none of."""
    known = {
        **FACTS,
        "metrics": [],
        "folds": {"k": 2},
        "train": {**FACTS["train"], "metadata": ["age"], "mask": "mask"},
    }
    if on == "targets":
        known["train"]["target"] = {"columns": ["label", "size"]}
        return {
            **known,
            "task": TARGETS,
            "classes": ["label=dark", "label=bright"],
            "metric": "accuracy(label) + r2(size)",
        }
    return known


class Shop:
    """Competitions, and runs of each kind, made when they are first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.projects: dict[str, TinyProject] = {}

    def project(self, on: str) -> TinyProject:
        """The competition."""
        if on not in self.projects:
            made = (
                StackProject(self.root / on, 8, metrics=[], folds={"k": 2})
                if on == "scans"
                else self._plain(self.root / on, on)
            )
            made.prepare()
            self.projects[on] = made
        return self.projects[on]

    def _plain(self, root: Path, on: str) -> TinyProject:
        root.mkdir()
        project, raw = TinyProject(root, rows=36), root / "raw"
        table = read_csv(raw / "train.csv")
        masks = ["" if i % 3 else f"m{i:03d}.png" for i in range(len(table))]
        for name, label in zip(masks, table["label"], strict=True):
            if name:
                mask = np.zeros((40, 36), np.uint8)
                mask[10:30, 8:28] = 255 * (label == "bright")
                cv2.imwrite(str(raw / name), mask)
        ages, sizes = ([str(low + i % 5) for i in range(len(table))] for low in (20, 10))
        write_csv(raw / "train.csv", table.assign(mask=masks, age=ages, size=sizes))
        project.write_yaml("competition", facts(on))
        return project

    def made(self, name: str) -> TinyProject:
        """The competition with the run, trained and predicted."""
        kind = KINDS[name]
        project = self.project(kind.on)
        if not (project.layout.run(COMP, name) / "test.parquet").is_file():
            for other in kind.needs:
                self.made(other)
            if kind.choices:
                project.write_yaml(name, kind.choices)
            if kind.made is None:
                for stage in ("train", "predict"):
                    assert project.run(stage, "--run", name) == 0
            elif kind.made[0] == "soup":
                assert project.run("soup", "--runs", kind.made[1], "--name", name) == 0
            else:
                ensemble(project.layout, COMP, kind.made[1].split(), name=name)
        return project


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@dataclass(frozen=True)
class Asked:
    """A run, and where a way out may write."""

    project: TinyProject
    name: str
    folder: Path
    patch: pytest.MonkeyPatch

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    @property
    def layout(self) -> Layout:
        return self.project.layout

    @property
    def run(self) -> Path:
        return self.layout.run(COMP, self.name)

    @property
    def test(self) -> pd.DataFrame:
        return load_folds(self.layout, COMP).test

    @property
    def files(self) -> list[Path]:
        return [self.layout.input(COMP) / image for image in self.test["image"]]

    @property
    def alone(self) -> bool:
        """Whether a picture by itself has an answer."""
        return self.kind.on != "scans"

    def known(self) -> Path | None:
        """The CSV of what the networks read beside the picture."""
        if self.name != "metadata":
            return None
        path = self.folder / "known.csv"
        write_csv(path, self.test[["image", "age"]].rename(columns={"image": "path"}))
        return path

    def pixels(self) -> NDArray[np.uint8]:
        """[pictures, height, width, channels] of the size that the networks want."""
        spec = foldline.load(self.run, device="cpu").with_networks[0].spec
        return next(in_chunks(sources_of(self.files), [spec], len(self.files), "stop")).pixels[spec]

    def require(self, said: "pd.DataFrame | NDArray[Any]", within: float) -> None:
        """What was said is what the run says of its test rows; these are not all alike."""
        stored = read_parquet(self.run / "test.parquet")
        columns = [name for name in stored.columns if name != "row_id"]
        expected = stored[columns].to_numpy(np.float64)
        found = said[columns].to_numpy(np.float64) if isinstance(said, pd.DataFrame) else said
        assert np.abs(found - expected).max() <= within
        assert expected.std(axis=0).max() > 3 * within

    def require_loaded(self, folder: Path, within: float) -> None:
        """What a finished folder holds is the run, to so much; and it says the same of the test rows' pictures."""
        for own in read_finished(folder, heads=True).trained:
            home = self.layout.run(COMP, own.name)
            for place, meta in own.folds:
                assert len(meta.weights) == 1 + (own.name == "kept")
                for file in meta.weights:
                    there = read_state(place / file, next="")
                    here = read_state(home / f"fold_{meta.fold}" / file, next="")
                    assert there.keys() == here.keys()
                    assert all((there[key].float() - here[key].float()).abs().max() <= within for key in here)
        if self.alone:
            self.require(foldline.load(folder, device="cpu").predict(self.files, metadata=self.known()), within)


def files(asked: Asked) -> None:
    """The command: six digits less than Python's."""
    out, known = asked.folder / "out.csv", asked.known()
    given = [*map(str, asked.files), "--run", asked.name, "--out", str(out), "--device", "cpu"]
    said = io.StringIO()
    with redirect_stderr(said):
        code = asked.project.run("predict-files", *given, *(() if known is None else ("--metadata", str(known))))
    if code:
        raise FoldlineError(said.getvalue())
    asked.require(pd.read_csv(out), 1e-6)


def folder(asked: Asked) -> None:
    made = export_folder(asked.layout, COMP, asked.name, out=asked.folder / "out")
    asked.require_loaded(made.rename(asked.folder / "elsewhere"), 1e-7)


def half(asked: Asked) -> None:
    made = export_folder(asked.layout, COMP, asked.name, out=asked.folder / "out", half=True, device="cpu")
    asked.require_loaded(made, 2e-3)


def onnx(asked: Asked) -> None:
    """Up to the module that torch's exporter is given; what that makes of it is compared before it is written."""
    tried = []

    def export(run: FinishedRun, folds: Any, *_: Any, views: list[str], **__: Any) -> exporting.Exported:
        columns = metadata_columns(run)
        cells = [torch.from_numpy(cell_numbers(columns, asked.test))] if columns else []
        with torch.inference_mode():
            asked.require(graph_of(run, folds, views)(torch.from_numpy(asked.pixels()), *cells).numpy(), 1e-5)
        tried.append(run.name)
        return exporting.Exported(b"", 18, 0.0)

    asked.patch.setattr(exporting, "export", export)
    export_onnx(asked.layout, COMP, asked.name, out=asked.folder / "model.onnx")
    assert tried == [asked.name]


def notebook(asked: Asked) -> None:
    """The bundle, its weights as they are, on the test rows."""
    asked.patch.setattr(bundling, "write_wheels", lambda *_: {})
    asked.patch.setattr(trial, "LARGEST_MOVE", 0.0)
    bundling.kernel(asked.layout, COMP, run=asked.name, gpu="none", device="cpu")
    ensemble(asked.layout, COMP, [asked.name])
    inputs = raw_copy(asked.layout, COMP, asked.folder / "inputs")
    shutil.copyfile(asked.layout.holdout_sample(COMP), inputs / "sample_submission.csv")
    out, bundle = asked.folder / "submission.csv", asked.layout.kernel(COMP, asked.name) / "dataset"
    report = offline(bundle, inputs.parent, out, device="cpu")
    assert (report.rows_predicted, report.priors, report.failed) == (len(asked.test), {}, {})
    made, home = map(read_csv, (out, asked.layout.submission(COMP, asked.name)))
    made, home = (table.set_index(home.columns[0]) for table in (made, home))
    for column in home.columns:
        if home[column].str.fullmatch(r"[-0-9.e]+").all():
            assert made.loc[home.index, column].astype(float).to_numpy() == pytest.approx(
                home[column].astype(float).to_numpy(), abs=1e-5
            )
        else:
            assert made.loc[home.index, column].tolist() == home[column].tolist()


def app(asked: Asked) -> None:
    opened = open_run(asked.layout, COMP, asked.name, device="cpu")
    oof = read_parquet(asked.run / "oof.parquet")
    for place in (0, len(oof) - 1):
        expected = oof[opened.model.columns].to_numpy()[place]
        assert ask_row(opened, OOF, place).prob == pytest.approx(expected, abs=1e-5)


def looked(asked: Asked) -> None:
    """Grad-CAM in the report; where there is none, it says why."""
    found = look_at(read_run(asked.layout, COMP, asked.name), range(4))
    if not found.heat:
        raise FoldlineError(found.note)
    assert any(heat.max() > 0 for heat in found.heat.values())
    assert ("as if it were its entity's only one" in found.note) == (asked.name == "entity")


def embed(asked: Asked) -> None:
    features = foldline.load(asked.run, device="cpu").embed(asked.files)
    assert len(features) == len(asked.files)
    assert features.std(axis=0).max() > 0


def further(asked: Asked) -> None:
    """A run that starts from it, and hardly moves."""
    choices = asked.kind.choices if "model" in asked.kind.choices else changed()
    weights = {"name": "run", "options": {"run": asked.name}}
    train = {
        key: value for key, value in choices["train"].items() if key not in ("probe", "keep_start", "folds", "folds_of")
    }
    own = {**choices, "model": {**choices["model"], "weights": weights}, "optim": {"lr": 1e-12}, "train": train}
    name, said = f"from-{asked.name}", io.StringIO()
    asked.project.write_yaml(name, own)
    with redirect_stderr(said):
        code = asked.project.run("train", "--run", name, "--fold", "0", "--device", "cpu")
    if code:
        raise FoldlineError(said.getvalue())
    meta = FoldMeta.read(asked.layout.fold(COMP, name, 0) / "meta.json")
    assert meta.taken is not None
    assert (meta.taken.missing, meta.taken.unexpected, meta.taken.share) == ([], [], 1.0)
    there, here = (
        read_state(asked.layout.fold(COMP, run, 0) / "model.safetensors", next="") for run in (name, asked.name)
    )
    assert all((there[key] - here[key]).abs().max() < 1e-6 for key in here if here[key].is_floating_point())


WAYS: dict[str, Callable[[Asked], None]] = {
    way.__name__: way for way in (files, folder, half, onnx, notebook, app, looked, embed, further)
}
ONE_PICTURE = {
    "files": "all of its pictures together",
    "onnx": "several pictures of an entity",
    "app": "see several pictures",
}
REFUSED: dict[str, dict[str, str]] = {
    "metadata": {"app": "read metadata beside the picture", "looked": "they read metadata beside the picture"},
    "all": {
        "half": "none is left to score", "app": "saw every training row", "looked": "it saw all rows in training",
        "further": "left fold 0 unseen",
    },
    "blend": {"looked": "an ensemble has no network of its own", "further": "is an ensemble"},
    "heads": {
        "half": "heads on frozen features stay as they are", "onnx": "no networks of its own",
        "app": "no networks of its own", "looked": "its networks are not here", "embed": "no networks of its own",
        "further": "no networks of its own",
    },
    "entity": ONE_PICTURE,
    "between": {**ONE_PICTURE, "files": "these files stand alone", "embed": "these files stand alone"},
}  # fmt: skip


@pytest.mark.parametrize(("name", "way"), [(name, way) for name in KINDS for way in WAYS])
def test_it_goes_there_or_is_refused_at_once(
    shop: Shop, name: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(shop.made(name), name, tmp_path, monkeypatch)
    words = REFUSED.get(name, {}).get(way)
    if words is None:
        WAYS[way](asked)
        return
    monkeypatch.setattr(networks, "load_models", spent)
    monkeypatch.setattr(reading, "load_picture", spent)
    with pytest.raises(FoldlineError, match=words):
        WAYS[way](asked)
    left = [path for path in tmp_path.iterdir() if path.suffix != ".csv"]
    assert left == []


def spent(*_: object, **__: object) -> None:
    raise AssertionError("time was spent on what is refused")


@pytest.mark.parametrize("name", ["lora", "best", "metadata", "masks", "arc", "targets"])
def test_what_was_validated_while_training_is_what_is_kept(shop: Shop, name: str, tmp_path: Path) -> None:
    """So that nothing of what was learnt is lost where the weights are written."""
    project = shop.made(name)
    folder, folds = project.fold(0, name), load_folds(project.layout, COMP)
    rows = folds.frame[folds.frame["fold"].astype(int) == 0]
    model = foldline.load(folder, device="cpu")
    known = rows[["age"]].reset_index(drop=True) if name == "metadata" else None
    images = [project.layout.input(COMP) / image for image in rows["image"]]
    said = model.predict(images, views=["identity"], metadata=known)[model.columns].to_numpy()
    losses = read_parquet(folder / "valid_losses.parquet").set_index("row_id").loc[rows["row_id"]]
    truth = folds.task.truth(rows, folds.outputs, where="")
    assert losses.iloc[:, -1].to_numpy() == pytest.approx(row_loss(model.task, truth, said), abs=1e-5)


def test_the_table_of_the_documentation_says_what_goes_where() -> None:
    section = DOCS.read_text(encoding="utf-8").partition("\n## What goes where\n")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    assert len(lines[0]) == 1 + len(WAYS)
    said = {line[0]: line[1:] for line in lines[2:]}
    assert list(said) == [kind.words for kind in KINDS.values()]
    for name, kind in KINDS.items():
        for way, cell in zip(WAYS, said[kind.words], strict=True):
            assert (cell == "yes") == (way not in REFUSED.get(name, {})), (name, way)
