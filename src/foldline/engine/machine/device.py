"""The machine: which device, how its memory is handed out, what it is called."""

import ctypes
import math
import os
import platform
import re
import sys
import warnings

import torch
import torch.utils.deterministic

from foldline.core.errors import FoldlineError

# glibc's mallopt parameters (malloc.h): how many blocks may be mapped, when free memory goes back to the
# kernel, and how much is asked for at a time.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def pick_device(name: str = "auto") -> torch.device:
    """The device to work on: `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        FoldlineError: no such device, or it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch("cpu|mps|cuda(:[0-9]{1,3})?", name):
        raise FoldlineError(f"unknown device '{name}'", where="--device", next="known: auto, cpu, cuda, cuda:1, mps")
    number = int(name.partition(":")[2] or 0)
    if name.startswith("cuda") and number >= torch.cuda.device_count():
        what = f"no CUDA device {number} is there" if number else "no CUDA device is there"
        raise FoldlineError(what, where=f"--device {name}", next="use --device cpu, or auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise FoldlineError("no MPS device is there", where="--device mps", next="use --device cpu, or auto")
    return torch.device("cuda", number) if name.startswith("cuda") else torch.device(name)  # set_device wants a number


def prepare_device(device: torch.device, *, deterministic: bool = True) -> None:
    """Settings that make equal inputs give equal bits, unless that is not wished for, and the CPU fast."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
        torch.cuda.set_device(device)
        use_tf32(False)
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # nothing reads such memory; without it a CPU does 1.14 times the steps
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic
    if device.type == "cpu":
        keep_freed_memory()


def use_tf32(on: bool) -> None:
    """What float32 means on CUDA: all 24 bits, or 11 of them in products (TF32), which torch by itself mixes.

    By torch's older switches: its compiler reads them, and they raise an error once the newer ones were set
    (its issue 166387).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions advise the newer ones
        torch.backends.cuda.matmul.allow_tf32 = on
        torch.backends.cudnn.allow_tf32 = on


def only_deterministic(on: bool) -> None:
    """Whether an operation on CUDA that has no deterministic algorithm is an error; else it warns.

    Attention has a deterministic backward pass only where that is an error, so without it the plain formula is taken.
    """
    torch.use_deterministic_algorithms(True, warn_only=not on)
    torch.backends.cuda.enable_flash_sdp(on)
    torch.backends.cuda.enable_mem_efficient_sdp(on)
    torch.backends.cuda.enable_cudnn_sdp(on)


def keep_freed_memory() -> None:
    """Tells glibc to keep freed memory for the next step instead of giving it back to the kernel.

    Activations of a few MB are otherwise mapped and cleared anew in every layer of every step. EfficientNet-Lite0
    at 128 px on two Zen 5 cores: training at batch 64 went from 61 to 131 images/s, inference at batch 128
    from 205 to 588. Does nothing where the C library is another. The command line asks torch, too, to have its large
    tensors in pages of 2 MB (THP_MEM_ALLOC_ENABLE; 0 in the environment: not), which takes a tenth off a training.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(_M_TOP_PAD, 64 * 2**20)


def describe(device: torch.device) -> str:
    """The device in words, for logs and reports."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, {torch.get_num_threads()} threads"


def _cpu_name() -> str:
    if sys.platform.startswith("linux"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def memory_mb(device: torch.device) -> float:
    """The most memory that was in use so far, in MiB: the GPU's, or the process's; NaN: not known here."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def versions() -> dict[str, str]:
    """The versions that decide results."""
    from importlib.metadata import version

    names = ("torch", "timm", "albumentations", "opencv-python-headless", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
