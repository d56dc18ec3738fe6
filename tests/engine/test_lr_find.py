"""The learning-rate sweep: on a problem whose best rates are known."""

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from foldline.core.errors import FoldlineError
from foldline.engine.lr_find import smoothed, suggest, sweep
from foldline.report.run.rate_figure import draw_rates


def test_a_sweep_is_exponential_and_complete() -> None:
    seen: list[float] = []

    def step(rate: float) -> float:
        seen.append(rate)
        return 1.0

    found = sweep(step, 1e-4, 1.0, 5)
    assert [rate for rate, _ in found] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert seen == [rate for rate, _ in found]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_sweep_stops_where_the_loss_grows_or_is_no_number(bad: float) -> None:
    losses = iter([1.0] * 10 + [100.0] * 90)
    found = sweep(lambda rate: next(losses), 1e-4, 1.0, 100)
    assert len(found) == 11
    losses = iter([1.0] * 10 + [4.5] + [1.0] * 89)
    assert len(sweep(lambda rate: next(losses), 1e-4, 1.0, 100)) == 100, "one bad batch stops nothing"
    losses = iter([1.0, 1.0, bad, 1.0])
    assert len(sweep(lambda rate: next(losses), 1e-4, 1.0, 4)) == 2
    with pytest.raises(FoldlineError):
        sweep(lambda rate: 1.0, 1.0, 1e-4, 10)


def test_smoothing_is_a_weighted_mean() -> None:
    losses = np.random.default_rng(0).random(30)
    weights = 0.9 ** np.arange(30)[::-1]
    assert smoothed(losses.tolist())[-1] == pytest.approx(np.average(losses, weights=weights))


def test_the_suggested_rate_trains() -> None:
    """Least squares by gradient descent: rates above 2 / the largest eigenvalue blow up, tiny ones do nothing."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 8, generator=generator)
    y = x @ torch.randn(8, 1, generator=generator)
    edge = 1 / torch.linalg.eigvalsh(x.T @ x / len(x)).max().item()
    weight = nn.Parameter(torch.zeros(8, 1))

    def step(rate: float) -> float:
        loss = (x @ weight - y).square().mean()
        (slope,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight.sub_(rate * slope)
        return loss.item()

    found = sweep(step, 1e-5, 1e2, 150)
    assert len(found) < 150, "it blew up and was stopped"
    rate = suggest(*zip(*found, strict=True))
    assert edge / 100 < rate < edge


def test_no_suggestion_without_a_fall() -> None:
    with pytest.raises(FoldlineError, match="never fell"):
        suggest([1e-3, 1e-2, 1e-1, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    with pytest.raises(FoldlineError, match="too few"):
        suggest([1e-3, 1e-2], [2.0, 1.0])


def test_a_fall_after_the_least_loss_is_not_suggested() -> None:
    falling, rising, again = np.linspace(2, 1, 40), np.linspace(1, 5, 20), np.linspace(5, 1.5, 10)
    losses = np.concatenate([falling, rising, again, np.full(20, 1.5)])
    rates = np.geomspace(1e-6, 1, len(losses))
    assert suggest(rates.tolist(), losses.tolist()) <= rates[42]


def test_the_picture_says_its_rate(tmp_path: Path) -> None:
    rates = np.geomspace(1e-5, 1, 60).tolist()
    losses = [2 - 1 / (1 + (1e-3 / rate) ** 2) + 50 * rate**2 for rate in rates]
    found = suggest(rates, losses)
    draw_rates(tmp_path / "rates.svg", rates, losses, smoothed(losses), found)
    root = ET.parse(tmp_path / "rates.svg").getroot()
    assert root.tag.endswith("svg")
    text = "".join(root.itertext())
    assert "learning rate" in text
    assert "1e-3" in text
    assert "math" not in text
    assert f"{found:.1e}" in text
    assert list(tmp_path.iterdir()) == [tmp_path / "rates.svg"]
