"""Whether a fold or a run was made of what is there now."""

from collections.abc import Mapping

from foldline.core.errors import FoldlineError
from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta

ANEW = "train it anew with NAME=<new name>, or delete its folder and train it again"


def differences(
    record: FoldMeta | Cv, *, folds: str = "", run: str = "", inputs: Mapping[str, str] | None = None
) -> list[str]:
    """What differs between a record and these sha256, in words; empty where nothing does.

    Args:
        folds: of `folds/<comp>.csv`; empty: whatever they are.
        run: of the training choices; empty: whatever they are.
        inputs: what else a fold was trained with, by setting; what is gone by now is no difference.
    """
    made = record.sha256
    words = []
    if folds and made.folds != folds:
        words.append(f"{record.title} was made on other folds: {made.folds[:12]}, and now they are {folds[:12]}")
    if run and made.run != run:
        words.append(f"{record.title} was made with other choices than those of now")
    if inputs and isinstance(record, FoldMeta):
        before = record.sha256.inputs
        changed = sorted(name for name in before.keys() & inputs.keys() if before[name] != inputs[name])
        words += [f"{name} is not what this fold was trained with: it has changed since then" for name in changed]
    return words


def require_same(
    record: FoldMeta | Cv,
    *,
    where: str,
    folds: str = "",
    run: str = "",
    inputs: Mapping[str, str] | None = None,
    next: str = ANEW,
) -> None:
    """Raises FoldlineError that names what differs, as `differences` does.

    A fold on other folds may have seen rows that are validation rows now: that is a leak.
    """
    words = differences(record, folds=folds, run=run, inputs=inputs)
    if words:
        leak = isinstance(record, FoldMeta) and record.sha256.folds != (folds or record.sha256.folds)
        note = " (a leak: its network may have seen rows that are validated on now)" if leak else ""
        raise FoldlineError(f"{'; '.join(words)}{note}", where=where, next=next)
