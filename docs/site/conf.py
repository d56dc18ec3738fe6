"""How Sphinx builds the site (`make docs`): from the Markdown pages, as the forge shows them, and from docstrings."""

from pathlib import Path

from sphinx.application import Sphinx

import foldline

project = "foldline"
author = "the foldline authors"
version = release = foldline.__version__
language = "en"
copyright = "the foldline authors, MIT licence"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["configs", "notebooks"]
myst_heading_anchors = 4  # the anchors that a forge gives its headings
default_role = "literal"  # `x` in a docstring is code, as in Markdown
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"foldline {version}"
html_static_path = ["_static"]
html_css_files = ["foldline.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5fa8", "color-brand-content": "#1f5fa8"},
    "dark_css_variables": {"color-brand-primary": "#7db4f0", "color-brand-content": "#7db4f0"},
}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"

# What axe finds in the theme's pages: headings without a level, landmarks without a name, code that only a mouse
# scrolls.
MENDED = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="All pages">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="On this page">',
    '<aside class="toc-drawer no-toc">': '<aside class="toc-drawer no-toc" aria-label="On this page">',
    "<pre>": '<pre tabindex="0">',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
    '<th class="head"><p></p></th>': '<td class="head"></td>',
}


def mend(app: Sphinx, exception: Exception | None) -> None:
    """Puts right what the theme leaves out, in the written pages."""
    for path in sorted(Path(app.outdir).rglob("*.html")) if exception is None else ():
        text = path.read_text(encoding="utf-8")
        for wrong, right in MENDED.items():
            text = text.replace(wrong, right)
        path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("build-finished", mend)
