"""Whether a training's network is compiled: what that takes once, and what it saves with each step. Writes nothing."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from foldline.core.progress import say
from foldline.models.fusing import unfold

BACKEND = "inductor"
TIMED_STEPS = 3

MakeStep = Callable[[str], Callable[[], None]]


def compiled(model: nn.Module, mode: str) -> Callable[..., Any]:
    """The network as a function; its parameters and their names stay those of the network itself.

    Networks of one class and shape share what was compiled, so the folds of a run compile once.

    Args:
        mode: "off", or what `torch.compile` calls a mode.
    """
    if mode == "off":
        return model
    unfold(model)  # inductor joins batch-norms with what follows them by itself
    function: Callable[..., Any] = torch.compile(model, mode=mode, dynamic=False, backend=BACKEND)
    return function


def settle_compile(wish: str, device: torch.device, make_step: MakeStep, steps: int) -> tuple[str, dict[str, float]]:
    """The mode in which the network is compiled, and the seconds that were measured, by name.

    `auto` never compiles on a CPU: there inductor's step of EfficientNet-Lite0 takes 1.2 times the plain one's time.
    A network that cannot be compiled is trained as it is, which is said.

    Args:
        wish: `train.compile`.
        make_step: gives a function that does one training step of a throw-away network in a mode.
        steps: how many the run has before it, of all its folds.
    """
    if wish == "off" or (wish == "auto" and device.type != "cuda"):
        return "off", {}
    mode = "default" if wish == "auto" else wish
    try:
        first, each = _seconds(make_step(mode), device)
    except RuntimeError as error:  # also what inductor raises, and a compiler that is not there
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        say(f"warning: train.compile: the network cannot be compiled here and is trained as it is: {reason}")
        return "off", {}
    _, plain = _seconds(make_step("off"), device)
    seconds = {name: round(value, 4) for name, value in (("compile", first), ("step", each), ("plain_step", plain))}
    pays = first + steps * each < steps * plain
    mode = mode if pays or wish != "auto" else "off"
    verdict = "pays" if pays else "does not pay"
    say(
        f"train.compile: {mode}: compiling takes {first:.0f} s, a step then {each:.3f} s instead of {plain:.3f} s, "
        f"which {verdict} back in {steps} steps"
    )
    return mode, seconds


def _seconds(step: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """Of the first step, which compiles, and of the fastest one after it."""
    times = []
    for _ in range(1 + TIMED_STEPS):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return times[0], min(times[1:])
