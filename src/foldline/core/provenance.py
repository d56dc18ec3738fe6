"""What a fold's training takes from elsewhere, as hashes: other runs, rows, weights, code, and pictures left out.

Reads these files; writes nothing. The hashes stand in the fold's `meta.json` and in its resume point, so that a fold
that was made from something else than what is there now is noticed.
"""

from collections.abc import Iterable
from pathlib import Path

from foldline.core import own_code
from foldline.core.competition import load_competition
from foldline.core.errors import FoldlineError, first_few
from foldline.core.features_run import FeaturesRun
from foldline.core.folds_of import folds_of
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.records.cv import Cv
from foldline.core.records.entry import Entry
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.manifest import Manifest
from foldline.core.records.same import require_same
from foldline.core.run import Run
from foldline.core.run_folder import nested_run, run_sha256, stored_features, stored_run
from foldline.core.run_kinds import no_networks
from foldline.core.tables import sha256_file, sha256_json

LEFT_OUT = "data.bad_images: "
SOUPS = ("soup", "greedy soup")  # in a fold's inputs: the runs whose weights are in it, or were tried


def inputs_sha256(layout: Layout, comp: str, run: Run, fold: int, left_out: Iterable[str] = ()) -> dict[str, str]:
    """The sha256 of each input of the fold, by the setting that names it. What is not there (any more) is left out.

    Args:
        left_out: the pictures that cannot be read, which training goes on without; one that is mended is a change.
    """
    files = {f"extra.rows: {name}": layout.root / name for name in run.extra.rows}
    pseudo, weights = run.extra.pseudo.name, run.model.weights
    if pseudo:
        files[f"extra.pseudo: {pseudo}"] = layout.fold(comp, pseudo, fold) / "test.parquet"
    if weights.name == "file":
        files[f"model.weights: {weights.options['file']}"] = layout.root / weights.options["file"]
    hashes = {setting: sha256_file(path) for setting, path in files.items() if path.is_file()}
    others = {"loss.teacher": run.loss.teacher.name, "model.weights": weights.options.get("run", "")}
    for setting, name in others.items():
        meta = FoldMeta.read_if_there(layout.fold(comp, name, fold) / "meta.json") if name else None
        if meta is not None:
            hashes[f"{setting}: {name}"] = meta.sha256.weights
    hashes |= own_code.run_sha256(layout, comp, run) | _labels_sha256(layout, comp, run, fold)
    others_folds = folds_of(layout, comp, run, fold) if run.on_all_rows else None
    if others_folds is not None:
        hashes[f"train.folds_of: {others_folds.run}"] = sha256_json(others_folds.taken())
    if "best" in (run.train.select, run.train.average.name):
        metric = load_competition(layout, comp).metric
        hashes |= {f"metric: {metric.rpartition('/')[2]}": digest} if (digest := own_code.sha256(metric)) else {}
    return hashes | {LEFT_OUT + image: digest for image, digest in pictures_sha256(layout, comp, left_out).items()}


def _labels_sha256(layout: Layout, comp: str, run: Run, fold: int) -> dict[str, str]:
    """What decides about labels (`train.labels`): a person's file, or networks that saw no row of the fold."""
    name, options = run.train.labels.name, run.train.labels.options
    if name == "file":
        path = layout.competition_config(comp).parent / options["file"]
        return {f"train.labels: {options['file']}": sha256_file(path)} if path.is_file() else {}
    if name == "given":
        return {}
    paths = sorted(layout.run(comp, nested_run(options["run"], fold)).glob("fold_*/meta.json"))
    weights = {path.parent.name: FoldMeta.read(path).sha256.weights for path in paths}
    return {f"train.labels: {options['run']}": sha256_json(weights)} if weights else {}


def features_sha256(layout: Layout, comp: str, run: FeaturesRun) -> dict[str, str]:
    """The sha256 of what the heads of a run of frozen features are fitted on beside folds and pictures, by the setting
    that names it. What is not there (any more) is left out."""
    hashes = {}
    for place, source in enumerate(run.features):
        key, weights = f"features.{place}", source.model.weights
        file = layout.root / weights.options["file"] if weights.name == "file" else None
        if file is not None and file.is_file():
            hashes[f"{key}.model.weights"] = sha256_file(file)
        if own_code.is_own(source.model.name):
            hashes[f"{key}.model.name"] = own_code.sha256(own_code.locate(layout, comp, source.model.name))
        metas = sorted(layout.run(comp, source.run).glob("fold_*/meta.json")) if source.run else []
        for path in metas:
            meta = FoldMeta.read(path)
            hashes[f"{key}.run: {source.run}, fold {meta.fold}"] = meta.sha256.weights
    for name in run.columns.runs:
        cv = Cv.read_if_there(layout.run(comp, name) / "cv.json")
        files = {file: sha for file, sha in (cv.files if cv else {}).items() if file.endswith(".parquet")}
        hashes |= {f"columns.runs: {name}, {file}": sha for file, sha in files.items()}
    return hashes


