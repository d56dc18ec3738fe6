"""Trackio: a run for each fold in the project of the competition's name, on this machine; `trackio show` draws it.

TRACKIO_DIR says where it keeps them, TRACKIO_SPACE_ID sends them to a Space. https://huggingface.co/docs/trackio
"""

from collections.abc import Mapping, Sequence
from typing import Any

from foldline.engine.writers.writer import NONE, Ended, Point, Writer


class Trackio(Writer):
    """A run of Trackio, which is sent by a thread of its own; what was sent is noted first."""

    package, extra = "trackio", "trackio"
    notes_first = True

    def open(self, sent: int) -> int:  # noqa: D102
        import trackio

        of = self.of
        self.run: Any = trackio.init(
            project=of.comp, name=of.name, group=of.run, config={**of.config, **of.tags},
            resume="never" if sent == NONE else "allow", embed=False,
        )  # fmt: skip
        return sent

    def add(self, points: Sequence[Point]) -> None:  # noqa: D102
        for point in points:
            self.run.log(dict(point.numbers), step=point.step)

    def summary(self, numbers: Mapping[str, float]) -> None:  # noqa: D102
        self.run.log(dict(numbers))

    def close(self, ended: Ended) -> None:  # noqa: ARG002, D102
        self.run.finish()

    @property
    def where(self) -> str:  # noqa: D102
        return f"trackio show --project {self.of.comp}"
