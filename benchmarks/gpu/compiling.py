"""(e) What compiling costs and gains: torch.compile by itself, and as foldline chooses it (`train.compile`,
`predict.compile`)."""

import time
from collections.abc import Callable

import torch
import torch._dynamo.utils
from torch import Tensor

from foldline.engine.machine.compiling import Compiling
from gpu import inside
from gpu.bare import Bare
from gpu.inference import Folds, opened_folds
from gpu.kit import Setting, median, step_seconds
from gpu.speed import sizes

STEPS = 8


def pays_back(setting: Setting) -> None:
    """All lines."""
    by_itself(setting)
    training(setting)
    several_passes(setting)
    prediction(setting)


def by_itself(setting: Setting) -> None:
    """A bare loop: after how many steps the compilation has paid for itself."""
    side, batch = sizes(setting)
    name = "test_resnet" if setting.small else "resnet50"
    opened = inside.open_run(setting, f"model.name={name} data.image_size={side} train.batch_size={batch}")
    pixels = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device=setting.device)
    targets = torch.zeros(batch, dtype=torch.long, device=setting.device)
    dtype = inside.dtype_of(opened.job.precision.choice)
    chosen = torch.arange(batch, device=setting.device)
    losses: list[float] = []
    seconds = []
    for compiled in (False, True):
        model = opened.network().train()
        if compiled:
            model.compile()
        bare = Bare(model, pixels, targets, opened.scale, dtype)
        first = _first(bare.step, chosen, losses)
        warm, steps = (1, 2) if setting.small else (5, 10)
        times = step_seconds(lambda: bare.step(chosen), setting.device, warm=warm, steps=steps)  # noqa: B023
        seconds.append((first, median(times)))
    (eager_first, eager), (compiled_first, compiled_step) = seconds
    cost = max(compiled_first - eager_first, 0.0)
    gain = eager - compiled_step
    after = f"pays after {cost / gain:.0f} steps" if gain > 0 else "never pays"
    apart = abs(losses[1] / losses[0] - 1)
    setting.judge(
        f"torch.compile, a training step of {name}, {side} px, batch {batch}",
        f"{eager * 1e3:.1f} → {compiled_step * 1e3:.1f} ms ({eager / compiled_step:.2f}x), {cost:.0f} s, {after}",
        "the same first loss within 1 %", apart < 0.01, f"first losses are {apart:.1e} apart",
        eager_seconds=eager, compiled_seconds=compiled_step, compile_seconds=cost, losses=losses,
    )  # fmt: skip


def _first(step: Callable[[Tensor], Tensor], chosen: Tensor, losses: list[float]) -> float:
    """The seconds of the first step; its loss is added to `losses`."""
    start = time.perf_counter()
    losses.append(float(step(chosen)))
    return time.perf_counter() - start


def training(setting: Setting) -> None:
    """The step of foldline's loop with `train.compile: default`, and what `auto` makes of five folds of ten epochs."""
    side, batch = sizes(setting)
    name = "test_resnet" if setting.small else "resnet50"
    settings = f"model.name={name} data.image_size={side} train.batch_size={batch} train.compile=default"
    with inside.open_run(setting, settings) as opened:
        found = opened.compile_seconds
        plain, ours = (opened.losses(STEPS, compile=mode) for mode in ("off", opened.job.compile))
    apart = _apart(ours, plain)
    setting.judge(
        f"train.compile: default, {name}, {side} px, batch {batch}",
        _in_words(found) if "compile" in found else "could not be compiled",
        f"the losses of {STEPS} steps within 1 %", opened.job.compile == "default" and apart < 0.01,
        f"{apart:.1e} apart", losses=ours, plain_losses=plain, **found,
    )  # fmt: skip
    with inside.open_run(setting, settings.replace("=default", "=auto") + " train.epochs=10", folds=5) as opened:
        mode, found = opened.job.compile, opened.compile_seconds
    setting.skip(
        "train.compile: auto, what it chose for five folds of ten epochs", "a choice is no measurement",
        f"{mode}, " + (_in_words(found) if "compile" in found else "nothing was tried"), mode=mode, **found,
    )  # fmt: skip


def several_passes(setting: Setting) -> None:
    """CUDA graphs (`max-autotune`): the losses where a step has one backward pass, and where it adds two up."""
    if not setting.on_gpu:
        setting.skip("train.compile: max-autotune, CUDA graphs", "there are none on a CPU")
        return
    for passes in (1, 2):
        settings = f"model.name=test_resnet train.batch_size=8 train.compile=max-autotune optim.accumulate={passes}"
        with inside.open_run(setting, settings) as opened:
            plain, ours = (opened.losses(STEPS, compile=mode) for mode in ("off", opened.job.compile))
        setting.judge(
            f"train.compile: max-autotune, test_resnet, {passes} backward passes a step",
            f"{_apart(ours, plain):.1e} apart", f"the losses of {STEPS} steps within 2 %",
            opened.job.compile == "max-autotune" and _apart(ours, plain) < 0.02, losses=ours, plain_losses=plain,
        )  # fmt: skip


def prediction(setting: Setting) -> None:
    """Five folds over four views with `predict.compile`: the same probabilities, by one compilation for all folds."""
    folds = opened_folds(setting)
    _predicted(setting, folds, "default")
    if setting.on_gpu:  # a small network: choosing the kernels of a large one takes minutes
        _predicted(setting, opened_folds(setting, tiny=True), "max-autotune")
    chosen = Compiling("auto")
    folds.predict(chosen)
    setting.skip(
        f"predict.compile: auto, what it chose for {folds.batches} batches", "a choice is no measurement",
        f"{chosen.mode or 'off'}, "
        + (_in_words(chosen.seconds) if "compile" in chosen.seconds else "nothing was tried"),
        mode=chosen.mode, **chosen.seconds,
    )  # fmt: skip


def _predicted(setting: Setting, folds: Folds, mode: str) -> None:
    """One line: the last batch is not full."""
    plain = folds.predict(None)
    counts = torch._dynamo.utils.counters["stats"]
    before, compiling = counts["unique_graphs"], Compiling(mode)
    apart = float((folds.predict(compiling) - plain).abs().max())
    graphs = counts["unique_graphs"] - before
    setting.judge(
        f"predict.compile: {mode}, {folds.what}, a batch",
        _in_words(compiling.seconds) if "compile" in compiling.seconds else "could not be compiled",
        f"probabilities ≤ {folds.bound:g} apart, compiled once",
        compiling.mode == mode and apart <= folds.bound and graphs == 1,
        f"{apart:.1e} apart, {graphs} graphs", graphs=graphs, **compiling.seconds,
    )  # fmt: skip


def _in_words(seconds: dict[str, float]) -> str:
    """What foldline measured: plain, compiled, compiling, and after how many uses that pays."""
    plain, compiled, compile = (seconds[name] for name in ("plain", "compiled", "compile"))
    after = f"pays after {compile / (plain - compiled):.0f}" if plain > compiled else "never pays"
    return f"{plain * 1e3:.1f} → {compiled * 1e3:.1f} ms ({plain / compiled:.2f}x), {compile:.0f} s, {after}"


def _apart(ours: list[float], plain: list[float]) -> float:
    return max(abs(a / b - 1) for a, b in zip(ours, plain, strict=True))
