"""A compiled network trains as the plain one does, once for all folds; where it cannot be compiled, that is said.

Run by `test_compiling.py` in a process of its own.
"""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convolved import inputs, lived_in
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.precision import StoredPrecision
from foldline.core.tables import read_csv
from foldline.engine.infer import predict
from foldline.engine.machine import compiling as compiling_module
from foldline.engine.machine.compiling import Compilable, Compiling, compiled, settle_compile
from foldline.engine.machine.precision import Precision
from foldline.engine.row_arrays import RowArrays
from foldline.images.store import PictureStore
from foldline.models.architecture import Architecture, Preprocessing
from foldline.models.fusing import fold_frozen
from models.test_folding import frozen, gradients
from tiny import TinyProject

SMALL = Architecture("test_efficientnet", 4, 3, 64, 64)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was compiled; the graphs run as they are, since no test waits for a C++ compiler."""
    found: list[Any] = []

    def backend(graph: Any, _: Any, **mode: Any) -> Any:
        found.append(graph)
        return graph.forward

    monkeypatch.setattr(compiling_module, "BACKEND", backend)
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
        settings = f"train.compile={compile} predict.compile={compile} train.folds=[0,1] train.average.name=ema"
        for stage in ("train", "predict"):
            assert project.run(stage, "--run", "quick", "--name", name, "--set", settings) == 0
        cv = Cv.read(project.layout.run("tiny", name) / "cv.json")
        assert cv.compile == compile
        assert cv.compile_seconds.keys() == (set() if compile == "off" else {"plain", "compile", "compiled"})
        assert FoldMeta.read(project.fold(1, name) / "meta.json").compile == compile
        steps.append([read_csv(project.fold(k, name) / "steps.csv")["loss"].astype(float) for k in (0, 1)])
    for plain, other in zip(*steps, strict=True):
        assert other.tolist() == pytest.approx(plain.tolist(), abs=1e-3)
    known = StoredPrecision.read_if_there(project.fold(0, "compiled").parent / "precision.json")
    assert known is not None
    assert known.compile == "default"
    assert known.compile_seconds.keys() == {"compile", "compiled", "plain"}
    assert len(graphs) == 2, "one of the network that trains, one of those that predict"


class Cuda:
    type = "cuda"


def settled(uses: int, *, wish: str = "auto", device: Any = Cuda, tried: Any = lambda _: (20.0, 0.005)) -> Any:
    """Compiling takes 20 s, a use then 5 ms instead of 20."""
    return settle_compile("train.compile", wish, device, plain=lambda: 0.02, tried=tried, uses=uses)


def never(mode: str) -> Any:
    raise AssertionError(mode)


@pytest.mark.parametrize(
    ("uses", "mode", "words"),
    [(10_000, "default", "which pays back"), (3_100, "default", "which pays back"), (100, "off", "take about 2 s")],
)
def test_auto_by_what_pays_back(uses: int, mode: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert settled(uses)[0] == mode
    assert words in capsys.readouterr().out


def test_auto_after_a_trial_that_was_too_slow(capsys: pytest.CaptureFixture[str]) -> None:
    mode, seconds = settled(4_000, tried=lambda _: (100.0, 0.018))
    assert (mode, seconds) == ("off", {"plain": 0.02, "compile": 100.0, "compiled": 0.018})
    assert "does not pay back in 4000 steps" in capsys.readouterr().out
    assert settled(4_000, wish="default", tried=lambda _: (100.0, 0.018))[0] == "default", "whoever asks gets it"


def test_auto_tries_nothing_where_little_is_to_be_gained(capsys: pytest.CaptureFixture[str]) -> None:
    assert settled(10**6, device=torch.device("cpu"), tried=never) == ("off", {})
    assert "no network was faster compiled" in capsys.readouterr().out
    assert settled(100, tried=never) == ("off", {"plain": 0.02})


@pytest.mark.parametrize(("passes", "mode"), [(1, "max-autotune"), (2, "max-autotune-no-cudagraphs")])
def test_what_cannot_be_compiled_is_trained_as_it_is(
    passes: int, mode: str, project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CUDA graphs are asked for only where a step has one backward pass: torch loses gradients of several."""
    asked: list[str] = []

    def backend(*_: Any, **given: Any) -> Any:
        asked.append(given["mode"])
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(compiling_module, "BACKEND", backend)
    torch._dynamo.reset()
    project.prepare()
    settings = f"train.compile=max-autotune optim.accumulate={passes}"
    assert project.run("train", "--run", "quick", "--name", "bare", "--set", settings, "--fold", "0") == 0
    assert "cannot be compiled here and is used as it is" in capsys.readouterr().out
    assert FoldMeta.read(project.fold(0, "bare") / "meta.json").compile == "off"
    assert asked == [mode]


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


class Small(nn.Module):
    """A network that a test compiles in a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.body(x).mean((2, 3)))
        return found


def predicted(models: list[list[nn.Module]], rows: int = 27, compiling: Compiling | None = None) -> Any:
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 6, 6, 1), dtype=np.uint8)
    device = torch.device("cpu")
    return predict(
        models, PictureStore(pixels, device), RowArrays(np.arange(rows), np.empty(0)),
        Preprocessing([0.5], [0.5], "bilinear"), device, Precision("fp32", "", {}),
        views=["identity", "hflip"], activation="softmax", batch_size=4, compiling=compiling,
    )  # fmt: skip


def folds(count: int) -> list[list[nn.Module]]:
    torch.manual_seed(0)
    return [[Small()] for _ in range(count)]


def test_folds_predict_by_one_compilation(graphs: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The last batch, which is not full, too; a second call compiles nothing; the predictions are the plain ones."""
    models, compiling = folds(3), Compiling("max-autotune")
    expected = predicted(models)
    for rows in (27, 1):
        assert np.allclose(predicted(models, rows, compiling), expected[:, :rows], atol=1e-6)
    assert len(graphs) == 1
    assert compiling.mode == "max-autotune"
    assert compiling.seconds.keys() == {"plain", "compile", "compiled"}
    assert "predict.compile: max-autotune: compiling takes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("best", "rows", "mode", "words"),
    [
        (1.1, 27, "", "compiling takes 15 s or more"),
        (1.1, 9, "", "3 batches are too few"),
        (10**9, 27, "default", "pays back in 4 batches"),
    ],
)
def test_auto_predicts_the_same_whatever_it_decides(
    best: float, rows: int, mode: str, words: str, graphs: list[Any], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Three batches are watched first."""
    if mode:
        monkeypatch.setattr(compiling_module, "LEAST_SECONDS", 0.0)
        monkeypatch.setattr(Compilable, "_tried", lambda self, mode, _: (self._wrap(mode), (0.0, 0.0))[1])
    monkeypatch.setitem(compiling_module.HOPED["predict.compile"], "cpu", best)
    models, compiling = folds(2), Compiling("auto")
    assert np.allclose(predicted(models, rows, compiling), predicted(models, rows), atol=1e-6)
    assert compiling.mode == mode
    assert len(graphs) == bool(mode)
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("decided", ["", "default"])
def test_networks_that_cannot_be_compiled_predict_as_they_are(
    decided: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where an earlier call's could be."""

    def backend(*_: Any, **mode: Any) -> Any:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(compiling_module, "BACKEND", backend)
    torch._dynamo.reset()
    models, compiling = folds(2), Compiling("default")
    compiling.mode = decided
    assert np.allclose(predicted(models, compiling=compiling), predicted(models), atol=1e-6)
    assert compiling.mode == "off"
    said = capsys.readouterr().out
    assert said.count("predict.compile: the network cannot be compiled here and is used as it is") == 1
