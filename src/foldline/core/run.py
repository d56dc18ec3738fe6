"""The choices of a run, read from `configs/<comp>/<run>.yaml`. One way to solve a competition."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from foldline.core.choices import (
    MOVED,
    Compile,
    Copies,
    Crop,
    Entity,
    Head,
    Mix,
    Pseudo,
    Schedule,
    Teacher,
    Weights,
)
from foldline.core.errors import unknown
from foldline.core.options import MANY
from foldline.core.paths import Layout, shipped
from foldline.core.run_data import Data, Shown, sides
from foldline.core.run_kinds import refuse_features
from foldline.core.run_training import Optim, Train
from foldline.core.yaml_models import Off, Seed, Strict, apply_overrides, load_yaml

Times = Annotated[float, Field(gt=0, le=1000)]
Weight = Annotated[float, Field(ge=0, le=MANY)]


class Model(Strict):
    """The network."""

    name: str = Field("resnet18", description="any timm model, `cifar_cnn`, or a network of your own: `file.py:name`")
    weights: Weights = Field(default_factory=Weights)
    drop_rate: float = Field(0.0, ge=0, lt=1, description="dropout before the classifier")
    drop_path_rate: float = Field(0.0, ge=0, lt=1, description="stochastic depth")
    pool: Literal["default", "avg", "max", "avgmax", "gem"] = Field(
        "default", description="how a feature map becomes one vector; default: as the network was made"
    )
    head: Head = Field(default_factory=Head)
    entity: Entity = Field(default_factory=Entity)
    metadata: list[str] = Field(
        default_factory=list,
        description="columns of `train.metadata` that the head sees beside the picture; numbers are standardised, "
        "words become one column each",
    )
    checkpointing: bool = Field(False, description="gradient checkpointing: less memory, a slower step")
    options: dict[str, Any] = Field(default_factory=dict, description="further arguments of this network in timm")

    @field_validator("name")
    @classmethod
    def _without_owner(cls, name: str) -> str:
        return without_owner(name)


def without_owner(name: str) -> str:
    """The name of a network; raises ValueError for one as a hub writes it."""
    owner = re.match(r"((hf[-_]hub|timm):(timm/)?|timm/)", name)
    if owner or name.startswith("local-dir:"):
        shown = name[owner.end() :] if owner else "resnet18 (weights: {name: file, options: {file: ...}})"
        raise ValueError(f"timm's names stand alone here: name: {shown}")
    return name


class Augment(Strict):
    """What training images go through."""

    recipe: str = Field(
        "light",
        description="none, light, medium, heavy: photographs; flips, dihedral: pictures with mirror axes, without an "
        "up; document, medical: no flips; randaugment; timm's policies behind a left-right flip: timm/augmix-m3-w3, "
        "timm/rand-m9-mstd0.5-inc1, timm/original, timm/3a ...; or one of your own: `file.py:name`",
    )
    strength: float = Field(
        1.0, ge=0, le=3, description="scales the recipe's geometric and photometric ranges; 0 leaves its flips alone"
    )
    transforms: list[str | dict[str, dict[str, Any]]] | None = Field(
        None,
        description="albumentations of your own instead of a recipe: [HorizontalFlip, {Rotate: {limit: 15}}]; the "
        "result must have the picture's size",
    )
    erasing: float = Field(0.0, ge=0, le=1, description="the share of pictures of which a random patch is erased")
    engine: Literal["albumentations", "torch"] = Field(
        "albumentations",
        description="albumentations: picture by picture, on the CPU; torch: whole batches where the network is, for "
        "recipes of flips, moves, light and colour: the same draws, pixels that differ by a few gray levels",
    )
    crop: Crop = Field(default_factory=Crop)
    mix: Mix = Field(default_factory=Mix)
    copies: Copies = Field(default_factory=Copies)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.strength != 1 and self.transforms is not None:
            raise ValueError("strength scales a recipe: transforms of your own take none; leave it out")
        if self.strength not in (0, 1) and self.recipe == "none":
            raise ValueError("recipe: none takes no strength; leave it out")
        if self.strength != 1 and self.recipe.startswith("timm/"):
            raise ValueError("the strength of timm's policies stands in their names (m9): leave strength out")
        changes = self.transforms is not None or self.recipe != "none" or self.erasing or self.crop.name != "none"
        if self.copies.name != "one" and not changes:
            raise ValueError(f"copies: {self.copies.name} needs an augmentation, by which the copies differ")
        if self.copies.name == "consistent" and self.mix.name != "none":
            raise ValueError("copies: consistent compares pictures of one row: it takes no mix")
        return self


class Sampling(Strict):
    """Which training rows an epoch has, and how often."""

    function: str = Field(
        "",
        description="a sampler of your own, `file.py:name`: (labels, epoch, seed) -> row numbers",
    )
    balance: float = Field(
        0.0,
        ge=0,
        le=1,
        description="0: rows as they are; 1: every class equally often; 0.5: by its root; the epoch's length stays",
    )
    weights: dict[str, Times] = Field(
        default_factory=dict,
        description="class: how many times more often than now its rows are drawn, beside the others'",
    )
    at_least: int = Field(0, ge=0, le=MANY, description="classes with fewer training rows are repeated up to so many")
    at_most: int = Field(
        0,
        ge=0,
        le=MANY,
        description="classes with more training rows give so many an epoch, in turn until all were seen; 0: all",
    )


class Extra(Strict):
    """Rows that are trained on and never validated on."""

    rows: list[str] = Field(
        default_factory=list,
        description="CSV files with row_id, image (below input/<comp>) and target columns, no fold; rows whose picture "
        "looks like a validation or test picture are left out",
    )
    pseudo: Pseudo = Field(default_factory=Pseudo)


class Loss(Strict):
    """What training minimises."""

    name: str = Field(
        "auto", description="auto: by the task; an unknown name lists the known ones; `file.py:name`: your own"
    )
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")
    class_weights: Literal["none", "balanced"] | dict[str, Weight] = Field(
        "none", description="what each class counts: balanced: rows / (classes x its rows), or class: weight"
    )
    options: dict[str, float] = Field(
        default_factory=dict, description="the loss's own numbers (gamma ...); an unknown one lists the known ones"
    )
    targets: dict[str, Weight] = Field(
        default_factory=dict,
        description="of several targets, what each one's loss counts beside the others': target: weight; those that "
        "are not named count 1",
    )
    auxiliary: dict[str, Weight] = Field(
        default_factory=dict,
        description="columns of `train.metadata` that are learnt beside the target and never predicted: column: weight",
    )
    masks: Weight = Field(
        0.0,
        description="the weight of what a small decoder on the feature maps learns beside the target: the masks that "
        "`train.mask` of the facts names, of the rows that have one; the decoder is dropped after training. 0: none",
    )
    teacher: Teacher = Field(default_factory=Teacher)


class Predict(Off):
    """How the trained networks are used."""

    views: list[str] = Field(default_factory=lambda: ["identity"], description="test-time views, averaged")
    image_size: Shown | tuple[Shown, Shown] | None = Field(
        None,
        description="side in px, or [height, width], at which networks are tested, in training too; absent: "
        "data.image_size. Larger by an eighth or more is often better (FixRes, Touvron et al. 2019)",
    )
    batch_size: int = Field(64, ge=1, le=MANY, description="images a batch, before views")
    compile: Compile = Field(
        "off",
        description="compile the networks that predict, once for all folds; auto: where that is measured to pay back "
        "in the batches that are left",
    )


class Run(Strict):
    """One way to solve a competition. The fold is no part of it, so its hash is the same for all folds."""

    moved = MOVED

    model: Model = Field(default_factory=Model)
    data: Data = Field(default_factory=Data)
    augment: Augment = Field(default_factory=Augment)
    sampling: Sampling = Field(default_factory=Sampling)
    extra: Extra = Field(default_factory=Extra)
    loss: Loss = Field(default_factory=Loss)
    optim: Optim = Field(default_factory=Optim)
    schedule: Schedule = Field(default_factory=Schedule)
    train: Train = Field(default_factory=Train)
    predict: Predict = Field(default_factory=Predict)
    metrics: list[str] = Field(
        default_factory=list,
        description="metrics to report beside the competition's; `file.py:name` is a function of your own, its file in "
        "configs/<comp>/ or the project folder",
    )
    seed: Seed = Field(0, description="the seed of everything random in training")

    @model_validator(mode="after")
    def _without_others(self) -> Self:
        others = self.extra.pseudo.name, self.loss.teacher.name, self.model.weights.options.get("run", "")
        if self.train.without and any(others):
            raise ValueError(
                "train.without keeps rows from the networks, and those of the run that extra.pseudo, loss.teacher or "
                "model.weights names saw them: leave that out"
            )
        return self

    @model_validator(mode="after")
    def _of_all_rows(self) -> Self:
        by_fold = {
            "extra.pseudo": self.extra.pseudo.name, "loss.teacher": self.loss.teacher.name,
            "model.weights: run": self.model.weights.options.get("run", ""),
        }  # fmt: skip
        named = [setting for setting, name in by_fold.items() if name]
        if self.on_all_rows and named:
            raise ValueError(f"train.folds: all takes no {named[0]}: it names the networks of folds, one for each")
        return self

    @model_validator(mode="after")
    def _whole_copies(self) -> Self:
        count, size = self.augment.copies.options.get("count", 1), self.train.batch_size
        if count > 1 and (size == "auto" or size % count):
            raise ValueError(f"train.batch_size: {size} is no multiple of the {count} copies of a row (augment.copies)")
        return self

    @model_validator(mode="after")
    def _crops(self) -> Self:
        self.data.require_crops(self.augment.crop.name != "none")
        return self

    @property
    def tested_height_width(self) -> tuple[int, int]:
        """[height, width] in px at which networks are tested."""
        return sides(self.predict.image_size or self.data.image_size)

    @property
    def on_all_rows(self) -> bool:
        """Whether it is one network on the rows of all folds (`core.all_rows`)."""
        return self.train.folds == "all"

    def choices(self) -> dict[str, Any]:
        """All choices as a JSON value, defaults included: what is hashed and written to the run's folder."""
        return self.model_dump(mode="json")

    def optimistic(self) -> list[str]:
        """Why the OOF score is a little too good: what in training was decided by the validation rows."""
        reasons = []
        if self.train.select == "best":
            reasons.append("each fold's epoch was selected by the score on its validation rows")
        if self.train.average.name == "best":
            reasons.append("each fold's weights are the mean of the epochs that scored best on its validation rows")
        if self.schedule.name == "plateau":
            reasons.append("the learning rate followed the loss on the validation rows")
        return reasons


def load_run(layout: Layout, comp: str, run: str, overrides: list[str]) -> Run:
    """The choices of `run`, with `overrides` laid over them; raises FoldlineError that lists the known runs."""
    content, where = run_content(layout, comp, run, overrides)
    refuse_features(content, where=where)
    return Run.parse(content, where=where)


def run_content(layout: Layout, comp: str, run: str, overrides: list[str]) -> tuple[dict[str, Any], str]:
    """What the run file says, of whichever kind it is, with `overrides`; and what messages call the file."""
    path = layout.run_file(comp, run)
    if not path.is_file():
        files = [file for folder in (path.parent, path.parent.parent, shipped()) for file in folder.glob("*.yaml")]
        stems = {p.stem for p in files} - {"competition"}
        known = [stem for stem in stems if not stem.endswith(".search")]
        raise unknown("run", run, known, where=layout.relative(path), more="or write this file (docs/runs.md)")
    content = apply_overrides(load_yaml(path), overrides)
    return content, layout.relative(path) + (f" with {' '.join(overrides)}" if overrides else "")
