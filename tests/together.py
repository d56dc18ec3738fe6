"""Ranks of one training, as torchrun would start them, from a process that has imported everything already."""

import os
import socket
import sys
from collections.abc import Sequence
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from foldline.cli import main
from tiny import TinyProject

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as a rank sets it before it imports torch
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["tiny", "foldline.stages.train", "foldline.engine.train_run"])


class Ranks:
    """Processes that run one command together.

    Args:
        slurm: it is srun that has started them.
        full: the memory of rank 1 is too small for its third batch, unless that goes through the network in parts.
    """

    def __init__(
        self, project: TinyProject, *words: str, ranks: int = 2, slurm: bool = False, full: bool = False
    ) -> None:
        self.folder = project.root / "said"
        self.folder.mkdir(exist_ok=True)
        given = ["train", "--root", str(project.root), "--comp", "tiny", "--device", "cpu", *words]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.processes: list[Any] = []
        for number in range(ranks):
            environ = {
                "RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks,
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
            }  # fmt: skip
            if slurm:
                environ = {
                    "SLURM_STEP_ID": 0, "SLURM_PROCID": number, "SLURM_LOCALID": number, "SLURM_NTASKS": ranks,
                    "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NODELIST": "none[1-2]", "MASTER_PORT": port,
                }  # fmt: skip
            process = CONTEXT.Process(target=_rank, args=(given, environ, self.folder / str(number), full and number))
            process.start()
            self.processes.append(process)

    def ended(self, seconds: float = 120) -> list[int]:
        """Their exit codes, once all have ended."""
        for process in self.processes:
            process.join(seconds)
        alive = [process for process in self.processes if process.is_alive()]
        for process in alive:
            process.kill()
        assert not alive, self.said()
        return [process.exitcode for process in self.processes]

    def said(self) -> list[str]:
        """What each wrote on standard output and on standard error."""
        return [(self.folder / str(number)).read_text() for number in range(len(self.processes))]


def _rank(words: Sequence[str], environ: dict[str, Any], output: Path, full: bool) -> None:
    os.environ.update({name: str(value) for name, value in environ.items()})
    with output.open("w") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
    if full:
        _fill_memory()
    sys.exit(main(list(words)))


def _fill_memory() -> None:
    import torch

    from foldline.engine.loop.step import Learner

    forward, calls = Learner._forward, count()

    def forward_or_full(learner: Learner, *given: Any) -> Any:
        if learner.parts == 1 and next(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(learner, *given)

    Learner._forward = forward_or_full  # type: ignore[method-assign,assignment]
