"""`oof/<comp>/<run>/heads.json`: the heads of a run of frozen features, and what they need to predict without YAML."""

from typing import Any, ClassVar

from foldline.core.records.record import Part, Record
from foldline.core.task import TaskField

FILE = "heads.json"


class HeadsHashes(Part):
    """What the heads were fitted on: `folds` as CSV, `run` its choices."""

    folds: str
    run: str


class SourceRecord(Part):
    """What one network, or each fold's own, saw in the pictures.

    Attributes:
        title: what messages call it.
        views: of each picture.
        folder: of the network, below the run's folder; empty: fold k saw rows as network k of the run `run` does.
        run: that run; weights: the hash of each of its folds' networks, by number.
    """

    title: str
    views: list[str]
    folder: str = ""
    run: str = ""
    weights: dict[str, str] = {}


class HeadRecord(Part):
    """The head of a fold and a target.

    Attributes:
        target: its place among the task's blocks.
        settings: that were chosen.
        files: the sha256 of its files, by their path below the run's folder.
    """

    fold: int
    target: int
    settings: dict[str, float]
    files: dict[str, str]


class Heads(Record):
    """The heads of all folds.

    Attributes:
        metric: the competition's.
        head: of `models.fitted.catalogue.HEADS`; fixed: its options that are not chosen.
        new: the place of the class of what no training row shows; None: there is none.
        sources: whose features stand side by side, in this order.
        metadata: how table columns become numbers behind them (`models.metadata.Encoding`); None: there are none.
        runs: whose predictions stand behind these.
        heads: by fold and target.
    """

    made_by: ClassVar[str] = "delete cv.json in this run's folder, and make predict fits the heads anew"

    comp: str
    run: str
    task: TaskField
    outputs: list[str]
    metric: str
    sha256: HeadsHashes
    head: str
    fixed: dict[str, float] = {}
    new: int | None = None
    sources: list[SourceRecord]
    metadata: list[dict[str, Any]] | None = None
    runs: list[str] = []
    heads: list[HeadRecord]
    versions: dict[str, str] = {}

    @property
    def folds(self) -> list[int]:
        """The numbers of its folds."""
        return sorted({one.fold for one in self.heads})

    @property
    def views(self) -> list[str]:
        """All that its networks see, each once."""
        return list(dict.fromkeys(view for source in self.sources for view in source.views))

    @property
    def files(self) -> dict[str, str]:
        """The sha256 of the files of all heads."""
        return {name: sha256 for one in self.heads for name, sha256 in one.files.items()}
