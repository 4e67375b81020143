"""The check of the site: what leads nowhere and what is loaded from elsewhere is found."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOOD = """<link rel="stylesheet" href="static/site.css?v=1"><script src="static/site.js"></script>
<h1 id="top-of-it">A page</h1><a href="#top-of-it">up</a> <a href="more/other.html#part">on</a>
<a href="https://example.org/">elsewhere</a> <img src="data:image/png;base64,AA==" alt="">"""


@pytest.fixture
def site():
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("site_check", ROOT / "scripts" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "static").mkdir()
    (tmp_path / "more").mkdir()
    (tmp_path / "static" / "site.css").write_text("p { background: url('dot.svg') }")
    (tmp_path / "static" / "dot.svg").write_text("<svg/>")
    (tmp_path / "static" / "site.js").write_text("")
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "more" / "other.html").write_text('<p id="part"></p>')
    return tmp_path


def test_site_whose_links_lead_somewhere(site, folder):
    assert site.check(folder) == site.Report(2, 7, [])


@pytest.mark.parametrize(
    ("added", "problem"),
    [
        ('<a href="gone.html">', "gone.html: there is no such file"),
        ('<a href="more/other.html#gone">', "more/other.html#gone: there is no such anchor"),
        ('<a href="#gone">', "#gone: there is no such anchor"),
        ('<img src="gone.png">', "gone.png: there is no such file"),
        ('<img src="//x.org/a.png">', "//x.org/a.png: is loaded from elsewhere"),
        ('<script src="https://x.org/a.js">', "https://x.org/a.js: is loaded from elsewhere"),
        ('<link href="https://x.org/a.css">', "https://x.org/a.css: is loaded from elsewhere"),
        ('<img srcset="https://x.org/a 2x">', "https://x.org/a: is loaded from elsewhere"),
        ('<p style="background: url(//x.org)">', "//x.org: is loaded from elsewhere"),
        ("<style>@import 'https://x.org/a';</style>", "https://x.org/a: is loaded from elsewhere"),
        ('<form action="https://x.org/">', "https://x.org/: is loaded from elsewhere"),
    ],
)
def test_what_is_wrong_in_a_page_is_named(site, folder, added, problem):
    (folder / "index.html").write_text(GOOD + added)

    assert site.check(folder).problems == [f"index.html: {problem}"]


def test_what_a_style_sheet_loads_from_elsewhere_is_named(site, folder):
    (folder / "static" / "site.css").write_text("@font-face { src: url(https://x.org/font) }")

    assert site.check(folder).problems == [
        "static/site.css: https://x.org/font: is loaded from elsewhere"
    ]


@pytest.mark.parametrize("has_page", [True, False])
def test_exit_status_and_what_is_printed(site, tmp_path, monkeypatch, capsys, has_page):
    if has_page:
        (tmp_path / "index.html").write_text('<a href="gone.html">')
    monkeypatch.setattr("sys.argv", ["site.py", str(tmp_path)])

    assert site.main() == 1
    assert capsys.readouterr().out.splitlines() == (
        ["index.html: gone.html: there is no such file", "1 pages, 1 links, 1 of them wrong"]
        if has_page
        else [f"There is no page in {tmp_path}."]
    )
