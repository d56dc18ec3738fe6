"""Frozen features of training and test rows: what a run's network sees of them before it is trained.

Reads the folds, the images and pretrained weights; writes the features into the cache folder, where a training of the
run finds those of its rows.
"""

from pathlib import Path

import torch

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.records.seal import Seal
from foldline.core.run import Run
from foldline.core.tables import sha256_json
from foldline.engine.frozen import features_of, features_path
from foldline.engine.machine.device import pick_device, prepare_device
from foldline.engine.problem import Problem, open_problem
from foldline.models.backbone import build_pretrained, state_sha256
from foldline.models.probe import Features


def frozen_both(
    layout: Layout, comp: str, run: Run, train: list[str], test: list[str], device_name: str, *, compute: bool
) -> tuple[Features, Features]:
    """[train, features] and [test, features] of pictures, float32, by the first view of the run's probe.

    Args:
        run: has a probe.
        train, test: picture paths as rows name them; those of `train` are training rows of the folds.
        compute: also where a training has not kept those of its rows; else that is an error, before anything is read.

    Raises:
        FoldlineError: there are no such features yet; no folds; the weights cannot be reached or do not fit.
    """
    missing = FoldlineError("none are kept yet", next="--features computes them, once for training too")
    if not compute and not list(layout.cache(comp).glob("features-*.npy")):
        raise missing
    probe = run.train.probe
    if run.model.weights.name == "run" or probe is None:
        raise FoldlineError("each fold starts from other weights", where="model.weights")
    if run.data.neighbours:
        raise FoldlineError("pictures are looked at one by one here, and the run stacks them", where="data.neighbours")
    run = run.model_copy(update={"data": run.data.model_copy(update={"bad_images": "skip"})})
    device = pick_device(device_name)
    prepare_device(device, deterministic=run.train.deterministic)
    problem = open_problem(layout, comp, run, device)
    torch.manual_seed(run.seed)  # as a training does: the classifier's numbers are part of the weights' hash
    model, _ = build_pretrained(problem.architecture, run.model, layout)
    preprocessing, digest = (
        problem.preprocessing(model),
        state_sha256(model.state_dict()),
    )
    views = probe.views

    def kept(views: list[str], rows: str) -> Path:
        return features_path(problem, preprocessing, digest, views, rows)

    whole = kept(views, problem.folds.sha256)
    if not compute and Seal.of(whole) is None:
        raise missing
    all_rows = problem.folds.frame["image"].tolist()
    features = features_of(problem, model, preprocessing, all_rows, views, whole)[0]
    others = features_of(problem, model, preprocessing, test, views[:1], kept(views[:1], sha256_json(test)))[0]
    return features[_places(problem, train)], others


def _places(problem: Problem, images: list[str]) -> list[int]:
    """The row of the folds that each picture is of."""
    place = {image: row for row, image in enumerate(problem.folds.frame["image"])}
    return [place[image] for image in images]
