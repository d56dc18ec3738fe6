"""How long a notebook will take, and what to leave out where that is too long. Numbers in, numbers and words out."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from foldline.core.counted import counted

SETUP_SECONDS = 120.0  # until the first picture is read: wheels, imports, weights
CORES = 4  # of a Kaggle notebook, which read pictures
MARGIN = 0.03  # of the limit, that the notebook leaves: the clock of Kaggle starts earlier

# Pictures of 224 px that a ResNet-50 predicts there: float32, mixed precision. NVIDIA's measurement at batch 64 of 2021
# (github.com/NVIDIA/DeepLearningExamples, PyTorch/Classification/ConvNets/resnet50v1.5). Of the L4 none was found: at
# least as fast as a T4, which it replaced.
FASTEST = 10_000.0  # pictures a second there: of smaller networks the copying of pictures decides
RESNET50 = {"t4": (428.0, 1165.0), "l4": (428.0, 1165.0)}


@dataclass(frozen=True)
class Load:
    """A member's part of the work.

    Attributes:
        folds: their numbers.
        images_per_second: of one fold in one view.
        whole: whether it is heads on frozen features, which all see a picture at once: a fold and a view stand for all.
    """

    run: str
    folds: tuple[int, ...]
    views: tuple[str, ...]
    images_per_second: float
    whole: bool = False

    @property
    def words(self) -> str:
        """What of it sees each picture."""
        return (
            "all heads" if self.whole else f"{counted(len(self.folds), 'folds')} x {counted(len(self.views), 'views')}"
        )

    def seconds(self, rows: int) -> float:
        """Of predicting so many pictures."""
        return rows * len(self.folds) * len(self.views) / self.images_per_second


@dataclass(frozen=True)
class Plan:
    """The work of a notebook.

    Attributes:
        rows: of the hidden test set.
        loads: of the members, best first.
        decoded_per_second: pictures that all cores together read, at the size of all members.
    """

    rows: int
    loads: tuple[Load, ...]
    decoded_per_second: float

    @property
    def seconds(self) -> float:
        """From the first line to the last."""
        return SETUP_SECONDS + self.rows / self.decoded_per_second + sum(load.seconds(self.rows) for load in self.loads)

    def fits(self, limit_seconds: float) -> bool:
        """Whether the notebook ends before its own clock would cut it."""
        return self.seconds <= limit_seconds * (1 - MARGIN)

    @property
    def most_folds(self) -> int:
        """The number of folds of the member that has most."""
        return max(len(load.folds) for load in self.loads)

    def smaller(self) -> "list[tuple[str, Plan]]":
        """Each plan that leaves out one thing, and what that is: a member, a view of all, or the last fold.

        The first view stays: by it the epochs were chosen, and the notebook begins with it.
        """
        found = []
        if len(self.loads) > 1:
            for gone in self.loads:
                kept = tuple(load for load in self.loads if load is not gone)
                found.append((f"member {gone.run}", replace(self, loads=kept)))
        for view in dict.fromkeys(view for load in self.loads for view in load.views[1:]):
            kept = tuple(
                replace(load, views=(load.views[0], *(other for other in load.views[1:] if other != view)))
                for load in self.loads
            )
            found.append((f"view {view}", replace(self, loads=kept)))
        if self.most_folds > 1:
            kept = tuple(replace(load, folds=load.folds[: self.most_folds - 1]) for load in self.loads)
            found.append((f"fold {self.most_folds} of {self.most_folds}", replace(self, loads=kept)))
        return found


@dataclass(frozen=True)
class Drop:
    """Something that could be left out.

    Attributes:
        seconds: that this saves.
        costs: what it takes from the score, below 0 where that gets better; None: not known.
        plan: what is left.
    """

    what: str
    seconds: float
    costs: float | None
    plan: Plan

    @property
    def price(self) -> tuple[bool, float]:
        """By which the cheapest comes first: score lost a minute saved; what nobody knows comes last."""
        return (self.costs is None, (self.costs or 0.0) / max(self.seconds / 60, 1e-9))


Costs = Callable[[Plan, Plan], float | None]


def in_hours(seconds: float) -> str:
    """A duration as people say it.

    >>> in_hours(7800), in_hours(32400), in_hours(95), in_hours(20)
    ('2 h 10 min', '9 h', '2 min', '20 s')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min".removesuffix(" 0 min") if hours else f"{minutes} min"


def drops(plan: Plan, costs: Costs) -> list[Drop]:
    """What could be left out, the cheapest first.

    Args:
        costs: (before, after) what the second plan's score is worse by.
    """
    found = [
        Drop(what, plan.seconds - smaller.seconds, costs(plan, smaller), smaller) for what, smaller in plan.smaller()
    ]
    return sorted(found, key=lambda drop: drop.price)


def fitting(plan: Plan, limit_seconds: float, costs: Costs) -> list[Drop]:
    """What to leave out, one after the other, until the rest fits; it may not even then."""
    chosen: list[Drop] = []
    while plan.seconds > limit_seconds and (possible := drops(plan, costs)):
        chosen.append(possible[0])
        plan = possible[0].plan
    return chosen


def speed_there(images_per_second: float, resnet50_here: float, gpu: str, *, mixed: bool) -> float:
    """Pictures a second on Kaggle's GPU: as many times those of here as a ResNet-50 takes there. An estimate.

    Args:
        gpu: an entry of RESNET50.
        mixed: whether the member computes in half precision there and not here.
    """
    return min(images_per_second * RESNET50[gpu][int(mixed)] / resnet50_here, FASTEST)
