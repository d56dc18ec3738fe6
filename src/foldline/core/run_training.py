"""The choices of how a run's network is trained: optimizer, probe, epochs, what is kept. Part of `core.run`."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from foldline.core.choices import Average, Clip, Compile, Labels, LogTo
from foldline.core.options import MANY
from foldline.core.yaml_models import Off, Strict

Share = Annotated[float, Field(ge=0, le=1)]


class Optim(Strict):
    """The optimizer, as timm's factory takes it."""

    name: str = Field("adamw", description="any optimizer that timm's factory knows")
    lr: float = Field(3e-4, gt=0, le=1000, description="the peak learning rate")
    weight_decay: float = Field(0.05, ge=0, le=1000, description="decoupled where the optimizer does so")
    layer_decay: float = Field(1.0, gt=0, le=1, description="factor of each earlier layer group's learning rate")
    head_lr: float = Field(
        1.0, gt=0, le=MANY, description="the classifier's learning rate, as a multiple of the others'"
    )
    clip: Clip = Field(default_factory=Clip)
    sam: float = Field(
        0.0,
        ge=0,
        le=100,
        description="sharpness-aware: gradients are those at the point so far uphill of the weights, which takes twice "
        "the time; 0.05 is usual, 0: off",
    )
    accumulate: int = Field(1, ge=1, le=MANY, description="batches whose gradients are added up before a step")
    options: dict[str, Any] = Field(default_factory=dict, description="further arguments: momentum, betas, eps ...")


class Probe(Strict):
    """A logistic head on frozen features that starts the classifier (LP-FT, Kumar et al. 2022)."""

    c: float = Field(0.01, gt=0, le=1e9, description="inverse strength of the L2 penalty on scaled features")
    views: list[str] = Field(default_factory=lambda: ["identity"], description="views whose features it is fitted on")


class Lora(Strict):
    """Low-rank adaptation: linear layers learn a change of low rank, all else but the classifier stays as it was."""

    rank: int = Field(8, ge=1, le=4096, description="of each layer's change")
    alpha: float = Field(16.0, gt=0, le=MANY, description="the change is multiplied with alpha / rank")


class Train(Off):
    """How the network is fine-tuned."""

    folds: list[Annotated[int, Field(ge=0, le=999)]] | Literal["all"] = Field(
        default_factory=list,
        description="the folds that are trained, for a fixed split or a quick look; empty: each of them. OOF is of "
        "their rows. all: one network on the rows of all folds, when those of `folds_of` are trained",
    )
    folds_of: str = Field(
        "",
        description="with folds: all: the run whose folds give the epochs (the median of their best ones) and the OOF "
        "score; its settings are the same but for these two and the seed",
    )
    without: list[Annotated[int, Field(ge=0, le=999)]] = Field(
        default_factory=list,
        description="folds whose rows are neither trained nor validated on: what the others' networks say is safe for "
        "these; needs train.folds",
    )
    labels: Labels = Field(default_factory=Labels)
    epochs: int = Field(5, ge=0, le=MANY, description="0 keeps the probe")
    batch_size: Annotated[int, Field(ge=1, le=MANY)] | Literal["auto"] = Field(
        32,
        description="pictures a batch; auto: on CUDA the most that fit, up to 512 and an eighth of the rows, else 32",
    )
    probe: Probe | None = Field(None, description="absent: the classifier starts from random weights")
    batch_norm: Literal["train", "frozen"] = Field(
        "train", description="frozen: the pretrained running statistics stay as they are"
    )
    freeze: Share | list[str] = Field(
        default_factory=list,
        description="parameters whose name begins so are not trained; or a share: 0.5: the stem and the first half of "
        "the blocks, as timm groups them; 1: all but the classifier",
    )
    lora: Lora | None = Field(
        None,
        description="absent: whole weights are trained; {}: a change of low rank and the classifier alone, for large "
        "transformers",
    )
    unfreeze: float = Field(
        0.0,
        ge=0,
        le=1,
        description="gradual unfreezing: the head alone first, then a layer group more each, from the last to the "
        "first, over this share of the steps; 0: all from the start",
    )
    keep_start: bool = Field(
        False,
        description="average each fold's network with the probe that it started from: the two err differently",
    )
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = Field(
        "auto",
        description="auto: measured on a CPU; on CUDA bf16, or fp16 where it has none. Classifier, loss and scores are "
        "always in fp32; tf32 rounds the factors of fp32's products to 11 bits",
    )
    deterministic: bool = Field(
        True, description="equal seeds give equal bits; false lets CUDA choose the fastest algorithm each time"
    )
    compile: Compile = Field(
        "off",
        description="compile the training step's network, once for all folds; auto: on CUDA, where that is measured to "
        "pay back in the run's steps",
    )
    average: Average = Field(default_factory=Average)
    select: Literal["last", "best"] = Field(
        "last",
        description="the epoch whose weights predict; best is selected by the validation rows and makes OOF optimistic",
    )
    patience: int = Field(0, ge=0, le=MANY, description="stop after so many epochs without a better metric; 0: never")
    checkpoint_minutes: float = Field(
        5.0, gt=0, le=MANY, description="how often a resume point is written inside an epoch"
    )
    validate_every: int = Field(
        1, ge=1, le=MANY, description="epochs between two validations; the last epoch always is"
    )
    log_to: LogTo = Field(default_factory=lambda: ["auto"])

    @property
    def some_folds(self) -> list[int]:
        """The folds that `folds` names one by one; empty: all that there are."""
        return [] if self.folds == "all" else self.folds

    @model_validator(mode="after")
    def _whose_folds(self) -> Self:
        if self.folds == "all" and not self.folds_of:
            raise ValueError("folds: all needs folds_of: the run whose folds give the epochs and the OOF score")
        if self.folds_of and self.folds != "all":
            raise ValueError("folds_of needs folds: all")
        if self.folds == "all" and self.labels.name in ("exclude", "relabel"):
            raise ValueError(f"folds: all takes no labels: {self.labels.name}, which is decided fold by fold")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.without and (not self.some_folds or set(self.without) & set(self.some_folds)):
            raise ValueError("without needs folds: the others, which are trained")
        if self.patience and self.select == "last":
            raise ValueError("patience needs select: best")
        if self.average.name in ("swa", "best") and self.select == "best":
            raise ValueError(f"average: {self.average.name} needs select: last")
        if self.lora and (self.unfreeze or self.compile != "off"):
            raise ValueError("lora trains the same weights from the start, uncompiled: leave unfreeze and compile out")
        if self.probe is None and (self.epochs == 0 or self.keep_start):
            raise ValueError("epochs: 0 and keep_start need a probe")
        return self


def usual_batch(batch_size: int | Literal["auto"]) -> int:
    """The pictures of a batch, before a device has shown how many fit into its memory."""
    return 32 if batch_size == "auto" else batch_size
