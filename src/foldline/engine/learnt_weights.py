"""Weights files that a run of this project made: whose rows they were trained on. Reads the runs' folders."""

from contextlib import suppress
from pathlib import Path

from foldline.core.errors import FoldlineError
from foldline.core.provenance import refuse_diverged
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.same import differences
from foldline.core.tables import sha256_file, sha256_json
from foldline.engine.problem import Problem
from foldline.models.backbone import state_sha256
from foldline.models.weights import read_state

INSTEAD = "set model.weights.name=run and model.weights.options.run: each fold then starts from its own"


def refuse_leak(problem: Problem, folds: list[int], *, instead: str = INSTEAD) -> None:
    """A weights file that is a fold of a run may start that fold alone, and none where the run diverged.

    Args:
        folds: that start from it, or see through it.
        instead: what to do.
    """
    weights = problem.run.model.weights
    if weights.name != "file":
        return
    meta = _meta_of(problem, (problem.layout.root / weights.options["file"]).resolve())  # of what a link points to
    if meta is None:
        return
    refuse_diverged(problem.layout, meta, f"model.weights: {weights.options['file']}")
    if meta.comp != problem.comp:
        return
    seen = [fold for fold in folds if fold != meta.fold or differences(meta, folds=problem.folds.sha256)]
    if seen:
        raise FoldlineError(
            f"these weights were trained on rows of fold {seen[0]}: its score would be of learnt rows (a leak)",
            where=f"model.weights: {weights.options['file']}",
            next=instead,
        )


def _meta_of(problem: Problem, file: Path) -> FoldMeta | None:
    """The `meta.json` of the fold that made a weights file, also of a copy of it elsewhere, or of its tensors saved in
    another format; else None."""
    trained = problem.layout.runs(problem.comp).glob("*/fold_*/*.safetensors")
    size = file.stat().st_size if file.is_file() else -1
    same = [path for path in trained if path.stat().st_size == size and sha256_file(path) == sha256_file(file)]
    metas = [FoldMeta.read_if_there(path.with_name("meta.json")) for path in sorted(same)]
    with suppress(FoldlineError):  # a file of that name that is not foldline's
        metas.append(FoldMeta.read_if_there(file.with_name("meta.json")))
    with suppress(FoldlineError):  # whoever loads it says what is wrong with it
        digest = "" if same else sha256_json({"model.safetensors": state_sha256(read_state(file))})
        folds = problem.layout.runs(problem.comp).glob("*/fold_*/meta.json") if digest else ()
        metas += [meta for path in sorted(folds) if (meta := FoldMeta.read(path)).sha256.weights == digest]
    return next((meta for meta in metas if meta is not None), None)
