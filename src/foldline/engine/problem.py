"""What training and prediction of a run share: its rows as arrays, its pictures, its network.

Reads `folds/<comp>.csv` and the images (through the cache); nothing is written but caches.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from foldline.core.clock import FoldPlan
from foldline.core.competition import Competition, load_competition
from foldline.core.counted import counted
from foldline.core.errors import first_few
from foldline.core.folds import Folds, as_scored, load_folds
from foldline.core.folds_of import FoldsOf
from foldline.core.own_code import is_own, locate, located
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.run import Run
from foldline.core.task import Array, Task
from foldline.engine.auxiliary import Auxiliary
from foldline.engine.entities import named_apart, neighboured, per_picture, require_entities, stacks_of
from foldline.engine.extra_rows import OR_GROUP, like_predicted, listed_rows, pseudo_rows, soft_labels
from foldline.engine.losses import Objective, Teacher, build_objective, compared, consistent
from foldline.engine.machine.precision import Precision
from foldline.engine.machine.ranks import Ranks
from foldline.engine.masks import LearntMasks, opened_masks
from foldline.engine.refused import require_metadata, require_one_head
from foldline.engine.row_arrays import RowArrays
from foldline.engine.seen import Opens, scaling, tested_pictures, trained_pictures
from foldline.engine.teller import Teller
from foldline.engine.training_labels import TrainingLabels, training_labels
from foldline.engine.writers.mirror import Mirror
from foldline.images.augment import Augmenter
from foldline.images.batches import Share
from foldline.images.cache import ImageCache, open_cache
from foldline.images.feed import Feed, gathers
from foldline.images.masks import Masks
from foldline.images.mix import require_mixable
from foldline.images.stacks import Stacks
from foldline.images.store import PictureStore, open_store
from foldline.images.views import require_views
from foldline.models.architecture import Architecture, Preprocessing
from foldline.models.backbone import require_known
from foldline.models.entity_heads import entity_options
from foldline.models.metadata import Encoding, fit_encoding
from foldline.scoring.cv import metric_names
from foldline.scoring.metrics import metric_for


@dataclass(frozen=True)
class Problem:
    """A competition's rows with their pictures at a run's size, checked before anything is trained."""

    layout: Layout
    comp: str
    facts: Competition
    run: Run
    folds: Folds
    cache: ImageCache
    truth: NDArray[np.float64]  # as `core.task.Task.truth` gives it
    extra: pd.DataFrame  # training-only rows that files name
    encoding: Encoding | None  # of all rows: it says how many numbers there are
    device: torch.device
    channels_last: bool = True  # the layout of pictures in memory, see `engine.machine.layout`
    sample_of: "tuple[Problem, NDArray[np.int64]] | None" = None  # the problem of which these are some rows, and which
    opens: Opens = open_cache

    @cached_property
    def augmenter(self) -> Augmenter:
        """What training pictures go through."""
        return Augmenter(self.located.augment, self.run.data.height_width, int(self.cache.pixels.shape[3]))

    @cached_property
    def feed(self) -> Feed:
        """What makes training batches; its processes serve all folds and end when it is closed."""
        gather = gathers(self.augmenter) and not self.run.loss.masks
        store = open_store(self.cut_from.pixels, self.device, self.run.data.cache, gathers=gather)
        return Feed(store, self.augmenter, self.run.data.workers, masks=self.masks)

    @cached_property
    def masks(self) -> Masks | None:
        """Those of the pictures that training sees or cuts from; None: the run learns none."""
        return opened_masks(self.layout, self.comp, self.run, self.folds.frame, self.cut_from, trained=True)

    @cached_property
    def pictures(self) -> PictureStore:
        """The decoded pictures that are tested, where the run wants them; training's, where they are the same."""
        if "feed" in self.__dict__ and self.cut_from is self.cache:
            return self.feed.store
        return open_store(self.cache.pixels, self.device, self.run.data.cache, gathers=False)

    @cached_property
    def cut_from(self) -> ImageCache:
        """The pictures that training sees or cuts from: those that are tested, unless the run wants others."""
        images = [*self.folds.frame["image"], *self.extra["image"]]
        images += self.folds.test["image"].tolist() if self.run.extra.pseudo.name else []
        return trained_pictures(self.opens, self.layout, self.comp, self.run, images) or self.cache

    def tested(self) -> PictureStore:
        """The pictures that are tested, as a training has them."""
        return self.feed.store if self.cut_from is self.cache else self.pictures

    def preprocessing(self, model: nn.Module) -> Preprocessing:
        """How pictures are scaled for a network with the run's weights."""
        return scaling(self.located, self.cache, self.folds.frame["image"][self.usable].tolist(), model)

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """[training rows] whether a row's picture could be decoded."""
        return np.array([image not in self.cache.bad for image in self.folds.frame["image"]])

    @cached_property
    def located(self) -> Run:
        """The run, with the files of its own code found."""
        return located(self.layout, self.comp, self.run)

    @property
    def left_out(self) -> set[str]:
        """The training rows' and extra rows' pictures that could not be decoded."""
        return self.cache.bad.keys() & {*self.folds.frame["image"], *self.extra["image"]}

    @property
    def metrics(self) -> list[str]:
        """The competition's own metric, then the further ones of the facts and of the run."""
        return metric_names(self.facts, [locate(self.layout, self.comp, name) for name in self.run.metrics])

    @cached_property
    def objective(self) -> Objective:
        """What the run minimises, but for balanced class weights and the scale of numbers: each fold has its own."""
        return self._objective(self.truth, None)

    def objective_of(self, fold: int, truth: NDArray[np.float64] | None = None) -> Objective:
        """What a fold minimises, by the rows that it trains on, never by its own.

        Args:
            truth: of all rows that it trains on, whose classes are counted; None: the competition's alone, whose
                numbers' mean and deviation are the scale.
        """
        labels = self.labels_of(fold).truth[self.own(fold, train=True)]
        return self._objective(labels if truth is None else truth, labels)

    def _objective(self, truth: NDArray[np.float64], labels: NDArray[np.float64] | None) -> Objective:
        run, folds = self.located, self.folds
        objective = build_objective(
            run.loss,
            folds.task,
            folds.outputs,
            truth,
            bounds=self.facts.submission.bounds,
            scale=run.model.head.options.get("scale", 30.0),
            labels=labels,
        )
        return consistent(objective, run.augment.copies)

    @property
    def architecture(self) -> Architecture:
        """The network that the run names, for this competition's outputs."""
        height, width = self.run.data.height_width
        model = self.located.model
        return Architecture(
            model.name, self.objective.logits, int(self.cache.pixels.shape[3]), height, width,
            model.drop_rate, model.drop_path_rate, pool=model.pool, head=model.head.model_dump(mode="json"),
            metadata_features=0 if self.encoding is None else self.encoding.features, options=model.options,
            channels_last=self.channels_last, entity=entity_options(model.entity),
            per_picture=per_picture(self.run, self.folds.task, self.folds.outputs, self.objective.logits),
        )  # fmt: skip

    def own(self, fold: int, *, train: bool) -> NDArray[np.int64]:
        """The competition's rows that fold `fold` trains on, or is validated on, without those of bad pictures."""
        inside = self.folds.frame["fold"].to_numpy() == fold
        return np.flatnonzero((self.outside(fold) & self.labels_of(fold).kept if train else inside) & self.usable)

    def outside(self, fold: int) -> NDArray[np.bool_]:
        """[rows] whether fold `fold` may train on a row: that of another fold, but for `train.without`."""
        return ~np.isin(self.folds.frame["fold"].to_numpy(), [fold, *self.run.train.without])

    @cached_property
    def _labels(self) -> dict[int, TrainingLabels]:
        return {}

    def labels_of(self, fold: int) -> TrainingLabels:
        """The labels that the fold's training takes (`train.labels`)."""
        if fold not in self._labels:
            if self.sample_of is not None:
                whole, rows = self.sample_of
                self._labels[fold] = whole.labels_of(fold).part(rows)
            else:
                self._labels[fold] = training_labels(self.layout, self.comp, self.run, self.folds, self.truth, fold)
        return self._labels[fold]

    def encoding_of(self, fold: int) -> Encoding | None:
        """How metadata become numbers in this fold, by the rows of the other folds alone."""
        others = self.folds.frame[self.outside(fold)]
        return None if self.encoding is None else self.encoding.fitted_on(others)

    def valid_rows(self, fold: int, encoding: Encoding | None) -> RowArrays:
        """The fold's validation rows, their metadata by the fold's encoding."""
        return self._rows(self.scored.iloc[self.own(fold, train=False)], encoding, self.cache)

    @cached_property
    def scored(self) -> pd.DataFrame:
        """The training rows with the labels that out-of-fold predictions are scored by."""
        return as_scored(self.folds.frame, self.facts.folds.new_class)

    @cached_property
    def scored_truth(self) -> NDArray[np.float64]:
        """Of all training rows."""
        if not self.facts.folds.new_class:
            return self.truth
        return self.folds.task.truth(self.scored, self.folds.outputs, where=f"rows of {self.comp}")

    def train_rows(self, fold: int) -> RowArrays:
        """The rows of the other folds, and the extra ones, as far as they do not look like what is predicted."""
        parts, encoding = [self.labels_of(fold).frame.iloc[self.own(fold, train=True)]], self.encoding_of(fold)
        if len(self.extra):
            parts.append(self._unlike(self.extra, fold, "extra rows", test=True))
        if self.run.extra.pseudo.name:
            pseudo = pseudo_rows(self.layout, self.comp, self.folds, self.run.extra.pseudo, fold)
            parts.append(named_apart(self._unlike(pseudo, fold, "pseudo-labelled rows", test=False), self.run))
        if len(parts) == 1:
            return self._rows(parts[0], encoding, self.cut_from)
        kept = [part[~part["image"].isin(list(self.cache.bad))] for part in parts]
        options, together = self.run.extra.pseudo.options, pd.concat(kept, ignore_index=True)
        rows = self._rows(together, encoding, self.cut_from)
        if not options:
            return rows
        soft = soft_labels(self.folds, kept[-1], options["soft"]) if options["soft"] else None
        return replace(rows, pseudo=len(kept[-1]), soft=soft)

    def _rows(self, frame: pd.DataFrame, encoding: Encoding | None, cache: ImageCache) -> RowArrays:
        folds = self.folds
        truth = folds.task.truth(frame, folds.outputs, where=f"rows of {self.comp}")
        metadata = None if encoding is None else encoding.encode(frame)
        ids = frame["row_id"].to_numpy(dtype=object)
        stacks = stacks_of(frame, self.run)
        return RowArrays(cache.rows(frame["image"].tolist()), truth, metadata, ids, stacks)

    def with_stacks(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, Stacks | None, NDArray[np.int64] | None]:
        """Training or test rows as they are predicted: all rows beside which they are, the stacks of these, and which
        of them they are. Each by itself: these rows, None and None."""
        if self.run.model.entity.name == "none":
            return frame, None, None
        whole = self.folds.frame[self.usable] if "fold" in frame.columns else self.folds.test
        bad = whole["image"].isin(list(self.cache.bad)).to_numpy(dtype=bool)
        place = pd.Index(whole["row_id"]).get_indexer(pd.Index(frame["row_id"]))
        return whole, stacks_of(whole, self.run, bad), place.astype(np.int64)

    def _unlike(self, rows: pd.DataFrame, fold: int, what: str, *, test: bool) -> pd.DataFrame:
        """Without rows whose picture looks like one of the fold's validation rows, or of the test rows."""
        where, own = (self.layout, self.comp, self.folds), self.own(fold, train=False)
        bad = like_predicted(*where, rows, own, self.run.data.neighbours, test=test)
        if bad.any():
            look, named = counted(int(bad.sum()), f"{what} look"), first_few(rows.loc[bad, "row_id"].tolist())
            say(f"  fold {fold}: {look} like rows that are predicted{OR_GROUP * test}, left out: {named}")
        return rows[~bad]


