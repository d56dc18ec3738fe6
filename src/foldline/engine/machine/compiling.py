"""Whether networks are compiled, to train them or to predict: what that takes once, and what it saves each time.

Writes nothing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from subprocess import SubprocessError
from typing import Any

import torch
from torch import Tensor, nn

from foldline.core.progress import doing, say
from foldline.models.fusing import unfold
from foldline.models.together import Forward, Together

BACKEND = "inductor"
TIMED = WATCHED = 3
PREDICT = "predict.compile"
# How many times as fast compiled networks were at best, by device: of timm's on a 4090 1.87, on a CPU 1.07
# (EXPERIMENTS.md). `auto` tries nothing where so much would not save twice the seconds that compiling takes at least.
HOPED = {"train.compile": {"cuda": 2.0}, "predict.compile": {"cuda": 2.0, "cpu": 1.1}}
LEAST_SECONDS = 15.0
MOST_FORMS = 64  # of one function (sizes, what is trained) that are compiled; torch does the rest plainly, in silence
FAILURES = (RuntimeError, OSError, ImportError, SubprocessError)  # also a compiler that is not there

Seconds = tuple[float, float]  # of the first call, which compiles, and of the fastest one after it


def compiled(function: Callable[..., Any], mode: str, *, graphs: bool = True) -> Callable[..., Any]:
    """The function (a network, say) compiled; a network's parameters and their names stay its own.

    Networks of one class and shape share what was compiled, so the folds of a run compile once.

    Args:
        mode: "off", or what `torch.compile` calls a mode.
        graphs: whether `max-autotune` may record CUDA graphs. What one gives lies in memory that the next one takes:
            torch loses gradients that several backward passes of a step add up (its issue 169545).
    """
    if mode == "off":
        return function
    import torch._dynamo

    if isinstance(function, nn.Module):
        unfold(function)  # inductor joins batch-norms with what follows them by itself
    if mode == "max-autotune" and not graphs:
        mode = "max-autotune-no-cudagraphs"
    torch._dynamo.config.recompile_limit = MOST_FORMS
    made: Callable[..., Any] = torch.compile(function, mode=mode, dynamic=False, backend=BACKEND)
    return made


def settle_compile(
    setting: str,
    wish: str,
    device: torch.device,
    *,
    plain: Callable[[], float],
    tried: Callable[[str], Seconds],
    uses: int,
    compilations: int = 1,
) -> tuple[str, dict[str, float]]:
    """The mode in which the network is compiled, and the seconds that were measured, by name. Says both.

    `auto` compiles where that pays back, and tries it only where it could. Where the network cannot be compiled it is
    used as it is, which is said.

    Args:
        setting: `train.compile` or `predict.compile`.
        wish: its value.
        plain: measures the seconds of a use of the plain network.
        tried: compiles it in a mode, and measures.
        uses: how many there are still: steps, or batches.
        compilations: how many times it takes what compiling took once, for all of them.
    """
    if wish == "off":
        return "off", {}
    best = HOPED[setting].get(device.type, 1.0)
    if wish == "auto" and best == 1:
        say(f"{setting}: auto: off: on this kind of device no network was faster compiled")
        return "off", {}
    mode, each_plain = "default" if wish == "auto" else wish, plain()
    seconds = {"plain": round(each_plain, 4)}
    if wish == "auto" and (1 - 1 / best) * uses * each_plain < 2 * compilations * LEAST_SECONDS:
        say(
            f"{setting}: auto: off: {_times(uses, setting)} take about {uses * each_plain:.0f} s as they are, at best "
            f"{best:g} times as fast compiled, and compiling takes {compilations * LEAST_SECONDS:.0f} s or more"
        )
        return "off", seconds
    try:
        with doing(f"{setting}: the network is compiled in a trial"):
            first, each = tried(mode)
    except FAILURES as error:
        say(_refused(setting, error))
        return "off", seconds
    seconds |= {"compile": round(first, 4), "compiled": round(each, 4)}
    pays = compilations * first + uses * each < uses * each_plain
    mode = mode if pays or wish != "auto" else "off"
    say(
        f"{setting}: {wish + ': ' if wish == 'auto' else ''}{mode}: compiling takes {compilations * first:.0f} s, "
        f"{_times(1, setting)} then {each:.3f} s instead of {each_plain:.3f} s, which "
        f"{'pays' if pays else 'does not pay'} back in {_times(uses, setting)}"
    )
    return mode, seconds


def _refused(setting: str, error: Exception) -> str:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return f"warning: {setting}: the network cannot be compiled here and is used as it is: {reason}"


def _times(uses: int, setting: str) -> str:
    one, more = ("step", "steps") if setting == "train.compile" else ("batch", "batches")
    return f"a {one}" if uses == 1 else f"{uses} {more}"


def timed(call: Callable[[], object], device: torch.device, times: int = TIMED) -> Seconds:
    """Of the first call, and of the fastest of so many after it (without any: the first)."""
    measured = []
    _wait(device)
    for _ in range(1 + times):
        start = time.perf_counter()
        call()
        _wait(device)
        measured.append(time.perf_counter() - start)
    return measured[0], min(measured[1:] or measured)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Compiling:
    """`predict.compile`: whether networks that predict are compiled, and what was measured.

    One is given to all calls of `engine.infer.predict` of a command: what one has compiled, the next ones use.

    Attributes:
        wish: the setting.
        mode: what became of it; "": it is not decided.
        seconds: of a batch, by name: plain, compiled; and of compiling for it.
    """

    wish: str = "off"
    mode: str = field(default="", init=False)
    seconds: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.mode = "off" if self.wish == "off" else ""

    @property
    def wants_full_batches(self) -> bool:
        """Whether another size would be compiled anew."""
        return self.mode != "off" if self.wish != "auto" else self.mode not in ("", "off")


class Compilable:
    """Networks as one function, compiled where that is wished for, or pays back in the calls that are left.

    Args:
        together: the networks.
        calls: how many will come.
    """

    def __init__(self, together: Together, compiling: Compiling, device: torch.device, calls: int) -> None:
        self.together, self.compiling, self.device, self.left = together, compiling, device, calls
        self.plain: list[float] = []  # seconds of the first calls
        self.open = not compiling.mode  # whether it is to be decided
        if self.open and compiling.wish == "auto" and calls <= WATCHED:
            say(f"{PREDICT}: auto: off: {_times(calls, PREDICT)} are too few")
            self.open = False
        if compiling.mode:
            self._wrap(compiling.mode)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """As `Together`."""
        if self.open and (self.compiling.wish != "auto" or len(self.plain) == WATCHED):
            self._decide(inputs)
        self.left -= 1
        if not self.open:
            return self._run(inputs)
        found: list[Tensor] = []
        _, seconds = timed(lambda: found.append(self.together(*inputs)), self.device, 0)
        self.plain.append(seconds)
        return found[0]

    def _run(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Plainly where what was compiled does not run, or does not compile for this call's networks and sizes."""
        try:
            return self.together(*inputs)
        except torch.OutOfMemoryError:
            raise
        except FAILURES as error:
            if not self.together.wrapped:
                raise
            say(_refused(PREDICT, error))
        self.compiling.mode = "off"
        self._wrap("off")
        return self.together(*inputs)

    def _decide(self, inputs: tuple[Tensor, ...]) -> None:
        """By the first of the networks: the others are computed by what was compiled for it."""
        self.open, compiling = False, self.compiling
        mode, compiling.seconds = settle_compile(
            PREDICT, compiling.wish, self.device,
            plain=lambda: min(self.plain or timed(lambda: self.together(*inputs), self.device, 1)),
            tried=lambda mode: self._tried(mode, inputs),
            uses=self.left,
        )  # fmt: skip
        if compiling.wish != "auto" or "compile" in compiling.seconds:  # else another call's batches may be enough
            compiling.mode = mode
        self._wrap(mode)

    def _tried(self, mode: str, inputs: tuple[Tensor, ...]) -> Seconds:
        """Of the first network: what compiling it takes, and a call of as many as there are."""
        self._wrap(mode)
        forward = self.together.wrapped[0]
        first, each = timed(lambda: forward(*inputs), self.device)
        return first, each * len(self.together.bodies)

    def _wrap(self, mode: str) -> None:
        if mode == "off":
            self.together.unwrap()
        else:
            self.together.wrap(lambda body: _kept(compiled(body, mode)))


def _kept(forward: Forward) -> Forward:
    """What it gives is the caller's own, also where a CUDA graph takes its memory for what it gives next."""
    return lambda *inputs: [logits.clone() for logits in forward(*inputs)]
