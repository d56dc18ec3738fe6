"""Stage features: a run of frozen features, from networks that are not trained to its score. All folds are one command.

Reads the folds, the images or what is kept of them, other runs' predictions; writes `oof.parquet`, `test.parquet`,
`cv.json` and `run.json` into the run's folder, as a run of networks has them, and `heads.json` with the heads.
"""

from typing import Any

from foldline.core.competition import load_competition
from foldline.core.errors import FoldlineError, first_few
from foldline.core.features_run import FeaturesRun
from foldline.core.folds import Folds, load_folds
from foldline.core.own_code import is_own, locate
from foldline.core.paths import Layout
from foldline.core.prediction_blocks import PredictionBlocks
from foldline.core.progress import result, say
from foldline.core.provenance import features_sha256, pictures_sha256
from foldline.core.records.cv import Cv, CvHashes, Seconds
from foldline.core.run_folder import predictions_of, resolve_any, write_run
from foldline.core.tables import sha256_file, sha256_files
from foldline.scoring.cv import cross_validation, cv_line, metric_names

FILES = ["oof.parquet", "test.parquet"]


def heads(
    layout: Layout, comp: str, run: str, name: str, *, overrides: list[str], device: str, **networks: Any
) -> Cv | None:  # fmt: skip
    """`features` where the run is one of frozen features, which both `train` and `predict` do; None: it is of networks.

    Args:
        networks: what is asked for and is about networks alone.
    """
    _, choices = resolve_any(layout, comp, run, name, overrides)
    if not isinstance(choices, FeaturesRun):
        return None
    unasked = {"jobs": (1, "auto"), "ranks": (1,)}
    odd = [key for key, value in networks.items() if value is not None and value not in unasked.get(key, ())]
    if odd:
        raise FoldlineError(
            f"--{odd[0]} is about networks: the heads of a run of frozen features are all fitted by one command",
            where=f"run '{name or run}'",
            next=f"make train-all COMP={comp} RUN={run}",
        )
    return features(layout, comp, run, name=name, overrides=overrides, device=device)


def features(
    layout: Layout, comp: str, run: str, *, name: str = "", overrides: list[str], device: str = "auto"
) -> Cv:  # fmt: skip
    """Fits the heads and predicts training rows (out of fold) and test rows, unless that is done already.

    Raises:
        FoldlineError: bad settings, weights, pictures or labels; a run that it names is not there, or of other folds.
    """
    name, choices = resolve_any(layout, comp, run, name, overrides)
    assert isinstance(choices, FeaturesRun)
    choices.refuse_itself(name, where=f"run '{name}'")
    facts, folds = load_competition(layout, comp), load_folds(layout, comp)
    metrics = metric_names(facts, [locate(layout, comp, metric) for metric in choices.metrics])
    folder = layout.run(comp, name)
    folder.mkdir(parents=True, exist_ok=True)
    with predictions_of(layout, comp, [name], f"'{name}' is being predicted"):
        cv = _current(layout, comp, name, choices, folds)
        if cv is not None:
            say(f"predictions of {comp}/{name} are up to date")
            if cv.metric == facts.metric and cv.metrics.keys() == set(metrics) and not any(map(is_own, metrics)):
                return cv
        told = _fitted(layout, comp, name, choices, folds, device) if cv is None else cv.model_dump(exclude_unset=True)
        oof = PredictionBlocks(folder / "oof.parquet", folds.task, folds.outputs)
        scores = cross_validation(oof.rows(), facts, folds.outputs, prob=oof.values(), metrics=metrics)
        cv = Cv.model_validate(told | scores)
        cv.write(folder / "cv.json")
    result(cv_line(cv), metric=cv.metric, score=cv.pooled, interval=cv.interval, per_fold=cv.per_fold)
    return cv


def _current(layout: Layout, comp: str, name: str, run: FeaturesRun, folds: Folds) -> Cv | None:
    """The record of the predictions, where they are there and of what is there now."""
    folder = layout.run(comp, name)
    cv = Cv.read_if_there(folder / "cv.json") if all((folder / file).is_file() for file in FILES) else None
    if cv is None:
        return None
    if cv.files != sha256_files(folder, cv.files):
        say(f"warning: predictions of {comp}/{name} are damaged, or not those of cv.json: they are made again")
        return None
    now, made = features_sha256(layout, comp, run), cv.sha256.inputs
    changed = sorted(key for key in now if made.get(key) != now[key])
    if changed:
        say(f"{first_few(changed)} changed since the heads were fitted: they are fitted again")
        return None
    hashes = cv.sha256.folds, cv.sha256.run, cv.sha256.test
    same = hashes == (folds.sha256, run.sha256, sha256_file(layout.test_rows(comp)))
    return cv if same and pictures_sha256(layout, comp, cv.left_out) == cv.left_out else None


def _fitted(
    layout: Layout, comp: str, name: str, run: FeaturesRun, folds: Folds, device: str
) -> dict[str, Any]:  # fmt: skip
    """What `cv.json` says beside the scores, of predictions that are written now."""
    from foldline.engine.features.fit_run import fit_features

    folder, inputs = layout.run(comp, name), features_sha256(layout, comp, run)
    found = fit_features(layout, comp, name, run, folds, device, load_competition(layout, comp).folds.new_class)
    write_run(layout, comp, name, run)  # not before: what is refused can be mended and run again under its name
    left_out = pictures_sha256(layout, comp, found.left_out)
    hashes = CvHashes(folds=folds.sha256, run=run.sha256, test=sha256_file(layout.test_rows(comp)), inputs=inputs)
    return {
        "comp": comp, "run": name, "task": folds.task, "outputs": folds.outputs,
        "views": sorted({view for source in run.features for view in source.views}), "members": [], "blend": None,
        "sha256": hashes, "optimistic": found.optimistic, "below_probe": [],
        "seconds": Seconds(train=round(found.fit_seconds, 1), predict=round(found.seconds, 1)),
        "device": found.device, "files": sha256_files(folder, found.files), "head": run.title, "chosen": found.chosen,
        **({"left_out": left_out} if left_out else {}),
    }  # fmt: skip
