"""`oof/<comp>/<run>/cv.json`: the score of a run or an ensemble, and what its predictions are made of."""

from pathlib import Path
from typing import Any, ClassVar

from foldline.core.errors import FoldlineError, first_few
from foldline.core.records.record import Part, Record
from foldline.core.tables import sha256_files
from foldline.core.task import TaskField


class Scores(Part):
    """One metric; None is a score that is undefined.

    Attributes:
        direction: max: higher is better; min: lower.
        pooled: over all rows as one list.
        per_fold: of each scored fold, in the order of their numbers.
        mean: of `per_fold`; std: with ddof = 1, None of a single fold.
    """

    direction: str
    pooled: float | None
    per_fold: list[float | None]
    mean: float | None
    std: float | None


class CvHashes(Part):
    """What the predictions are made of.

    Attributes:
        folds: of `folds/<comp>.csv`; test: of the test rows.
        run: of the training choices; None of an ensemble.
        weights: of each fold's networks.
        members: of each member's `test.parquet`.
        inputs: of what the heads of a run of frozen features were fitted on besides, by the setting that names it.
    """

    folds: str
    run: str | None = None
    weights: list[str] = []
    members: dict[str, str] = {}
    test: str = ""
    inputs: dict[str, str] = {}


class Seconds(Part):
    """What the run took, in seconds; of an ensemble the sum of its members."""

    train: float | None = None
    predict: float | None = None

    @property
    def total(self) -> float:
        """Training and prediction together."""
        return (self.train or 0.0) + (self.predict or 0.0)


class Cv(Record):
    """The cross-validation of a run.

    Attributes:
        metric: the competition's; direction to std are its scores (`Scores`).
        interval: of the pooled score: lower and upper end.
        interval_method: how (`scoring.intervals`); empty: percentiles of the bootstrap, as before.
        level: of the interval, 0..1.
        resamples: of the bootstrap.
        metrics: every metric that is reported, by name.
        rows: how many are scored.
        decision: how labels were decided (`scoring.choose.Choice.record`); None where none are submitted.
        views: of each picture, over which predictions are averaged.
        members: the runs of an ensemble, else empty.
        blend: how they are blended.
        blend_fit: of a fitted blend: its weights (`scoring.blender.Fit.record`); None: nothing was fitted.
        prior_shift: the classes' shares in training and as estimated of the test rows, by which test predictions were
            corrected, and what that is worth (`scoring.prior_shift.shift_record`); None: they were not.
        blend_scores: of a fitted blend, labels by the default decision: `nested`, of rows blended by what was fitted
            without their fold, as `pooled` is; `fitted`, by what was fitted on them, too good; `mean`, of the mean.
        optimistic: reasons why the score is.
        diverged: the folds whose training is not to be trusted, and why: `fold 2: ...`; of an ensemble its members'.
        below_probe: folds that fine-tuning made worse than their start.
        device: in words.
        compile: the mode in which the networks were compiled (`predict.compile`); compile_seconds: of a batch of the
            plain networks, of compiling one, and of a batch then, as far as that was measured.
        files: the sha256 of the predictions that it is of, by their path below the run's folder.
        left_out: the pictures that could not be read (`data.bad_images: skip`), with the sha256 of their files then.
        head: what a run of frozen features is, in words; empty: it is none.
        chosen: the options of its heads, by fold and target, and the loss that chose them.
        oof_of: of one network on all rows (`train.folds: all`) the run whose folds `oof.parquet` and the scores are of:
            it has no unseen row of its own; empty: they are its own.
    """

    made_by: ClassVar[str] = "make predict, or make ensemble for an ensemble, writes it anew"

    comp: str
    run: str
    task: TaskField
    outputs: list[str]
    metric: str
    direction: str
    pooled: float | None
    per_fold: list[float | None]
    mean: float | None
    std: float | None
    interval: tuple[float | None, float | None]
    interval_method: str = ""
    level: float
    resamples: int
    metrics: dict[str, Scores]
    rows: int
    decision: dict[str, Any] | None = None
    views: list[str]
    members: list[str]
    blend: str | None
    blend_fit: dict[str, Any] | None = None
    prior_shift: dict[str, Any] | None = None
    blend_scores: dict[str, float | None] = {}
    sha256: CvHashes
    optimistic: list[str]
    below_probe: list[int]
    diverged: list[str] = []
    seconds: Seconds
    device: str
    compile: str = "off"
    compile_seconds: dict[str, float] = {}
    files: dict[str, str] = {}
    left_out: dict[str, str] = {}
    head: str = ""
    chosen: list[dict[str, Any]] = []
    oof_of: str = ""

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"run '{self.run}'"

    def require_files(self, folder: Path, *further: str) -> None:
        """Raises FoldlineError where `oof.parquet` or `test.parquet` of the run's folder is not what was written.

        Args:
            further: other files of `files`.
        """
        written = {name: self.files[name] for name in ("oof.parquet", "test.parquet", *further) if name in self.files}
        now = sha256_files(folder, written)
        changed = [name for name in written if written[name] != now[name]]
        if changed:
            raise FoldlineError(
                f"the predictions of {self.title} are damaged, or are not those of its cv.json: {first_few(changed)}",
                where=str(folder),
                next=self.made_by,
            )

    @property
    def whose_oof(self) -> str:
        """The run whose networks predicted its OOF rows; two runs of one name there cannot be told apart by them."""
        return self.oof_of or self.run

    @property
    def remark(self) -> str:
        """What must be said beside its score; empty: nothing."""
        return f"the score is that of the folds of '{self.oof_of}': this network saw all rows" if self.oof_of else ""

    @property
    def fitted(self) -> bool:
        """Whether labels are decided by a rule that was fitted on OOF."""
        return (self.decision or {}).get("used") == "fitted"
