"""A training step: it never waits for the device, stops at the right batch, and fits into the memory that there is."""

import copy
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from foldline.core.records.precision import StoredPrecision
from foldline.core.tables import read_csv, read_json
from foldline.engine.loop import settle as settling
from foldline.engine.loop.step import Learner
from foldline.engine.machine.layout import settled_layout
from foldline.engine.machine.precision import Precision
from foldline.models.architecture import Architecture
from foldline.models.backbone import build
from tiny import TinyProject

CPU = torch.device("cpu")
WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "unique", "masked_select")


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations for whose result a host waits: `float(x)`, `if x`, `x[mask]` and the like."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name.startswith(WAITS):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was waited for while batches were learnt."""
    seen: list[str] = []
    plain = Learner.learn

    def learn(self: Learner, *args: Any) -> Any:
        with Waits() as mode:
            result = plain(self, *args)
        seen.extend(mode.seen)
        return result

    monkeypatch.setattr(Learner, "learn", learn)
    return seen


@pytest.mark.parametrize(
    "settings",
    [
        "train.epochs=1",
        "optim.clip.name=norm optim.clip.options.limit=1 optim.accumulate=2 train.batch_norm=frozen",
        "augment.mix.name=both train.average.name=ema loss.class_weights=balanced",
        "loss.name=focal loss.options.alpha=0.3 data.grow_from=0.5 train.unfreeze=0.5",
        "loss.teacher.name=base train.precision=bf16",
    ],
)
def test_no_step_waits_for_the_device(project: TinyProject, waits: list[str], settings: str) -> None:
    project.prepare()
    if "teacher" in settings:
        assert project.run("train", "--name", "base", "--set", "train.epochs=1", "--fold", "0") == 0
    assert project.run("train", "--name", "new", "--set", settings, "--fold", "0") == 0
    assert waits == []


