"""`oof/<comp>/<run>/fold_<k>/meta.json`: a finished fold, and everything that inference needs without any YAML."""

from typing import Any, ClassVar, Literal

from foldline.core.counted import counted
from foldline.core.errors import first_few
from foldline.core.records.framing import Framing
from foldline.core.records.record import Part, Record
from foldline.core.task import TaskField


class FoldHashes(Part):
    """What the fold's weights are made of.

    Attributes:
        folds: of `folds/<comp>.csv`.
        run: of the training choices (`run_folder.run_sha256`).
        pretrained: of the state that training started from.
        weights: of the fold's networks.
        inputs: of what else the training took (`provenance.inputs_sha256`), by the setting that names it.
        code: of the user's own files whose source stands in the fold's folder (`core.own_code`), by name.
    """

    folds: str
    run: str
    pretrained: str = ""
    weights: str
    inputs: dict[str, str] = {}
    code: dict[str, str] = {}


class MeasuredPrecision(Part):
    """The number format of training, and the images/s of a step in each that was timed."""

    choice: str
    images_per_second: dict[str, float] = {}


class TakenWeights(Part):
    """What of a weights file the network took.

    Attributes:
        matched: how many tensors have the same name and shape on both sides.
        missing: the network's that the file has not; unexpected: the file's that the network has not.
        reshaped: of both, but of other shapes.
        share: of the numbers of the backbone, without its head, that were taken: 0 to 1.
        prefix: what was taken off the file's names.
    """

    matched: int
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]
    share: float
    prefix: str = ""

    def in_words(self) -> str:
        """One line."""
        counts = counted(self.matched, "tensors fit")
        for what in ("missing", "unexpected", "reshaped"):
            names: list[str] = getattr(self, what)
            counts += f", {len(names)} {what} ({first_few(names, 3)})" if names else ""
        prefix = f"; '{self.prefix}' was taken off their names" if self.prefix else ""
        share = f"{self.share:.0%} of the backbone's numbers" if self.share < 1 else "all of the backbone"
        return f"{counts}; {share}{', the head is new' if self.share == 1 and self.missing else ''}{prefix}"


class FoldMeta(Record):
    """A finished fold.

    Attributes:
        activation: what turns its logits into predictions.
        architecture: what rebuilds the network (`models.backbone.Architecture`).
        height_width: of its pictures, in px.
        channels: of its pictures.
        mean: subtracted from pixels in [0, 1], for each channel; then they are divided by `std`.
        intensity: how its pictures become 8 bits.
        framing: what of them it sees, and how that gets the size; of an earlier version: all of it, squashed.
        metadata: how metadata become numbers (`models.metadata.Encoding`); None: it reads none.
        weights: its files of weights; predictions are their mean.
        rounded_from: the hash of its weights before they were rounded to half precision; empty: they were not.
        files: the sha256 of its other files, by name.
        device: in words.
        batch_size: pictures; parts: in how many of them a batch went through the network, for the device's memory.
        commit: of the project's folder when it was trained (`core.git`); empty: not known.
        skipped_steps: that fp16 left out.
        workers: processes that made its training pictures; None: of an earlier version.
        ranks: processes that trained it together, each on a device of its own.
        seconds: of training.
        selected_epoch: whose weights are kept; epochs count from 1, and 0 is the start.
        views: of its `valid.parquet`.
        select: the setting `train.select`.
        metric: the competition's.
        score: by the kept weights in one view; None where it is undefined.
        probe_score: of the start, where it is a probe.
        below_probe: whether fine-tuning made it worse than its start.
        loss: of the kept weights on its validation rows; None: not finite, or of an earlier version.
        nothing_loss: of a network that knows nothing (all logits 0) on them; of numbers, on training rows if greater.
        diverged: why its training is not to be trusted (`scoring.diverged`); empty: it is.
        taken: what of the weights that it started from fitted; None: random, or of an earlier version.
        neighbours: `data.neighbours`: each of its pictures is so many before and after it, too, as channels.
        rows_train: rows that it was trained on; rows_valid: its validation rows.
        rows_excluded: that it might have been trained on, but for their labels (`train.labels`); rows_relabelled: that
            it was trained on with another label than the given one.
        folds_of: of a network on all rows the run whose folds gave its epochs; empty: it is a fold.
    """

    made_by: ClassVar[str] = "delete this fold's folder and train it again"

    comp: str
    run: str
    fold: int
    task: TaskField
    outputs: list[str]
    activation: str
    model: str
    architecture: dict[str, Any]
    height_width: tuple[int, int]
    channels: int
    mean: list[float]
    std: list[float]
    interpolation: str
    intensity: Literal["auto", "full", "minmax", "percentile", "on_white"] = "auto"
    framing: Framing = Framing()
    metadata: list[dict[str, Any]] | None = None
    sha256: FoldHashes
    weights: list[str]
    rounded_from: str = ""
    files: dict[str, str] = {}
    seed: int
    versions: dict[str, str]
    device: str
    precision: MeasuredPrecision
    batch_size: int = 0
    parts: int = 1
    compile: str = "off"
    commit: str = ""
    skipped_steps: int = 0
    workers: int | None = None
    ranks: int = 1
    seconds: float
    epochs: int
    selected_epoch: int
    views: list[str]
    select: str = "last"
    metric: str
    score: float | None
    probe_score: float | None = None
    below_probe: bool = False
    loss: float | None = None
    nothing_loss: float | None = None
    diverged: str = ""
    taken: TakenWeights | None = None
    neighbours: int = 0
    rows_train: int
    rows_valid: int
    rows_excluded: int = 0
    rows_relabelled: int = 0
    folds_of: str = ""

    @property
    def on_all_rows(self) -> bool:
        """Whether it was trained on the rows of all folds, and validated on none (`train.folds: all`)."""
        return bool(self.folds_of)

    @property
    def sees_entities(self) -> bool:
        """Whether it answers for an entity by all of its pictures (`model.entity`)."""
        return bool(self.architecture.get("entity"))

    @property
    def title(self) -> str:
        """What messages call it."""
        if self.on_all_rows:
            return f"the network on all rows of run '{self.run}'"
        return f"fold {self.fold} of run '{self.run}'"
