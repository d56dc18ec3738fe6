"""The runs `<run>-without-<k>`: as `<run>`, but no network of theirs saw a row of fold k. What they say of the other
folds' rows may therefore decide about these in the training of fold k. Reads their folders; writes nothing."""

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.provenance import refuse_diverged
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.same import require_same
from foldline.core.run import Run
from foldline.core.run_folder import nested_run, stored_run
from foldline.core.tables import sha256_files

WHERE = "train.labels"


def require_nestable(layout: Layout, comp: str, run: str, choices: Run, k: int) -> None:
    """Raises FoldlineError where a run cannot be trained without a fold."""
    if k < 3:
        raise FoldlineError(
            f"without one of {k} folds no network is left that others can check",
            where=layout.relative(layout.folds(comp)),
            next="make at least 3 folds, or decide by eye: without ACTION=exclude or ACTION=relabel",
        )
    if choices.on_all_rows:
        raise FoldlineError(
            "this run is one network on all rows: none of its own says anything of an unseen row", where=f"RUN={run}",
            next=f"name the run of the folds: RUN={choices.train.folds_of}",
        )  # fmt: skip
    if choices.train.without or choices.train.labels.name != "given":
        raise FoldlineError("this run leaves out rows by itself", where=f"RUN={run}", next="name one that takes all")


def nested_metas(layout: Layout, comp: str, run: str, fold: int, k: int, folds_sha256: str) -> dict[int, FoldMeta]:
    """The finished folds of the run without `fold`, which are all others.

    Raises:
        FoldlineError: one is not trained, is of other folds, diverged, or saw rows of `fold`.
    """
    name = nested_run(run, fold)
    next = f"make clean-labels COMP={comp} RUN={run} ACTION=exclude trains what lacks"
    stored = stored_run(layout, comp, name)
    if stored is None:
        raise FoldlineError(f"the run '{name}' is not trained", where=WHERE, next=next)
    if fold not in stored.train.without:
        raise FoldlineError(
            f"the networks of '{name}' saw rows of fold {fold}: what they suspect would be a leak",
            where=WHERE,
            next=f"delete its folder, then {next}",
        )
    metas = {}
    for other in (other for other in range(k) if other != fold):
        folder = layout.fold(comp, name, other)
        meta = metas[other] = FoldMeta.read(folder / "meta.json", next=next)
        require_same(meta, folds=folds_sha256, where=WHERE)
        refuse_diverged(layout, meta, WHERE)
        if sha256_files(folder, meta.files) != meta.files:
            raise FoldlineError(
                "valid.parquet is not what training wrote", where=layout.relative(folder), next=FoldMeta.made_by
            )
    return metas
