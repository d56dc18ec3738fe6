"""Which GPUs there are, and which child process gets which; asked by processes of their own, so that none of it takes
memory of a GPU here. Reads what the driver's program says; writes nothing.
"""

import os
import re
import shutil
import subprocess
import sys

from foldline.core.errors import FoldlineError

VISIBLE = "CUDA_VISIBLE_DEVICES"
PATIENCE_SECONDS = 120.0
_COUNT = "import torch; print(torch.cuda.device_count())"


def gpus_for(device: str) -> list[str]:
    """The GPUs that `--device` means, each as `CUDA_VISIBLE_DEVICES` names it; none where it means a CPU.

    Raises:
        FoldlineError: a GPU is asked for by its number and there is none of that number.
    """
    if device in ("cpu", "mps"):
        return []
    found = names(os.environ.get(VISIBLE), _say("nvidia-smi", "-L"), _counted())
    number = device.partition(":")[2]
    if not number:
        return found
    if int(number) >= len(found):
        raise FoldlineError(f"no CUDA device {number} is there", where=f"--device {device}", next="use --device auto")
    return [found[int(number)]]


def names(visible: str | None, listed: str, count: int) -> list[str]:
    """The GPUs' names: those of `CUDA_VISIBLE_DEVICES`, which may be numbers or UUIDs; else the driver's.

    A GPU that is split (MIG) is so many GPUs; torch counts it as one, and sees its first part.

    Args:
        visible: the environment's; None: it says nothing.
        listed: what `nvidia-smi -L` says.
        count: how many torch sees with that environment.

    >>> names("2,GPU-5f0a", "", 2), names("", "", 0), names(None, "", 2), names("0,7", "", 1)
    (['2', 'GPU-5f0a'], [], ['0', '1'], ['0'])
    >>> names(None, "GPU 0: A100 (UUID: GPU-1)\\n  MIG 1g.5gb Device 0: (UUID: MIG-2)\\nGPU 1: T4 (UUID: GPU-3)", 2)
    ['MIG-2', 'GPU-3']
    """
    if not count:
        return []
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()][:count]
    found: list[str] = []
    for line in listed.splitlines():
        if name := re.search(r"UUID: ((?:GPU|MIG)-[\w/-]+)", line):
            if name[1].startswith("MIG") and found and found[-1].startswith("GPU"):
                found.pop()  # this one is split
            found.append(name[1])
    return found or [str(number) for number in range(count)]


def _counted() -> int:
    """How many torch sees, asked in a process of its own."""
    return int(_say(sys.executable, "-c", _COUNT).strip() or 0)


def memory_share(gpu: str) -> float | None:
    """How much of a GPU's memory is in use, of 1; None where the driver's program does not say."""
    asked = ["--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits", "-i", gpu]
    said = re.fullmatch(r"(\d+), (\d+)", _say("nvidia-smi", *asked).strip())
    return int(said[1]) / int(said[2]) if said else None


def _say(program: str, *arguments: str) -> str:
    """What a program says; nothing where it is not there or fails."""
    found = shutil.which(program)
    if found is None:
        return ""
    try:
        ended = subprocess.run(  # noqa: S603
            [found, *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout if ended.returncode == 0 else ""
