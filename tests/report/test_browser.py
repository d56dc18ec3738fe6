"""The page in a real browser: it renders, and nothing is wider than a phone. Skipped where there is no chromium."""

import html
import re
import subprocess
from pathlib import Path

import pytest

from browser import CHROMIUM, Browser, needs_browser
from foldline.core.task import TASKS, Task
from foldline.report.run.page import build_report
from report.made_runs import COMP, RUN, make_run
from tasks import plain

# A frame is as narrow as it says, which a window is not: browsers have a least width.
FRAME = """<!doctype html><body><iframe width="{width}" height="3000" srcdoc="{page}"></iframe><script>
onload = () => {{
  const found = document.querySelector("iframe").contentDocument
  const images = [...found.images]
  const drawn = images.filter(image => image.complete && image.naturalWidth > 0).length
  const root = found.documentElement
  document.title = [root.clientWidth, root.scrollWidth, images.length, drawn].join(" ")
}}
</script>"""


def measure(page: str, width: int, folder: Path) -> list[int]:
    """[width of the frame's view, width of what is in it, pictures, pictures that could be drawn]."""
    path = folder / "frame.html"
    path.write_text(FRAME.format(width=width, page=html.escape(page)), encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom",
        f"--user-data-dir={folder / 'profile'}", "--window-size=1300,900", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    found = re.search(r"<title>([\d ]+)</title>", done.stdout)
    assert found, done.stderr[-2000:]
    return [int(number) for number in found[1].split()]


@needs_browser
@pytest.mark.parametrize("task", plain(["binary", "multilabel"]))
def test_fits_a_phone(tmp_path: Path, task: Task) -> None:
    names = ["a-name-without-any-place-to-break-" * 4, "ok"] + (["rot"] if task.label_sets else [])
    page = build_report(make_run(tmp_path, task, names), COMP, RUN)
    view, content, images, drawn = measure(page, 400, tmp_path)
    assert images == drawn >= 24
    assert content <= view <= 400


@needs_browser
def test_the_measure_sees_what_is_too_wide(tmp_path: Path) -> None:
    wide = '<!doctype html><div style="width:900px">x</div><img src="data:image/png;base64,broken">'
    assert measure(wide, 400, tmp_path)[1:] == [908, 1, 0]


@needs_browser
def test_a_reader_sorts_enlarges_and_tries_thresholds(tmp_path: Path) -> None:
    """One page, as a person uses it; nothing is asked for, and nothing goes wrong."""
    names = [f"class {i:02d}" for i in range(12)]
    layout = make_run(tmp_path, TASKS["multiclass"], names, rows=240, trained=False)
    page = tmp_path / "report.html"
    page.write_text(build_report(layout, COMP, RUN), encoding="utf-8")
    with Browser(tmp_path) as browser:
        browser.open(page.as_uri())
        browser.wait("document.querySelector('.thresholds .chosen')?.textContent")
        table = "[...document.querySelectorAll('table')].find(it => it.parentNode.ariaLabel == 'Class by class')"
        column = f"[...{table}.tBodies[0].rows].map(row => Number(row.cells[5].textContent))"
        browser.js(f"{table}.tHead.rows[0].cells[5].querySelector('button').click()")
        assert browser.js(f"{table}.tHead.rows[0].cells[5].getAttribute('aria-sort')") == "ascending"
        assert browser.js(column) == sorted(browser.js(column))
        browser.js(f"{table}.tHead.rows[0].cells[5].querySelector('button').click()")
        assert browser.js(column) == sorted(browser.js(column), reverse=True)

        browser.js("document.querySelector('.card .enlarge').click()")
        assert browser.js("document.querySelector('dialog').open")
        first = browser.js("document.querySelector('dialog .id').textContent")
        browser.js("document.querySelector('dialog').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))")
        assert browser.js("document.querySelector('dialog .id').textContent") != first
        browser.js("document.querySelector('dialog .bar button:last-child').click()")
        assert not browser.js("document.querySelector('dialog').open")
        browser.wait("document.activeElement.className == 'enlarge'")

        set_to = """(name, value) => {
          const field = document.querySelector(`.thresholds [name="${name}"]`)
          field.value = value
          field.dispatchEvent(new Event("input", {bubbles: true}))
        }"""
        best = "document.querySelector('.thresholds tbody th').textContent"
        by_f1 = float(browser.js(best).removeprefix("best: "))
        assert browser.js("document.querySelector('.thresholds .judged').textContent") == "F1"
        browser.js(f"({set_to})('by', 'cost')")
        browser.js(f"({set_to})('miss', '50')")
        assert browser.js("document.querySelector('.thresholds .judged').textContent") == "Cost"
        assert float(browser.js(best).removeprefix("best: ")) <= by_f1  # who fears misses takes more for it
        browser.js(f"({set_to})('at', '0')")
        assert "20 of 20 found, 0 missed, 220 false alarms" in browser.text()
        shown = "getComputedStyle(document.querySelector('.thresholds .dot')).display"
        assert browser.js(shown) != "none"
        browser.js("document.querySelector('.thresholds .dot').toggleAttribute('hidden', true)")
        assert browser.js(shown) == "none"  # what is hidden in a picture is seen without a rule for it
        assert browser.errors == []
        assert [address for address in browser.asked if not address.startswith(("data:", "file:"))] == []
