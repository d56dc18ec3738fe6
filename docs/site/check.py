"""Reads the built site: every link, anchor and picture of its own is there, and nothing else is asked for.

Links to other sites are listed, not fetched: a build must not hang on them. Arguments: the folder of the site.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
FOLLOWED = {"a": "href"}


class Page(HTMLParser):
    """The ids of a page, what it loads, and where its links go."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.loads: set[str] = set()
        self.links: set[str] = set()
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes what one tag has."""
        values = {key: value or "" for key, value in attrs}
        self.ids |= {values[key] for key in ("id", "name") if key in values}
        if (
            tag in LOADED
            and LOADED[tag] in values
            and values.get("rel") not in ("index", "search", "next", "prev", "canonical")
        ):
            self.loads.add(values[LOADED[tag]])
        if tag in FOLLOWED and "href" in values:
            self.links.add(values["href"])


def check(site: Path) -> tuple[list[str], dict[str, set[str]]]:
    """What is wrong, a line each, and the links to elsewhere with the pages that have them."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    wrong: list[str] = []
    elsewhere: dict[str, set[str]] = {}
    for path, page in pages.items():
        name = str(path.relative_to(site))
        for link in sorted(page.loads | page.links):
            parts = urlsplit(link)
            if parts.scheme in ("http", "https") or parts.netloc:
                if link in page.loads:
                    wrong.append(f"{name} loads {link} from another site")
                elsewhere.setdefault(link, set()).add(name)
            elif parts.scheme not in ("data", "mailto", "javascript"):
                wrong += _missing(pages, path, unquote(parts.path), unquote(parts.fragment), name)
    return wrong, elsewhere


def _missing(pages: dict[Path, Page], path: Path, file: str, anchor: str, name: str) -> list[str]:
    target = (path.parent / file).resolve() if file else path
    if not target.is_file():
        return [f"{name}: there is no {file}"]
    if anchor and target in pages and anchor not in pages[target].ids:
        return [f"{name}: {target.name} has no #{anchor}"]
    return []


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    faults, external = check(folder)
    lines = [f"{link}  ({', '.join(sorted(names))})" for link, names in sorted(external.items())]
    (folder / "external-links.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*faults, sep="\n")
    print(f"{len(external)} links to other sites, not fetched: {folder.name}/external-links.txt; {len(faults)} faults")
    sys.exit(bool(faults))
