"""A run of frozen features as a part of what `foldline.load` gives: pictures become features, heads say what they are.

Reads `heads.json`, what the heads are stored as, and networks; writes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn

from foldline.core.errors import FoldlineError, first_few
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.heads import HeadRecord, Heads, SourceRecord
from foldline.core.tables import sha256_files
from foldline.core.task import Array, Block
from foldline.engine.finished.folder import beside
from foldline.engine.finished.member import known_folds
from foldline.engine.finished.networks import Among, architecture_of, load_models, preprocessing_of, spec_of
from foldline.engine.finished.pictures import Source, Spec, require_neighbours
from foldline.engine.frozen import FEATURE_BATCH, body_of, see
from foldline.images.store import PictureStore
from foldline.models.fitted.catalogue import HEADS
from foldline.models.fitted.finished import FinishedHead
from foldline.models.fitted.spec import About
from foldline.models.heads import HeadedNetwork
from foldline.models.metadata import Encoding
from foldline.models.probe import Features

WHERE = "columns.metadata"
Place = tuple[Path, FoldMeta]


def frozen_network(folder: Path, meta: FoldMeta, device: torch.device) -> nn.Module:
    """A run's network of a fold, whose features are taken: in float32, without what reads metadata; of a run that keeps
    its start the trained one alone."""
    network: nn.Module = load_models(folder, meta, device)[0].float()
    return network.backbone if isinstance(network, HeadedNetwork) else network


def encoded(encoding: Encoding, frame: pd.DataFrame) -> Features:
    """[1, rows, columns] table columns as numbers; raises FoldlineError for a cell or a column that is not there."""
    try:
        return encoding.encode(frame)[None]
    except FoldlineError as error:  # it calls cells and columns as runs of networks do
        raise FoldlineError(error.what, where=WHERE, next=error.next.replace("model.metadata", WHERE)) from error


@dataclass
class FrozenSource:
    """What sees pictures: one network for all folds, or each fold's own.

    Attributes:
        places: the folder and the meta of each fold's network; of one for all folds alone, under None.
    """

    record: SourceRecord
    places: dict[int | None, Place]
    device: torch.device
    _bodies: dict[int | None, nn.Module] = field(default_factory=dict, repr=False)

    @property
    def first(self) -> Place:
        """Any of them: what their pictures are is the same."""
        return next(iter(self.places.values()))

    @property
    def spec(self) -> Spec:
        """What its pictures are."""
        return spec_of(*self.first)

    def which(self, fold: int) -> int | None:
        """Whose network the head of a fold sees through."""
        return None if None in self.places else fold

    def see(
        self, whose: int | None, pictures: PictureStore, positions: NDArray[np.int64], title: str, batch_size: int
    ) -> Features:
        """[views, rows, features]."""
        views, scaling = self.record.views, preprocessing_of(self.places[whose][1])
        return see(self.body(whose), pictures, positions, views, scaling, title, batch_size=batch_size)

    def body(self, whose: int | None) -> nn.Module:
        """The network, loaded once; raises as `load_models`."""
        if whose not in self._bodies:
            folder, meta = self.places[whose]
            if whose is None:
                network = load_models(folder, meta, self.device, fused=False)[0]
            else:
                network = frozen_network(folder, meta, self.device)
            architecture = replace(architecture_of(folder, meta), metadata_features=0)
            self._bodies[whose] = body_of(network, architecture, self.device)
        return self._bodies[whose]

    def move(self, device: torch.device) -> None:
        """The networks lie there from now on."""
        for body in self._bodies.values():
            body.to(device)

    def drop(self) -> None:
        """Frees the networks' memory."""
        self._bodies.clear()


