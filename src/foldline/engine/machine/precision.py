"""Mixed precision: which number format a training step computes in, and the choice between them.

On a CPU nothing but a measurement tells: convolutions of a ResNet gain from bf16 where the CPU has the
instructions, depthwise convolutions lose. So a few steps of both are timed, and the choice is written to
the run's folder, where all folds and every resume find it.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.records.precision import StoredPrecision
from foldline.engine.machine.device import use_tf32

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_HALF = ("bf16", "fp16")
_TIMED_STEPS = 5
_CLEAR_STEPS, _CLEARLY = (
    2,
    0.75,
)  # steps, after which so small a share of a gain that is worth it is clear, and its inverse
_WORTH_IT = 1.15  # a smaller gain is within the noise of the measurement, and fp32 is the more exact

MakeStep = Callable[["Precision"], tuple[Callable[[], None], int]]


@dataclass(frozen=True)
class Precision:
    """The choice ("fp32", "tf32", "bf16" or "fp16"), the device it was made on, and what was measured."""

    choice: str
    device: str
    images_per_second: dict[str, float]

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """The context in which the network is run forward: in half precision, but for the classifier."""
        return torch.autocast(device.type, dtype=DTYPES[self.choice], enabled=self.choice in _HALF)

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Gradient scaling, which fp16 needs for its small range; it does nothing for the others."""
        return torch.amp.GradScaler(device.type, enabled=self.choice == "fp16")

    def prepare(self, device: torch.device) -> None:
        """Sets the device's products of float32 to this format, for forward and backward passes."""
        if device.type == "cuda":
            use_tf32(self.choice == "tf32")


def choose_precision(
    requested: str,
    device: torch.device,
    device_name: str,
    path: Path,
    make_step: MakeStep,
) -> Precision:
    """The precision of a run: as requested, as an earlier fold found, or measured now.

    Args:
        requested: "auto" or a key of `DTYPES`.
        path: where the choice is kept for the other folds, `oof/<comp>/<run>/precision.json`.
        make_step: gives a function that does one training step, and how many images a step has.

    Raises:
        FoldlineError: the device has no such format.
    """
    if requested == "tf32" and not (device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)):
        raise FoldlineError(
            f"{device_name} has no TF32",
            where="train.precision",
            next="take auto, fp32 or bf16: A100 and later have it",
        )
    if requested == "bf16" and device.type == "cuda" and not has_bf16():
        say(f"warning: train.precision: bf16: {device_name} has none, torch emulates it slowly; auto or fp16 is faster")
    if requested != "auto":
        return Precision(requested, device_name, {})
    known = StoredPrecision.read_if_there(path)
    if known is not None and known.device == device_name:
        return Precision(known.choice, known.device, known.images_per_second)
    if device.type == "cuda":
        found = Precision("bf16" if has_bf16() else "fp16", device_name, {})
    elif device.type == "cpu":
        found = _measure(device_name, make_step)
    else:
        found = Precision("fp32", device_name, {})
    size = 0 if known is None else known.batch_size  # which holds for all devices
    StoredPrecision(**asdict(found), **({"batch_size": size} if size else {})).write(path)
    return found


def has_bf16() -> bool:
    """Whether the GPU in use computes in bf16 by itself, as those do since 2020 (A100)."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _measure(device_name: str, make_step: MakeStep) -> Precision:
    """Times both in turn and takes the best of each, since a shared machine only ever makes a step slower; fewer steps
    where the answer is clear."""
    say("precision: some steps in fp32 and in bf16 are timed")
    steps = {name: make_step(Precision(name, device_name, {})) for name in ("fp32", "bf16")}
    for step, _ in steps.values():
        step()  # the first one allocates memory and picks kernels
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(_TIMED_STEPS):
        for name, (step, _) in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
        gain = min(seconds["fp32"]) / min(seconds["bf16"]) / _WORTH_IT
        if number + 1 >= _CLEAR_STEPS and not _CLEARLY < gain < 1 / _CLEARLY:
            break
    speeds = {name: round(images / min(seconds[name]), 1) for name, (_, images) in steps.items()}
    choice = "bf16" if speeds["bf16"] > _WORTH_IT * speeds["fp32"] else "fp32"
    say(f"precision: {choice}, by images/s of a training step: {speeds}")
    return Precision(choice, device_name, speeds)


class NotFiniteError(FoldlineError):
    """The loss is no finite number."""


def not_finite(what: str, *, where: str) -> NotFiniteError:
    """The error for numbers that are not finite: going on would only waste the night."""
    advice = "lower optim.lr, set train.precision=fp32, or clip the gradients (optim.clip=norm)"
    return NotFiniteError(what, where=where, next=advice)


def set_batch_norm(model: nn.Module, mode: str) -> None:
    """After `model.train()`: batch-norm layers keep their running statistics when `mode` is "frozen"."""
    if mode == "frozen":
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
