"""What `make` installs: runs pip for the Python that runs this file, and says how far it is and what lies where.

On a terminal pip draws its own bars. Elsewhere it says nothing while it unpacks gigabytes, so plain lines stand here:
each package with its size as it is fetched, and at least every 20 s how much of it is installed. It ends with the
packages that take most of the disk. Own imports: the standard library alone, in a new environment there is no other.
"""

import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable
from pathlib import Path

EVERY_SECONDS = 20
# Byte code is written when a module is first imported: of 300 MB of it a run needs a third.
PIP = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]


def told(line: str) -> str:
    """What one of pip's lines is worth: a file that is fetched, with its size; how many packages come; else nothing."""
    words = line.split()
    if words[:1] == ["Downloading"] and len(words) > 2 and not words[1].endswith(".metadata"):
        return f"fetching {words[1].rsplit('/', 1)[-1]} {' '.join(words[2:])}"
    if words[:3] == ["Installing", "collected", "packages:"]:
        return f"installing {len(line.split(','))} packages"
    return ""


def sizes(site: Path) -> dict[str, int]:
    """The bytes of each package's files, the largest first; folders that several share (`nvidia`) are one."""
    found: dict[str, int] = {}
    for path in site.iterdir():
        name = path.name.removesuffix(".libs").split(".")[0] if path.suffix != ".dist-info" else "(records)"
        files = path.rglob("*") if path.is_dir() else [path]
        found[name] = found.get(name, 0) + sum(one.stat().st_size for one in files if one.is_file())
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def plain(lines: Iterable[str], site: Path) -> None:
    """Prints what pip's lines are worth with the seconds since the start, and a sign of life in its silences."""
    start, last, over = time.monotonic(), [time.monotonic()], threading.Event()

    def say(text: str) -> None:
        print(f"  {time.monotonic() - start:4.0f} s  {text}", flush=True)
        last[0] = time.monotonic()

    def watch() -> None:
        while not over.wait(1):
            if time.monotonic() - last[0] > EVERY_SECONDS:
                say(f"{len(list(site.glob('*.dist-info')))} packages are installed")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    failed = False
    for line in lines:
        failed = failed or line.strip().lower().startswith(("error", "fatal"))
        if text := line.rstrip("\n") if failed else told(line):
            say(text)
    over.set()
    watcher.join()


def main(arguments: list[str]) -> int:
    """Installs what the arguments name, pip's own; returns pip's exit code."""
    site, start = Path(sysconfig.get_path("purelib")), time.monotonic()
    before = sum(sizes(site).values())
    print(f"installing into {Path(sys.prefix).name}: {' '.join(arguments)}", flush=True)
    if sys.stdout.isatty():
        code = subprocess.run([*PIP, *arguments], check=False).returncode
    else:
        command = [*PIP, "--progress-bar", "off", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
            plain(pip.stdout or (), site)
        code = pip.returncode
    if code == 0:
        now = sizes(site)
        total = sum(now.values())
        most = ", ".join(f"{name} {size / 1e6:,.0f}" for name, size in list(now.items())[:5])
        took = f"{time.monotonic() - start:.0f} s: {(total - before) / 1e6:,.0f} MB more, {total / 1e6:,.0f} MB in all"
        print(f"installed in {took} ({most})")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
