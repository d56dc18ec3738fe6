"""How many cores this process may use."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/cpu.max")
SHARE = "FOLDLINE_CORES"  # in the environment of a process that is one of several: its part


def usable_cores() -> int:
    """The cores that this process may use: by its affinity, by the quota of its container, and by its part of them
    where it is one of several (`SHARE`)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if CGROUP.is_file():
        quota, period = CGROUP.read_text().split()[:2]
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    own = os.environ.get(SHARE, "")
    return max(min(cores, int(own)) if own.isdecimal() else cores, 1)
