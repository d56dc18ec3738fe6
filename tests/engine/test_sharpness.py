"""Sharpness-aware minimisation: gradients of the point uphill, weights and statistics of where the network stands."""

from typing import Any

import pytest
import torch
from torch import nn

from foldline.core.tables import read_csv, sha256_file
from foldline.engine.loop import step as stepping
from foldline.engine.loop.sharpness import climbed
from foldline.engine.loop.step import Learner
from tiny import TinyProject


class Point(nn.Module):
    """A network that is one number."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([at]))


def test_the_gradient_is_that_of_the_point_uphill() -> None:
    point = Point(1.0)
    (2 * point.at**2).sum().backward()  # type: ignore[no-untyped-call]
    with climbed(point, 0.5):
        assert float(point.at.detach()) == pytest.approx(1.5)
        point.at.grad = None
        (2 * point.at**2).sum().backward()  # type: ignore[no-untyped-call]
    assert float(point.at.detach()) == 1.0
    assert point.at.grad is not None
    assert float(point.at.grad) == pytest.approx(6.0)


def valley(at: torch.Tensor) -> torch.Tensor:
    """A narrow hole at 0, as deep as the wide one at 4."""
    return 2 - torch.exp(-((at / 0.15) ** 2)) - torch.exp(-(((at - 4) / 2) ** 2))


def ended(start: float, radius: float) -> float:
    point = Point(start)
    optimizer = torch.optim.SGD(point.parameters(), lr=0.02)
    for _ in range(600):
        optimizer.zero_grad()
        valley(point.at).sum().backward()  # type: ignore[no-untyped-call]
        with climbed(point, radius):
            optimizer.zero_grad()
            valley(point.at).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(point.at.detach())


def test_it_leaves_a_narrow_hole_and_stays_in_a_wide_one() -> None:
    assert abs(ended(0.12, 0.0)) < 0.05
    assert ended(0.12, 0.4) > 0.3
    assert ended(3.0, 0.0) == pytest.approx(4, abs=0.05)
    assert ended(3.0, 0.4) == pytest.approx(4, abs=0.05)


def test_statistics_are_of_the_weights_as_they_stand() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    network(x).square().sum().backward()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with climbed(network, 0.1):
        network(x)
        inside = network.state_dict()
        assert not torch.equal(inside["0.weight"], before["0.weight"])
        assert not torch.equal(inside["1.running_mean"], before["1.running_mean"])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    made = TinyProject(tmp_path_factory.mktemp("sharpness"), rows=60)
    made.prepare()
    return made


def weights_of(project: TinyProject, name: str, settings: str) -> str:
    assert project.run("train", "--name", name, "--set", settings, "--fold", "0") == 0
    return sha256_file(project.fold(0, name) / "model.safetensors")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_step_looks_twice_at_all_batches_of_its_group(
    project: TinyProject, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp16, whose gradients are scaled, too."""
    seen: list[tuple[int, int]] = []
    plain = Learner._backward

    def backward(self: Learner, batch: Any, place: Any) -> Any:
        seen.append((place.epoch, place.batch))
        return plain(self, batch, place)

    monkeypatch.setattr(stepping.Learner, "_backward", backward)
    settings = f"train.epochs=1 optim.accumulate=2 optim.sam=0.05 train.precision={precision}"
    weights_of(project, f"twice-{precision}", settings)
    assert seen[:4] == [(0, 0), (0, 1), (0, 0), (0, 1)]
    losses = read_csv(project.fold(0, f"twice-{precision}") / "log.csv")["train_loss"]
    assert float(losses.iloc[-1]) > 0


def test_a_radius_of_nothing_is_the_plain_step(project: TinyProject) -> None:
    plain = weights_of(project, "plain", "train.epochs=1 model.drop_rate=0.3")
    tiny = weights_of(project, "tiny", "train.epochs=1 model.drop_rate=0.3 optim.sam=1e-30")
    wide = weights_of(project, "wide", "train.epochs=1 model.drop_rate=0.3 optim.sam=0.1")
    assert tiny == plain, "the same dropout and the same statistics"
    assert wide != plain
