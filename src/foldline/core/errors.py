"""The one error that a person sees: what is wrong, where, and what to do next."""


class FoldlineError(Exception):
    """A problem that the user can mend.

    The command line prints it without a traceback and exits with 2; anything else that is
    raised is a bug of foldline and keeps its traceback.

    Args:
        what: what is wrong, in the user's words.
        where: the file, line, id or setting; empty when `what` says it already.
        next: the next command to type or setting to change.
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
        return "\n".join(lines)


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
