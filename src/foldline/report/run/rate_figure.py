"""The picture of a learning-rate sweep. Rates and losses in, an SVG file out."""

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldline.core.tables import atomic_path
from foldline.report.look import palette
from foldline.report.look.palette import Picture


def rate_figure(
    rates: Sequence[float], losses: Sequence[float], curve: NDArray[np.float64], suggested: float
) -> Picture:
    """The loss of each step over its rate, the smoothed curve, and the suggested rate."""
    width, height = 520, 300
    with palette.drawing():
        figure, axes = palette.canvas(width, height)
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
        axes.text(
            suggested, 0.97, f" {suggested:.1e}", color=palette.WARM, va="top", transform=axes.get_xaxis_transform()
        )
        uri = palette.svg_uri(figure)
    alt = (
        f"The loss over learning rates from {min(rates):.1e} to {max(rates):.1e}; its smoothed curve is least, "
        f"{curve.min():.3g}, at {rates[int(curve.argmin())]:.1e} and steepest at {suggested:.1e}."
    )
    legend = [("muted", "each step"), ("accent", "smoothed"), ("warm", "suggested")]
    return Picture("learning_rate", "Learning rate and loss", uri, width, height, alt, legend=legend)


def draw_rates(
    path: Path, rates: Sequence[float], losses: Sequence[float], curve: NDArray[np.float64], suggested: float
) -> None:
    """Writes the picture as an SVG file."""
    content = base64.b64decode(rate_figure(rates, losses, curve, suggested).uri.partition(",")[2])
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
