"""Numbers, times and names as a reader wants to see them. Pure text; reads and writes nothing."""

import math
from typing import Any

from foldline.scoring.metrics import brief

DASH = "\N{EN DASH}"  # where there is no number
MINUS = "\N{MINUS SIGN}"  # as wide as a plus
ACRONYMS = {
    "auc": "AUC",
    "f1": "F1",
    "f2": "F2",
    "rmse": "RMSE",
    "rmsle": "RMSLE",
    "mae": "MAE",
    "r2": "R²",
    "kl": "KL",
}
ACRONYMS |= {"map": "MAP", "mse": "MSE", "ap": "AP", "qwk": "QWK", "tpr": "TPR"}


def score(value: float | None, decimals: int = 4) -> str:
    """A score: four decimals, fewer for large numbers, a dash where it is undefined.

    >>> score(0.93124), score(1234.5), score(None), score(-0.00001)
    ('0.9312', '1,234.5', '–', '0.0000')
    """
    if value is None or not math.isfinite(value):
        return DASH
    whole = len(str(int(abs(value))))
    text = f"{value:,.{max(0, decimals + 1 - whole)}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", MINUS)


def decimals(interval: tuple[float | None, float | None]) -> int:
    """How many decimals a score deserves: three digits of half its interval, and 3 to 5 of a number below 10.

    >>> decimals((0.919, 0.941)), decimals((0.80, 1.0)), decimals((0.9990, 0.9995)), decimals((None, None))
    (4, 3, 5, 4)
    """
    low, high = interval
    if low is None or high is None or not 0 < high - low < math.inf:
        return 4
    whole = len(str(int(max(abs(low), abs(high)))))
    return min(max(math.ceil(2 - math.log10((high - low) / 2)) + whole - 1, 3), 5)


def change(value: float | None, decimals: int = 4) -> str:
    """A difference with its sign.

    >>> change(0.0123), change(-0.5), change(None)
    ('+0.0123', '−0.5000', '–')
    """
    text = score(value, decimals)
    return f"+{text}" if value is not None and value > 0 and text != DASH else text


def spread(mean: float | None, std: float | None, decimals: int = 4) -> str:
    """Mean and standard deviation; the mean alone where there is no deviation.

    >>> spread(0.91234, 0.0123), spread(None, None)
    ('0.9123 ± 0.0123', '–')
    """
    middle = score(mean, decimals)
    return middle if std is None or mean is None else f"{middle} ± {score(std, decimals)}"


def count(value: float) -> str:
    """A whole number with thousands separated.

    >>> count(1968)
    '1,968'
    """
    return f"{int(value):,}"


def share(value: float | None) -> str:
    """A share as a percentage.

    >>> share(0.3134)
    '31.3 %'
    """
    return DASH if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def megabytes(value: float | None) -> str:
    """Memory, given in MB.

    >>> megabytes(812.3), megabytes(12345.0), megabytes(None)
    ('812 MB', '12.3 GB', '–')
    """
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.0f} MB" if value < 1000 else f"{value / 1000:.1f} GB"


def duration(seconds: float | None) -> str:
    """A time span in its two largest units.

    >>> duration(452.3), duration(3.21), duration(7322), duration(None)
    ('7 min 32 s', '3.2 s', '2 h 2 min', '–')
    """
    if seconds is None:
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600} h {total % 3600 // 60} min"


def metric_title(name: str) -> str:
    """A metric's name for a reader.

    >>> metric_title("auc"), metric_title("log_loss"), metric_title("map@5")
    ('AUC', 'Log loss', 'MAP@5')
    >>> metric_title("auc(side)"), metric_title("2*auc(side) + r2(age)")
    ('AUC (side)', 'Weighted mean of 2 targets')
    """
    name = brief(name)
    if name.endswith(")"):  # of one of several targets
        metric, _, target = name.partition("(")
        return f"{metric_title(metric)} ({target}"
    base, at, parameter = name.rpartition(":")[2].partition("@")  # of "file.py:function" the function
    text = " ".join(ACRONYMS.get(word, word) for word in base.split("_")) + at + parameter
    return text[:1].upper() + text[1:]


def printable(name: str, most: int = 0) -> str:
    """A foreign name without control characters, cut to `most` characters where `most` is not 0.

    >>> printable("a\\x00b"), printable("a long class name", 8)
    ('a�b', 'a long …')
    """
    clean = "".join(letter if letter.isprintable() else "�" for letter in name)
    return clean if not most or len(clean) <= most else clean[: most - 1] + "…"


def plain(value: Any) -> str:
    """A setting's value.

    >>> plain(True), plain(None), plain(["hflip", "vflip"]), plain(3e-4), plain("")
    ('yes', 'none', 'hflip, vflip', '0.0003', '(empty)')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value) or "(empty)"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or "(empty)"


def listing(items: list[str]) -> str:
    """Items as a sentence has them.

    >>> listing(["0"]), listing(["0", "2", "3"])
    ('0', '0, 2 and 3')
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
