"""How Sphinx makes a site of these pages: `make docs`."""

from __future__ import annotations

import re
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

TRACING = Path(__file__).parents[1] / "tracing" / "__init__.py"

project = "Signal tracing for Django"
author = "The django-signal-tracing authors"
[release] = re.findall(r'^__version__ = "(.+)"$', TRACING.read_text(), re.MULTILINE)

extensions = ["myst_parser"]
# Anchors are formed as code hosts form them: the pages are read there as well.
myst_heading_anchors = 4
# What is written is shown as it is written: "--all" is an option, no dash.
smartquotes = False
highlight_language = "text"
nitpicky = True

# Code hosts draw what is in this language; here it is shown as it is written.
lexers["mermaid"] = TextLexer()

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_logo = html_favicon = "../tracing/static/tracing/icon.svg"
ACCENT = {
    "light_css_variables": "#0f5b7a",
    "dark_css_variables": "#7cc7e6",
}
"""The viewer's own, as its style sheet has it."""
html_theme_options = {
    "navigation_with_keys": True,
    **{
        scheme: dict.fromkeys(
            (
                "color-brand-primary",
                "color-brand-content",
                "color-brand-visited",
            ),
            accent,
        )
        for scheme, accent in ACCENT.items()
    },
}
pygments_style = "default"
pygments_dark_style = "github-dark"
