"""(h) Out of memory, provoked: a batch that cannot fit; training must go on with smaller ones."""

import json

from gpu import project
from gpu.kit import Setting

# A network that cannot take more than so many pictures: what a full card looks like to whoever calls it.
FAKE = """
import torch
from foldline.models.classic import SmallNetwork
from torch import nn


class Small(SmallNetwork):
    def forward(self, x):
        if x.shape[0] > {most}:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB (made up)")
        return super().forward(x)


def small(outputs, channels, height_width, **options):
    features = nn.Sequential(nn.Conv2d(channels, 8, 3, stride=2), nn.ReLU())
    return Small(features, 8, outputs, **options)
"""


def provoked(setting: Setting) -> None:
    """Trains with a batch size that cannot fit, and without that limit; the losses must be those of the same batch."""
    from gpu.inside import has_setting

    if not has_setting("train.deterministic"):  # came with the halving of micro-batches
        setting.skip("out of memory", "this version does not halve its batches")
        return
    if setting.on_gpu:
        _cap(setting)
        settings = "model.name=vit_small_patch16_224 data.image_size=224 train.batch_size=512 train.epochs=1"
    else:
        path = setting.folder / "configs" / project.COMP / "crowded.py"
        path.write_text(FAKE.format(most=4), encoding="utf-8")
        settings = "model.name=crowded.py:small train.batch_size=16 train.epochs=1"
    project.run_here(project.train(setting, "crowded", settings))
    meta = json.loads((project.fold_folder(setting, "crowded") / "meta.json").read_text("utf-8"))
    found = meta.get("micro_batch")
    setting.judge("a batch that does not fit", f"micro-batch {found}", "trains with smaller ones", bool(found))


def _cap(setting: Setting) -> None:
    """Leaves this process 6 GiB of the card, so that a batch of 512 cannot fit and the failure comes at once."""
    import torch

    total = torch.cuda.get_device_properties(setting.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 6 * 2**30 / total), setting.device)
