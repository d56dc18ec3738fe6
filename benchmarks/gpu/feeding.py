"""Whether the device is kept busy: the real pipeline, foldline's loop against one by hand, waiting for the host."""

import os
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial

import torch

from gpu import inside
from gpu.bare import Bare
from gpu.inference import opened_folds
from gpu.kit import Setting, median, seconds_of, spread, step_seconds
from gpu.speed import sizes

WORKERS = (0, 1, 2, 4, 8, 16)


def _settings(setting: Setting, name: str, *more: str) -> str:
    """Epochs of about forty steps whatever the batch: classes are repeated."""
    side, batch = sizes(setting)
    rows = (4 if setting.small else 40) * batch
    settings = [f"model.name={name}", f"data.image_size={side}", f"train.batch_size={batch}", *more]
    settings += [f"sampling.at_least={rows // 2}", f"sampling.at_most={rows // 2}", "train.validate_every=100"]
    return " ".join([*settings, f"train.epochs={2 if setting.small else 3}"])


def pipeline(setting: Setting) -> None:
    """(d) Training with pictures from the cache, augmented, against steps on one batch that is on the device."""
    name = "test_resnet" if setting.small else "resnet50"
    _, batch = sizes(setting)
    with inside.open_run(setting, _settings(setting, name)) as opened:
        step, numbers = opened.learner(), iter(range(10_000))
        warm, steps = (1, 4) if setting.small else (5, 40)
        synthetic = batch / median(step_seconds(lambda: step(next(numbers)), setting.device, warm=warm, steps=steps))
    cores = len(os.sched_getaffinity(0))
    ratios = {}
    for workers in [count for count in WORKERS if count <= max(cores, 1)]:
        ratios[str(workers)] = _ratio(setting, name, synthetic, f"data.workers={workers}")
    ratios["auto"] = _ratio(setting, name, synthetic, "data.workers=auto")
    setting.speed(
        f"{name}, recipe light: pipeline / synthetic, by workers",
        ", ".join(f"{key}: {ratio:.2f}" for key, ratio in ratios.items()), "auto ≥ 0.98", ratios["auto"] >= 0.98,
        f"synthetic {synthetic:.0f} images/s, {cores} cores", ratios=ratios,
    )  # fmt: skip
    there = f"data.cache={_on_device(setting)}"
    for what, more in (("as they are", "augment.recipe=none"), ("augmented there", "augment.engine=torch")):
        ratio = _ratio(setting, name, synthetic, f"{there} {more}")
        words = f"{name}, pictures on the device, {what}: pipeline / synthetic"
        setting.speed(words, f"{ratio:.2f}", "≥ 0.98", ratio >= 0.98, ratio=ratio)


def _on_device(setting: Setting) -> str:
    """`data.cache` for pictures that are where they are needed."""
    return "gpu" if setting.on_gpu else "memory"


def _ratio(setting: Setting, name: str, synthetic: float, *more: str) -> float:
    with inside.open_run(setting, _settings(setting, name, *more)) as opened:
        return median(inside.epoch_speeds(opened)) / synthetic


def by_hand(setting: Setting) -> None:
    """(j) An epoch of foldline's loop against the bare loop, the same network and step, no augmentation; and what
    equal bits cost.

    The bare loop's pictures lie on the device; foldline's come as it brings them best.
    """
    name = "test_resnet" if setting.small else "resnet50"
    _, batch = sizes(setting)
    more = ["augment.recipe=none", f"data.cache={_on_device(setting)}"]
    opened = inside.open_run(setting, _settings(setting, name, *more))
    job, run = opened.job, opened.job.run
    rows = int(run.sampling.at_least) * 2
    positions = job.train.positions[torch.arange(rows).numpy() % len(job.train.positions)]
    pixels = torch.from_numpy(job.feed.store.pixels[positions]).permute(0, 3, 1, 2).contiguous().to(job.device)
    targets = torch.zeros(rows, dtype=torch.long, device=job.device)
    bare = Bare(opened.network(), pixels, targets, opened.scale, inside.dtype_of(job.precision.choice))
    bare.epoch(batch)
    theirs, ours = [], []
    for _ in range(1 if setting.small else 3):  # in turn, so that a card that warms up slows both
        theirs.append(rows // batch * batch / seconds_of(lambda: bare.epoch(batch), setting.device))
        ours.append(median(inside.epoch_speeds(opened)))
    ratio = median(theirs) / median(ours)
    setting.speed(
        f"{name}, {job.precision.choice}: foldline's loop / bare loop, seconds",
        f"{ratio:.3f}x: {spread(ours)} against {spread(theirs)} images/s", "≤ 1.03x", ratio <= 1.03,
        foldline=ours, bare=theirs,
    )  # fmt: skip
    free = inside.epoch_speeds(inside.open_run(setting, f"{_settings(setting, name, *more)} train.deterministic=false"))
    cost = median(free) / median(ours)
    setting.speed(
        f"{name}: train.deterministic true / false, seconds", f"{cost:.3f}x: {spread(ours)} against {spread(free)}",
        "≤ 1.3x", cost <= 1.3, deterministic=ours, free=free,
    )  # fmt: skip


def host_waits(setting: Setting) -> None:
    """(l) How often a training step, and a batch of a prediction, make the host wait for the device, by torch's own
    count."""
    precisions = {inside.best_precision(setting.device): 0, "fp16": 1}  # fp16: whether the step was left out is read
    for precision, allowed in precisions.items():
        few, many = (_training_waits(setting, precision, batches) for batches in (10, 30))
        extra = many - few  # both have a start, an end and a validation
        _waits_line(setting, f"a step of the training loop, {precision}", extra, allowed)
    folds = opened_folds(setting, tiny=True)
    few, many = (_waits(setting, partial(folds.predict, None, batches)) for batches in (10, 30))
    _waits_line(setting, "a batch of a prediction", many - few, 0)


def _waits_line(setting: Setting, where: str, extra: "Counter[str]", allowed: int) -> None:
    """One line: what twenty more batches waited for."""
    each = sum(extra.values()) / 20
    what = f"waits for the device in {where}"
    if setting.on_gpu:
        note = ", ".join(f"{place} ({count / 20:g})" for place, count in extra.most_common(4))
        setting.judge(what, f"{each:g}", f"≤ {allowed}", each <= allowed, note, places=dict(extra))
    else:
        setting.skip(what, "counted on a CUDA device", f"{each:g}")


def _training_waits(setting: Setting, precision: str, batches: int) -> "Counter[str]":
    """Of a training of one epoch."""
    _, batch = sizes(setting)
    rows = batches * batch // 2
    more = [f"sampling.at_least={rows}", f"sampling.at_most={rows}", "train.epochs=1"]
    name = "test_resnet" if setting.small else "resnet18"
    settings = f"{_settings(setting, name)} {' '.join(more)}"
    with inside.open_run(setting, settings, precision) as opened:
        return _waits(setting, lambda: inside.epoch_speeds(opened))


def _waits(setting: Setting, work: Callable[[], object]) -> "Counter[str]":
    """How often each line of the code waits for the device."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if setting.on_gpu:
            torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            if setting.on_gpu:
                torch.cuda.set_sync_debug_mode("default")
    found = [warning for warning in caught if "synchronizing CUDA operation" in str(warning.message)]
    return Counter(f"{'/'.join(warning.filename.split('/')[-2:])}:{warning.lineno}" for warning in found)
