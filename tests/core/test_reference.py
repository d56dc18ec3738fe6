from pathlib import Path

import pytest

from foldline.core.reference import PAGES, with_settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", PAGES)
def test_the_documented_settings_are_those_of_the_code(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert with_settings(text, PAGES[page]) == text, "run python -m foldline.core.reference"
    assert with_settings(text.replace("| `seed`", "| `sede`"), PAGES[page]) == text