def test_the_count_notices_a_wait(project: TinyProject, waits: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Learner._forward

    def forward(self: Learner, *args: Any) -> Any:
        loss, right, maps = plain(self, *args)
        assert float(loss.detach()) > 0
        return loss, right, maps

    monkeypatch.setattr(Learner, "_forward", forward)
    project.prepare()
    assert project.run("train", "--fold", "0") == 0
    assert waits


def breaks_at(monkeypatch: pytest.MonkeyPatch, batch: int, value: float) -> None:
    """The loss of a batch of the first epoch becomes `value`."""
    plain, seen = Learner._forward, [0]

    def forward(self: Learner, *args: Any) -> Any:
        loss, right, maps = plain(self, *args)
        seen[0] += 1
        return (loss * value if seen[0] - 1 == batch else loss), right, maps

    monkeypatch.setattr(Learner, "_forward", forward)


def test_a_loss_that_is_no_number_is_named_with_its_batch_and_rows(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.prepare()
    breaks_at(monkeypatch, 2, np.nan)
    assert project.run("train", "--set", "augment.recipe=none", "--name", "odd", "--fold", "0") == 2
    error = capsys.readouterr().err
    assert "the training loss became nan on the rows p" in error
    assert "fold 0, epoch 1, batch 2" in error
    assert not (project.fold(0, "odd") / "resume").is_file(), "no resume point behind such a loss"


def test_fp16_leaves_a_step_out_and_counts_it(project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    project.prepare()
    breaks_at(monkeypatch, 2, np.inf)
    asked: list[torch.amp.GradScaler] = []
    plain = torch.amp.GradScaler.get_scale

    def get_scale(scaler: torch.amp.GradScaler) -> float:
        asked.append(scaler)
        return plain(scaler)

    monkeypatch.setattr(torch.amp.GradScaler, "get_scale", get_scale)
    settings = "train.precision=fp16 train.average.name=ema schedule.name=linear"
    assert project.run("train", "--name", "half", "--set", settings, "--fold", "0") == 0
    log, steps = (read_csv(project.fold(0, "half") / name) for name in ("log.csv", "steps.csv"))
    assert len(asked) == len(steps) + 1 + 2, "a step waits once; so do the start and each epoch's resume point"
    skipped = int(log["skipped_steps"].iloc[-1])
    assert skipped >= 1
    assert read_json(project.fold(0, "half") / "meta.json")["skipped_steps"] == skipped
    assert np.isfinite(log["train_loss"][1:].astype(float)).all()
    rates = steps["lr"].astype(float).to_numpy()
    assert (np.diff(rates) == 0).sum() == skipped, "the rate waits for a step that is done"


def test_what_is_tried_trains_all_that_is_ever_trained(project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where layers are unfrozen later: their memory and their operations count."""
    project.prepare()
    frozen: list[int] = []
    inner = settling.time_one_step

    def counted(job: Any, model: nn.Module) -> Any:
        step, pictures = inner(job, model)
        for _ in range(2):
            step()
            frozen.append(sum(not parameter.requires_grad for parameter in model.parameters()))
        return step, pictures

    monkeypatch.setattr(settling, "time_one_step", counted)
    settings = "train.unfreeze=0.5 train.freeze=[conv_stem] train.precision=auto"
    assert project.run("train", "--name", "tried", "--set", settings, "--fold", "0") == 0
    assert set(frozen) == {1}


def test_float32_is_exact_on_cuda_unless_a_run_says_otherwise(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    products: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [one.allow_tf32 for one in products]
    try:
        for choice, words in (("tf32", "high"), ("fp32", "highest"), ("tf32", "high"), ("bf16", "highest")):
            Precision(choice, "", {}).prepare(torch.device("cuda", 0))
            # what torch's compiler reads; it raises where torch's two interfaces say different things
            assert [one.allow_tf32 for one in products] == [choice == "tf32"] * 2
            assert torch.get_float32_matmul_precision() == words
            assert (torch.backends.cudnn.conv.fp32_precision == "tf32") == (choice == "tf32")  # type: ignore[attr-defined]
    finally:
        for one, was in zip(products, before, strict=True):
            one.allow_tf32 = was
    project.prepare()
    assert project.run("train") == 0
    prepared: list[str] = []
    monkeypatch.setattr(Precision, "prepare", lambda self, _: prepared.append(self.choice))
    assert project.run("predict") == 0
    assert set(prepared) == {"fp32"}, "each stage that predicts sets it"


def too_small_for(monkeypatch: pytest.MonkeyPatch, pictures: int) -> None:
    """A device whose memory holds so many pictures a time."""
    plain = Learner._forward

    def forward(self: Learner, x: Tensor, *args: Any) -> Any:
        if len(x) > pictures:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, x, *args)

    monkeypatch.setattr(Learner, "_forward", forward)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_that_does_not_fit_goes_in_parts(
    project: TinyProject, capsys: pytest.CaptureFixture[str], accumulate: int
) -> None:
    project.prepare()
    same = f"train.batch_norm=frozen model.drop_rate=0 optim.accumulate={accumulate} optim.name=sgd optim.lr=0.1"
    assert project.run("train", "--name", "whole", "--set", same, "--fold", "0") == 0
    with pytest.MonkeyPatch.context() as patch:
        too_small_for(patch, 3)
        assert project.run("train", "--name", "parts", "--set", same, "--fold", "0") == 0
        said = capsys.readouterr().out
        assert said.count("out of memory") == 2
        assert "in 4 parts" in said
        assert project.run("train", "--name", "parts", "--set", same, "--fold", "1") == 0
        assert "out of memory" not in capsys.readouterr().out, "the other folds know it"
    assert read_json(project.fold(1, "parts") / "meta.json")["parts"] == 4
    one, two = (load_file(project.fold(0, name) / "model.safetensors") for name in ("whole", "parts"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5)


def test_not_one_picture_fits(project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    project.prepare()
    too_small_for(monkeypatch, 0)
    assert project.run("train", "--fold", "0") == 2
    assert "not even one picture fits" in capsys.readouterr().err


def test_the_largest_batch_that_fits(project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    project.prepare()
    monkeypatch.setattr(settling, "_runs_out_of_memory", lambda _: True)
    monkeypatch.setattr(settling, "LEAST_STEPS", 1)
    too_small_for(monkeypatch, 20)
    for fold in ("0", "1"):
        assert project.run("train", "--name", "auto", "--set", "train.batch_size=auto", "--fold", fold) == 0
        meta = read_json(project.fold(int(fold), "auto") / "meta.json")
        assert (meta["batch_size"], meta["parts"]) == (16, 1)
    assert capsys.readouterr().out.count("auto takes 16 pictures") == 1


@contextmanager
def half() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        yield


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "cifar_cnn"])
def test_the_classifier_computes_in_float32(name: str) -> None:
    torch.manual_seed(0)
    model = build(Architecture(name, 3, 3, 160, 160)).eval()
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for weight in copied.get_classifier().parameters():  # type: ignore[operator]
            weight.zero_()
    x = torch.randn(8, 3, 160, 160)
    with half():
        logits, zeros = model(x), copied(x)
        features = model.forward_head(model.forward_features(x), pre_logits=True)  # type: ignore[operator]
    assert logits.dtype == torch.float32
    assert (zeros == 0).all(), "a copy uses its own weights"
    assert (logits != logits.bfloat16().float()).any(), "more digits than bf16 has"
    head = model.get_classifier()  # type: ignore[operator]
    torch.testing.assert_close(logits, nn.functional.linear(features.float(), head.weight, head.bias))
    assert type(head).__name__ == "Linear"


def test_a_network_that_dies_with_its_channels_last(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from foldline.engine.machine import layout

    monkeypatch.setattr(layout, "KNOWN", ())
    tried: list[Architecture] = []

    def dies(architecture: Architecture) -> bool:
        tried.append(architecture)
        return False

    monkeypatch.setattr(layout, "_survives", dies)
    project.prepare()
    for fold in ("0", "1"):
        assert project.run("train", "--fold", fold) == 0
    assert len(tried) == 1, "the answer is kept"
    assert "it is trained with them first" in capsys.readouterr().out
    architecture = Architecture(**read_json(project.fold(0, "quick") / "meta.json")["architecture"])
    assert not architecture.channels_last
    seen: list[bool] = []
    model = build(architecture).eval()
    model.get_submodule("conv_stem").register_forward_pre_hook(lambda _, x: seen.append(x[0].is_contiguous()))
    model(torch.zeros(2, 1, 32, 32).contiguous(memory_format=torch.channels_last))
    assert seen == [True]


def test_a_step_in_a_process_of_its_own(tmp_path: Any) -> None:
    architecture = Architecture("mobilenetv2_035", 2, 3, 32, 32)
    assert settled_layout(architecture, CPU, tmp_path) == architecture
    assert [path.name.startswith("layout-") for path in tmp_path.iterdir()] == [True]


def test_unfreezing_waits_for_a_step_that_is_done(project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """What learns after a step that fp16 left out is the same, whether an epoch began or a resume came between."""
    counted: list[tuple[int, int]] = []
    plain = Learner._unfreeze

    def unfreeze(self: Learner, step: int) -> None:
        plain(self, step)
        counted.append((step, sum(p.requires_grad for p in self.model.parameters())))

    monkeypatch.setattr(Learner, "_unfreeze", unfreeze)
    project.prepare()
    breaks_at(monkeypatch, 2, np.inf)
    settings = "train.precision=fp16 train.unfreeze=1 train.epochs=3"
    assert project.run("train", "--name", "half", "--set", settings, "--fold", "0") == 0
    assert [step for step, _ in counted] == sorted(step for step, _ in counted)
    assert [learns for _, learns in counted] == sorted(learns for _, learns in counted)


@dataclass
class Job:
    """As far as `settle` looks at it."""

    on_parts: Any = None


def test_folds_settle_one_after_the_other(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that measure at once could find two number formats for one run."""
    inside, most = [0], [0]

    def slow(job: Any, *_: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.2)
        inside[0] -= 1
        return job

    monkeypatch.setattr(settling, "_settled", slow)
    asked: Any = (Job(), None, tmp_path / "precision.json")
    folds = [threading.Thread(target=settling.settle, args=asked) for _ in range(2)]
    for fold in folds:
        fold.start()
    for fold in folds:
        fold.join()
    assert most == [1]
    assert list(tmp_path.iterdir()) == [], "no lock stays"


def test_another_device_keeps_the_batch_and_tries_its_own_parts(project: TinyProject) -> None:
    project.prepare()
    settings = "train.batch_size=auto train.precision=auto"
    path = project.layout.run("tiny", "auto") / "precision.json"
    stored = StoredPrecision(choice="fp16", device="a GPU", images_per_second={}, parts=4, batch_size=12)
    stored.write(path)
    assert project.run("train", "--name", "auto", "--set", settings, "--fold", "0") == 0
    meta = read_json(project.fold(0, "auto") / "meta.json")
    assert (meta["batch_size"], meta["parts"]) == (12, 1)
    now = StoredPrecision.read(path)
    assert (now.batch_size, now.parts, now.choice) == (12, 1, meta["precision"]["choice"])
    assert now.device != "a GPU"


def test_parts_of_one_picture_and_batch_norm(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Of 7 pictures in 4 parts the last part is one picture, which a batch-norm of 1 x 1 px has no mean of."""
    project.prepare()
    too_small_for(monkeypatch, 2)
    settings = "model.name=mobilenetv3_small_050 train.batch_size=7"
    assert project.run("train", "--name", "odd", "--set", settings, "--fold", "0") == 2
    said = capsys.readouterr()
    assert "in 4 parts alone, some of one picture" in said.err
    settings += " train.batch_norm=frozen"
    assert project.run("train", "--name", "frozen", "--set", settings, "--fold", "0") == 0
    assert read_json(project.fold(0, "frozen") / "meta.json")["parts"] == 4


def test_a_device_that_is_full_elsewhere(project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Such as in the optimizer's step, where no parts help."""
    project.prepare()

    def update(*_: Any) -> bool:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")

    monkeypatch.setattr(Learner, "_update", update)
    assert project.run("train", "--fold", "0") == 1
    assert "not enough memory on the device: CUDA out of memory" in capsys.readouterr().err
