"""The two kinds of runs: of networks that are trained, and of frozen features. One door tells them apart."""

from typing import Any

from foldline.core.errors import FoldlineError

KEY = "features"  # the key that makes a run file one of frozen features


def is_features(content: Any) -> bool:
    """Whether the content of a run file, or of a `run.json`, is that of a run of frozen features."""
    return isinstance(content, dict) and KEY in content


def refuse_features(content: Any, *, where: str) -> None:
    """Raises FoldlineError where a run of networks is needed and this is the content of one of frozen features."""
    if is_features(content):
        raise no_networks(where)


def no_networks(where: str) -> FoldlineError:
    """The error of a command that needs the networks of a run of frozen features."""
    return FoldlineError(
        "this is a run of frozen features: it has no networks of its own",
        where=where,
        next="name a run of networks; a linear head on one network is such a run too, with train.epochs: 0 and a probe "
        "(docs/features.md)",
    )
