"""Labels that stand in paths: class folders, below train and test or not, nested or not; or file names. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from foldline.core.cells import tidy
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.readers.folders import TEST_WORDS
from foldline.readers.start.name_groups import name_groups
from foldline.readers.start.understood import Understood, listed
from foldline.readers.templates import Pattern, split_suffix

TRAIN, VALID = {"train", "training"}, {"val", "valid", "validation", "dev", "holdout"}
UNLABELLED = {"unlabeled", "unlabelled", "new", "unknown"}
FIRST, LAST = "first-folder", "last-folder"
PATTERNS = {FIRST: "{label}/**/*", LAST: "**/{label}/*"}
# The name of a file holds its class: before a number, or behind one.
FILE_NAMES = (
    "{label:[^/]*?[^/0-9_. ()-]}{n:[-_. (]*[0-9]+[-_0-9)]*}.{ext:[^./]+}",
    "{n:[0-9]+[-_. ]+}{label:[^/0-9.]+}.{ext:[^./]+}",
)


def from_paths(pictures: Sequence[str], label: str) -> Understood:
    """What folders and names say of the pictures.

    Args:
        pictures: paths below the folder, with `/`.
        label: "": look; first-folder, last-folder, file-name; or a pattern such as `{label}_*.png`.

    Raises:
        FoldlineError: several folders could be the class, or nothing tells one; says how to choose.
    """
    found = Understood()
    base = _shared([path.split("/")[:-1] for path in pictures])
    below = {path: path[len(base) :] for path in pictures}
    parts = _parts(list(below.values()))
    train = [path for path in pictures if _first(below[path]) in parts["train"]]
    learn, folders = (train, parts["train"]) if train else (list(pictures), [""])
    apart = parts["test"] or parts["valid"]
    if train and parts["test"] and parts["valid"]:
        folders = [*folders, *parts["valid"]]
        learn = [path for path in pictures if _first(below[path]) in folders]
        found.why["train"] = f"{listed(parts['valid'])} joins the training pictures: foldline draws its own folds"
        found.said.append(
            f"the folder {listed(parts['valid'])} joins the training pictures, since folds are drawn anew"
        )
    bases = [f"{base}{folder}".rstrip("/") for folder in folders]
    rest = {path: _without(path, bases) for path in learn}
    pattern, labels = _labels(rest, label)
    kept = [path for path in learn if labels[path] is not None]
    found.files, found.labels = kept, [tidy(str(labels[path])) for path in kept]  # as the reader takes them
    _say_doubtful(found)
    left = [path for path in learn if labels[path] is None]
    if left:
        found.said.append(
            f"warning: {counted(len(left), 'pictures')} in no class folder, left out: {first_few(left, 3)}"
        )
    found.facts["train"] = _reader([folder for folder in bases if folder], pattern)
    if label:
        found.why["train"] = f"the label is {label}, as was said"
    if train and apart:
        _set_test(found, [f"{base}{folder}" for folder in apart], pattern, pictures)
    _say_others(found, pictures, [*folders, *apart] if train else [], below)
    if not _set_folder_groups(found, [rest[path] for path in kept], label):
        _set_groups(found)
    return found


def _say_doubtful(found: Understood) -> None:
    """Classes that are called as parts of a data set are."""
    doubtful = sorted(name for name in set(found.labels) if name.lower() in TRAIN | VALID | TEST_WORDS | UNLABELLED)
    if doubtful:
        found.said.append(
            f"warning: {listed(doubtful)} {'is a class' if len(doubtful) == 1 else 'are classes'} here; where these "
            "pictures are of all classes, move them to another place"
        )
        found.guesses["train"] = f"{listed(doubtful)} among the classes"


def _reader(folders: list[str], pattern: str) -> dict[str, Any]:
    where = {"file": folders if len(folders) > 1 else folders[0]} if folders else {}
    return {"reader": "folders", **where, "pattern": pattern, "target": "label"}


def _first(path: str) -> str:
    return path.partition("/")[0] if "/" in path else ""


def _shared(folders: Sequence[Sequence[str]]) -> str:
    """The folders that all pictures lie below, with a slash at the end; a lone folder above classes says nothing."""
    base = ""
    for names in zip(*folders, strict=False):
        if len(set(names)) > 1:
            break
        base += f"{names[0]}/"
    return base


def _parts(paths: Sequence[str]) -> dict[str, list[str]]:
    """The folders on top that are parts of the data rather than classes: train, valid, test and unlabelled ones."""
    words = {"train": TRAIN, "valid": VALID, "test": TEST_WORDS, "new": UNLABELLED}
    tops = sorted({_first(path) for path in paths} - {""})
    parts = {
        kind: [top for top in tops if known & set(re.split("[^a-z]+", top.lower()))] for kind, known in words.items()
    }
    return parts if parts["train"] and not _are_classes(paths, tops, parts) else {kind: [] for kind in words}


def _are_classes(paths: Sequence[str], tops: Sequence[str], parts: dict[str, list[str]]) -> bool:
    """Whether `train` is a class beside plane and car: it holds no folders, and others are no parts of a data set."""
    nested = {_first(path) for path in paths if path.count("/") > 1}
    beside = set(tops) - {top for names in parts.values() for top in names}
    return bool(beside) and not (nested & set(parts["train"])) and not (parts["test"] or parts["valid"])


def _without(path: str, bases: Sequence[str]) -> str:
    base = next((base for base in bases if base and path.startswith(f"{base}/")), "")
    return path[len(base) + 1 :] if base else path


def _labels(rest: dict[str, str], label: str) -> tuple[str, dict[str, str | None]]:
    """(the pattern, the label of each picture; None where it has none) by what was asked for, else by looking.

    Args:
        rest: picture -> its path below the folder of its part.
    """
    if label in PATTERNS:
        return PATTERNS[label], _by(PATTERNS[label], rest)
    if "{label" in label:
        return label, _by(label, rest)
    if label not in ("", "file-name"):
        raise FoldlineError(
            f"there is no label '{label}' in folders of pictures",
            where="--label",
            next="first-folder, last-folder, file-name, or a pattern of the paths such as '{label}/*/*.png'",
        )
    depths = {path.count("/") for path in rest.values()}
    if depths == {0} or label == "file-name":
        return _by_name(rest)
    if (pattern := _by_level(rest, depths - {0})) or (pattern := _by_first(rest)):
        return pattern, _by(pattern, rest)
    raise _unclear(rest)


def _by(pattern: str, rest: dict[str, str]) -> dict[str, str | None]:
    hits = Pattern(pattern, where="--label").matches(list(rest.values()))
    return {path: None if hit is None else hit["label"] for path, hit in zip(rest, hits, strict=True)}


def _by_level(rest: dict[str, str], depths: set[int]) -> str:
    """The pattern where only the folders of one level differ; empty where several do, or depths differ."""
    if len(depths) != 1:
        return ""
    (depth,) = depths
    rows = [path.split("/")[:-1] for path in rest.values() if "/" in path]
    varied = [level for level in range(depth) if len({row[level] for row in rows}) > 1]
    level = varied[0] if varied else 0
    return "*/" * level + "{label}/" + "*/" * (depth - 1 - level) + "*" if len(varied) <= 1 else ""


def _by_first(rest: dict[str, str]) -> str:
    """The first folder where each of them holds pictures itself, and some hold further folders; else empty."""
    direct = {_first(path) for path in rest.values() if path.count("/") == 1}
    return PATTERNS[FIRST] if direct == {_first(path) for path in rest.values() if "/" in path} else ""


class UnclearLabelError(FoldlineError):
    """Several things could be the class.

    Attributes:
        choices: what `--label` can be -> what the classes would be then.
    """

    def __init__(self, what: str, choices: dict[str, str], *, where: str) -> None:
        ways = "; ".join(f"--label {choice}: {words}" for choice, words in choices.items())
        super().__init__(what, where=where, next=ways)
        self.choices = choices


def _unclear(rest: dict[str, str]) -> UnclearLabelError:
    choices = {}
    for choice, pattern in PATTERNS.items():
        counts = Counter(label for label in _by(pattern, rest).values() if label is not None)
        words = [f"{name} ({count})" for name, count in counts.most_common()]
        choices[choice] = f"{counted(len(counts), 'classes')}: {first_few(words)}"
    example = next(path for path in rest.values() if path.count("/") > 1)
    return UnclearLabelError("the folders are nested, and either could be the class", choices, where=example)


def _by_name(rest: dict[str, str]) -> tuple[str, dict[str, str | None]]:
    """The class in the names of files, as `cat_001.jpg` or `001-cat.jpg`."""
    names = {path: PurePosixPath(inside).name for path, inside in rest.items()}
    for pattern in FILE_NAMES:
        labels = _by(pattern, names)
        counts = Counter(label for label in labels.values() if label is not None)
        told = sum(counts.values())
        if len(counts) > 1 and told >= 0.9 * len(names) and told >= 3 * len(counts):
            return f"**/{pattern}", labels
    raise FoldlineError(
        "nothing tells the classes: all pictures lie in one folder, and their names hold none",
        where=first_few(list(names.values()), 3),
        next="put each class into a folder of its own; or give a table with a column of file names and one of labels; "
        "or say how names hold it: --label '{label}_*'",
    )


def _set_test(found: Understood, folders: list[str], pattern: str, pictures: Sequence[str]) -> None:
    """The test folder: graded on where it holds the same classes, else pictures to predict later."""
    files = [path for path in pictures if any(path.startswith(f"{folder}/") for folder in folders)]
    labels = _by(pattern, {path: _without(path, folders) for path in files})
    known = {tidy(str(label)) for label in labels.values() if label is not None}
    strange, bare = sorted(known - set(found.labels)), sum(label is None for label in labels.values())
    if known and not strange and not bare:
        found.facts["test"] = _reader(folders, pattern)
        found.test = files
        found.why["test"] = "its labels are read by `score` alone"
        found.said.append(
            f"{counted(len(files), 'test pictures')} in {listed(folders)}: `score` grades on them, nothing else "
            "sees them"
        )
    else:
        found.new = files
        why = "without class folders"
        if known:
            lacking = [f"has classes that no training picture has: {listed(strange)}"] if strange else []
            lacking += [f"holds {counted(bare, 'pictures')} in no class folder"] if bare else []
            why = f"are no test set, since it {' and '.join(lacking)}"
        found.said.append(
            f"{'warning: ' if known else ''}{counted(len(files), 'pictures')} in {listed(folders)} {why}: they can be "
            "predicted later"
        )


def _say_others(found: Understood, pictures: Sequence[str], used: list[str], below: dict[str, str]) -> None:
    others = [path for path in pictures if used and _first(below[path]) not in used]
    if others:
        tops = sorted({_first(below[path]) or "(the top)" for path in others})
        found.said.append(f"warning: {counted(len(others), 'pictures')} beside train and test left out: {listed(tops)}")
        found.new += [path for path in others if set(re.split("[^a-z]+", _first(below[path]).lower())) & UNLABELLED]


def _set_folder_groups(found: Understood, rest: Sequence[str], label: str) -> bool:
    """Where the label is one of two folders, the other one may say what belongs together: a patient, a place, a day."""
    if label not in PATTERNS or {path.count("/") for path in rest} != {2}:
        return False
    other = [path.split("/")[1 if label == FIRST else 0] for path in rest]
    if not 10 <= len(set(other)) <= len(other) / 2:
        return False
    pattern = "{label}/{who}/*" if label == FIRST else "{who}/{label}/*"
    found.facts["train"] |= {"pattern": pattern, "group": "who"}
    found.groups = len(set(other))
    words = f"{counted(len(set(other)), 'groups')}, the other folder ('{other[0]}' first)"
    found.said.append(f"{words}: pictures of one group stay in one fold")
    found.guesses["train.group"] = words
    return True


def _set_groups(found: Understood) -> None:
    """Pictures that their names join share a fold."""
    groups = name_groups([split_suffix(PurePosixPath(path).name)[0] for path in found.files])
    if groups is not None:
        found.facts["train"] |= {"extract": {"stem": groups.pattern}, "group": "who"}
        found.groups = len(set(groups.groups))
        found.said.append(f"{groups.in_words()}: pictures of one group stay in one fold (by their names)")
        found.guesses["train.group"] = f"{groups.in_words()}, told by their names"
        found.why["train"] = "; ".join(
            [*([found.why["train"]] if "train" in found.why else []), "`extract` takes the group out of the name"]
        )
