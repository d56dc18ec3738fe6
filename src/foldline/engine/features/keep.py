"""What of a run of frozen features is kept: networks that are not trained, and the heads.

Writes `source_<i>/` (weights, meta, code), `heads/fold_<k>_<target>.safetensors`, LightGBM's models beside it as text,
and `heads.json`; all of it into a scratch folder first.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from foldline.core import own_code
from foldline.core.counted import counted
from foldline.core.features_run import FeaturesRun, Source
from foldline.core.folds import Folds
from foldline.core.progress import say
from foldline.core.records.fold_meta import FoldHashes, FoldMeta, MeasuredPrecision
from foldline.core.records.heads import FILE, HeadRecord, Heads, HeadsHashes, SourceRecord
from foldline.core.run_folder import run_sha256
from foldline.core.tables import remove, sha256_files, write_text
from foldline.engine.both_sides import Frozen
from foldline.engine.features.parts import Part
from foldline.engine.finished.networks import weights_sha256
from foldline.engine.loop.checkpoint import save_weights
from foldline.engine.machine.device import describe, versions
from foldline.models.fitted.finished import FinishedHead
from foldline.models.fitted.spec import About
from foldline.models.framing import framing_of

WEIGHTS = "model.safetensors"


def keep_network(frozen: Frozen, source: Source, place: int, folder: Path) -> SourceRecord:
    """Writes a network as the fold of a run has it, of no epochs.

    Args:
        place: of the source among the run's.
        folder: below which `source_<place>/` is made.
    """
    problem, state = frozen.problem, frozen.model.state_dict()
    run, target = problem.run, folder / f"source_{place}"
    hashes = FoldHashes(
        folds=problem.folds.sha256, run=run_sha256(run), pretrained=frozen.digest,
        weights=weights_sha256({WEIGHTS: state}),
        code=own_code.keep(target, [*own_code.named_by(problem.located).values()]),
    )  # fmt: skip
    if not _linked(frozen, hashes.weights, target / WEIGHTS):
        save_weights(target / WEIGHTS, state)
    FoldMeta(
        comp=problem.comp, run=source.title, fold=0, task=problem.folds.task, outputs=problem.folds.outputs,
        activation=problem.objective.activation, model=run.model.name,
        architecture=asdict(problem.architecture) | {"name": run.model.name},
        height_width=run.tested_height_width, channels=problem.architecture.channels, **asdict(frozen.preprocessing),
        intensity=run.data.intensity, framing=framing_of(run), sha256=hashes, weights=[WEIGHTS], seed=run.seed,
        versions=versions(), device=describe(problem.device), precision=MeasuredPrecision(choice="fp32"), seconds=0.0,
        epochs=0, selected_epoch=0, views=source.views, metric=problem.facts.metric, score=None,
        neighbours=run.data.neighbours, rows_train=0, rows_valid=0,
    ).write(target / "meta.json")  # fmt: skip
    return SourceRecord(title=source.title, views=source.views, folder=target.name)


def _linked(frozen: Frozen, digest: str, path: Path) -> bool:
    """Whether a run beside it has these weights, whose file then gets a second name: a head more is no copy more."""
    problem = frozen.problem
    for other in sorted(problem.layout.runs(problem.comp).glob("*/source_*/meta.json")):
        with suppress(OSError):  # a file system without links, or the other run is being deleted
            meta = FoldMeta.read_if_there(other)
            if meta is not None and meta.sha256.weights == digest:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.link(other.with_name(WEIGHTS), path)
                return True
    return False


@dataclass
class Keeper:
    """Writes the heads of a run into a folder, one after the other."""

    folder: Path
    comp: str
    name: str
    run: FeaturesRun
    folds: Folds
    _records: list[HeadRecord] = field(default_factory=list)
    _last: About | None = None

    def add(self, fold: int, target: int, head: FinishedHead) -> None:
        """The head of a fold and a target.

        Args:
            target: its place among the blocks.
        """
        base = f"heads/fold_{fold}_{target}"
        texts = {f"{base}_trees_{place}.txt": text for place, text in enumerate(head.texts)}
        state = {name: torch.from_numpy(array) for name, array in head.arrays.items()}
        save_weights(self.folder / f"{base}.safetensors", state)
        for name, text in texts.items():
            write_text(self.folder / name, text)
        files = sha256_files(self.folder, [f"{base}.safetensors", *texts])
        self._records.append(HeadRecord(fold=fold, target=target, settings=dict(head.about.settings), files=files))
        self._last = head.about

    def close(self, parts: Sequence[Part], metric: str) -> None:
        """Writes the networks through which the heads see, and `heads.json`.

        Args:
            metric: the competition's.
        """
        assert self._last is not None
        folds, last = self.folds, self._last
        metadata = [part.encoding.as_json() for part in parts if part.encoding is not None]
        Heads(
            comp=self.comp, run=self.name, task=folds.task, outputs=folds.outputs, metric=metric,
            sha256=HeadsHashes(folds=folds.sha256, run=self.run.sha256), head=self.run.head.name,
            fixed=dict(last.fixed), new=last.new,
            sources=[part.keeps(self.folder) for part in parts if part.keeps is not None],
            metadata=metadata[0] if metadata else None, runs=self.run.columns.runs, heads=self._records,
            versions=versions(),
        ).write(self.folder / FILE)  # fmt: skip


def moved(scratch: Path, folder: Path) -> list[str]:
    """Puts what was kept in place of what an earlier fit kept; the names of the files, below the run's folder."""
    for old in [folder / "heads", *folder.glob("source_*"), folder / FILE]:
        remove(old)
    names = sorted(path.relative_to(scratch).as_posix() for path in scratch.rglob("*") if path.is_file())
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).replace(folder / name)
    size = sum((folder / name).stat().st_size for name in names) / 1e6
    say(f"heads and networks are kept: {size:.1f} MB in {counted(len(names), 'files')}")
    return names
