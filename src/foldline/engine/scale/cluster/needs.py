"""What a task takes of a machine: stated here, and nowhere else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from foldline.core.errors import FoldlineError

GB = 10**9


@dataclass(frozen=True)
class Needs:
    """What one task takes, of the machine that it runs on.

    Attributes:
        cpus: cores; torch uses as many threads.
        gpus: GPUs; a share such as 0.5 puts two tasks on one.
        memory_gb: main memory, which Ray keeps the books of; None: nobody counts it.
    """

    cpus: float = 1
    gpus: float = 0
    memory_gb: float | None = None

    def as_options(self) -> dict[str, Any]:
        """The same for `ray.remote`."""
        memory = {} if self.memory_gb is None else {"memory": int(self.memory_gb * GB)}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, **memory}

    def room(self, machine: Mapping[str, float]) -> int:
        """How many such tasks a machine with these resources, as Ray names them, can do at once.

        >>> Needs(4, 1).room({"CPU": 16.0, "GPU": 2.0}), Needs(4, 1).room({"CPU": 64.0})
        (2, 0)
        """
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": (self.memory_gb or 0) * GB}
        return min(int(machine.get(name, 0.0) / amount + 1e-9) for name, amount in wanted.items() if amount)

    def in_words(self) -> str:
        """Such as `1 GPU and 4 CPUs`.

        >>> Needs(4, 1, 30).in_words(), Needs().in_words()
        ('1 GPU, 4 CPUs and 30 GB', '1 CPU')
        """
        memory = [] if self.memory_gb is None else [f"{self.memory_gb:g} GB"]
        gpus = [f"{self.gpus:g} GPU{'' if self.gpus <= 1 else 's'}"] if self.gpus else []
        words = [*gpus, f"{self.cpus:g} CPU{'' if self.cpus == 1 else 's'}", *memory]
        return " and ".join([part for part in (", ".join(words[:-1]), words[-1]) if part])


def usual_needs(
    machines: Iterable[Mapping[str, float]], cpus: float | None, gpus: float | None, memory_gb: float | None,
    ranks: int = 1,
) -> Needs:  # fmt: skip
    """What a fold takes where nobody says otherwise: one GPU and its share of the cores of the smallest machine with
    GPUs; on a cluster without GPUs one machine, since two folds on one slow each other.

    Args:
        machines: the resources of each, as Ray names them.
        cpus, gpus, memory_gb: as somebody says them; None: as usual.
        ranks: how many processes train a fold together, a GPU each.

    Raises:
        FoldlineError: less than nothing, or neither a core nor a GPU.
    """
    machines = [machine for machine in machines if machine.get("CPU") or machine.get("GPU")]
    with_gpus = [machine for machine in machines if machine.get("GPU")]
    gpus = (float(ranks) if with_gpus else 0.0) if gpus is None else gpus
    if cpus is None:
        fitting = [one for one in (with_gpus if gpus else machines) if one.get("GPU", 0.0) >= gpus]
        shares = [one.get("CPU", 1.0) * (gpus / one["GPU"] if gpus else 1.0) for one in fitting]
        cpus = max(1.0, float(int(min(shares, default=1.0))))
    if min(cpus, gpus) < 0 or cpus + gpus == 0 or (memory_gb or 1) <= 0:
        raise FoldlineError(
            f"a task cannot take {gpus:g} GPUs and {cpus:g} CPUs",
            where="--gpus, --cpus, --memory",
            next="give numbers above 0; --gpus 0 for a cluster without GPUs",
        )
    return Needs(cpus, gpus, memory_gb)
