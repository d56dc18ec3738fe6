"""Bundles as `make kernel` lays them out, for tests of what reads them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from foldline.core.competition import load_competition
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.records.bundle import Bundle, BundleMember
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run_folder import stored_run
from foldline.core.tables import sha256_file
from foldline.core.task import hot_truth
from foldline.engine.entities import together_by


def write_bundle(
    layout: Layout, comp: str, runs: list[str], folder: Path, *, ensemble: str = "", **fields: Any
) -> Path:
    """The bundle of trained runs, or of the ensemble that they are blended into; its record says `fields` instead."""
    project = Bundle.project(folder)
    shutil.copytree(layout.competition_config(comp).parent, project.competition_config(comp).parent)
    project.folds_meta(comp).parent.mkdir()
    shutil.copy(layout.folds_meta(comp), project.folds_meta(comp))
    cv = Cv.read(layout.run(comp, ensemble or runs[0]) / "cv.json")
    members = [_copied(layout, project, comp, run) for run in runs]
    folds = load_folds(layout, comp)
    truth = hot_truth(
        folds.task.truth(folds.frame, folds.outputs, where=""), folds.task.of(folds.outputs), len(folds.outputs)
    )
    files = [path for path in folder.rglob("*") if path.is_file()]
    record = {
        "comp": comp, "slug": comp, "name": ensemble or runs[0], "task": cv.task.as_json(), "outputs": cv.outputs,
        "metric": cv.metric, "members": [member.model_dump() for member in members], "blend": cv.blend or "mean",
        "decision": cv.decision, "prior": dict(zip(cv.outputs, truth.mean(axis=0).tolist(), strict=True)),
        "batch_size": 16, "sample": load_competition(layout, comp).submission.sample or "sample_submission.csv",
        "files": {path.relative_to(folder).as_posix(): sha256_file(path) for path in files},
        "blend_fit": cv.blend_fit, "prior_shift": cv.prior_shift,
    }  # fmt: skip
    Bundle.model_validate(record | fields).write(folder / "bundle.json")
    return folder


def _copied(layout: Layout, project: Layout, comp: str, run: str) -> BundleMember:
    """A member, its files copied into the bundle's project."""
    metas = [FoldMeta.read(path) for path in sorted(layout.run(comp, run).glob("fold_*/meta.json"))]
    for meta in metas:
        source, target = layout.fold(comp, run, meta.fold), project.fold(comp, run, meta.fold)
        target.mkdir(parents=True)
        for name in ("meta.json", *meta.weights):
            shutil.copy(source / name, target / name)
        if (source / "code").is_dir():
            shutil.copytree(source / "code", target / "code")
    shutil.copy(layout.run(comp, run) / "cv.json", project.run(comp, run) / "cv.json")
    views = Cv.read(project.run(comp, run) / "cv.json").views
    choices = stored_run(layout, comp, run)
    together = "" if choices is None else together_by(choices)
    return BundleMember(run=run, folds=[meta.fold for meta in metas], views=views, together=together)


def raw_copy(layout: Layout, comp: str, inputs: Path) -> Path:
    """The competition's folder below the inputs, as Kaggle shows it: the raw files, without foldline's own."""
    hidden = shutil.ignore_patterns(".*", "manifest.json")
    return Path(shutil.copytree(layout.input(comp), inputs / comp, ignore=hidden))


def uniform(outputs: list[str]) -> dict[str, float]:
    """A prior."""
    return dict(zip(outputs, np.full(len(outputs), 1 / len(outputs)).tolist(), strict=True))
