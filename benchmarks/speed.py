"""How fast this machine decodes, augments, trains and predicts. `make bench`; nothing else should run meanwhile.

Each figure is the median of five repeats with their range, in images a second, on random pictures: speed
does not depend on what they show.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from foldline.core.run import Augment
from foldline.engine.machine.device import describe, pick_device, prepare_device
from foldline.engine.machine.precision import DTYPES
from foldline.images.augment import Augmenter
from foldline.images.files.decode import decode, resize
from foldline.images.recipes import RECIPES
from foldline.models.architecture import Architecture
from foldline.models.backbone import build

BACKBONES = {"tf_efficientnet_lite0": 160, "resnet18": 128}
REPEATS = 5


def show(title: str, work: Callable[[], int]) -> None:
    work()
    speeds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        images = work()
        speeds.append(images / (time.perf_counter() - start))
    print(f"{title:58s} {statistics.median(speeds):9.0f}  ({min(speeds):.0f} to {max(speeds):.0f})", flush=True)


def decoding(folder: Path) -> None:
    for name in ("a.jpg", "a.png"):
        path = folder / name
        noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(noise, (300, 300), interpolation=cv2.INTER_CUBIC))

        def work(path: Path = path) -> int:
            for _ in range(50):
                resize(decode(path, 3), 160, 160)
            return 50

        show(f"decode and resize {path.suffix[1:]}, 300 to 160 px, one thread", work)


def augmenting() -> None:
    image = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    for recipe in RECIPES:
        augmenter = Augmenter(Augment(recipe=recipe), (160, 160), 3)

        def work(augmenter: Augmenter = augmenter) -> int:
            for row in range(100):
                augmenter(image, 0, 0, 0, row)
            return 100

        show(f"augment, recipe {recipe}, 160 px, one thread", work)


def network(device: torch.device, name: str, size: int, precision: str) -> None:
    model = build(Architecture(name, 2, 3, size, size)).to(device)
    x = torch.randn(32, 3, size, size, device=device).to(memory_format=torch.channels_last)
    target = torch.zeros(32, dtype=torch.long, device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def forward() -> torch.Tensor:
        with torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32"):
            out: torch.Tensor = model(x)
        return out

    def train() -> int:
        model.train()
        for _ in range(3):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(forward().float(), target).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return 3 * len(x)

    @torch.inference_mode()
    def predict() -> int:
        model.eval()
        for _ in range(5):
            forward()
        return 5 * len(x)

    show(f"train {name}, {size} px, batch 32, {precision}", train)
    show(f"predict {name}, {size} px, batch 32, {precision}", predict)


def main() -> None:
    device = pick_device()
    prepare_device(device)
    cv2.setNumThreads(1)
    print(f"{describe(device)}; images/s: median of {REPEATS} (range)")
    with tempfile.TemporaryDirectory() as folder:
        decoding(Path(folder))
    augmenting()
    for name, size in BACKBONES.items():
        for precision in ("fp32", "bf16"):
            network(device, name, size, precision)


if __name__ == "__main__":
    main()
