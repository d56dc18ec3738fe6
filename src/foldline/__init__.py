"""foldline: from the raw files of an image competition to a submission that the grader accepts.

`foldline.load(folder)` gives a finished run as an object that predicts new pictures (docs/finished-models.md).
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foldline.engine.finished.model import Model

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


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
    from foldline.engine.finished.model import load  # torch is imported when it is needed, not with foldline

    return load(folder, device=device)
