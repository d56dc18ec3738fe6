"""A run's folder and what it was made from: the same command twice continues, another config is refused."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from foldline.core.differing import differing_keys
from foldline.core.errors import FoldlineError
from foldline.core.features_run import FeaturesRun
from foldline.core.paths import Layout
from foldline.core.processes import drop_dead_lock, in_turn
from foldline.core.run import Run, run_content
from foldline.core.run_kinds import is_features, no_networks
from foldline.core.tables import read_json, remove, sha256_json, write_json

AnyRun = Run | FeaturesRun


def resolve_any(layout: Layout, comp: str, run: str, name: str, overrides: list[str]) -> tuple[str, AnyRun]:
    """The run's name and choices, from its YAML with `overrides`, or from the folder of an earlier training.

    Args:
        run: the YAML's name, `configs/<comp>/<run>.yaml` or `configs/<run>.yaml`; or the name of a folder that exists.
        name: the folder's name below `oof/<comp>/`; empty: as `run`. Needed where `overrides` change the run.

    Raises:
        FoldlineError: overrides without a name; or the folder was made by other choices: the keys are named.
    """
    if overrides and name in ("", run):
        raise FoldlineError(
            f"settings change the run '{run}': a changed run needs a name of its own",
            where=f"SET={' '.join(overrides)}",
            next=f"add NAME=<new name>, for example NAME={run}-2",
        )
    name = name or run
    stored = _stored(layout, comp, name)
    if stored is not None and not overrides and (name != run or not layout.run_file(comp, run).is_file()):
        return name, stored
    content, where = run_content(layout, comp, run, overrides)
    content = _with_folds_of(content, run, name)
    wanted = _parse(content, where)
    if stored is not None:
        _refuse_other_choices(layout, comp, name, stored, wanted)
    return name, wanted


def _with_folds_of(content: dict[str, Any], run: str, name: str) -> dict[str, Any]:
    """The settings of one network on all rows, where a run was changed to that under another name: its own folds are
    meant, unless others are named."""
    train = content.get("train")
    if name == run or not isinstance(train, dict) or train.get("folds") != "all" or train.get("folds_of"):
        return content
    return {**content, "train": {**train, "folds_of": run}}


def resolve_run(layout: Layout, comp: str, run: str, name: str, overrides: list[str]) -> tuple[str, Run]:
    """`resolve_any` where networks are needed; raises FoldlineError for a run of frozen features, too."""
    found, choices = resolve_any(layout, comp, run, name, overrides)
    if isinstance(choices, FeaturesRun):
        raise no_networks(f"run '{found}'")
    return found, choices


def stored_run(layout: Layout, comp: str, name: str) -> Run | None:
    """The choices in the folder of a run of networks; None where it has none, as an ensemble or frozen features.

    Its `run.json` has no schema of its own, so that it can be copied to a run file.

    Raises:
        FoldlineError: an earlier version wrote settings that are called otherwise now.
    """
    stored = _stored(layout, comp, name)
    return stored if isinstance(stored, Run) else None


def stored_features(layout: Layout, comp: str, name: str) -> FeaturesRun | None:
    """The choices in the folder of a run of frozen features; None of any other. Raises as `stored_run`."""
    stored = _stored(layout, comp, name)
    return stored if isinstance(stored, FeaturesRun) else None


def _stored(layout: Layout, comp: str, name: str) -> AnyRun | None:
    path = layout.run(comp, name) / "run.json"
    if not path.is_file():
        return None
    return _parse(read_json(path, next="delete this file: the next training writes it anew"), layout.relative(path))


def _parse(content: Any, where: str) -> AnyRun:
    return FeaturesRun.parse(content, where=where) if is_features(content) else Run.parse(content, where=where)


def _refuse_other_choices(layout: Layout, comp: str, name: str, stored: AnyRun, wanted: AnyRun) -> None:
    if type(stored) is type(wanted):
        different = differing_keys(training_choices(stored), training_choices(wanted))
    else:
        different = ["one is a run of frozen features, the other of networks"]
    if different:
        raise FoldlineError(
            f"the run '{name}' was trained with other choices: {'; '.join(different)}",
            where=layout.relative(layout.run(comp, name)),
            next="give the changed run another name (NAME=...), or delete this folder to train it anew",
        )


# The choices that trained weights do not depend on: a training that needs more memory than there is goes on with fewer
# processes, and with its pictures elsewhere; who watches it changes nothing.
NOT_TRAINING: Any = {
    "predict": {"views", "batch_size", "compile"},
    "metrics": True,
    "data": {"workers", "cache"},
    "train": {"log_to"},
}


def training_choices(run: AnyRun) -> dict[str, Any]:
    """The choices that trained weights depend on: all but those of prediction, scoring and speed."""
    return run.model_dump(mode="json", exclude=NOT_TRAINING)  # those that a run has not are no matter


def run_sha256(run: Run) -> str:
    """The hash of a run's training choices: the same for all folds, whatever views predict and metrics score.

    Defaults are left out: a setting that a later version adds changes no hash.
    """
    choices = run.model_dump(mode="json", exclude=NOT_TRAINING, exclude_defaults=True)
    return sha256_json({key: value for key, value in choices.items() if key not in NOT_TRAINING or value})


def optimistic(layout: Layout, comp: str, run: Run, known: tuple[str, ...] = ()) -> list[str]:
    """Why a run's OOF score is a little too good: by itself, or by what its folds took from those of other runs."""
    others = (run.extra.pseudo.name, run.loss.teacher.name, run.model.weights.options.get("run", ""))
    reasons = run.optimistic()
    for name in dict.fromkeys(name for name in others if name and name not in known):
        other = stored_run(layout, comp, name)
        theirs = [] if other is None else optimistic(layout, comp, other, (*known, name))
        reasons += [reason if reason in reasons else f"{name}, which it learnt from: {reason}" for reason in theirs]
    return list(dict.fromkeys(reasons))