def open_problem(layout: Layout, comp: str, run: Run, device: torch.device, pictures: Opens = open_cache) -> Problem:
    """Loads facts and folds, checks names that the run gives, and opens (or builds) the image cache.

    Args:
        pictures: opens the cache.
    """
    facts = load_competition(layout, comp)
    metric_for(facts.metric, facts.task, where="metric")
    require_views(run.predict.views, run.tested_height_width, where="predict.views", adapted=True)
    if run.train.probe is not None:
        require_views(run.train.probe.views, run.tested_height_width, where="train.probe.views")
    require_mixable(run.augment.mix, facts.task)
    require_one_head(run)
    if not is_own(run.model.name):
        require_known(run.model.name)
    folds = load_folds(layout, comp)
    folds, extra = neighboured(folds, listed_rows(layout, folds, run.extra), run, facts)
    truth = folds.task.truth(folds.frame, folds.outputs, where=layout.relative(layout.folds(comp)))
    require_entities(run, facts, folds, extra, truth)
    encoding = None
    if run.model.metadata:
        encoding = fit_encoding(folds.frame, run.model.metadata)
        encoding.encode(folds.test)  # a column that only the training rows have is refused here
        require_metadata(encoding, extra)
    images = [*folds.frame["image"], *folds.test["image"], *extra["image"]]
    cache = tested_pictures(pictures, layout, comp, run, images)
    return Problem(layout, comp, facts, run, folds, cache, truth, extra, encoding, device, opens=pictures)


