"""`make lock`: pip's answer to "what would be installed today", from standard input, as the lines of requirements.lock.

They are constraints: `make LOCKED=1` takes these versions of what it needs, and nothing that it does not need.
"""

import json
import sys

HEAD = "# What CI installs (Linux, Python 3.11), written by make lock; make LOCKED=1 takes these versions."


def lines(report: str) -> list[str]:
    """`name==version` of every package of pip's report but foldline itself; builds (`+cpu`) are left off."""
    found = [one["metadata"] for one in json.loads(report)["install"]]
    pairs = {one["name"].lower().replace("_", "-"): one["version"].split("+")[0] for one in found}
    return [HEAD, *(f"{name}=={pairs[name]}" for name in sorted(pairs) if name != "foldline")]


if __name__ == "__main__":
    print("\n".join(lines(sys.stdin.read())))
