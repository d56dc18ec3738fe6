"""The mean of several networks' weights as one network, fold by fold: a model soup.

Wortsman et al. 2022, "Model soups", https://arxiv.org/abs/2203.05482; the mean of a fine-tuned network and its own
start is WiSE-FT, https://arxiv.org/abs/2109.01903. Only within a fold: the mean over all folds has seen every row, so
that no row is left to score it on. Reads weights and pictures; writes a run's folder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from foldline.core.counted import counted
from foldline.core.differing import differing_keys
from foldline.core.errors import FoldlineError, first_few
from foldline.core.progress import say
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.replacing import move_files, replace_folder
from foldline.core.run import Run
from foldline.core.tables import scratch_folder, write_json
from foldline.engine.finished.copies import copy_code
from foldline.engine.finished.folder import FinishedRun
from foldline.engine.finished.networks import architecture_of, preprocessing_of, weights_sha256
from foldline.engine.loop.averages import refresh_batch_norm
from foldline.engine.loop.checkpoint import State, load_state, save_weights
from foldline.engine.problem import Problem
from foldline.images.normalise import Normaliser
from foldline.models.architecture import Architecture
from foldline.models.backbone import build
from foldline.models.metadata import Encoding
from foldline.models.weights import read_state

FILE = "model.safetensors"
STATISTICS = (".running_mean", ".running_var")
CONSIDERED = "greedy soup: "  # in a fold's inputs: runs that a greedy soup chose from
Part = tuple[Path, FoldMeta]
REFRESHED_ON = 2048  # training pictures at most: a mean over so many is exact to a few per cent of a deviation


def require_one_start(runs: Sequence[FinishedRun], choices: Sequence[Run]) -> None:
    """Raises FoldlineError where networks did not start from the same weights: their mean would be noise.

    The same start is the same hash of it; or the same pretrained weights with classifiers that the same probe fitted.
    """
    first, others = runs[0], runs[1:]
    for run, chosen in zip(others, choices[1:], strict=True):
        pairs = [(one, other) for (_, one), (_, other) in zip(first.folds, run.folds, strict=True)]
        odd = next((odd for one, other in pairs if (odd := differing_keys(_alike(one), _alike(other)))), [])
        if odd:
            raise FoldlineError(
                f"'{first.name}' and '{run.name}' have no weights in common: {first_few(odd)}",
                where="RUNS",
                next="give runs of one network, on pictures of one size",
            )
        probes = choices[0].train.probe, chosen.train.probe
        same_probe = probes[0] is not None and probes[0] == probes[1] and choices[0].model == chosen.model
        if not (same_probe or all(_one_start(pair, (choices[0], chosen)) for pair in pairs)):
            raise FoldlineError(
                f"'{first.name}' and '{run.name}' did not start from the same weights: their classifiers, or all of "
                "them, began as other random numbers",
                where="RUNS",
                next="blend their predictions (make ensemble); or start both from one probe (train.probe), or one seed",
            )
        optimistic = sorted(set(chosen.optimistic()) - set(choices[0].optimistic()))
        if optimistic:
            raise FoldlineError(
                f"the score of '{run.name}' is a little too good, and that of '{first.name}' is not: {optimistic[0]}",
                where="RUNS",
                next=f"name {run.name} first, so that the soup's score says so too",
            )


def _one_start(pair: tuple[FoldMeta, FoldMeta], choices: tuple[Run, Run]) -> bool:
    """Whether a fold's networks of two runs started from the same weights, or one from what the other became.

    Of a run that goes on from another one (`model.weights: run`) `pretrained` is of random numbers that no step saw.
    """
    one, other = (
        meta.sha256.inputs.get(f"model.weights: {run.model.weights.options.get('run')}", meta.sha256.pretrained)
        for meta, run in zip(pair, choices, strict=True)
    )
    return one == other or one == pair[1].sha256.weights or other == pair[0].sha256.weights


def _alike(meta: FoldMeta) -> dict[str, object]:
    """What must be the same in networks whose weights are added."""
    architecture = asdict(Architecture(**meta.architecture))  # an earlier version's lacks keys that have defaults
    kept = {key: value for key, value in architecture.items() if "drop" not in key and key != "channels_last"}
    return {
        "architecture": kept, "size": list(meta.height_width), "channels": meta.channels, "intensity": meta.intensity,
        "framing": meta.framing, "mean": meta.mean, "std": meta.std, "activation": meta.activation,
        "metadata": meta.metadata, "code": meta.sha256.code, "folds": meta.sha256.folds,
    }  # fmt: skip


def cook(
    problem: Problem, name: str, runs: Sequence[FinishedRun], choices: Run, chosen: Sequence[Sequence[int]] = ()
) -> None:  # fmt: skip
    """Writes a soup's folder: in each fold the mean over the runs of the mean over their networks of that fold.

    All folds are made before one of them takes its place, without `run.json` until all have: folds of two soups are no
    run. A score of before goes, too.

    Args:
        problem: of the first run; its pictures give the batch-norm statistics where those of the parts differ.
        choices: of the first run, which the soup keeps: its views, its metrics.
        chosen: of each fold, the places of the runs that are in it (`greedy.chosen_parts`); empty: all.
    """
    folder, made = problem.layout.run(problem.comp, name), [f"fold_{meta.fold}" for _, meta in runs[0].folds]
    with scratch_folder(folder) as scratch:
        for place, fold in enumerate(made):
            folds = [run.folds[place] for run in runs]
            parts = [folds[i] for i in chosen[place]] if chosen else folds
            considered = [meta for _, meta in folds] if chosen else []
            size = choices.predict.batch_size
            _cook_fold(problem, name, scratch / fold, folds[0], parts, considered, batch_size=size)
        write_json(scratch / "run.json", choices.choices())
        for file in ("run.json", "cv.json"):
            (folder / file).unlink(missing_ok=True)
        for fold in made:
            replace_folder(scratch / fold, folder / fold)
        move_files(scratch, folder, ["run.json"])


def mean_state(
    problem: Problem, base: Part, parts: Sequence[Part], *, batch_size: int
) -> tuple[State, int, int]:  # fmt: skip
    """The mean of a fold's networks of some runs; of how many networks, and the pictures that gave it batch-norm
    statistics (0: none had to).

    Args:
        base: the fold of the run whose architecture it is.
    """
    source, first = base
    by_run = [[read_state(folder / file, next=FoldMeta.made_by) for file in meta.weights] for folder, meta in parts]
    state = average([average(states) for states in by_run])
    every = [own for states in by_run for own in states]
    if _same_statistics(every):
        return state, len(every), 0
    model = build(architecture_of(source, first))
    load_state(model, state)
    pictures = _refresh(problem, model.to(problem.device), first, batch_size)
    return model.state_dict(), len(every), pictures


def _cook_fold(
    problem: Problem, name: str, target: Path, base: Part, parts: Sequence[Part], considered: Sequence[FoldMeta], *,
    batch_size: int,
) -> None:  # fmt: skip
    (source, first), metas = base, [meta for _, meta in parts]
    state, networks, pictures = mean_state(problem, base, parts, batch_size=batch_size)
    if pictures:
        say(f"fold {first.fold}: batch-norm statistics are taken anew from {counted(pictures, 'training pictures')}")
    save_weights(target / FILE, state)
    copy_code(source, first, target)
    inputs = {f"soup: {meta.run}": meta.sha256.weights for meta in metas}
    inputs |= {f"{CONSIDERED}{meta.run}": meta.sha256.weights for meta in considered}
    hashes = {"weights": weights_sha256({FILE: state}), "inputs": first.sha256.inputs | inputs}
    first.changed(
        run=name, weights=[FILE], sha256=first.sha256.model_copy(update=hashes), files={}, rounded_from="",
        seconds=round(sum(meta.seconds for meta in metas), 2), score=None, probe_score=None, below_probe=False,
        loss=None, nothing_loss=None, diverged=next((meta.diverged for meta in metas if meta.diverged), ""),
    ).write(target / "meta.json")  # fmt: skip
    say(f"fold {first.fold}: one network of {networks}")


def average(states: Sequence[State]) -> State:
    """The mean of each tensor, in float64; counters are those of the first."""
    return {
        key: torch.stack([state[key].double() for state in states]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for key, tensor in states[0].items()
    }


def _same_statistics(states: Sequence[State]) -> bool:
    """Whether no batch-norm learnt other statistics than the first network's."""
    names = [key for key in states[0] if key.endswith(STATISTICS)]
    return all(torch.equal(state[key], states[0][key]) for state in states[1:] for key in names)


def _refresh(problem: Problem, model: nn.Module, meta: FoldMeta, batch_size: int) -> int:
    """Takes batch-norm statistics anew from training pictures of the fold, as they are; how many."""
    rows = problem.own(meta.fold, train=True)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), REFRESHED_ON)).astype(np.int64))]
    rows = rows[: len(rows) - len(rows) % batch_size] if len(rows) > batch_size else rows
    frame, scaling = problem.folds.frame.iloc[rows], preprocessing_of(meta)
    encoding = None if meta.metadata is None else Encoding.from_json(meta.metadata)
    numbers = None if encoding is None else torch.from_numpy(encoding.encode(frame))
    normaliser = Normaliser(scaling.mean, scaling.std, problem.device)
    positions = problem.cache.rows(frame["image"].tolist())

    def inputs() -> Iterator[tuple[Tensor, ...]]:
        for images, place in problem.pictures.batches(positions, batch_size):
            beside = () if numbers is None else (numbers[place].to(problem.device),)
            yield (normaliser(images), *beside)

    torch.manual_seed(problem.run.seed)  # dropout
    refresh_batch_norm(model, inputs())
    return len(rows)
