"""Before the parts: the generated project, and what machine this is."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch

from foldline.engine.machine.device import describe, pick_device
from gpu import project


def main(arguments: Sequence[str]) -> None:
    """Writes `facts.json` and the project, downloaded and split, into a folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    device = given.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device += ":0" if device == "cuda" else ""  # some of torch's functions want a number
    found = facts(device, small=given.small or device == "cpu")
    project.write(given.folder, small=found["small"], on_gpu=device != "cpu")
    for stage in ("download", "folds"):
        project.run_here([stage, "--root", str(given.folder), "--comp", project.COMP])
    (given.folder / "facts.json").write_text(json.dumps(found), encoding="utf-8")


def facts(name: str, *, small: bool) -> dict[str, Any]:
    """What is measured on."""
    device = pick_device(name)
    on_gpu = device.type == "cuda"
    properties = torch.cuda.get_device_properties(device) if on_gpu else None
    return {
        "device": name,
        "small": small,
        "card": describe(device),
        "memory_gib": round(properties.total_memory / 2**30, 1) if properties else None,
        "capability": f"{properties.major}.{properties.minor}" if properties else None,
        "driver": driver() if on_gpu else "",
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,  # type: ignore[no-untyped-call]
        "timm": timm.__version__,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
    }


def driver() -> str:
    """The driver's version by nvidia-smi; empty where that is not there."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    asked = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30).stdout.split()
    return found[0] if found else ""


if __name__ == "__main__":
    main(sys.argv[1:])
