"""How much is predicted of each row, and what is left out first where the time does not reach. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from foldline.core.records.bundle import BundleMember

MARGIN = 1.1  # a forecast is trusted with so much more


@dataclass(frozen=True)
class Share:
    """A member's part in a row: its first `folds` folds, each in its first `views` views."""

    run: str
    folds: int
    views: int

    @property
    def passes(self) -> int:
        """How often a picture goes through a network."""
        return self.folds * self.views


Level = tuple[Share, ...]  # the best member first


def levels_of(members: Sequence[BundleMember]) -> list[Level]:
    """From everything down to one fold of the best member in one view.

    First views go, the last of the member that has most (of equal ones the last member's); then members, the last
    first; then folds.

    >>> members = [BundleMember(run=run, folds=[0, 1], views=["identity", "hflip"]) for run in "ab"]
    >>> for level in levels_of(members):
    ...     print(", ".join(f"{share.run} {share.folds} x {share.views}" for share in level))
    a 2 x 2, b 2 x 2
    a 2 x 2, b 2 x 1
    a 2 x 1, b 2 x 1
    a 2 x 1
    a 1 x 1
    """
    level = [Share(member.run, *member.steps) for member in members]
    found = [tuple(level)]
    while sum(share.passes for share in level) > 1:
        most = max(range(len(level)), key=lambda i: (level[i].views, i))
        if level[most].views > 1:
            level[most] = replace(level[most], views=level[most].views - 1)
        elif len(level) > 1:
            level.pop()
        else:
            level[0] = replace(level[0], folds=level[0].folds - 1)
        found.append(tuple(level))
    return found


def fullest(levels: Sequence[Level], seconds_each: Callable[[Level], float], *, rows: int, left: float) -> Level:
    """The first level in which so many rows are done in time; the last one where none is.

    Args:
        seconds_each: what a row takes in a level, by forecast.
        left: seconds.
    """
    return next((level for level in levels if MARGIN * rows * seconds_each(level) <= left), levels[-1])
