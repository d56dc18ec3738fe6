"""TensorBoard: event files in `oof/<comp>/<run>/tensorboard/<part>/`. `tensorboard --logdir oof` shows all of them.

https://pytorch.org/docs/stable/tensorboard.html
"""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from foldline.engine.writers.writer import NONE, Ended, Logged, Point, Writer


class TensorBoard(Writer):
    """A folder of event files for each fold. Points behind the last note are taken back by `purge_step`."""

    package, extra = "tensorboard", "tensorboard"

    def __init__(self, of: Logged) -> None:
        super().__init__(of)
        self.folder = of.folder / "tensorboard" / of.part

    def open(self, sent: int) -> int:  # noqa: D102
        from torch.utils.tensorboard import SummaryWriter

        fresh = sent == NONE
        if fresh and self.folder.is_dir():
            shutil.rmtree(self.folder)  # curves of a training that was deleted
        self.writer: Any = SummaryWriter(str(self.folder), purge_step=None if fresh else sent + 1)
        if fresh:
            lines = [f"| {key} | {value} |" for key, value in self.of.config.items()]
            self.writer.add_text("config", "\n".join(["| setting | value |", "|---|---|", *lines]))
        return sent

    def add(self, points: Sequence[Point]) -> None:  # noqa: D102
        for point in points:
            for key, value in point.numbers.items():
                self.writer.add_scalar(key, value, point.step)
        self.writer.flush()

    def summary(self, numbers: Mapping[str, float]) -> None:  # noqa: D102
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in self.of.config.items()}
        self.writer.add_hparams(plain, dict(numbers), run_name=".")

    def close(self, ended: Ended) -> None:  # noqa: ARG002, D102
        self.writer.close()

    @property
    def where(self) -> str:  # noqa: D102
        return f"tensorboard --logdir {self.folder.parent}"
