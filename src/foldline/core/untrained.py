"""What a run that trains nothing (`train.epochs: 0`) never reads: settings that change no prediction of it. Pure."""

from collections.abc import Mapping
from typing import Any

from foldline.core.errors import first_few
from foldline.core.run import Run

SHOWN = 12  # settings that are named
# Settings, or whole parts of them, that only steps of a training read; tests/engine/test_untrained.py holds each to it.
UNREAD = (
    *("model.drop_rate", "model.drop_path_rate", "model.head", "model.entity.options.pictures", "model.checkpointing"),
    *("data.original", "data.workers", "data.grow_from", "augment", "sampling", "extra"),
    *("loss.smoothing", "loss.class_weights", "loss.targets", "loss.auxiliary", "loss.masks", "loss.teacher"),
    *("optim", "schedule"),
    *("train.batch_size", "train.batch_norm", "train.freeze", "train.lora", "train.unfreeze", "train.keep_start"),
    *("train.compile", "train.average", "train.select", "train.patience"),
    *("train.checkpoint_minutes", "train.validate_every"),
)


def unread(run: Run) -> list[str]:
    """The dotted settings of a run without training that it sets to something else than the default, and never reads.

    >>> unread(Run.parse({"train": {"epochs": 0, "probe": {}}, "loss": {"masks": 1.0}, "seed": 3}, where=""))
    ['loss.masks']
    """
    if run.train.epochs:
        return []
    return [name for name in _names(run.model_dump(mode="json", exclude_defaults=True)) if is_unread(name)]


def is_unread(name: str) -> bool:
    """Whether a dotted setting is one of `UNREAD`."""
    return any(name == one or name.startswith(f"{one}.") for one in UNREAD)


def unread_in_words(run: Run) -> str:
    """What to say of them; empty where there are none."""
    names = unread(run)
    if not names:
        return ""
    return f"train.epochs: 0 keeps the probe and trains nothing, so nothing comes of {first_few(names, SHOWN)}"


def _names(content: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted names in nested settings."""
    found = []
    for key, value in content.items():
        name = f"{prefix}{key}"
        found += _names(value, f"{name}.") if isinstance(value, dict) and value else [name]
    return found