def pictures_sha256(layout: Layout, comp: str, images: Iterable[str]) -> dict[str, str]:
    """The sha256 of each picture by the manifest, else of what lies there; of several files they are joined by `|`."""
    images, manifest = sorted(images), layout.manifest(comp)
    known = Manifest.hashes_at(manifest) if images and manifest.is_file() else {}

    def digest(name: str) -> str:
        path = layout.input(comp) / name
        return known.get(name) or (sha256_file(path) if path.is_file() else "")

    return {image: "|".join(digest(name) for name in image.split("|")) for image in images}


def fold_of(layout: Layout, comp: str, name: str, fold: int, where: str) -> FoldMeta:
    """What another run's fold says of itself; raises FoldlineError where it is not trained, or has no networks."""
    meta = FoldMeta.read_if_there(layout.fold(comp, name, fold) / "meta.json")
    if meta is not None:
        return meta
    other = stored_run(layout, comp, name)
    if other is not None and other.on_all_rows:
        raise FoldlineError(
            f"run '{name}' is one network on all rows: none of its networks left fold {fold} unseen",
            where=where,
            next=f"name the run of the folds: {other.train.folds_of}",
        )
    cv = Cv.read_if_there(layout.run(comp, name) / "cv.json")
    if cv is not None and cv.head:
        raise no_networks(f"{where}: run '{name}'")
    if cv is not None and cv.members:
        raise FoldlineError(
            f"'{name}' is an ensemble: it has no network that left fold {fold} unseen",
            where=where,
            next=f"name one of its members: {first_few(cv.members)}; or the soup of their weights (make soup)",
        )
    next = f"make train COMP={comp} RUN={name} FOLD={fold}"
    return FoldMeta.read(layout.fold(comp, name, fold) / "meta.json", next=next)


def refuse_diverged(layout: Layout, meta: FoldMeta, where: str) -> None:
    """Raises FoldlineError where another run's fold diverged, by itself or beside its other folds: nothing is taken
    from it."""
    cv = Cv.read_if_there(layout.run(meta.comp, meta.run) / "cv.json")
    said = cv.diverged if cv is not None and meta.sha256.weights in cv.sha256.weights else []
    reasons = [reason for reason in said if reason.startswith(f"fold {meta.fold}:")]
    if meta.diverged or reasons:
        raise FoldlineError(
            f"run '{meta.run}' diverged: {(reasons or [f'fold {meta.fold}: {meta.diverged}'])[0]}",
            where=where,
            next="name another run, or train this one anew, NAME=<new name> with a lower optim.lr or optim.clip",
        )


def current_cv(layout: Layout, comp: str, run: str, folds_sha256: str) -> Cv:
    """A run's `cv.json`, checked to be of these folds, of the predictions and of the pictures that can be read now."""
    path, predict = layout.run(comp, run) / "cv.json", f"make predict COMP={comp} RUN={run}"
    cv = Cv.read(path, next=predict)
    if cv.run != run:
        raise FoldlineError(
            f"the folder of '{run}' holds the predictions of '{cv.run}': it was copied or renamed",
            where=layout.relative(path),
            next=f"name '{cv.run}', or {predict}",
        )
    require_same(cv, folds=folds_sha256, where=layout.relative(path))
    cv.require_files(path.parent)
    if pictures_sha256(layout, comp, cv.left_out) != cv.left_out:
        raise FoldlineError(
            f"run '{run}' was predicted without pictures that have changed since then: {first_few(list(cv.left_out))}",
            where=layout.relative(path),
            next=predict,
        )
    _refuse_stale(layout, comp, run, cv)
    return cv


def _refuse_stale(layout: Layout, comp: str, run: str, cv: Cv) -> None:
    """Raises FoldlineError where predictions are not of the networks, members or columns that are there now; what is
    gone by now is no matter."""
    folder, changed, next = layout.run(comp, run), [], f"make predict COMP={comp} RUN={run}"
    for fold in (Path(name).parent for name in cv.files if name.startswith("fold_")):
        meta = FoldMeta.read_if_there(folder / fold / "meta.json")
        if meta is not None and meta.sha256.weights not in cv.sha256.weights:
            changed.append(f"{fold} was trained anew")
        parts = changed_parts(layout, meta) if meta is not None else []
        if parts:
            changed.append(f"{fold} of its part '{parts[0]}' was trained anew")
            next = f"make the soup again (make soup COMP={comp} ... NAME={run})"
    for member, digest in cv.sha256.members.items():
        path = layout.run(comp, member) / "test.parquet"
        if path.is_file() and sha256_file(path) != digest:
            changed.append(f"its member '{member}' has other predictions")
            blend = f" BLEND={cv.blend}" if cv.blend not in (None, "mean") else ""
            next = f'make ensemble COMP={comp} RUNS="{" ".join(cv.members)}"{blend} NAME={run}'
    theirs = layout.run(comp, cv.oof_of) / "oof.parquet" if cv.oof_of else None
    if theirs is not None and theirs.is_file() and sha256_file(theirs) != cv.files.get("oof.parquet"):
        changed.append(f"the folds of '{cv.oof_of}', whose score it has, have other predictions")
    head = stored_features(layout, comp, run) if cv.head else None
    if head is not None:
        now, made = features_sha256(layout, comp, head), cv.sha256.inputs
        changed += [f"{name} has changed" for name in sorted(now) if name in made and made[name] != now[name]]
    if changed:
        raise FoldlineError(
            f"the predictions of '{run}' are older than what they stand on: {first_few(changed)}",
            where=layout.relative(folder / "cv.json"),
            next=next,
        )


