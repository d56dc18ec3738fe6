"""Lays the site's sources out as the repository is, so that every link of the forge holds: build/site-src/.

Reads README.md (it becomes the first page), the pages below docs/, CONTRIBUTING.md and its like, and the tutorials,
which are run on the way (`tutorials.py`); configs/ and notebooks/ are linked to, not shown.
Arguments: the target folder; then the tutorials to run (none: they stand there without outputs).
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from tutorials import execute

ROOT = Path(__file__).resolve().parents[2]
MORE = ("CONTRIBUTING.md", "CHANGELOG.md", "EXPERIMENTS.md", "SECURITY.md", "AGENTS.md", "LICENSE")
CONTENTS = {
    "Begin": ["docs/install", "docs/tutorials/own-pictures", "docs/tutorials/kaggle", "docs/tutorials/medical"],
    "Use": [
        "docs/add-a-competition", "docs/explore", "docs/runs", "docs/features", "docs/labels", "docs/own-code",
        "docs/finished-models", "docs/blends", "docs/code-competitions", "docs/recipes", "docs/gpu", "docs/scale",
        "AGENTS",
    ],
    "Look up": [
        "docs/commands", "docs/from-timm", "docs/troubleshooting", "docs/glossary",
        "docs/api/python", "docs/api/metrics", "docs/api/losses", "docs/api/files",
    ],
    "Behind it": [
        "docs/design", "docs/reliability", "docs/intervals", "docs/probes", "docs/performance",
        "EXPERIMENTS", "CONTRIBUTING", "SECURITY", "CHANGELOG",
    ],
}  # fmt: skip


def toctrees(folder: Path) -> str:
    """The contents, of the pages that there are; a page of docs/ that is in no list is an error of Sphinx's."""
    blocks = []
    for caption, pages in CONTENTS.items():
        listed = "\n".join(page for page in pages if (folder / f"{page}.md").is_file())
        blocks.append(f"```{{toctree}}\n:caption: {caption}\n:hidden:\n\n{listed}\n```\n")
    return "\n".join(blocks)


def stage(target: Path, run: list[str]) -> None:
    """Writes the site's sources, the tutorials named in `run` with their outputs."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "docs", target / "docs", ignore=shutil.ignore_patterns("site", "__pycache__"))
    shutil.copytree(ROOT / "docs" / "site" / "api", target / "docs" / "api")
    shutil.copytree(ROOT / "docs" / "site" / "_static", target / "_static")
    for path in (ROOT / name for name in MORE if (ROOT / name).is_file()):
        shutil.copy(path, target / path.name)
    for name in ("configs", "notebooks"):
        (target / name).symlink_to(ROOT / name, target_is_directory=True)
    for name in run:
        page = target / "docs" / "tutorials" / f"{name}.md"
        page.write_text(execute(page, page.parent), encoding="utf-8")
    (target / "index.md").write_text((ROOT / "README.md").read_text("utf-8") + "\n" + toctrees(target), "utf-8")


if __name__ == "__main__":
    stage(Path(sys.argv[1]), sys.argv[2:])
