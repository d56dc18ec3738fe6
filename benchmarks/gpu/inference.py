"""(i) The folds' networks over all views: foldline against a bare loop."""

from dataclasses import dataclass

import numpy as np
import torch

from foldline.engine.finished.networks import ready
from foldline.engine.infer import predict
from foldline.engine.machine.compiling import Compiling
from foldline.engine.row_arrays import RowArrays
from foldline.images.views import VIEWS
from gpu import inside
from gpu.bare import bare_predictions
from gpu.kit import Setting, median, seconds_of, spread
from gpu.speed import sizes

FOLDS = 5
NAMES = ["identity", "hflip", "vflip", "rot180"]


@dataclass(frozen=True)
class Folds:
    """Five networks, and what they are shown.

    Attributes:
        models: as they were made; fast: as they predict.
        bound: how far probabilities may be apart in this number format.
    """

    opened: inside.Opened
    models: list[torch.nn.Module]
    fast: list[torch.nn.Module]
    what: str
    batch: int
    bound: float

    @property
    def batches(self) -> int:
        """Of a prediction."""
        return -(-len(self.opened.job.train) // self.batch)

    def predict(self, compiling: Compiling | None, batches: int = 0) -> torch.Tensor:
        """[folds, rows, classes] probabilities by foldline, of the training rows or of so many batches of them."""
        job = self.opened.job
        positions = np.resize(job.train.positions, batches * self.batch or len(job.train))
        return torch.from_numpy(
            predict(
                [[model] for model in self.fast], job.feed.store, RowArrays(positions, np.empty(0)),
                job.preprocessing, job.device,
                job.precision, views=NAMES, activation="softmax", batch_size=self.batch, compiling=compiling,
            )
        )  # fmt: skip


def opened_folds(setting: Setting, *, tiny: bool = False) -> Folds:
    """Fold 0's network five times, with other weights each time.

    Args:
        tiny: a network of the rehearsal's size, where seconds do not matter.
    """
    side, batch = (32, 8) if tiny else sizes(setting)
    name = "test_resnet" if tiny or setting.small else "resnet50"
    opened = inside.open_run(setting, f"model.name={name} data.image_size={side} predict.batch_size={batch}")
    job = opened.job
    models = [_of_its_own(opened.network().eval(), fold) for fold in range(FOLDS)]
    fast = [ready(model, opened.problem.architecture, job.precision) for model in models]
    bound = {"fp32": 1e-3, "fp16": 5e-3, "bf16": 2e-2}[job.precision.choice]
    return Folds(opened, models, fast, f"{FOLDS} folds x {len(NAMES)} views of {name}, {side} px", batch, bound)


def folds_and_views(setting: Setting) -> None:
    """Five networks, four views: images/s, and the same probabilities."""
    folds = opened_folds(setting)
    job = folds.opened.job
    pixels = torch.from_numpy(job.feed.store.pixels[job.train.positions]).permute(0, 3, 1, 2).contiguous()
    if setting.on_gpu:
        pixels = pixels.pin_memory()
    views, dtype = [VIEWS[view] for view in NAMES], inside.dtype_of(job.precision.choice)
    found: dict[str, torch.Tensor] = {}

    def ours() -> None:
        found["foldline"] = folds.predict(None)

    def theirs() -> None:
        found["bare"] = bare_predictions(
            folds.models, pixels, views, job.device, folds.opened.scale, dtype, folds.batch
        )

    times: dict[str, list[float]] = {"foldline": [], "bare": []}
    for work in (ours, theirs):  # kernels are picked, memory is taken
        work()
    for _ in range(1 if setting.small else 3):
        times["foldline"].append(seconds_of(ours, setting.device))
        times["bare"].append(seconds_of(theirs, setting.device))
    apart = float((found["foldline"].double() - found["bare"].double()).abs().max())
    setting.judge(f"{folds.what}: probabilities", f"{apart:.1e} apart", f"≤ {folds.bound:g}", apart <= folds.bound)
    speeds = {who: [len(pixels) / seconds for seconds in values] for who, values in times.items()}
    ratio = median(times["foldline"]) / median(times["bare"])
    setting.speed(
        f"{folds.what}: foldline / bare loop, seconds",
        f"{ratio:.3f}x: {spread(speeds['foldline'])} against {spread(speeds['bare'])} pictures/s", "≤ 1.05x",
        ratio <= 1.05, foldline=speeds["foldline"], bare=speeds["bare"],
    )  # fmt: skip


@torch.no_grad()
def _of_its_own(model: torch.nn.Module, fold: int) -> torch.nn.Module:
    """The network with other weights in every layer: those that differ in the classifier alone share one pass."""
    dice = torch.Generator().manual_seed(fold)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=dice) * 0.05
        parameter.mul_(1 + noise.to(parameter))
    return model
