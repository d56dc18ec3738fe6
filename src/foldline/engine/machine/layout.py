"""Whether a network survives a training step with its channels last, the faster layout of a picture in memory.

One of 28 networks that were tried on a CPU ended the process there (fastvit_t8: `corrupted size vs. prev_size`, or a
segmentation fault), and was fine without. So a step is tried in a process of its own, once a network, size and version.
"""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from foldline.core.own_code import is_own
from foldline.core.processes import in_turn
from foldline.core.progress import doing, say
from foldline.core.tables import sha256_json, write_json
from foldline.models.architecture import Architecture
from foldline.models.backbone import build

# Families that were tried with this torch and whose kernels the tests train; there is nothing to try.
KNOWN = ("resnet", "tf_efficientnet", "efficientnet", "convnext", "vit_", "deit", "mobilenetv3", "test_", "cifar_cnn")
PATIENCE_SECONDS = 300.0


def settled_layout(architecture: Architecture, device: torch.device, folder: Path) -> Architecture:
    """The architecture, with its channels not last where a training step on this device would end the process.

    Args:
        folder: where the answer is kept for the next time.
    """
    if device.type != "cpu" or is_own(architecture.name) or architecture.name.startswith(KNOWN):
        return architecture
    asked = {**asdict(architecture), "torch": torch.__version__}
    path = folder / f"layout-{sha256_json(asked)[:16]}.json"
    if not path.is_file():
        what = f"'{architecture.name}': two steps are tried in a process of their own"
        with in_turn(path.with_name(f".{path.stem}.lock"), what), doing(what):
            if not path.is_file():
                write_json(path, {"channels_last": _survives(architecture)})
    if json.loads(path.read_text(encoding="utf-8"))["channels_last"]:
        return architecture
    say(f"note: '{architecture.name}' ends the process where channels are last: it is trained with them first")
    return replace(architecture, channels_last=False)


def _survives(architecture: Architecture) -> bool:
    """Whether a process of its own ends well after two steps. What a network refuses in words is no matter here."""
    command = [sys.executable, "-m", "foldline.engine.machine.layout", json.dumps(asdict(architecture))]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return False
    return ended.returncode >= 0


def _two_steps(architecture: Architecture) -> None:
    model = build(architecture).train()
    inputs = [torch.randn(2, architecture.channels, architecture.height, architecture.width)]
    inputs[0] = inputs[0].contiguous(memory_format=torch.channels_last)
    if architecture.metadata_features:
        inputs.append(torch.randn(2, architecture.metadata_features))
    for _ in range(2):
        model(*inputs).sum().backward()


if __name__ == "__main__":
    _two_steps(Architecture(**json.loads(sys.argv[1])))
