"""The tasks that tests go over one by one: all but several targets, whose outputs must be known first."""

from collections.abc import Iterable

from foldline.core.task import SEVERAL, TASKS, Task


def plain(names: Iterable[str] = tuple(TASKS)) -> list[Task]:
    """The tasks of these names."""
    return [TASKS[name] for name in names if name != SEVERAL.name]


PLAIN = plain()


def fitting(kinds: Iterable[str]) -> list[Task]:
    """The tasks of one of these kinds."""
    return [task for task in PLAIN if task.fits(tuple(kinds))]