def say_older(layout: Layout, entry: Entry) -> None:
    """Says where a submission is of predictions that its run had before."""
    cv = Cv.read_if_there(layout.run(entry.comp, entry.run) / "cv.json")
    if cv is not None and not entry.is_of(cv):
        say(
            f"warning: {entry.file} is older than the predictions that '{entry.run}' has now; the ensemble command "
            "that made these writes it anew"
        )


def changed_parts(layout: Layout, meta: FoldMeta) -> list[str]:
    """The runs whose fold a soup's fold is made of, and which have other weights by now; what is gone is no matter."""
    found = []
    for name, digest in meta.sha256.inputs.items():
        kind, _, run = name.partition(": ")
        part = FoldMeta.read_if_there(layout.fold(meta.comp, run, meta.fold) / "meta.json") if kind in SOUPS else None
        if part is not None and part.sha256.weights != digest:
            found.append(run)
    return found


def learnt_from(layout: Layout, comp: str, cv: Cv) -> list[str]:
    """The runs to whose OOF predictions a run was fitted, itself or by a member; empty: to none's.

    What it says of a fold's rows knows the labels of all other folds, those of the fold among them that a further fit
    leaves out; where its errors follow these labels, as those of a fit without a fold do, that fit turns them around.
    """
    if cv.blend_fit is not None:
        return cv.members
    head = stored_features(layout, comp, cv.run) if cv.head else None
    if head is not None and head.columns.runs:
        return head.columns.runs
    others = (Cv.read_if_there(layout.run(comp, member) / "cv.json") for member in cv.members)
    return next((found for other in others if other and (found := learnt_from(layout, comp, other))), [])


def require_unlearnt(layout: Layout, comp: str, records: dict[str, Cv], where: str) -> None:
    """Raises FoldlineError where something that may turn a run's predictions around is to be fitted to OOF predictions
    that were fitted to labels themselves: it would learn the labels of the fold that it leaves out."""
    for run, cv in records.items():
        if found := learnt_from(layout, comp, cv):
            raise FoldlineError(
                f"'{run}' was fitted to the OOF predictions of {first_few(found)}: what is fitted to it again knows "
                "labels of the rows that it is scored on, and scores too well",
                where=where,
                next=f"name the runs that it is made of, all at once: {first_few(found)}; or blend by weights or mean",
            )


def refuse_diverged_runs(comp: str, records: dict[str, Cv]) -> None:
    """Raises FoldlineError where a fold's training ran away."""
    for run, cv in records.items():
        if cv.diverged:
            raise FoldlineError(
                f"run '{run}' diverged: {'; '.join(cv.diverged)}",
                where=f"oof/{comp}/{run}",
                next="train it anew with NAME=<new name> and a lower optim.lr or optim.clip=norm; "
                "to hand it in all the same: WITH_DIVERGED=1",
            )


def require_told_apart(records: dict[str, Cv], how: str = "") -> None:
    """Raises FoldlineError where two runs have the OOF predictions of the same folds: a fit cannot choose between
    them."""
    seen: dict[str, str] = {}
    for run, cv in records.items():
        if cv.whose_oof in seen:
            one = seen[cv.whose_oof]
            raise FoldlineError(
                f"'{one}' and '{run}' have the same OOF predictions, those of the folds of '{cv.whose_oof}': nothing "
                "that is fitted to these can tell which of the two is better",
                where=f"BLEND={how}, RUNS" if how else "RUNS",
                next=f'name one of them; or their mean: make ensemble RUNS="{one} {run}" NAME={cv.whose_oof}-both, and '
                "then that",
            )
        seen[cv.whose_oof] = run


def require_current(layout: Layout, comp: str, run: Run, meta: FoldMeta, folds_sha256: str) -> None:
    """Raises FoldlineError where a finished fold is of other folds, choices or inputs than those of now."""
    left_out = [name.removeprefix(LEFT_OUT) for name in meta.sha256.inputs if name.startswith(LEFT_OUT)]
    inputs = inputs_sha256(layout, comp, run, meta.fold, left_out)
    where = layout.relative(layout.fold(comp, meta.run, meta.fold))
    require_same(meta, folds=folds_sha256, run=run_sha256(run), inputs=inputs, where=where)


def is_finished(layout: Layout, comp: str, name: str, fold: int, run: Run, folds_sha256: str) -> bool:
    """Whether the fold's weights are there and of these folds, choices and inputs; being of others is an error."""
    folder = layout.fold(comp, name, fold)
    meta = FoldMeta.read_if_there(folder / "meta.json")
    if meta is None:
        return False
    require_current(layout, comp, run, meta, folds_sha256)
    return (folder / "model.safetensors").is_file()
