"""(h) Out of memory, provoked: a batch that cannot fit; training must go on with the batch in parts."""

import json

import numpy as np

from foldline.core.tables import read_csv
from gpu import project
from gpu.kit import Setting

# A network that cannot take more than so many pictures: what a full card looks like to whoever calls it.
CROWDED = """
import torch
from foldline.models.classic import SmallNetwork
from torch import nn


class Small(SmallNetwork):
    most = 0

    def forward(self, x):
        if self.most and x.shape[0] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB (made up)")
        return super().forward(x)


def small(outputs, channels, height_width, most=0):
    features = nn.Sequential(nn.Conv2d(channels, 8, 3, stride=2), nn.ReLU())
    network = Small(features, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8, outputs)
    network.most = most
    return network
"""
CAP = 6 * 2**30  # bytes
BOUND = 0.02  # of the losses: a batch in parts is summed in another order, in half precision


def provoked(setting: Setting) -> None:
    """The same training with room for its batches and without: the losses must be those of the same batch."""
    if setting.on_gpu:
        settings = "model.name=vit_small_patch16_224 data.image_size=224 train.batch_size=256 train.epochs=1"
        roomy, crowded = settings, settings
    else:
        (setting.folder / "configs" / project.COMP / "crowded.py").write_text(CROWDED, encoding="utf-8")
        roomy = "model.name=crowded.py:small train.batch_size=16 train.epochs=2 train.precision=fp32"
        crowded = f"{roomy} model.options.most=4"
    ours = []
    for name, chosen in (("roomy", roomy), ("crowded", crowded)):
        if setting.on_gpu:
            _cap(setting, CAP if name == "crowded" else None)
        project.run_here(project.train(setting, name, chosen))
        meta = json.loads((project.fold_folder(setting, name) / "meta.json").read_text("utf-8"))
        steps = read_csv(project.fold_folder(setting, name) / "steps.csv")["loss"].to_numpy(dtype=np.float64)
        ours.append((int(meta["parts"]), steps))
    (before, theirs), (parts, losses) = ours
    apart = float(np.abs(losses / theirs - 1).max())
    setting.judge(
        "a batch that does not fit into memory", f"goes on in {parts} parts, losses {apart:.1e} apart",
        f"goes on; ≤ {BOUND:g} apart", parts > before and apart <= BOUND, f"with room: {before}",
    )  # fmt: skip


def _cap(setting: Setting, most: int | None) -> None:
    """Leaves this process so many bytes of the card, so that the failure comes at once; None: all of it."""
    import torch

    total = torch.cuda.get_device_properties(setting.device).total_memory
    share = 1.0 if most is None else min(1.0, most / total)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(share, setting.device)
