"""Stage export folder: a finished run or ensemble as one folder that `foldline.load` reads anywhere.

Reads the run's folder; writes `exports/<comp>/<run>/`: weights, metas, `cv.json`, and `README.md`, the model's card.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.records.cv import Cv
from foldline.core.records.entry import Entry
from foldline.core.replacing import replace_folder
from foldline.core.run import Run
from foldline.core.run_folder import stored_features, stored_run
from foldline.core.tables import scratch_folder, write_text
from foldline.scoring.choose import in_digits

if TYPE_CHECKING:
    from foldline.engine.finished.folder import FinishedRun

CARD = "README.md"


def export_folder(
    layout: Layout, comp: str, run: str, *, half: bool = False, out: Path | None = None, push: str = "",
    device: str = "auto",
) -> Path:  # fmt: skip
    """Writes the folder; what an earlier export left there is replaced.

    Args:
        half: weights in half precision; the validation rows are predicted with them, and theirs is the score.
        out: where; None: `exports/<comp>/<run>`.
        push: `owner/name` of a repository on the Hugging Face hub to upload it to.

    Raises:
        FoldlineError: the run is not predicted; another folder lies there; half precision costs score, or has none.
    """
    from foldline.engine.finished.export import copy_run, score_again
    from foldline.engine.finished.folder import read_finished

    facts, finished = load_competition(layout, comp), read_finished(layout.run(comp, run), heads=True)
    if finished.cv is None:
        raise FoldlineError(
            f"run '{run}' has no score",
            where=layout.relative(finished.folder),
            next=f"make predict COMP={comp} RUN={run}",
        )
    if half:
        _require_halves(comp, finished)
    target = out or layout.exports(comp) / run
    _require_ours(target)
    remarks = []
    with scratch_folder(target.parent, target.name) as scratch:
        copy = copy_run(finished, scratch, half=half)
        if half:
            copy = score_again(layout, comp, facts, copy, device)
            assert copy.cv is not None
            remarks = [f"weights in half precision, scored so; in float32 {in_digits(finished.cv.pooled)}"]
            now, was = in_digits(copy.cv.pooled), in_digits(finished.cv.pooled)
            say(f"{run}: OOF {copy.cv.metric} {now} in half precision, {was} in float32")
        write_text(scratch / CARD, _card(layout, comp, facts, copy, remarks))
        replace_folder(scratch, target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    say(f"wrote {layout.relative(target)}: {size / 1e6:.1f} MB; foldline.load reads it, {CARD} says what it is")
    if push:
        from foldline.engine.finished.hub import push_folder

        say(f"pushed to {push_folder(target, push)}")
    return target


def _require_halves(comp: str, run: "FinishedRun") -> None:
    """Raises FoldlineError where a member has nothing to halve, or no row to score it by in half precision."""
    for own in run.trained:
        if own.heads is not None:
            why = "half precision is for networks that were trained, and heads on frozen features stay as they are"
        elif own.folds[0][1].on_all_rows:
            why = f"'{own.name}' was trained on all rows: none is left to score its weights in half precision by"
        else:
            continue
        raise FoldlineError(why, where="HALF", next=f"make export COMP={comp} RUN={run.name}")


def _require_ours(target: Path) -> None:
    """Raises FoldlineError where something else than an earlier export would be replaced."""
    if target.is_symlink() or (target.exists() and not ((target / CARD).is_file() and (target / "cv.json").is_file())):
        raise FoldlineError(
            "something that is no exported model lies there",
            where=str(target),
            next="move it away, or give another --out",
        )


def _card(layout: Layout, comp: str, facts: Competition, copy: "FinishedRun", remarks: list[str]) -> str:
    from foldline.engine.finished.card import model_card

    choices = {own.name: stored_run(layout, comp, own.name) for own in copy.trained}
    for own in copy.trained:
        features = stored_features(layout, comp, own.name)
        for source in features.features if features is not None else ():
            known = stored_run(layout, comp, source.run) if source.run else Run(model=source.model.trained)
            choices[f"{own.name}: {source.title}"] = known
    entry = Entry.read_if_there(layout.submission(comp, copy.name).with_suffix(".json"))
    cv = Cv.read_if_there(layout.run(comp, copy.name) / "cv.json")
    if entry is not None and (cv is None or not entry.is_of(cv)):
        entry = None  # its scores are of predictions that the run had before
    return model_card(copy, facts, choices, entry, remarks)
