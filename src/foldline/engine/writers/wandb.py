"""Weights & Biases: a run for each fold, in the group of the whole run. The project is the competition's name.

Its own environment says more: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline, WANDB_DIR ... https://docs.wandb.ai
"""

import netrc
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from foldline.core.errors import FoldlineError
from foldline.engine.writers.writer import EPOCH, NONE, Ended, Point, Writer

KEYS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
PATIENCE_SECONDS = 20.0  # for the server's first answer
CODES = {"finished": 0, "stopped": 130, "failed": 1}


class Wandb(Writer):
    """A run of W&B, whose server says how far it has come; offline a new folder holds all from the start."""

    package, extra = "wandb", "wandb"

    def open(self, sent: int) -> int:  # noqa: ARG002, D102
        import wandb

        settings = wandb.setup().settings
        if settings.mode not in ("offline", "disabled") and not _knows_a_key(settings.base_url):
            raise FoldlineError("nobody is logged in here: wandb login, or WANDB_MODE=offline")
        of = self.of
        self.run: Any = wandb.init(
            project=None if os.environ.get("WANDB_PROJECT") else of.comp,
            name=of.name, id=of.id, group=f"{of.comp}/{of.run}", job_type=of.part.partition("_")[0],
            tags=[f"{key}:{value}"[:64] for key, value in of.tags.items()],
            config=dict(of.config), dir=str(of.root), resume="allow",
            settings=wandb.Settings(console="off", silent=True, init_timeout=PATIENCE_SECONDS),
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


def _knows_a_key(address: str) -> bool:
    """Whether W&B need not ask for a key: on a terminal it would, and training would wait for an answer."""
    if any(os.environ.get(name) for name in KEYS):
        return True
    with suppress(OSError, netrc.NetrcParseError):
        places = netrc.netrc(os.environ.get("NETRC"))
        return places.authenticators(urlsplit(address).hostname or "") is not None
    return False
