"""Which files a piece of work takes to a machine with its own disk, and which come back."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.core.run_folder import drop_disposable, nested_run
from foldline.engine.scale.cluster.parcel import LAST, Piece

OF_RUN = ("run.json", "precision.json", "first_score.json")  # in a run's folder: what the first fold settles for all
OF_TRAINING = ("resume", "resume.before", "latest.parquet", "best.safetensors", "last.safetensors", "test.parquet")


@dataclass(frozen=True)
class Trip(ABC):
    """The files of one unit.

    Attributes:
        name: the run's folder; choices: the run's.
    """

    layout: Layout
    comp: str
    name: str
    choices: Run

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.layout.run(self.comp, self.name)

    @property
    @abstractmethod
    def folder(self) -> Path:
        """What the work writes."""

    @property
    def lock(self) -> str:
        """Below the project folder: what the work holds; empty: nothing."""
        return ""

    @property
    def brings(self) -> tuple[str, ...]:
        """What comes back, below the project folder."""
        return (self.layout.relative(self.folder),)

    def is_settled(self) -> bool:
        """Whether what all units of this run share was written by the first one, or never will be."""
        return True

    def takes(self) -> list[Path]:
        """The files that the work reads, but for the raw ones: folds, facts, choices, code, and what is its own."""
        layout, comp = self.layout, self.comp
        facts = layout.competition_config(comp).parent
        paths = [layout.folds(comp), layout.test_rows(comp), layout.folds_meta(comp)]
        paths += [*facts.rglob("*"), *facts.parent.glob("*.yaml"), *layout.root.glob("*.py")]
        paths += [*(self.run / name for name in OF_RUN), *self.folder.glob("*"), *self.own()]
        return [path for path in paths if path.is_file() and "__pycache__" not in path.parts and path.name[0] != "."]

    @abstractmethod
    def own(self) -> Iterator[Path]:
        """What this kind of work reads besides."""

    def allowed(self, pieces: Iterable[Piece], *, last: bool) -> list[Piece]:
        """The pieces that this work may write here: its own, and of the run's what is not there yet.

        Args:
            last: the work has ended; before that a record of its end is not taken.
        """
        own, common = self.layout.relative(self.folder), self.layout.relative(self.run)

        def is_allowed(piece: Piece) -> bool:
            place, _, name = piece.path.rpartition("/")
            if place == common:
                return name in OF_RUN and piece.path in self.brings and not (self.run / name).is_file()
            return place == own and (last or name not in LAST)

        return [piece for piece in pieces if is_allowed(piece)]

    @abstractmethod
    def finish(self) -> bool:
        """Whether the work is done and all of it is here; then what only its going on needs is removed."""


@dataclass(frozen=True)
class FoldTrip(Trip):
    """The files of a fold's training."""

    fold: int

    @property
    def folder(self) -> Path:
        """The fold's."""
        return self.layout.fold(self.comp, self.name, self.fold)

    @property
    def lock(self) -> str:
        """What a training of this fold holds."""
        return self.layout.relative(self.folder / ".lock")

    @property
    def brings(self) -> tuple[str, ...]:
        """The fold's folder, and what it settled for the run."""
        return (*super().brings, *(self.layout.relative(self.run / name) for name in OF_RUN))

    def is_settled(self) -> bool:
        """Whether a fold has written the run's number format, or trains without having done so."""
        return (self.run / "precision.json").is_file() or any(self.run.glob("fold_*/log.csv"))

    def own(self) -> Iterator[Path]:
        """Of other runs, and files that the choices name (`core.provenance.inputs_sha256` has the same list)."""
        layout, choices = self.layout, self.choices
        yield from (layout.root / name for name in choices.extra.rows)
        if by := choices.train.labels.options.get("run", ""):
            nested = layout.run(self.comp, nested_run(by, self.fold))
            yield from (nested / "run.json", nested / "cv.json")
            yield from (path for name in ("meta.json", "valid.parquet") for path in nested.glob(f"fold_*/{name}"))
        weights = choices.model.weights
        if weights.name == "file":
            yield layout.root / weights.options["file"]
        yield from _folds_of(self, "meta.json", "log.csv")
        for name in (choices.loss.teacher.name, weights.options.get("run", ""), choices.extra.pseudo.name):
            if name:
                yield layout.run(self.comp, name) / "cv.json"
                yield from layout.fold(self.comp, name, self.fold).glob("*")

    def finish(self) -> bool:
        """Whether the fold is trained."""
        if not (self.folder / "meta.json").is_file():
            return False
        drop_disposable(self.folder)
        return True


@dataclass(frozen=True)
class ShardTrip(Trip):
    """The files of a share of a run's rows that is predicted."""

    index: int
    of: int

    @property
    def folder(self) -> Path:
        """The shard's."""
        return self.run / "shards" / f"{self.index}-of-{self.of}"

    def own(self) -> Iterator[Path]:
        """The weights of all folds, and what they say of themselves."""
        yield from _folds_of(self, "meta.json", "log.csv")
        yield from (path for path in self.run.glob("fold_*/*") if path.name not in OF_TRAINING)

    def finish(self) -> bool:
        """Whether the shard is predicted."""
        return (self.folder / "shard.json").is_file()


def _folds_of(trip: Trip, *of_each_fold: str) -> Iterator[Path]:
    """What a network on all rows reads of the run that its epochs and its OOF score are of; of other runs nothing."""
    if trip.choices.on_all_rows:
        run = trip.layout.run(trip.comp, trip.choices.train.folds_of)
        yield from (run / name for name in ("run.json", "cv.json", "oof.parquet", "test.parquet"))
        yield from (path for name in of_each_fold for path in run.glob(f"fold_*/{name}"))
