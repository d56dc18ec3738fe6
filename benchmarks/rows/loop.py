"""An epoch of foldline's training loop against a bare loop: same network, pictures, batch; no augmentation."""

from pathlib import Path
from typing import Any

from rows.kit import Row, Side, main

ROW = Row("training loop, lite0, 128 px, batch 32, fp32, no augmentation", "images/s", ("foldline", "bare"), "≤ 1.00")


def foldline(folder: Path, small: bool) -> float:
    """By `fit_fold`, as its log has it; validation and resume points are not counted."""
    from gpu import inside

    with _opened(folder, small) as opened:
        return float(max(inside.epoch_speeds(opened)))


def bare(folder: Path, small: bool) -> float:
    """By hand, `gpu/bare.py`."""
    import time

    import torch

    from gpu.bare import Bare

    with _opened(folder, small) as opened:
        job = opened.job
        pixels = torch.from_numpy(job.feed.store.pixels[job.train.positions]).permute(0, 3, 1, 2).contiguous()
        loop = Bare(opened.network(), pixels, torch.zeros(len(pixels), dtype=torch.long), opened.scale, torch.float32)
        speeds: list[float] = []
        for epoch in range(2 if small else 3):
            start = time.perf_counter()
            loop.epoch(job.batch_size, seed=epoch)
            speeds.append(len(pixels) // job.batch_size * job.batch_size / (time.perf_counter() - start))
        return max(speeds[1:])


def _opened(folder: Path, small: bool) -> Any:
    from gpu.inside import open_run
    from gpu.kit import Setting

    settings = "augment.recipe=none train.validate_every=100 data.cache=memory "
    settings += "train.epochs=2" if small else "train.epochs=3 train.batch_size=32 data.image_size=128"
    settings += " model.name=" + ("test_efficientnet" if small else "tf_efficientnet_lite0")
    return open_run(Setting("cpu", small, folder, folder / "lines", "bench"), settings)


SIDES: dict[str, Side] = {"foldline": foldline, "bare": bare}

if __name__ == "__main__":
    main(SIDES)
