"""Is this machine ready? Versions, devices, memory, disk, Kaggle's token, network; ends with what to mend.

Reads the machine; writes nothing. No secret is shown: only where one lies, and who else can read it.
"""

import os
import platform
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from foldline import __version__
from foldline.core.counted import counted
from foldline.core.paths import Layout
from foldline.core.progress import say, say_table

SHOWN = ("torch", "torchvision", "timm", "numpy", "pandas", "opencv-python-headless", "kaggle")
OPTIONAL = {
    "optuna": "make search",
    "gradio": "the app",
    "onnxruntime": "ONNX",
    "pydicom": "DICOM",
    "shtab": "completion",
}
SITES = {"Kaggle": "www.kaggle.com", "Hugging Face hub": "huggingface.co"}
SECONDS = 2.0  # that a site has to answer
LEAST_DISK, LEAST_MEMORY, LEAST_SHARED = 5.0, 4.0, 0.25  # GB, below which something is said
BROWSERS = ("firefox", "google-chrome", "chromium", "chromium-browser", "microsoft-edge", "open", "xdg-open")


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what it is, and what to mend; empty where nothing is wrong."""

    what: str
    found: str
    mend: str = ""


def doctor(layout: Layout, *, offline: bool = False) -> dict[str, Any]:
    """Looks at the machine, and says what it finds.

    Args:
        offline: asks no site.

    Returns:
        `ready`: whether nothing is to be mended (else the exit code is 1); `findings`.
    """
    looks: list[Callable[[], list[Finding]]] = [
        _versions, _device, _processor, lambda: _disk(layout.root), _memory, _kaggle, _browser,
    ]  # fmt: skip
    findings = [finding for look in looks for finding in look()]
    findings += [Finding("network", "not asked (--offline)")] if offline else _network()
    say_table([*([one.what, one.found + ("  <- mend" if one.mend else "")] for one in findings)])
    wrong = [one for one in findings if one.mend]
    say("")
    for one in wrong:
        say(f"mend {one.what}: {one.mend}")
    say(f"{len(wrong)} to mend" if wrong else "nothing to mend")
    return {"ready": not wrong, "findings": findings}


def _versions() -> list[Finding]:
    python = platform.python_version()
    found = [Finding("foldline", __version__), Finding("Python", f"{python}, {platform.system()} {platform.machine()}")]
    below = _below_floors()
    for name in SHOWN:
        found.append(Finding(name, _version(name), below.pop(name, "")))
    found += [Finding(name, _version(name), mend) for name, mend in below.items()]
    there = [f"{name} {_version(name)}" for name in OPTIONAL if _version(name) != "missing"]
    return [*found, Finding("extras", ", ".join(there) or "none")]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _below_floors() -> dict[str, str]:
    """What to install, for each package that is missing or older than foldline needs."""
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in requires("foldline") or []]
    except PackageNotFoundError:  # run from its sources
        return {}
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return {
        one.name: f"pip install '{one.name}{one.specifier}'"
        for one in needed
        if _version(one.name) == "missing" or not one.specifier.contains(_version(one.name), prereleases=True)
    }


def _device() -> list[Finding]:
    try:
        import torch
    except ImportError as error:
        return [
            Finding(
                "device", f"torch cannot be loaded: {error}", "install torch anew: pip install --force-reinstall torch"
            )
        ]
    cuda = torch.version.cuda or "no CUDA in this build"
    found = [Finding("CUDA", cuda)]
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        half = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        tf32 = ", TF32" if card.major >= 8 else ""
        free = torch.cuda.mem_get_info(number)[0] / 1e9
        found.append(
            Finding(f"cuda:{number}", f"{card.name}, {card.total_memory / 1e9:.0f} GB ({free:.0f} free), {half}{tf32}")
        )
    if torch.backends.mps.is_available():
        found.append(Finding("mps", "Apple's GPU, fp32"))
    if len(found) == 1:
        hidden = Path("/proc/driver/nvidia").is_dir() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""
        mend = (
            "an NVIDIA driver is here, and torch sees no card: install the torch of its CUDA (docs/gpu.md)"
            if hidden
            else ""
        )
        found.append(Finding("GPU", "none: the CPU trains", mend))
    capable = torch.backends.cpu.get_cpu_capability()
    return [*found, Finding("CPU", f"{capable}; precision is measured before training (train.precision: auto)")]


def _processor() -> list[Finding]:
    import torch

    from foldline.core.cores import usable_cores

    cores = usable_cores()
    threads = torch.get_num_threads()
    mend = (
        f"torch computes in {threads} threads on {counted(cores, 'cores')}: set OMP_NUM_THREADS={cores}"
        if threads > cores
        else ""
    )
    return [Finding("cores", f"{cores}; torch uses {counted(threads, 'threads')}", mend)]


def _disk(root: Path) -> list[Finding]:
    found = []
    for room in ("input", "oof"):
        place = root / room if (root / room).exists() else root
        free = shutil.disk_usage(place).free / 1e9
        mend = f"free some space, or link {room}/ to another disk" if free < LEAST_DISK else ""
        if not os.access(place, os.W_OK):
            mend = f"{place} cannot be written to: check its owner and mode"
        found.append(Finding(f"disk of {room}/", f"{free:,.0f} GB free", mend))
    return found


def _memory() -> list[Finding]:
    found, path = [], Path("/proc/meminfo")
    if path.is_file():
        lines = dict(line.split(":", 1) for line in path.read_text(encoding="ascii").splitlines())
        whole, free = (int(lines[key].split()[0]) / 1e6 for key in ("MemTotal", "MemAvailable"))
        mend = "end other programs, or lower train.batch_size and data.image_size" if free < LEAST_MEMORY else ""
        found.append(Finding("memory", f"{whole:.0f} GB, {free:.0f} GB of it free", mend))
    shared = Path("/dev/shm")  # noqa: S108 - it is only measured
    if shared.is_dir():
        free = shutil.disk_usage(shared).free / 1e9
        mend = "start the container with --shm-size=2g, or set data.workers=0" if free < LEAST_SHARED else ""
        found.append(Finding("shared memory", f"{free:.1f} GB free, for processes that augment", mend))
    return found


def _kaggle() -> list[Finding]:
    """Where Kaggle's token lies, as its client looks for it; never what it is."""
    if os.environ.get("KAGGLE_API_TOKEN") or (os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY")):
        return [Finding("Kaggle token", "in the environment")]
    home = Path(os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle")
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
    for path in [folder / name for folder in (home, settings) for name in ("access_token", "kaggle.json")]:
        if path.is_file():
            mode = path.stat().st_mode & 0o777
            mend = f"others can read it: chmod 600 {path}" if mode & 0o077 and os.name == "posix" else ""
            return [Finding("Kaggle token", f"{path}, mode {mode:o}", mend)]
    return [Finding("Kaggle token", "none: needed for Kaggle alone (kaggle.com/settings, ~/.kaggle/access_token)")]


def _browser() -> list[Finding]:
    there = next((name for name in BROWSERS if shutil.which(name)), "")
    return [Finding("browser", there or "none here: copy report.html to where one is")]


def _network() -> list[Finding]:
    """Whether the sites answer; without one of them foldline works with files that are here."""
    found = []
    for what, site in (_package_index() | SITES).items():
        try:
            with socket.create_connection((site, 443), timeout=SECONDS):
                found.append(Finding(what, f"{site} can be reached"))
        except OSError as error:
            behind = (
                " (a proxy is set, which may reach it)"
                if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
                else ""
            )
            found.append(Finding(what, f"{site} cannot be reached{behind}: {error.strerror or error}"))
    return found


def _package_index() -> dict[str, str]:
    """The package index that pip uses: the one it was told, else its own default; none where there is no pip."""
    site = urlsplit(os.environ.get("PIP_INDEX_URL", "")).hostname
    with suppress(ImportError, AttributeError):
        site = site or import_module("pip._internal.models.index").PyPI.netloc
    return {"package index": site} if site else {}
