"""Pictures in four views through one network: foldline, a bare loop, fastai's `tta` (which decodes them anew)."""

import time
from pathlib import Path
from typing import Any

from rows.kit import Row, Side, main

NAMES = ["identity", "hflip", "vflip", "rot180"]
ROW = Row("predict 656 pictures x 4 views, lite0, 128 px", "s", ("foldline", "bare", "fastai"))


def _work(folder: Path, small: bool) -> tuple[Any, Any, Any]:
    """(opened run, the network as foldline predicts with it, the rows)."""
    from dataclasses import replace

    from foldline.engine.finished.networks import ready
    from gpu.inside import open_run
    from gpu.kit import Setting

    name = "test_efficientnet" if small else "tf_efficientnet_lite0"
    settings = f"model.name={name}" + ("" if small else " data.image_size=128") + " data.cache=memory"
    opened = open_run(Setting("cpu", small, folder, folder / "lines", "bench"), settings)
    rows = opened.job.train
    count = 64 if small else 656
    rows = replace(rows, positions=rows.positions[:count], truth=rows.truth[:count])
    return opened, ready(opened.network(), opened.problem.architecture, opened.job.precision), rows


def foldline(folder: Path, small: bool) -> float:
    """As `foldline predict` does it."""
    from foldline.engine.infer import predict

    opened, model, rows = _work(folder, small)
    job = opened.job

    def work() -> None:
        predict(
            [[model]], job.feed.store, rows, job.preprocessing, job.device, job.precision,
            views=NAMES, activation="softmax", batch_size=16,
        )  # fmt: skip

    return _seconds(work)


def bare(folder: Path, small: bool) -> float:
    """By hand, `gpu/bare.py`."""
    import torch

    from foldline.images.views import VIEWS
    from gpu.bare import bare_predictions

    opened, _, rows = _work(folder, small)
    model, device = opened.network().eval(), torch.device("cpu")
    pixels = torch.from_numpy(opened.job.feed.store.pixels[rows.positions]).permute(0, 3, 1, 2).contiguous()
    views = [VIEWS[name] for name in NAMES]
    return _seconds(lambda: bare_predictions([model], pixels, views, device, opened.scale, torch.float32, 16))


def fastai(folder: Path, small: bool) -> float:
    """`tta` with three flipped passes and the plain one; it decodes the pictures in each."""
    from rows.fastai_side import learner

    name, side, batch = ("test_efficientnet", 32, 8) if small else ("tf_efficientnet_lite0", 128, 16)
    learn = learner(folder, name, side, batch)
    files = sorted((folder / "input" / "made").glob("*.jpg"))[: 64 if small else 656]
    data = learn.dls.test_dl(files, with_labels=False)
    with learn.no_bar(), learn.no_logging():
        return _seconds(lambda: learn.tta(dl=data, n=3))


def _seconds(work: Any) -> float:
    """The second call's: the first picks kernels and takes memory."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


SIDES: dict[str, Side] = {"foldline": foldline, "bare": bare, "fastai": fastai}

if __name__ == "__main__":
    main(SIDES)
