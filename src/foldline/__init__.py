"""foldline: from the raw files of an image competition to a submission that the grader accepts.

`foldline.load(folder)` gives a finished run as an object that predicts new pictures (docs/finished-models.md);
`foldline.run(comp, run)` does the whole line before it, as `make ensemble` does.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foldline.engine.finished.model import Model

__all__ = ["__version__", "load", "run", "train"]
__version__ = "0.1.0"
# What these functions need, torch among it, is imported when they are called, not with foldline.


def load(folder: str | Path, *, device: str = "auto") -> "Model":
    """A finished run, ensemble, exported folder or single fold, ready to predict; no YAML and no project is needed.

    `foldline.load("oof/elpv/baseline").predict(["a.png", "b.png"])` is a table: a column for each class, the decided
    label, the spread between the folds.

    Args:
        folder: such as `oof/elpv/baseline`; an ensemble's members lie in it or beside it.
        device: auto, cpu, cuda, cuda:1 or mps; torch is set to deterministic algorithms for this process.

    Raises:
        FoldlineError: there is no finished fold, its parts do not belong together, or no such device.
    """
    from foldline.engine.finished.model import load

    return load(folder, device=device)


def train(
    comp: str, run: str = "baseline", *, root: str | Path = ".", name: str = "", fold: int | None = None,
    settings: Mapping[str, Any] | None = None, device: str = "auto",
) -> Path:  # fmt: skip
    """Trains a fold, or all that are not finished; downloads and splits first where that is not done.

    Args:
        comp: the competition, `configs/<comp>/competition.yaml` below `root`.
        run: its choices, `configs/<comp>/<run>.yaml`.
        root: the project folder.
        name: of the run that `settings` make.
        settings: what differs from the file, `{"optim.lr": 3e-4, "train.epochs": 5}`.

    Returns:
        The run's folder, `oof/<comp>/<name>`.

    Raises:
        FoldlineError: as the command line shows it: what is wrong, where, and what to do next.
    """
    from foldline.core.own_code import forget
    from foldline.core.paths import Layout
    from foldline.stages.download import download
    from foldline.stages.folds import folds
    from foldline.stages.train import train

    forget()  # the user's own code may have been edited since the last call
    layout = Layout(Path(root).expanduser().resolve())
    download(layout, comp)
    folds(layout, comp)
    train(layout, comp, run, fold=fold, name=name, overrides=_overrides(settings), device=device)
    return layout.run(comp, name or run)


def run(
    comp: str, run: str = "baseline", *, root: str | Path = ".", name: str = "",
    settings: Mapping[str, Any] | None = None, device: str = "auto",
) -> "Model":  # fmt: skip
    """The whole line: what is not done yet of download, folds, training, predictions and submission.

    Arguments and errors are those of `train`.

    Returns:
        The finished run, with its score.
    """
    from foldline.core.paths import Layout
    from foldline.stages.ensemble import ensemble
    from foldline.stages.predict import predict

    folder, overrides = train(comp, run, root=root, name=name, settings=settings, device=device), _overrides(settings)
    layout = Layout(Path(root).expanduser().resolve())
    predict(layout, comp, run, name=name, overrides=overrides, device=device)
    ensemble(layout, comp, [run], name=name, overrides=overrides)
    return load(folder, device=device)


def _overrides(settings: Mapping[str, Any] | None) -> list[str]:
    """Settings as the command line has them, `optim.lr=0.001`."""
    import json

    return [f"{key}={json.dumps(value)}" for key, value in (settings or {}).items()]