def write_run(layout: Layout, comp: str, name: str, run: AnyRun) -> None:
    """Writes the run's choices into its folder, unless they stand there already."""
    path = layout.run(comp, name) / "run.json"
    if not path.is_file() or read_json(path) != run.choices():
        write_json(path, run.choices())


def drop_disposable(fold_folder: Path) -> None:
    """Removes what only a training that goes on needs: resume points, the newest predictions, where it
    stood, a dead process's lock."""
    drop_dead_lock(fold_folder / ".lock")
    for name in ("resume", "resume.before", "latest.parquet", "progress.json"):
        remove(fold_folder / name)


@contextmanager
def predictions_of(layout: Layout, comp: str, runs: Iterable[str], what: str) -> Iterator[None]:
    """One process at a time reads or writes the predictions of these runs; a second one says who does, and waits.

    Args:
        what: is being done, for the second one's message.
    """
    with ExitStack() as held:
        for run in sorted(set(runs)):  # all in one order, so that no two wait for one another
            if not layout.run(comp, run).is_dir():
                continue  # whoever needs it says that it is not there
            held.enter_context(in_turn(layout.run(comp, run) / ".predictions.lock", what))
        yield


def is_whole(fold: Path) -> bool:
    """Whether a fold's folder holds a finished training, of whatever it was made."""
    return all((fold / file).is_file() for file in ("meta.json", "model.safetensors"))


def wanted_folds(run: Run, k: int) -> list[int]:
    """The folds that make the run complete: `train.folds`, or each; raises FoldlineError for one that is not there.

    One network on all rows stands as the fold behind the last one, whose own rows are none.
    """
    if run.on_all_rows:
        return [k]
    for fold in run.train.without:
        known_fold(fold, k, where="train.without")
    return sorted({known_fold(fold, k, where="train.folds") for fold in run.train.some_folds}) or list(range(k))


def asked_folds(run: Run, fold: int | None, k: int) -> list[int]:
    """`wanted_folds`, or the one fold that is asked for; raises FoldlineError for one that is not there."""
    wanted = wanted_folds(run, k)
    if fold is None or (run.on_all_rows and fold in wanted):
        return wanted
    if run.on_all_rows:
        raise FoldlineError(
            f"this run is one network on all rows: it has no fold {fold}", where="FOLD", next="make train-all trains it"
        )
    return [known_fold(fold, k)]


def nested_run(run: str, fold: int) -> str:
    """The name of a run as `run`, of which no network saw a row of the fold (`core.nested`)."""
    return f"{run}-without-{fold}"


def nested_settings(fold: int, k: int) -> list[str]:
    """What that run's settings are besides the run's own."""
    return [f"train.without=[{fold}]", f"train.folds=[{','.join(str(other) for other in range(k) if other != fold)}]"]


def known_fold(fold: int, k: int, *, where: str = "FOLD") -> int:
    """`fold`; raises FoldlineError unless it is one of the k folds."""
    if not 0 <= fold < k:
        raise FoldlineError(f"there is no fold {fold}", where=where, next=f"the folds are 0 to {k - 1}")
    return fold
