"""The one error that a person sees: what is wrong, where, and what to do next."""

import errno
import os

from foldline.core.typed import as_typed


class FoldlineError(Exception):
    """A problem that the user can mend.

    The command line prints it without a traceback and exits with 2; anything else that is
    raised is a bug of foldline and keeps its traceback.

    Args:
        what: what is wrong, in the user's words.
        where: the file, line, id or setting; empty when `what` says it already.
        next: the next command to type or setting to change; make's commands are said as they can be typed here.
    """

    def __init__(self, what: str, *, where: str = "", next: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.next = next

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.next:
            lines.append(f"  next:  {self.next}")
        return as_typed("\n".join(lines))


_AGAIN = "then the same command goes on"
_REFUSALS = {
    errno.ENOSPC: f"free some space, {_AGAIN}",
    errno.EDQUOT: f"free some of your quota, {_AGAIN}",
    errno.EFBIG: f"this file system or `ulimit -f` allows no file of this size: change that, {_AGAIN}",
    errno.EROFS: "nothing can be written here: use a folder on another disk, or link this one there",
    errno.EACCES: f"check who owns this file or folder, and its mode, {_AGAIN}",
    errno.EPERM: f"check who owns this file or folder, and its mode, {_AGAIN}",
    errno.EMFILE: f"allow more open files (`ulimit -n 1024`), {_AGAIN}",
    errno.ENFILE: f"this machine has too many open files: end other programs, {_AGAIN}",
    errno.ENOMEM: f"end other programs, or lower train.batch_size, data.image_size or data.workers, {_AGAIN}",
    errno.EIO: "the disk, or the network that leads to it, fails: copy what you need, and use another one",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "a folder lies where a file should be: move it away",
    errno.ENOTDIR: "a file lies where a folder should be: move it away",
}


def of_the_machine(error: OSError | MemoryError) -> FoldlineError:
    """What the operating system refused: its reason, the path, and what to do."""
    if isinstance(error, MemoryError):
        return FoldlineError("not enough memory", where=str(error), next=_REFUSALS[errno.ENOMEM])
    reason = os.strerror(error.errno) if error.errno is not None else f"{type(error).__name__}: {error}"
    next = _REFUSALS.get(error.errno or 0, f"mend that, {_AGAIN}; --debug shows the traceback")
    return FoldlineError(reason[:1].lower() + reason[1:], where=str(error.filename or ""), next=next)


def first_few(items: "list[str]", shown: int = 5) -> str:
    """The first items, comma separated, and how many more there are.

    >>> first_few(["a", "b", "c"], shown=2)
    'a, b and 1 more'
    """
    head = ", ".join(items[:shown])
    return head if len(items) <= shown else f"{head} and {len(items) - shown} more"


def unknown(kind: str, name: str, known: "list[str]", *, where: str = "") -> FoldlineError:
    """The error for a name that no dictionary holds; lists the known names; of more than 200 the ten nearest.

    >>> print(unknown("metric", "acuracy", ["auc", "accuracy"]))
    unknown metric 'acuracy'
      next:  did you mean 'accuracy'? known: accuracy, auc
    """
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    names = ", ".join(sorted(known))
    if len(known) > 200:
        names = f"{len(known)}, among them {', '.join(difflib.get_close_matches(name, known, n=10, cutoff=0))}"
    return FoldlineError(f"unknown {kind} '{name}'", where=where, next=f"{hint}known: {names}")


def device_is_full(error: RuntimeError) -> FoldlineError:
    """A GPU's memory is full where nothing could be done in smaller parts."""
    return FoldlineError(
        f"not enough memory on the device: {str(error).splitlines()[0]}",
        where="train.batch_size, predict.batch_size, data.image_size",
        next="lower one of them, end other programs there, or take a smaller backbone, then the same command goes on",
    )
