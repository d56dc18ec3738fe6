"""Weights & Biases: a run for each fold, in the group of the whole run. The project is the competition's name.

Its own environment says more: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline, WANDB_DIR ... https://docs.wandb.ai
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foldline.core.errors import FoldlineError
from foldline.engine.writers.writer import EPOCH, NONE, Ended, Point, Writer

CODES = {"finished": 0, "stopped": 130, "failed": 1}


class Wandb(Writer):
    """A run of W&B, whose server says how far it has come; offline a new folder holds all from the start."""

    package, extra = "wandb", "wandb"

    def open(self, sent: int) -> int:  # noqa: ARG002, D102
        import wandb

        if os.environ.get("WANDB_MODE", "online") in ("online", "run") and not wandb.Api().api_key:
            raise FoldlineError(
                "nobody is logged in to W&B here", where="train.log_to", next="wandb login, or WANDB_MODE=offline"
            )
        of = self.of
        self.run: Any = wandb.init(
            project=None if os.environ.get("WANDB_PROJECT") else of.comp,
            name=of.name, id=of.id, group=f"{of.comp}/{of.run}", job_type=of.part.partition("_")[0],
            tags=[f"{key}:{value}"[:64] for key, value in of.tags.items()],
            config=dict(of.config), dir=str(of.root), resume="allow",
            settings=wandb.Settings(console="off", silent=True),
        )  # fmt: skip
        self.run.define_metric("epoch/*", step_metric=EPOCH)
        if not self.run.offline:
            return int(self.run.starting_step) - 1
        own = Path(self.run.dir).parent
        for former in own.parent.glob(f"offline-run-*-{of.id}"):  # a killed process had written only parts of it
            if former != own:
                shutil.rmtree(former, ignore_errors=True)
        return NONE

    def add(self, points: Sequence[Point]) -> None:  # noqa: D102
        for point in points:
            self.run.log(dict(point.numbers), step=point.step)

    def summary(self, numbers: Mapping[str, float]) -> None:  # noqa: D102
        self.run.summary.update(dict(numbers))

    def close(self, ended: Ended) -> None:  # noqa: D102
        self.run.finish(exit_code=CODES[ended])

    @property
    def where(self) -> str:  # noqa: D102
        folder = str(self.run.dir).removesuffix("/files")
        return f"wandb sync {folder}" if self.run.offline else str(self.run.url)
