"""`foldline.load`: a finished run, an ensemble or an exported folder as one object that predicts. Writes nothing."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.progress import say
from foldline.core.records.cv import Cv
from foldline.core.run_kinds import no_networks
from foldline.core.task import Array, Task
from foldline.engine.finished.embed import pooled_features
from foldline.engine.finished.folder import FinishedRun, read_finished
from foldline.engine.finished.heads import HeadsMember, open_heads
from foldline.engine.finished.labels import label_columns, spread_columns
from foldline.engine.finished.member import Member
from foldline.engine.finished.metadata import Metadata, metadata_table
from foldline.engine.finished.networks import Among, mean_of_folds, one_by_one
from foldline.engine.finished.pictures import Picture, Source, Spec, sources_of
from foldline.engine.finished.reading import BadImages, Chunk, in_chunks
from foldline.engine.infer import Predictions
from foldline.engine.machine.device import pick_device, prepare_device
from foldline.images.store import PictureStore
from foldline.scoring.choose import in_digits, stored_decision
from foldline.scoring.decide import Decision


class Model:
    """A finished run or ensemble: all of its folds, averaged; and what is known of its score.

    Attributes:
        folder: what it was loaded from.
        name: of the run.
        members: the trained runs that it is made of; one, unless it is an ensemble.
        task: what is predicted; outputs: the classes, or the names of numbers.
        metric: of the competition; score: by it, out of fold, over all rows; None: undefined, or it was not predicted.
        interval: of the score, 95 %.
        decision: how labels are decided; None: the task's default.
        device: on which it predicts.
    """

    def __init__(self, run: FinishedRun, device: torch.device) -> None:
        self._run, self.folder, self.name, self.device = run, run.folder, run.name, device
        self.members: list[Member | HeadsMember] = [_member(own, device) for own in run.trained]
        self.task: Task = run.task
        self.outputs = list(run.about.outputs)
        self.cv: Cv | None = run.cv
        self.metric = run.about.metric if run.cv is None else run.cv.metric
        self.score = None if run.cv is None else run.cv.pooled
        self.interval = None if run.cv is None else run.cv.interval
        self.decision: Decision | None = None if run.cv is None else stored_decision(run.cv.decision)

    def __repr__(self) -> str:
        folds = ", ".join(f"{member.run}: {counted(len(member.folds), 'folds')}" for member in self.members)
        score = "no score" if self.score is None else f"OOF {self.metric} {in_digits(self.score)}"
        return f"<foldline model '{self.name}' ({folds}); {score}; {self.task}: {first_few(self.outputs)}>"

    @property
    def with_networks(self) -> list[Member]:
        """Its members; raises FoldlineError where one is a run of frozen features, which has no networks of its own."""
        for member in self.members:
            if isinstance(member, HeadsMember):
                raise no_networks(str(member.folder))
        return [member for member in self.members if isinstance(member, Member)]

    @property
    def columns(self) -> list[str]:
        """The columns of its predictions: `prob_<class>`, or `value`."""
        return self.task.prediction_columns(self.outputs)

    def predict(
        self, pictures: Picture | Iterable[Picture], *, views: Sequence[str] | None = None, batch_size: int = 32,
        metadata: Metadata | None = None, bad_images: BadImages = "skip",
    ) -> pd.DataFrame:  # fmt: skip
        """What the model says of pictures: the mean over folds, networks and views, blended over the members.

        Args:
            pictures: files, folders, arrays [height, width, channels] (RGB) or Pillow's pictures, of any size: one, or
                several.
            views: instead of those of the run (`images.views.VIEWS`).
            batch_size: pictures that are predicted together, before views.
            metadata: a table, or a CSV file, of what the networks read beside the picture (`metadata_table`).
            bad_images: skip: a picture that cannot be read is named and its line is empty; stop: it is an error.

        Returns:
            A line a picture: `path`, a column for each class or number, `label` where there is one (decided as for the
            run's submission), `spread` between the folds, `problem` (why the line is empty).

        Raises:
            FoldlineError: nothing is given, nothing can be read, the networks read metadata and there are none, or they
                answer for several pictures together.
        """
        for member in self.members:
            if isinstance(member, Member) and member.metas[0].sees_entities:
                raise one_by_one(member.metas[0])
        sources, by_member = self._sources(pictures), {member.run: member for member in self.members}
        table = metadata_table(metadata, self._metadata_columns(), [source.name for source in sources])
        values: dict[str, NDArray[Any]] = {
            run: np.full((len(own.folds), len(sources), len(self.outputs)), np.nan, own.number)
            for run, own in by_member.items()
        }
        problems: list[str] = []
        for chunk in in_chunks(sources, self._specs(), batch_size, bad_images):
            good = _good(chunk)
            stores = {spec: PictureStore(pixels, self.device) for spec, pixels in chunk.pixels.items()}
            for run, member in by_member.items() if len(good) else ():
                values[run][:, chunk.rows.start + good] = member.predictions(
                    stores,
                    good,
                    views=views,
                    metadata=None if table is None else table.iloc[chunk.rows].iloc[good],
                    batch_size=batch_size,
                    title=_title(chunk, len(sources)),
                )
            problems += chunk.problems
        _report(sources, problems)
        return self._table([source.name for source in sources], values, problems)

    def embed(
        self, pictures: Picture | Iterable[Picture], *, folds: Sequence[int] | None = None, batch_size: int = 32,
        bad_images: BadImages = "skip",
    ) -> Annotated[NDArray[np.float32], "pictures features"]:  # fmt: skip
        """The features of pictures before the classifier, in one view, one network's behind the other's.

        Those of all folds of all members stand side by side (concatenated, not averaged: each network has axes of its
        own), in the order of `members` and their folds.

        Args:
            folds: some folds alone, of each member; None: all. One is enough for finding similar pictures.

        Returns:
            nan in the rows of pictures that cannot be read.

        Raises:
            FoldlineError: as `predict`; a member is a run of frozen features, which has no networks of its own.
        """
        sources, members = self._sources(pictures), self.with_networks
        result: NDArray[np.float32] = np.empty((0, 0), np.float32)
        problems: list[str] = []
        for chunk in in_chunks(sources, self._specs(), batch_size, bad_images):
            good = _good(chunk)
            if len(good):
                parts = [
                    self.features(PictureStore(chunk.pixels[member.spec], self.device), good, member=member,
                                  folds=folds, batch_size=batch_size)
                    for member in members
                ]  # fmt: skip
                found = np.concatenate(parts, axis=1)
                result = result if result.size else np.full((len(sources), found.shape[1]), np.nan, np.float32)
                result[chunk.rows.start + good] = found
            problems += chunk.problems
        _report(sources, problems)
        return result

    def fold_predictions(
        self, store: PictureStore, positions: NDArray[np.int64], *, member: Member, folds: Sequence[int] | None = None,
        views: Sequence[str] | None = None, metadata: pd.DataFrame | None = None, batch_size: int = 32,
        title: str = "predicting", among: Among | None = None,
    ) -> Annotated[Predictions, "folds rows outputs"]:  # fmt: skip
        """What some folds of a member say of pictures that are decoded already: all that predicts comes down to this.

        Args:
            store: pictures of the member's `spec`.
            positions: [rows] which picture each row is.
            folds: some of the member's, in this order; None: all.
            views: instead of the member's.
            metadata: the rows' columns as text, where the networks read some.
            among: of networks that answer for entities, which rows these are of which stacks.

        Raises:
            FoldlineError: an unknown fold or view, or no metadata.
        """
        return member.predictions(
            {member.spec: store}, positions, folds=folds, views=views, metadata=metadata, batch_size=batch_size,
            title=title, among=among,
        )  # fmt: skip

    def features(
        self, store: PictureStore, positions: NDArray[np.int64], *, member: Member, folds: Sequence[int] | None = None,
        batch_size: int = 32,
    ) -> Annotated[NDArray[np.float32], "rows features"]:  # fmt: skip
        """As `embed`, of pictures that are decoded already and one member."""
        return pooled_features(member.fold_networks(folds), store, positions, batch_size=batch_size)

    def combine(self, predictions: dict[str, Array]) -> Array:
        """[rows, outputs] the members' predictions [rows, outputs] (by `Member.run`), blended as the ensemble's."""
        return self._run.combine(predictions)

    def labels(self, prob: NDArray[np.floating[Any]]) -> dict[str, list[str]]:
        """What is decided of predictions [rows, outputs]: the columns `label`, or `label_<target>`; maybe none."""
        return label_columns(self.task, prob.astype(np.float64), self.decision)

    def _sources(self, pictures: Picture | Iterable[Picture]) -> list[Source]:
        """The pictures; raises FoldlineError where networks want the neighbours of each and a file stands alone."""
        sources = sources_of(pictures)
        for member in self.members:
            member.require(sources)
        return sources

    def _specs(self) -> list[Spec]:
        return list(dict.fromkeys(spec for member in self.members for spec in member.specs))

    def _metadata_columns(self) -> list[str]:
        return list(dict.fromkeys(name for member in self.members for name in member.metadata))

    def _table(self, names: list[str], values: dict[str, NDArray[Any]], problems: list[str]) -> pd.DataFrame:
        """The predictions of all pictures; lines of pictures that could not be read are empty."""
        good = np.flatnonzero([not problem for problem in problems])
        means = {run: mean_of_folds(own[:, good]).astype(np.float32) for run, own in values.items()}
        prob = self.combine({run: own.astype(np.float64) for run, own in means.items()}).astype(np.float32)
        apart = spread_columns(self.task, np.concatenate([own[:, good] for own in values.values()]))
        columns: dict[str, Any] = dict(zip(self.columns, prob.T, strict=True))
        table = pd.DataFrame({**columns, **self.labels(prob), **apart}, index=good).reindex(range(len(names)))
        table.insert(0, "path", names)
        return table.assign(problem=problems)


def load(folder: str | Path, *, device: str = "auto") -> Model:
    """A finished run, ensemble, exported folder or single fold, ready to predict; no YAML and no project is needed.

    Args:
        folder: such as `oof/elpv/baseline`; an ensemble's members lie in it or beside it.
        device: auto, cpu, cuda, cuda:1 or mps; torch is set to deterministic algorithms for this process.

    Raises:
        FoldlineError: there is no finished fold, its parts do not belong together, or no such device.
    """
    if not isinstance(folder, str | Path):
        raise FoldlineError(f"a {type(folder).__name__} is no folder", where="load", next="give its path")
    chosen = pick_device(device)
    prepare_device(chosen)
    run = read_finished(Path(folder).expanduser().resolve(), heads=True)
    for reason in [] if run.cv is None else run.cv.diverged:
        say(f"warning: {run.name}: {reason}")
    return Model(run, chosen)


def _member(run: FinishedRun, device: torch.device) -> Member | HeadsMember:
    if run.heads is not None:
        return open_heads(run.folder, run.heads, device)
    folders, metas = [folder for folder, _ in run.folds], [meta for _, meta in run.folds]
    return Member(run.name, run.folder, metas, run.views, device, folders)


def _good(chunk: Chunk) -> NDArray[np.int64]:
    """The chunk's pictures that could be read."""
    return np.flatnonzero([not problem for problem in chunk.problems]).astype(np.int64)


def _title(chunk: Chunk, total: int) -> str:
    return "pictures" if len(chunk.problems) == total else f"pictures {chunk.rows.start + 1} to {chunk.rows.stop}"


def _report(sources: Sequence[Source], problems: Sequence[str]) -> None:
    """Says which pictures could not be read; raises FoldlineError where none could."""
    bad = [f"{source.name}: {why}" for source, why in zip(sources, problems, strict=True) if why]
    if len(bad) == len(sources):
        raise FoldlineError(
            f"{counted(len(bad), 'pictures')}, and none can be read: {first_few(bad, 3)}", next="give others"
        )
    if bad:
        say(f"warning: {len(bad)} of {len(sources)} pictures cannot be read, and their lines are empty: "
            f"{first_few(bad, 10)}")  # fmt: skip
