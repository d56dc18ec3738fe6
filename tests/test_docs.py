"""The site's tools: a broken link is found, a tutorial shows what its commands said, no message is made up."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECK = runpy.run_path(str(ROOT / "docs" / "site" / "check.py"))["check"]
EXECUTE = runpy.run_path(str(ROOT / "docs" / "site" / "tutorials.py"))["execute"]


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top">a</h1><a href="b.html#end">b</a><a href="#top">t</a><a href="https://else.where/x">x</a>'
        '<img src="p.png"><script src="https://else.where/s.js"></script><a href="b.html#gone">g</a>'
    )
    (tmp_path / "b.html").write_text('<p id="end">b</p><a href="c.html">c</a>')
    wrong, elsewhere = CHECK(tmp_path)
    assert sorted(wrong) == [
        "a.html loads https://else.where/s.js from another site",
        "a.html: b.html has no #gone",
        "a.html: there is no p.png",
        "b.html: there is no c.html",
    ]
    assert sorted(elsewhere) == ["https://else.where/s.js", "https://else.where/x"]


PAGE = """# Page

<!-- write a/facts.txt -->
```yaml
one: 1
```

<!-- run -->
```sh
cat a/facts.txt; pwd
```

<!-- run quiet -->
```sh
echo unseen
```
"""


def test_a_tutorial_shows_what_its_commands_said(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    done = EXECUTE(page, tmp_path)
    assert done.count("{code-block}") == 1
    assert "one: 1\n~/work\n```\n" in done
    assert "<!--" not in done


def test_a_tutorial_whose_command_fails_is_no_tutorial(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- run -->\n```sh\nfalse\n```\n")
    with pytest.raises(SystemExit, match=r"page\.md: exit code 1 of\nfalse"):
        EXECUTE(page, tmp_path)
    page.write_text("<!-- run fails -->\n```sh\ntrue\n```\n")
    with pytest.raises(SystemExit, match="exit code 0"):
        EXECUTE(page, tmp_path)


def test_the_messages_of_the_troubleshooting_page_are_foldlines() -> None:
    lines = [line for line in (ROOT / "docs" / "troubleshooting.md").read_text().splitlines() if line.startswith("| ")]
    quoted = [text for line in lines for text in re.findall(r"`([^`]*)`", line.split(" | ")[0])]
    code = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    code = re.sub(r'"\s*\n?\s*f?r?"', "", code)
    code = re.sub(r"\{counted\([^{}]*, '([^']*)'\)\}", r"\1", code)
    strange = {"operator torchvision::nms does not exist", "make: *** missing separator", "nvidia-…"}  # of others
    said = [text for text in quoted if text not in strange and not text.startswith("foldline ")]
    assert len(said) >= 14
    for text in said:
        for part in filter(None, (part.strip(" ,") for part in text.split("…"))):
            assert part in code, text
