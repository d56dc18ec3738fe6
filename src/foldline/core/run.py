"""The choices of a run, read from `configs/<comp>/<run>.yaml`. One way to solve a competition."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.strict import Strict, apply_overrides, load_yaml


class Weights(Strict):
    """Where the pretrained weights come from."""

    source: Literal["hub", "file", "pypi", "none"] = Field(
        "hub", description="timm's hub, a local file, a package, or none (random weights)"
    )
    file: str = Field(
        "", description="the file (source: file), or its path inside the package; safetensors or a state dict"
    )
    name: str = Field("", description="the package (source: pypi)")
    version: str = Field("", description="the package's version")
    sha256: str = Field("", description="the expected sha256 of the weights file")
    rename: str = Field("", description="how foreign keys become timm's: efficientnet_pytorch, or empty")


class Model(Strict):
    """The network."""

    name: str = Field("resnet18", description="any timm model, or one of foldline's own small networks")
    weights: Weights = Field(default_factory=Weights)
    drop_rate: float = Field(0.0, ge=0, lt=1, description="dropout before the classifier")
    drop_path_rate: float = Field(0.0, ge=0, lt=1, description="stochastic depth")


class Data(Strict):
    """What the network sees."""

    image_size: int | tuple[int, int] = Field(224, description="side in px, or [height, width]")
    channels: Literal[1, 3] = Field(3, description="1 for gray pictures, 3 for colour")
    bad_images: Literal["stop", "skip"] = Field(
        "stop",
        description="images that cannot be decoded: stop with the list of all, or leave their rows out and report it",
    )
    workers: int = Field(0, ge=0, description="processes that augment; the result is the same for any number")

    @property
    def height_width(self) -> tuple[int, int]:
        """[height, width] in px."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size


class Augment(Strict):
    """What training images go through."""

    recipe: str = Field("light", description="a named recipe; an unknown name lists the known ones")
    strength: float = Field(1.0, ge=0, le=3, description="scales the recipe's geometric and photometric ranges")


class Loss(Strict):
    """What training minimises."""

    name: str = Field("auto", description="auto: by the task; an unknown name lists the known ones")
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")


class Optim(Strict):
    """The optimizer, as timm's factory takes it."""

    name: str = Field("adamw", description="any optimizer that timm's factory knows")
    lr: float = Field(3e-4, gt=0, description="the peak learning rate")
    weight_decay: float = Field(0.05, ge=0)
    layer_decay: float = Field(1.0, gt=0, le=1, description="each earlier layer group's rate is this much smaller")
    clip_norm: float = Field(1.0, ge=0, description="the largest gradient norm; 0 clips nothing")
    accumulate: int = Field(1, ge=1, description="batches whose gradients are added up before a step")


class Schedule(Strict):
    """The learning rate over the steps."""

    name: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.1, ge=0, lt=1, description="the share of the steps in which the rate rises from 0")
    min_lr_fraction: float = Field(0.0, ge=0, le=1, description="the rate at the end, as a share of the peak")


class Probe(Strict):
    """A logistic head on frozen features that starts the classifier (LP-FT, Kumar et al. 2022)."""

    c: float = Field(0.01, gt=0, description="inverse strength of the L2 penalty on scaled features")
    views: list[str] = Field(default_factory=lambda: ["identity"], description="views whose features it is fitted on")


class Train(Strict):
    """How the network is fine-tuned."""

    epochs: int = Field(5, ge=0, description="0 keeps the probe")
    batch_size: int = Field(32, ge=1)
    probe: Probe | None = Field(None, description="absent: the classifier starts from random weights")
    batch_norm: Literal["train", "frozen"] = Field(
        "train", description="frozen: the pretrained running statistics stay as they are"
    )
    freeze: list[str] = Field(default_factory=list, description="parameters whose name begins so are not trained")
    keep_start: bool = Field(
        False,
        description="average each fold's network with the probe that it started from: the two err differently",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: measured on a CPU, bf16 or fp16 on CUDA"
    )
    ema_decay: float = Field(0.0, ge=0, lt=1, description="0: no moving average of the weights")
    select: Literal["last", "best"] = Field(
        "last",
        description="the epoch whose weights predict; best is picked by the fold's own rows and makes OOF optimistic",
    )
    patience: int = Field(0, ge=0, description="stop after so many epochs without a better metric; 0: never")
    checkpoint_minutes: float = Field(5.0, gt=0, description="how often a resume point is written inside an epoch")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.patience and self.select == "last":
            raise ValueError("patience needs select: best")
        if self.probe is None and (self.epochs == 0 or self.keep_start):
            raise ValueError("epochs: 0 and keep_start need a probe")
        return self


class Predict(Strict):
    """How the trained networks are used."""

    views: list[str] = Field(default_factory=lambda: ["identity"], description="test-time views, averaged")
    batch_size: int = Field(64, ge=1, description="images a batch, before views")


class Run(Strict):
    """One way to solve a competition. The fold is no part of it, so its hash is the same for all folds."""

    model: Model = Field(default_factory=Model)
    data: Data = Field(default_factory=Data)
    augment: Augment = Field(default_factory=Augment)
    loss: Loss = Field(default_factory=Loss)
    optim: Optim = Field(default_factory=Optim)
    schedule: Schedule = Field(default_factory=Schedule)
    train: Train = Field(default_factory=Train)
    predict: Predict = Field(default_factory=Predict)
    seed: int = Field(0, ge=0, description="the seed of everything random in training")

    def choices(self) -> dict[str, Any]:
        """All choices as a JSON value, defaults included: what is hashed and written to the run's folder."""
        return self.model_dump(mode="json")


def load_run(layout: Layout, comp: str, run: str, overrides: list[str]) -> Run:
    """The choices of `run`, with `overrides` laid over them; raises FoldlineError that lists the known runs."""
    path = layout.run_config(comp, run)
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml") if p.stem != "competition")
        raise FoldlineError(
            f"unknown run '{run}'",
            where=layout.relative(path),
            next=f"known: {', '.join(known) or 'none'}; or write this file (docs/runs.md)",
        )
    content = apply_overrides(load_yaml(path), overrides)
    where = layout.relative(path) + (f" with {' '.join(overrides)}" if overrides else "")
    return Run.parse(content, where=where)


def differing_keys(left: dict[str, Any], right: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys in which two nested mappings differ, with both values.

    >>> differing_keys({"optim": {"lr": 1}}, {"optim": {"lr": 2}})
    ['optim.lr: 1 -> 2']
    """
    lines = []
    for key in sorted(left.keys() | right.keys()):
        a, b = left.get(key), right.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differing_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a} -> {b}")
    return lines
