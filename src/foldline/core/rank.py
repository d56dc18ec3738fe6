"""Which of the processes that train one fold together this one is, by what torchrun or Slurm's srun has set.

A rank is such a process; they are counted from 0. Rank 0 alone speaks and writes; the errors of the others name them.
"""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from foldline.core.errors import FoldlineError, of_the_machine
from foldline.core.printer import printer

TORCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
REPORT = "TORCHELASTIC_ERROR_FILE"  # where torchrun looks for what ended a rank
OURS = "FOLDLINE_RANKS"  # set where foldline itself started torchrun, and says what ended a rank
_LAST_STEP = 4_294_967_000  # numbers from here on are Slurm's own: the batch script, an interactive shell


@dataclass(frozen=True)
class Rank:
    """One of `count` processes.

    Attributes:
        number: from 0.
        local: its number among the `beside` that are on its machine, from 0.
    """

    number: int = 0
    count: int = 1
    local: int = 0
    beside: int = 1

    def __str__(self) -> str:
        return f"rank {self.number} of {self.count}"


ONE = Rank()


class LostRankError(FoldlineError):
    """Another rank has ended, whose own error tells why."""


def rank_here(environ: Mapping[str, str] | None = None) -> Rank:
    """This process; the only one where nothing else is set."""
    known = os.environ if environ is None else environ
    set_by_torch = {name: known[name] for name in (*TORCH, "LOCAL_WORLD_SIZE") if name in known}
    found = set_by_torch if set(TORCH) <= set_by_torch.keys() else by_slurm(known)
    if not found:
        return ONE
    count = int(found["WORLD_SIZE"])
    return Rank(int(found["RANK"]), count, int(found["LOCAL_RANK"]), int(found.get("LOCAL_WORLD_SIZE", count)))


def is_launched() -> bool:
    """Whether foldline itself started this rank, and says what concerns all of them."""
    return OURS in os.environ


def by_slurm(known: Mapping[str, str]) -> dict[str, str]:
    """torch's variables for a task that `srun` started; nothing elsewhere, nor in the batch script itself.

    >>> by_slurm({"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1",
    ...     "SLURM_NODEID": "1", "SLURM_TASKS_PER_NODE": "4(x2)", "SLURM_NODELIST": "gpu[07-08]", "SLURM_JOB_ID": "123"})
    {'RANK': '5', 'WORLD_SIZE': '8', 'LOCAL_RANK': '1', 'LOCAL_WORLD_SIZE': '4', 'MASTER_ADDR': 'gpu07', 'MASTER_PORT': '20123'}
    """  # noqa: E501
    step = known.get("SLURM_STEP_ID", "")
    if not step.isdecimal() or int(step) >= _LAST_STEP or "SLURM_PROCID" not in known:
        return {}

    def of_step(name: str) -> str:
        return known.get(f"SLURM_STEP_{name}") or known.get(f"SLURM_{name}", "")

    count = known.get("SLURM_STEP_NUM_TASKS") or known.get("SLURM_NTASKS", "1")
    beside = [
        tasks
        for tasks, _, times in re.findall(r"(\d+)(\(x(\d+)\))?", of_step("TASKS_PER_NODE"))
        for _ in range(int(times or 1))
    ]
    node = int(known.get("SLURM_NODEID", "0"))
    port = 20_000 + (int(known.get("SLURM_JOB_ID", "0")) + int(step)) % 20_000
    return {
        "RANK": known["SLURM_PROCID"], "WORLD_SIZE": count, "LOCAL_RANK": known.get("SLURM_LOCALID", "0"),
        "LOCAL_WORLD_SIZE": beside[node] if node < len(beside) else count,
        "MASTER_ADDR": known.get("MASTER_ADDR") or first_host(of_step("NODELIST")),
        "MASTER_PORT": known.get("MASTER_PORT") or str(port),
    }  # fmt: skip


def first_host(hosts: str) -> str:
    """The first of Slurm's list of hosts.

    >>> first_host("gpu[07-08,11]"), first_host("a1,b2"), first_host("r[1-2]c[03,05]-ib"), first_host("")
    ('gpu07', 'a1', 'r1c03-ib', '127.0.0.1')
    """
    first = re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", hosts)
    return first.split(",")[0] or "127.0.0.1"


@contextmanager
def speaking_as(rank: Rank) -> Iterator[None]:
    """While the block runs, and when it fails: rank 0 alone speaks, and another one's error says whose it is.

    What foldline's own launcher started tells it what went wrong, which it says once.
    """
    if rank.count == 1:
        yield
        return
    used = printer()
    used.silent = rank.number > 0
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read by torch's import: its advice on DDP is said by no one
    try:
        yield
    except KeyboardInterrupt:
        used.reported = is_launched()
        raise
    except FoldlineError as error:
        if rank.number:
            error.what = f"{rank}: {error.what}"
        _report(error)
        raise
    except (OSError, MemoryError) as error:
        _report(of_the_machine(error))
        raise
    except Exception as error:
        _report(FoldlineError(f"{rank}: {type(error).__name__}: {' '.join(str(error).split())}"))
        raise


def _report(error: FoldlineError) -> None:
    """Writes what ended a rank as torchrun expects it, and stays silent where our launcher will say it."""
    if not os.environ.get(REPORT):
        return
    told = {"what": error.what, "where": error.where, "next": error.next, "kind": type(error).__name__}
    message = {"message": str(error), "extraInfo": {"timestamp": str(int(time.time())), "py_callstack": ""}}
    with suppress(OSError):
        Path(os.environ[REPORT]).write_text(json.dumps({"message": message, "foldline": told}), encoding="utf-8")
        printer().reported = is_launched()
