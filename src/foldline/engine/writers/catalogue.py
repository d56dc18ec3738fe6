"""The dictionary of writers: a new one is a class in a file of its own and a line here."""

from importlib.util import find_spec

from foldline.core.errors import FoldlineError, unknown
from foldline.engine.writers.mlflow import Mlflow
from foldline.engine.writers.tensorboard import TensorBoard
from foldline.engine.writers.trackio import Trackio
from foldline.engine.writers.wandb import Wandb
from foldline.engine.writers.writer import Writer

WRITERS: dict[str, type[Writer]] = {"tensorboard": TensorBoard, "wandb": Wandb, "mlflow": Mlflow, "trackio": Trackio}
AUTO = "auto"


def wanted_writers(log_to: list[str]) -> dict[str, type[Writer]]:
    """The writers of `train.log_to`: `auto` is TensorBoard where that is installed, and nothing else.

    Raises:
        FoldlineError: an unknown name, or a library that is named and not installed.
    """
    found = {}
    for name in log_to:
        if name == AUTO:
            if find_spec(TensorBoard.package):
                found["tensorboard"] = WRITERS["tensorboard"]
            continue
        if name not in WRITERS:
            raise unknown("writer", name, [AUTO, *WRITERS], where="train.log_to")
        writer = WRITERS[name]
        if find_spec(writer.package) is None:
            raise FoldlineError(
                f"the run logs to {name}, and the package '{writer.package}' is not installed",
                where="train.log_to",
                next=f"pip install 'foldline[{writer.extra}]', or take it out of train.log_to",
            )
        found[name] = writer
    return found
