"""`make audit`: reads pip-audit's report from standard input, prints it, and fails where a package has a known hole.

pip-audit says "no known vulnerabilities" of packages that it could not look up, as behind a mirror of the package
index: here they are counted and named.
"""

import json
import sys
from typing import Any

NOT_THEIRS = {"foldline"}  # is on no index


def verdict(report: str) -> tuple[int, str]:
    """The exit code and the words for a report; an empty one: the data could not be reached."""
    content: dict[str, Any] = json.loads(report) if report.strip() else {"dependencies": []}
    packages = [one for one in content["dependencies"] if one["name"] not in NOT_THEIRS]
    unknown = [one["name"] for one in packages if "skip_reason" in one]
    holes = [
        f"{one['name']} {one['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version'}"
        for one in packages
        for hole in one.get("vulns", [])
    ]
    if len(unknown) == len(packages):
        return 0, "NOT AUDITED: the data of known holes cannot be reached from here (.tools/audit.log)"
    left = f"; not looked up: {', '.join(unknown)}" if unknown else ""
    return int(bool(holes)), "\n".join([*holes, f"{len(holes)} known holes in {len(packages)} packages{left}"])


if __name__ == "__main__":
    code, words = verdict(sys.stdin.read())
    print(words)
    sys.exit(code)
