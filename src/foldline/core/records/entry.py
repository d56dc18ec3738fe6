"""`submissions/<comp>/<name>.json`: the ledger entry of a submission."""

from pathlib import Path
from typing import Any, ClassVar

from foldline.core.errors import FoldlineError
from foldline.core.records.cv import Cv
from foldline.core.records.record import Part, Record
from foldline.core.tables import sha256_file


class CvScore(Part):
    """The score of the submission's run; None where it is undefined, or there is none."""

    pooled: float | None = None
    mean: float | None = None
    std: float | None = None


class Kaggle(Part):
    """Kaggle's number of the submission, None until it has one, and its status: uploading, pending, complete, error."""

    ref: str | None
    status: str


class Notebook(Part):
    """The notebook that made a submission there: owner/slug, its version, and the minutes that its run took."""

    kernel: str
    version: int
    minutes: float | None = None


class Entry(Record):
    """A submission: a file, or a version of a notebook.

    Attributes:
        name: of the file without `.csv`; file: with it; sha256: of its content. Of a notebook: the bundle's name, its
            folder, and its `bundle_sha256`.
        time: when it was written, ISO 8601 in UTC.
        cv: by the metric.
        decision: how its labels were decided (`scoring.choose.Choice.record`).
        meaning: what its cells say, in words; graded: what reading validation rows back found, and of how many.
        made_from: what it was made from; where that differs, it is made anew.
        predictions: the sha256 of the run's `test.parquet` that it was written from; empty: an earlier version's.
        diverged: as `Cv.diverged`: folds that it was made of all the same.
        message: what Kaggle shows beside it.
        kaggle: None: not sent.
        notebook: None: a file was sent.
        public: the score on the public leaderboard; private: on the private one, or on held-out labels.
        earlier: the entries of other files that were sent under this name.
        private_metrics: all metrics on held-out labels; None is an undefined score.
    """

    made_by: ClassVar[str] = "delete it and run make ensemble again (Kaggle still lists what was sent)"

    comp: str
    run: str
    name: str
    file: str
    sha256: str
    time: str
    metric: str
    cv: CvScore | None = None
    decision: dict[str, Any] | None = None
    folds_sha256: str
    members: list[str]
    meaning: list[str] = []
    graded: str = ""
    made_from: dict[str, Any] = {}
    predictions: str = ""
    diverged: list[str] = []
    message: str | None = None
    kaggle: Kaggle | None = None
    notebook: Notebook | None = None
    public: float | None = None
    private: float | None = None
    earlier: "list[Entry]" = []
    private_metrics: dict[str, float | None] = {}

    def require_file(self, path: Path) -> None:
        """Raises FoldlineError where the submission at `path` is not the one that this entry is of."""
        if sha256_file(path) != self.sha256:
            raise FoldlineError(
                "the submission is damaged, or was changed by hand: its sha256 is not that of its ledger entry",
                where=str(path),
                next=f"make ensemble COMP={self.comp} RUN={self.run} writes it anew; a file of your own: make check",
            )

    def is_of(self, cv: Cv) -> bool:
        """Whether it was made of the predictions that its run has now, and says their score."""
        same = self.predictions in ("", cv.files.get("test.parquet", self.predictions))
        return same and (self.cv is None or self.cv.pooled == cv.pooled or self.metric != cv.metric)

    @property
    def score(self) -> CvScore:
        """Its score in cross-validation."""
        return self.cv or CvScore()

    def without_earlier(self) -> "Entry":
        """This entry alone."""
        fields = self.model_dump(by_alias=True, exclude_unset=True, exclude={"earlier"})
        return Entry.model_validate(fields)