@dataclass
class HeadsMember:
    """A run of frozen features: all of a plain model, or a part of an ensemble. Loaded when it is needed.

    Attributes:
        folder: where it lies.
        record: what its heads are.
    """

    folder: Path
    record: Heads
    sources: list[FrozenSource]
    device: torch.device
    _heads: dict[tuple[int, int], FinishedHead] = field(default_factory=dict, repr=False)
    number: ClassVar[type[np.float32 | np.float64]] = np.float64  # in which it predicts

    @property
    def run(self) -> str:
        """Its name."""
        return self.record.run

    @property
    def folds(self) -> list[int]:
        """The numbers of its folds."""
        return self.record.folds

    @property
    def specs(self) -> list[Spec]:
        """What the pictures of its networks are."""
        return list(dict.fromkeys(source.spec for source in self.sources))

    @property
    def encoding(self) -> Encoding | None:
        """How table columns become numbers; None: it reads none."""
        return None if self.record.metadata is None else Encoding.from_json(self.record.metadata)

    @property
    def metadata(self) -> list[str]:
        """The columns that its heads read beside the picture."""
        return [] if self.encoding is None else self.encoding.names

    def require(self, sources: Sequence[Source]) -> None:
        """Raises FoldlineError where networks want the neighbours of each picture and a file stands alone."""
        for source in self.sources:
            require_neighbours(sources, self.run, source.first[1].neighbours)

    def drop(self) -> None:
        """Frees the memory of networks and heads; they are loaded anew when they are needed again."""
        self._heads.clear()
        for source in self.sources:
            source.drop()

    def ready(self, folds: Sequence[int] | None = None) -> None:
        """Loads networks and heads of some folds, or of all; raises FoldlineError where they are damaged."""
        for fold in known_folds(self.run, self.folds, folds):
            for source in self.sources:
                source.body(source.which(fold))
            for target, block in enumerate(self._blocks):
                self._head(fold, target, block)

    def move(self, device: torch.device, folds: Sequence[int] | None = None) -> None:  # noqa: ARG002 - all see alike
        """The networks lie there from now on."""
        for source in self.sources:
            source.move(device)

    def predictions(
        self, stores: Mapping[Spec, PictureStore], positions: NDArray[np.int64], *, folds: Sequence[int] | None = None,
        views: Sequence[str] | None = None, metadata: pd.DataFrame | None = None, batch_size: int = FEATURE_BATCH,
        title: str = "predicting", among: Among | None = None,
    ) -> NDArray[np.float64]:  # fmt: skip
        """[folds, rows, outputs] what some folds' heads say of pictures that are decoded already.

        Args:
            stores: pictures of each of `specs`.
            positions: [rows] which picture each row is; at least one.
            folds: some, in this order; None: all.
            views: None: the heads were fitted on those that the run names.
            metadata: the rows' columns as text, where heads read some.
            batch_size: pictures that a network sees together; 16 at most.
            among: None: features are of single pictures.

        Raises:
            FoldlineError: other views, an unknown fold, damaged files.
        """
        assert among is None
        if views is not None:
            raise FoldlineError(
                f"the heads of '{self.run}' were fitted on features of {', '.join(self.record.views)}: "
                "they have no other views",
                where="views",
                next="leave views out",
            )
        wanted = known_folds(self.run, self.folds, folds)
        encoding, seen = self.encoding, dict[tuple[int, int | None], Features]()
        beside = [] if encoding is None or metadata is None else [encoded(encoding, metadata)]
        found = np.empty((len(wanted), len(positions), len(self.record.outputs)))
        for place, fold in enumerate(wanted):
            keys = [(number, source.which(fold)) for number, source in enumerate(self.sources)]
            seen = {key: features for key, features in seen.items() if key in keys}  # one fold's are in memory
            for number, whose in keys:
                if (number, whose) not in seen:
                    source = self.sources[number]
                    words = f"{title}, {source.record.title}"
                    size = min(batch_size, FEATURE_BATCH)
                    seen[number, whose] = source.see(whose, stores[source.spec], positions, words, size)
            found[place] = self._answers(fold, [*(seen[key] for key in keys), *beside])
        return found

    def _answers(self, fold: int, parts: list[Features]) -> Array:
        """[rows, outputs] of all targets."""
        found = [self._head(fold, target, block).answers(parts) for target, block in enumerate(self._blocks)]
        return np.concatenate(found, axis=1)

    @property
    def _blocks(self) -> tuple[Block, ...]:
        return self.record.task.of(self.record.outputs).blocks

    def _head(self, fold: int, target: int, block: Block) -> FinishedHead:
        if (fold, target) not in self._heads:
            record = next(one for one in self.record.heads if (one.fold, one.target) == (fold, target))
            self._heads[fold, target] = stored_head(self.folder, self.record, record, block)
        return self._heads[fold, target]


