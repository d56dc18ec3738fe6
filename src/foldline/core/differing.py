"""Where two nested mappings differ, in words."""

from typing import Any


def differing_keys(left: dict[str, Any], right: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys in which two nested mappings differ, with both values.

    >>> differing_keys({"optim": {"lr": 1}}, {"optim": {"lr": 2}})
    ['optim.lr: 1 -> 2']
    """
    lines = []
    for key in sorted(left.keys() | right.keys()):
        a, b = left.get(key), right.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differing_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a} -> {b}")
    return lines
