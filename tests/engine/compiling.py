"""A compiled network trains as the plain one does, once for all folds; where it cannot be compiled, that is said.

Run by `test_compiling.py` in a process of its own.
"""

import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from convolved import inputs, lived_in
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.precision import StoredPrecision
from foldline.core.tables import read_csv
from foldline.engine.machine import compiling
from foldline.engine.machine.compiling import compiled, settle_compile
from foldline.models.architecture import Architecture
from foldline.models.fusing import fold_frozen
from models.test_folding import frozen, gradients
from tiny import TinyProject

SMALL = Architecture("test_efficientnet", 4, 3, 64, 64)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was compiled; the graphs run as they are, since no test waits for a C++ compiler."""
    found: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        found.append(graph)
        return graph.forward

    monkeypatch.setattr(compiling, "BACKEND", backend)
    torch._dynamo.reset()
    return found


def test_folds_share_what_was_compiled(graphs: list[Any]) -> None:
    """Each with its own weights, under its own names; a folded network is made plain first."""
    for seed in range(3):
        torch.manual_seed(seed)
        model = lived_in(SMALL).train()
        nn.init.normal_(model.get_classifier().weight)  # type: ignore[operator]
        fold_frozen(model, SMALL)
        function, x = compiled(model, "default"), inputs(SMALL)
        torch.manual_seed(seed)
        found = function(*x)
        found.sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        assert not any(name.startswith("_orig_mod") for name in model.state_dict())
        torch.manual_seed(seed)
        assert torch.allclose(found, model(*x), atol=1e-5)
    assert len(graphs) == 1


def test_a_compiled_training(project: TinyProject, graphs: list[Any]) -> None:
    """The losses of the plain one, in both folds; it is recorded."""
    project.prepare()
    steps = []
    for name, compile in (("plain", "off"), ("compiled", "default")):
        settings = f"train.compile={compile} train.folds=[0,1] train.average.name=ema"
        assert project.run("train", "--run", "quick", "--name", name, "--set", settings) == 0
        assert FoldMeta.read(project.fold(1, name) / "meta.json").compile == compile
        steps.append([read_csv(project.fold(k, name) / "steps.csv")["loss"].astype(float) for k in (0, 1)])
    for plain, other in zip(*steps, strict=True):
        assert other.tolist() == pytest.approx(plain.tolist(), abs=1e-3)
    known = StoredPrecision.read_if_there(project.fold(0, "compiled").parent / "precision.json")
    assert known is not None
    assert known.compile == "default"
    assert known.compile_seconds.keys() == {"compile", "step", "plain_step"}
    assert len(graphs) == 1


def sleeping(mode: str) -> Callable[[], None]:
    """A step that compiles for 0.2 s, and then takes 5 ms instead of 20."""
    steps = iter([0.2] if mode != "off" else [])
    return lambda: time.sleep(next(steps, 0.02 if mode == "off" else 0.005))


class Cuda:
    type = "cuda"


@pytest.mark.parametrize(("steps", "mode"), [(2, "off"), (200, "default")])
def test_auto_by_what_pays_back(
    steps: int, mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    device: Any = Cuda()
    assert settle_compile("auto", device, sleeping, steps)[0] == mode
    said = capsys.readouterr().out
    assert f"back in {steps} steps" in said
    assert ("does not pay" in said) == (mode == "off")


def test_auto_on_a_cpu_tries_nothing() -> None:
    def never(mode: str) -> Callable[[], None]:
        raise AssertionError(mode)

    assert settle_compile("auto", torch.device("cpu"), never, 10**6) == ("off", {})


def test_what_cannot_be_compiled_is_trained_as_it_is(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def backend(*_: Any) -> Any:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(compiling, "BACKEND", backend)
    torch._dynamo.reset()
    project.prepare()
    named = ("--run", "quick", "--name", "bare", "--set", "train.compile=max-autotune", "--fold", "0")
    assert project.run("train", *named) == 0
    assert "cannot be compiled here and is trained as it is" in capsys.readouterr().out
    assert FoldMeta.read(project.fold(0, "bare") / "meta.json").compile == "off"


def test_a_folded_network() -> None:
    """The graph is taken of the folded network as well, and by its own parameters."""
    plain = lived_in(SMALL)
    model = deepcopy(plain)
    fold_frozen(model, SMALL)
    compiled: Any = torch.compile(frozen(model), backend="aot_eager")
    x = inputs(SMALL)
    expected = gradients(frozen(plain), x)
    torch.manual_seed(1)
    nn.functional.cross_entropy(compiled(*x), torch.arange(3) % 4).backward()  # type: ignore[no-untyped-call]
    for name, one in model.named_parameters():
        assert one.grad is not None
        assert torch.allclose(one.grad, expected[name], rtol=1e-3, atol=1e-5), name