def stored_head(folder: Path, heads: Heads, record: HeadRecord, block: Block) -> FinishedHead:
    """The head of a fold and a target; raises FoldlineError where its files are not those that were written."""
    now = sha256_files(folder, record.files)
    odd = [name for name in record.files if record.files[name] != now[name]]
    if odd:
        raise FoldlineError(
            f"the heads of '{heads.run}' are damaged, or are not those that were fitted: {first_few(odd)}",
            where=str(folder),
            next=f"copy the whole folder again; or {Heads.made_by}",
        )
    arrays, *texts = [folder / name for name in record.files]
    outputs = len(range(len(heads.outputs))[block.columns])
    about = About(block.task, outputs, record.settings, heads.fixed, heads.new)
    return FinishedHead(
        HEADS[heads.head], about, load_file(arrays), [text.read_text(encoding="utf-8") for text in texts]
    )


def open_heads(folder: Path, record: Heads, device: torch.device) -> HeadsMember:
    """A run of frozen features, ready to predict.

    Raises:
        FoldlineError: its heads need more than pictures and their metadata; a network is not there, or another one now.
    """
    _require_alone(folder, record)
    sources = [FrozenSource(source, _places(folder, record, source), device) for source in record.sources]
    counts = {source.first[1].neighbours for source in sources}
    if len(counts) > 1:
        raise FoldlineError(
            f"the networks of '{record.run}' see each picture between other neighbours, and a picture comes with its "
            "own here",
            where="data.neighbours",
            next="give all features the same data.neighbours",
        )
    return HeadsMember(folder, record, sources, device)


def _require_alone(folder: Path, record: Heads) -> None:
    """Raises FoldlineError where a picture's answer depends on more than the picture and its metadata."""
    if record.runs:
        raise FoldlineError(
            f"the heads of '{record.run}' read what {first_few(record.runs)} predicts of each row (columns.runs), and "
            "of other pictures nobody has predicted that",
            where=str(folder),
            next=f'fit heads without columns.runs, and blend: make ensemble RUNS="{" ".join(record.runs)} <that run>"',
        )
    if not record.sources:
        raise FoldlineError(
            f"the heads of '{record.run}' see table columns alone: there is nothing to ask them about a picture",
            where=str(folder),
            next="name the run of a network, or one with features",
        )
    if record.fixed.get("rerank"):
        raise FoldlineError(
            f"'{record.run}' ranks all rows that it is asked about among one another (head.options.rerank): a picture "
            "has no answer of its own",
            where=str(folder),
            next="fit it under another NAME with head.options.rerank=0; its test rows' answers are in test.parquet",
        )


def _places(folder: Path, heads: Heads, source: SourceRecord) -> dict[int | None, Place]:
    if source.folder:
        own = folder / source.folder
        return {None: (own, FoldMeta.read(own / "meta.json", next=Heads.made_by))}
    theirs = beside(folder, source.run, f"'{heads.run}' takes features of the networks of '{source.run}'")
    places: dict[int | None, Place] = {}
    for fold in heads.folds:
        place = theirs / f"fold_{fold}"
        places[fold] = place, FoldMeta.read(place / "meta.json", next=f"copy the whole folder of '{source.run}'")
    odd = [fold for fold in heads.folds if places[fold][1].sha256.weights != source.weights.get(str(fold))]
    if odd:
        raise FoldlineError(
            f"the networks of '{source.run}' are others than those whose features the heads of '{heads.run}' were "
            f"fitted on: fold {', '.join(map(str, odd))}",
            where=str(theirs),
            next=f"make predict COMP={heads.comp} RUN={heads.run} fits the heads anew",
        )
    return places
