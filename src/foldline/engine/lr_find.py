"""Finds a learning rate: the rate grows step by step, and the loss tells where training is fastest.

`sweep` does the steps, `suggest` picks a rate, `draw` writes the picture. The method is Smith's range test (2017,
https://arxiv.org/abs/1506.01186); the smoothing and the stop are those that fastai made usual.
"""

import base64
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError
from foldline.core.tables import atomic_path
from foldline.report import ink
from foldline.report.ink import Picture

_MEMORY = 0.9  # of the running mean: each loss counts 0.1, so about ten steps are seen together
_GIVE_UP = 4.0  # times the best smoothed loss
_FEWEST = 5


def sweep(step: Callable[[float], float], low: float, high: float, steps: int) -> list[tuple[float, float]]:
    """Trains at rates that grow by a constant factor from `low` to `high`.

    Args:
        step: does one training step at a rate and returns its loss.
        steps: at least 2; fewer are done where the smoothed loss exceeds 4 times its best, or is no number.

    Returns:
        (rate, loss) of each step whose loss was a number.
    """
    if not (0 < low < high and steps >= 2):
        raise FoldlineError(f"a sweep from {low:g} to {high:g} in {steps} steps is none", next="low < high, 2 steps")
    found: list[tuple[float, float]] = []
    best = math.inf
    for i in range(steps):
        rate = low * (high / low) ** (i / (steps - 1))
        loss = step(rate)
        if not math.isfinite(loss):
            break
        found.append((rate, loss))
        now = float(smoothed([loss for _, loss in found])[-1])
        best = min(best, now)
        if now > _GIVE_UP * best:
            break
    return found


def smoothed(losses: Sequence[float]) -> NDArray[np.float64]:
    """The running mean of the losses so far, without a pull to 0 at the start (as Adam corrects its moments).

    >>> smoothed([2.0, 2.0, 2.0]).round(6).tolist()
    [2.0, 2.0, 2.0]
    """
    mean, found = 0.0, []
    for i, loss in enumerate(losses, 1):
        mean = _MEMORY * mean + (1 - _MEMORY) * loss
        found.append(mean / (1 - _MEMORY**i))
    return np.array(found)


def suggest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate at which the smoothed loss falls most steeply over the logarithm of the rate, before its least.

    Raises:
        FoldlineError: fewer than 5 steps, or a loss that never fell.

    >>> rates = [10 ** (-5 + i / 20) for i in range(101)]
    >>> losses = [2 - 1 / (1 + (1e-3 / rate) ** 2) for rate in rates]
    >>> 5e-4 < suggest(rates, losses) < 4e-3
    True
    """
    curve = smoothed(losses)
    least = int(curve.argmin())
    if len(curve) < _FEWEST or least == 0:
        raise FoldlineError(
            "the loss never fell, so no rate can be suggested" if len(curve) >= _FEWEST else "too few steps",
            where="the learning-rate sweep",
            next="begin at a smaller rate, or take more steps",
        )
    slope = np.gradient(curve, np.log(rates))[: least + 1]
    return float(rates[int(slope.argmin())])


def picture(rates: Sequence[float], losses: Sequence[float], suggested: float) -> Picture:
    """The loss of each step over its rate, the smoothed curve, and the suggested rate."""
    curve = smoothed(losses)
    width, height = 520, 300
    with ink.drawing():
        figure, axes = ink.canvas(width, height)
        axes.plot(rates, losses, ".", color=ink.MUTED, markersize=3.5)
        axes.plot(rates, curve, color=ink.ACCENT)
        axes.axvline(suggested, color=ink.WARM, linewidth=1.4, linestyle="--")
        near, far = float(curve.min()), float(max(curve[0], np.median(curve)))
        axes.set(
            xscale="log", xlabel="learning rate", ylabel="loss",
            ylim=(near - 0.1 * (far - near) - 1e-9, far + 0.6 * (far - near) + 1e-9),
        )  # fmt: skip
        axes.text(suggested, 0.97, f" {suggested:.1e}", color=ink.WARM, va="top", transform=axes.get_xaxis_transform())
        uri = ink.svg_uri(figure)
    alt = (
        f"The loss over learning rates from {min(rates):.1e} to {max(rates):.1e}; its smoothed curve is least, "
        f"{curve.min():.3g}, at {rates[int(curve.argmin())]:.1e} and steepest at {suggested:.1e}."
    )
    legend = [("muted", "each step"), ("accent", "smoothed"), ("warm", "suggested")]
    return Picture("learning_rate", "Learning rate and loss", uri, width, height, alt, legend=legend)


def draw(path: Path, rates: Sequence[float], losses: Sequence[float], suggested: float) -> None:
    """Writes the picture as an SVG file."""
    content = base64.b64decode(picture(rates, losses, suggested).uri.partition(",")[2])
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
