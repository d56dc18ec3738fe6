"""How Sphinx builds the site (`make docs`): from the Markdown pages, as the forge shows them, and from docstrings."""

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
python_maximum_signature_line_length = 88

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