@dataclass(frozen=True)
class FoldJob:
    """All that fitting one fold needs."""

    fold: int
    run: Run
    task: Task
    outputs: list[str]
    metrics: list[str]  # the competition's own first
    feed: Feed
    tested: PictureStore  # the validation rows' pictures
    train: RowArrays
    valid: RowArrays
    valid_frame: pd.DataFrame
    preprocessing: Preprocessing
    objective: Objective
    device: torch.device
    precision: Precision
    batch_size: int
    folder: Path
    teacher: Callable[[], Teacher] | None = None
    auxiliary: Auxiliary | None = None  # what is learnt beside the target
    masks: LearntMasks | None = None
    made_from: dict[str, Any] = field(default_factory=dict)  # hashes; a resume point of another training is refused
    on_epoch: Callable[[int, int, float], None] | None = None  # (fold, epoch, score), after each epoch's record
    start_logits: dict[str, Array] = field(default_factory=dict)  # by view: [rows, outputs] of the validation rows
    compile: str = "off"  # the mode in which the network is compiled
    parts: int = 1  # in which a batch goes through the network, one after the other
    on_parts: Callable[[int], None] | None = None  # called where memory made them more
    mirror: Mirror = field(default_factory=Mirror)  # whoever else gets the curves
    teller: Teller = field(default_factory=Teller)  # where the job stands, and whether it shall pause
    plan: FoldPlan | None = None  # what the fold takes, where that was measured
    ranks: Ranks = field(default_factory=Ranks)  # the processes that train it together
    folds_of: FoldsOf | None = None  # of a network on all rows: what stands for rows of its own

    @property
    def epochs(self) -> int:
        """That are trained; a network on all rows may end before its schedule does, as the folds that it is of did."""
        return self.run.train.epochs if self.folds_of is None else self.folds_of.epochs

    @property
    def key(self) -> tuple[int, int]:
        """What makes everything random: (seed, fold)."""
        return (self.run.seed, self.fold)

    @property
    def share(self) -> Share | None:
        """This rank's rows of each batch; None: all."""
        rank, pairs = self.ranks.rank, self.run.augment.mix.name != "none"
        return None if rank.count == 1 else Share(rank.number, rank.count, pairs, compared(self.run.augment.copies))

    @property
    def resume_path(self) -> Path:
        """The resume point; only training reads it."""
        return self.folder / "resume"
