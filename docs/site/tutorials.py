"""Runs a tutorial: a Markdown page whose comments say what to do with the block below them.

A forge shows the page without outputs; the site shows what this run printed, so it cannot promise what does not happen.

    <!-- run -->            the sh or python block below is run, and what it prints stands after it
    <!-- run quiet -->      run, its output is not shown (still an error when it fails)
    <!-- run fails -->      it must fail; the error is shown
    <!-- write FILE -->     the block below is a file
    <!-- show FILE WxH text -->  a picture of the page FILE, as a browser shows it (or FILE itself, a picture)
    <!-- make NAME -->      pictures of `made.py`, by the function NAME
    <!-- kaggle SLUG SCORE -->  from here on Kaggle is a site on this machine: it has the folder SLUG, and gives SCORE
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIRECTIVE = re.compile(r"^<!-- (run|write|show|make|kaggle)\b ?(.*?) ?-->\n", re.MULTILINE)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
MOST_LINES = 44
SECONDS = 600  # the longest that one command of a tutorial may take


class Tutorial:
    """A page that is run, in a folder of its own.

    Attributes:
        folder: where its commands run.
        beside: where its pictures go.
    """

    def __init__(self, page: Path, beside: Path, stack: ExitStack) -> None:
        self.page, self.beside, self.stack = page, beside, stack
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tutorial-"))) / "work"
        self.folder.mkdir()
        self.pictures = 0
        commands = str(Path(sys.executable).parent)
        self.environment = {
            **os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "110",
            "NO_ALBUMENTATIONS_UPDATE": "1", "MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1",
        }  # fmt: skip

    def directive(self, word: str, rest: str, block: re.Match[str] | None) -> str:
        """Does what a comment says; returns what stands after the block."""
        if word in ("run", "write"):
            if block is None:
                raise SystemExit(f"{self.page.name}: <!-- {word} {rest} --> has no block right below it")
            if word == "run":
                return self.run(block[1], block[2], rest.split())
            path = self.folder / rest
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block[2], encoding="utf-8")
            return ""
        return {"show": self.show, "make": self.make, "kaggle": self.kaggle}[word](rest)

    def run(self, language: str, code: str, options: list[str]) -> str:
        """Runs a block; its output as a block."""
        shell = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(
            shell, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        print(f"$ {code}{done.stdout}", flush=True)
        if (done.returncode != 0) != ("fails" in options):
            raise SystemExit(f"{self.page.name}: exit code {done.returncode} of\n{code}\n{done.stdout}")
        output = done.stdout.replace(str(self.folder), "~/work")
        if "quiet" in options or not output.strip():
            return ""
        lines = output.rstrip().splitlines()
        if len(lines) > MOST_LINES:
            left_out = f"... {len(lines) - MOST_LINES} more lines ..."
            lines = [*lines[: MOST_LINES // 2], left_out, *lines[-MOST_LINES // 2 :]]
        return "\n```{code-block} text\n:class: tutorial-output\n\n" + "\n".join(lines) + "\n```\n"

    def show(self, rest: str) -> str:
        """A picture of a page, or of a picture."""
        file, size, text = rest.split(" ", 2)
        self.pictures += 1
        picture = self.beside / f"{self.page.stem}-{self.pictures}.png"
        path = self.folder / file
        if path.suffix == ".png":
            shutil.copy(path, picture)
        else:
            look_at(path, picture, size)
        return f"\n![{text}]({picture.name})\n"

    def make(self, name: str) -> str:
        """Pictures that need no download."""
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import made; made.{name}()"
        self.run("python", code, ["quiet"])
        return ""

    def kaggle(self, rest: str) -> str:
        """Kaggle's stand-in of the tests, for the real client."""
        import pytest

        sys.path.insert(0, str(ROOT / "tests"))
        from sources.kaggle_site import running_site

        slug, score = rest.split()
        archive = shutil.make_archive(str(self.folder.parent / slug), "zip", self.folder / slug)
        shutil.rmtree(self.folder / slug)
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        home = self.folder.parent / "home"
        home.mkdir()
        site = self.stack.enter_context(running_site(home, patch))
        site.archive = Path(archive).read_bytes()
        site.answers = [{"status": "COMPLETE", "publicScore": score}]
        kept = ("HOME", "TMPDIR", "KAGGLE_", "http_proxy")
        self.environment |= {key: value for key, value in os.environ.items() if key.startswith(kept)}
        return ""


def look_at(page: Path, picture: Path, size: str) -> None:
    """What a headless Chromium shows of a page."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("the tutorials' pictures need chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-sync",
            f"--user-data-dir={profile}", f"--window-size={size.replace('x', ',')}", f"--screenshot={picture}",
        ]  # fmt: skip
        command = [browser, *flags, page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if not picture.is_file():
            raise SystemExit(f"no picture of {page}: {shlex.join(command)}\n{done.stderr}")


def execute(page: Path, beside: Path) -> str:
    """The page with its outputs.

    Args:
        page: a tutorial, Markdown.
        beside: the folder that its pictures are written to.

    Raises:
        SystemExit: a command did not end as the page says.
    """
    text, parts, end = page.read_text(encoding="utf-8"), [], 0
    with ExitStack() as stack:
        tutorial = Tutorial(page, beside, stack)
        for found in DIRECTIVE.finditer(text):
            block = BLOCK.match(text, found.end()) if found[1] in ("run", "write") else None
            after = tutorial.directive(found[1], found[2], block)
            parts += [text[end : found.start()], block[0] if block else "", after]
            end = block.end() if block else found.end()
    return "".join([*parts, text[end:]])
