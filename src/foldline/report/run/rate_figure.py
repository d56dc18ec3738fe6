"""The picture of a learning-rate sweep. Rates and losses in, an SVG file out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldline.core.tables import write_text
from foldline.report.look import palette


def draw_rates(
    path: Path, rates: Sequence[float], losses: Sequence[float], curve: NDArray[np.float64], suggested: float
) -> None:
    """Draws the loss of each step over its rate, the smoothed curve, and the suggested rate."""
    with palette.drawing():
        figure, axes = palette.canvas(520, 300)
        axes.plot(rates, losses, ".", color=palette.MUTED, markersize=3.5)
        axes.plot(rates, curve, color=palette.ACCENT)
        axes.axvline(suggested, color=palette.WARM, linewidth=1.4, linestyle="--")
        near, far = float(curve.min()), float(max(curve[0], np.median(curve)))
        axes.set(
            xscale="log", xlabel="learning rate", ylabel="loss",
            ylim=(near - 0.1 * (far - near) - 1e-9, far + 0.6 * (far - near) + 1e-9),
        )  # fmt: skip
        axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:.0e}".replace("e-0", "e-"))
        axes.tick_params(axis="x", which="minor", size=0)
        place = axes.get_xaxis_transform()
        axes.text(suggested, 0.97, f" {suggested:.1e}", color=palette.WARM, va="top", transform=place)
        write_text(path, palette.svg(figure))
