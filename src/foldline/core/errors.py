"""The one error that a person sees: what is wrong, where, and what to do next."""

import errno
import os
import re
from collections.abc import Iterable, Mapping

from foldline.core.typed import as_typed, place_as_typed


class FoldlineError(Exception):
    """A problem that the user can mend.

    The command line prints it without a traceback and exits with 2; anything else that is
    raised is a bug of foldline and keeps its traceback.

    Args:
        what: what is wrong, in the user's words.
        where: the file, line, id or setting; empty when `what` says it already.
        next: the next command to type or setting to change; make's commands are said as they can be typed here.

    Attributes:
        exit_code: of the command that it ends.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", next: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.next = next

    def __str__(self) -> str:
        what, where, next = self.typed()
        return "\n".join([what, *([f"  where: {where}"] if where else []), *([f"  next:  {next}"] if next else [])])

    def typed(self) -> tuple[str, str, str]:
        """(what, where, next) as the person types; what the command line says of its own words stays as it is."""
        if self.where.startswith("foldline "):
            return self.what, self.where, self.next
        return as_typed(self.what), place_as_typed(self.where), as_typed(self.next)


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
    return head if len(items) <= shown else f"{head} and {len(items) - shown:,} more"


FEW = 12  # so many known names are listed; of more only the nearest


def unknown(kind: str, name: str, known: Iterable[str], *, where: str = "", more: str = "") -> FoldlineError:
    """The error for a name that nobody knows; names the nearest ones, and all where they are few.

    Args:
        more: what else to do.

    >>> print(unknown("metric", "acuracy", ["auc", "accuracy"]))
    unknown metric 'acuracy'
      next:  did you mean 'accuracy'? known: accuracy, auc
    >>> print(unknown("class", "c-7", [f"c_{i}" for i in range(100)]))
    unknown class 'c-7'
      next:  did you mean 'c_7'? (100 are known)
    """
    names = sorted(set(known))
    near = nearest(name, names, 1 if len(names) <= FEW else 3)
    words = [f"did you mean {_or([repr(one) for one in near])}?"] if near else []
    if len(names) <= FEW:
        words.append(f"known: {', '.join(names) or 'none'}")
    else:
        words.append(f"({len(names)} are known)" if near else f"known: {first_few(names, FEW)}")
    what = f"unknown {kind} '{name[:100]}'"
    return FoldlineError(what, where=where, next=" ".join(words) + (f"; {more}" if more else ""))


def nearest(name: str, known: Iterable[str], shown: int = 3) -> list[str]:
    """The known names most like one that was typed, the likeliest first; none where nothing is like it.

    >>> nearest("kappa", ["auc", "quadratic_weighted_kappa"]), nearest("qwk", ["auc", "quadratic_weighted_kappa"])
    (['quadratic_weighted_kappa'], ['quadratic_weighted_kappa'])
    """
    from difflib import SequenceMatcher

    typed, found = _letters(name), []
    matcher = SequenceMatcher(b=typed, autojunk=False)
    for one in known:
        letters = _letters(one)
        if letters == typed:
            return [one]
        matcher.set_seq1(letters)
        likeness = max(matcher.ratio(), 0.8 if sorted(letters) == sorted(typed) else 0.0)  # letters swapped
        if len(typed) > 2 and letters.startswith(typed):
            likeness += 1.0
        elif len(typed) > 2 and (typed in letters or typed == "".join(re.findall(r"(?:^|[_\W])(\w)", one.lower()))):
            likeness += 0.5
        if likeness >= ALIKE:
            found.append((-likeness, one))
    best = min(found)[0] if found else 0.0
    return [one for likeness, one in sorted(found)[:shown] if likeness <= 0.85 * best]


ALIKE = 0.6  # from here on two names are alike: the share of their letters that match


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower()) or name


def _or(words: list[str]) -> str:
    """The words with commas, `or` before the last.

    >>> _or(["a", "b", "c"])
    'a, b or c'
    """
    return " or ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])


def device_is_full(error: RuntimeError) -> FoldlineError:
    """A GPU's memory is full where nothing could be done in smaller parts."""
    return FoldlineError(
        f"not enough memory on the device: {str(error).splitlines()[0]}",
        where="train.batch_size, predict.batch_size, data.image_size",
        next="lower one of them, end other programs there, or take a smaller backbone, then the same command goes on",
    )


def refuse_together(where: str, refused: Mapping[str, tuple[bool, str]]) -> None:
    """Raises FoldlineError for the first other setting that is given.

    Args:
        where: the setting that it does not go together with.
        refused: setting: whether it is given, and why that cannot be.
    """
    for setting, (given, why) in refused.items():
        if given:
            raise FoldlineError(
                f"{where} and {setting} do not go together: {why}", where=f"{where}, {setting}", next="leave one out"
            )
