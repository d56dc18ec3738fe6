"""What networks see in the rows of a competition: one frozen network for all folds, or each fold's own of another run.

Reads folds, images, weights; writes the features into the cache folder.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.features_run import Source
from foldline.core.folds import Folds
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.provenance import fold_of, refuse_diverged, require_current
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.heads import SourceRecord
from foldline.core.run import Run
from foldline.core.run_folder import stored_features, stored_run
from foldline.core.run_kinds import no_networks
from foldline.core.run_training import Probe, Train
from foldline.core.tables import sha256_json
from foldline.engine.both_sides import Frozen
from foldline.engine.features.keep import keep_network
from foldline.engine.features.parts import Part
from foldline.engine.finished.heads import frozen_network
from foldline.engine.finished.networks import preprocessing_of
from foldline.engine.frozen import features_of, features_path
from foldline.engine.learnt_weights import refuse_leak
from foldline.engine.machine.device import pick_device, prepare_device
from foldline.engine.problem import Problem, open_problem
from foldline.images.views import require_views
from foldline.models.probe import Features


def seen_by(layout: Layout, comp: str, source: Source, seed: int, device_name: str, place: int) -> Part:
    """What the source's network, or networks, see in training and test rows.

    Args:
        place: of the source among the run's.

    Raises:
        FoldlineError: its weights cannot be reached or do not fit; a run that is not trained on these folds; pictures
            that cannot be read.
    """
    where = f"features.{place}"
    if source.run:
        return _by_fold(layout, comp, source, device_name, where)
    run = Run(model=source.model.trained, data=source.data, train=Train(probe=Probe(views=source.views)), seed=seed)
    require_views(source.views, run.tested_height_width, where=f"{where}.views")
    frozen = Frozen.open(layout, comp, run, device_name)
    refuse_leak(
        frozen.problem, list(range(frozen.problem.folds.k)),
        instead="set features.run: the rows of each fold are then seen by the network that did not learn them",
    )  # fmt: skip
    test = frozen.problem.folds.test["image"].tolist()
    own = frozen.features(None, source.views)
    others = frozen.features(test, source.views) if test else own[:, :0]
    say(f"features: {own.shape[2]} of {source.title} in {counted(len(source.views), 'views')}")
    return Part(
        source.title, lambda _: own, lambda _: others, shared=True, keeps=partial(keep_network, frozen, source, place),
        **_unread(frozen.problem),
    )  # fmt: skip


def _unread(problem: Problem) -> dict[str, Any]:
    """The pictures that cannot be read, and the training rows that this leaves nothing of."""
    lacking = problem.folds.frame["row_id"][~problem.usable]
    return {"bad": sorted(problem.left_out), "lacking": frozenset(lacking)}


def _by_fold(layout: Layout, comp: str, source: Source, device_name: str, where: str) -> Part:
    """The features of a run's networks, computed when a fold is asked for, and kept."""
    run, device = stored_run(layout, comp, source.run), pick_device(device_name)
    if run is None:
        if stored_features(layout, comp, source.run) is not None:
            raise no_networks(f"{where}.run: run '{source.run}'")
        raise FoldlineError(
            f"run '{source.run}' has no networks here",
            where=f"{where}.run",
            next=f"make train-all COMP={comp} RUN={source.run}",
        )
    if run.model.entity.name != "none":
        raise FoldlineError(
            f"the networks of '{source.run}' see an entity's pictures together, and features are of single ones",
            where=f"{where}.run",
            next="name a run without model.entity, or take this one's predictions: columns.runs",
        )
    prepare_device(device, deterministic=run.train.deterministic)
    problem = replace(open_problem(layout, comp, run, device), encoding=None)
    require_views(source.views, run.tested_height_width, where=f"{where}.views")
    metas = {fold: _meta(layout, comp, source.run, run, fold, problem.folds) for fold in range(problem.folds.k)}
    weights = {str(fold): meta.sha256.weights for fold, meta in metas.items()}
    found: dict[tuple[int, bool], Features] = {}

    def of(fold: int, *, test: bool) -> Features:
        if (fold, test) not in found:
            found[fold, test] = _features(problem, metas[fold], source.views, test=test)
        return found[fold, test]

    return Part(
        source.title, lambda fold: of(fold, test=False), lambda fold: of(fold, test=True), shared=False,
        optimistic=[f"{source.run}: {reason}" for reason in run.optimistic()],
        keeps=lambda _: SourceRecord(title=source.title, views=source.views, run=source.run, weights=weights),
        **_unread(problem),
    )  # fmt: skip


def _meta(layout: Layout, comp: str, name: str, run: Run, fold: int, folds: Folds) -> FoldMeta:
    meta = fold_of(layout, comp, name, fold, "features.run")
    require_current(layout, comp, run, meta, folds.sha256)
    refuse_diverged(layout, meta, f"features.run: {name}")
    return meta


def _features(problem: Problem, meta: FoldMeta, views: list[str], *, test: bool) -> Features:
    """[views, rows, features] as the fold's network sees them; of a run that keeps its start the trained one alone."""
    folds, preprocessing = problem.folds, preprocessing_of(meta)
    images = (folds.test if test else folds.frame)["image"].tolist()
    if not images:
        return _features(problem, meta, views, test=False)[:, :0]
    rows = sha256_json(images) if test else folds.sha256
    path = features_path(problem, preprocessing, meta.sha256.weights, views, rows)
    folder = problem.layout.fold(problem.comp, meta.run, meta.fold)
    body = frozen_network(folder, meta, problem.device)
    return features_of(problem, body, preprocessing, images, views, path)
