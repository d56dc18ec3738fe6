"""What a table's cell says, which is always text: nothing, a number, or a name. Nobody else decides it."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.errors import first_few

if TYPE_CHECKING:
    import pandas as pd

MISSING = frozenset({"", "na", "nan", "n/a", "null", "none", "<na>"})  # what tables write for nothing, in small letters
LARGEST = float(np.finfo(np.float32).max)  # labels beyond cannot be predicted: predictions are float32


def is_missing(cells: "pd.Series[str]") -> "pd.Series[bool]":
    """Whether each cell says that nothing is known.

    >>> import pandas as pd
    >>> is_missing(pd.Series(["", " NA ", "0"])).tolist()
    [True, True, False]
    """
    return cells.str.strip().str.lower().isin(MISSING)


def numbers(cells: "pd.Series[str]") -> NDArray[np.float64]:
    """[cells] their numbers; nan where a cell holds none, infinite where it says so.

    >>> import pandas as pd
    >>> numbers(pd.Series(["1e3", " 2 ", "1_000", ""])).tolist()
    [1000.0, 2.0, nan, nan]
    """
    import pandas as pd

    plain = _plain_numbers(cells)
    return pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64) if plain is None else plain


def _plain_numbers(cells: "pd.Series[str]") -> NDArray[np.float64] | None:
    """The numbers of text that Arrow holds, ten times as fast; None where a cell holds anything else."""
    if not hasattr(cells.array, "__arrow_array__"):
        return None
    import pyarrow as pa

    try:
        found = pa.array(cells.array).cast(pa.float64())
    except pa.ArrowException:
        return None
    return None if found.null_count else np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.float64)


def numbers_of(texts: Collection[str]) -> NDArray[np.float64]:
    """[texts] as `numbers`."""
    import pandas as pd

    return numbers(pd.Series(list(texts), dtype=str))


def all_numbers(texts: Collection[str]) -> bool:
    """Whether each text is a finite number."""
    return bool(np.isfinite(numbers_of(texts)).all())


def sorted_texts(texts: Iterable[str]) -> list[str]:
    """Numbers by value, anything else by its text.

    >>> sorted_texts(["10", "9", "1"]), sorted_texts(["b", "a", "10"])
    (['1', '9', '10'], ['10', 'a', 'b'])
    """
    texts = list(texts)
    return sorted(texts, key=lambda text: (float(text), text)) if all_numbers(texts) else sorted(texts)


def tidy(text: str) -> str:
    """A name without blanks around it, in Unicode's composed form (NFC)."""
    text = text.strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def plain(text: str) -> str:
    """What all spellings of one name share: tidy, and no `.0` behind a whole number.

    >>> plain(" cat"), plain("100.0"), plain("1.50"), plain("007")
    ('cat', '100', '1.50', '007')
    """
    text = tidy(text)
    return re.sub(r"\A([+-]?\d+)\.0+\Z", r"\1", text) if ".0" in text else text


def plains(texts: Iterable[str]) -> list[str]:
    """`plain` of each.

    >>> plains([" cat", "100.0", "dog"])
    ['cat', '100', 'dog']
    """
    texts = list(texts)
    if _are_plain(texts):
        return texts
    return [
        text if text.isascii() and ".0" not in text and text == text.strip() else plain(text)  # most of a million
        for text in texts
    ]


def _are_plain(texts: list[str]) -> bool:
    """Whether a look at all of them together shows that each is plain: none is empty or has a blank in it."""
    joined = "\n".join(texts)
    return joined.isascii() and ".0" not in joined and joined.split() == texts


def spellings(names: Iterable[str], known: Collection[str] = ()) -> dict[str, str]:
    """Spelling -> the one to use instead, for all names of which another spelling is there (`plain`).

    >>> spellings(["100", "100.0", "7.0", "cat "], known=["cat"])
    {'cat ': 'cat', '100.0': '100'}

    Args:
        known: spellings that stay as they are; without one the plain spelling is used.
    """
    every = [*known, *names]
    if _are_plain(every):  # the usual case, of a million ids too
        return {}
    stay, every = set(known), list(dict.fromkeys(every))
    plainly = plains(every)
    if plainly == every:
        return {}
    common = dict(zip(every, plainly, strict=True))
    if len(set(common.values())) == len(common):
        return {}
    families = defaultdict[str, list[str]](list)
    for name, shared in common.items():
        families[shared].append(name)
    result = dict[str, str]()
    for shared, family in families.items():
        used = family[0] if family[0] in stay else shared
        if len(family) > 1:
            result |= {name: used for name in family if name != used and name not in stay}
    return result


def spellings_in_words(cells: "pd.Series[str]", used: Mapping[str, str]) -> str:
    """Such as `'cat ' -> 'cat' (3 rows)`; empty where no cell is spelled otherwise."""
    if not used:
        return ""
    counts = Counter(cells[cells.isin(list(used))].tolist())
    return first_few(
        [f"{_visible(name)} -> '{used[name]}' ({counted(count, 'rows')})" for name, count in counts.most_common()]
    )


def _visible(name: str) -> str:
    """Quoted; with its codes where it looks like the spelling that is used."""
    return f"'{name}'" if unicodedata.is_normalized("NFC", name) else ascii(name)


def alike_but_for_case(names: Iterable[str]) -> list[list[str]]:
    """The sets of names that differ in case alone.

    >>> alike_but_for_case(["Cat", "dog", "cat"])
    [['Cat', 'cat']]
    """
    families = defaultdict[str, list[str]](list)
    every = list(dict.fromkeys(names))
    folded = [name.casefold() for name in plains(every)]
    if len(set(folded)) == len(every):
        return []
    for name, shared in zip(every, folded, strict=True):
        families[shared].append(name)
    return [family for family in families.values() if len(family) > 1]
