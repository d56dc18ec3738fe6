"""A number with its noun, and the verb behind it, as messages say them: `1 row has`, `2 rows have`. Pure."""

_IRREGULAR = {"are": "is", "have": "has", "were": "was", "do": "does", "cannot": "cannot"}
_BETWEEN = ("of", "in", "that", "under")  # no verb: it is the last word, if there is one


def counted(number: int, what: str) -> str:
    """The number and what is counted, in the singular where there is one.

    Args:
        what: in the plural: words that stand before the noun and do not end in s, the noun, and maybe its verb, which
            follows the noun or, behind further words, is the last one.

    >>> counted(1, "training rows are"), counted(1200, "rows have")
    ('1 training row is', '1,200 rows have')
    >>> counted(1, "classes lack"), counted(1, "entities"), counted(0, "batches"), counted(1, "ids of the sample are")
    ('1 class lacks', '1 entity', '0 batches', '1 id of the sample is')
    """
    return f"{number:,} {_singular(what) if number == 1 else what}"


def _singular(what: str) -> str:
    words = what.split(" ")
    place = next(place for place, word in enumerate(words) if word.endswith("s"))
    words[place] = _one(words[place])
    rest = len(words) - place - 1
    if rest and words[-1] in _IRREGULAR:
        words[-1] = _IRREGULAR[words[-1]]
    elif rest and words[place + 1] not in _BETWEEN:
        verb = words[place + 1]
        words[place + 1] = _IRREGULAR.get(verb, f"{verb}s")
    return " ".join(words)


def _one(noun: str) -> str:
    for ending, one in (("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("xes", "x")):
        if noun.endswith(ending):
            return noun.removesuffix(ending) + one
    return noun.removesuffix("s")
