"""Check the site of the documents: python scripts/site.py FOLDER.

Every link within it must lead to a page and an anchor that are there, and nothing may be loaded from
another host: the site works from a folder, without a network. `make docs` builds it and runs this.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

IN_CSS = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""")
LOADED = {"src", "srcset", "data", "poster", "action", "formaction"}
"""Attributes that a browser follows by itself, or that send what was typed."""


class Page(HTMLParser):
    """The links and anchors of one page.

    Attributes:
        anchors: What a link may name after `#`.
        links: Where people are led.
        loaded: What a browser asks for by itself.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors = {"", "top"}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what an element leads to, loads, and is called."""
        self._in_style = tag == "style"
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name == "style":
                self.loaded += IN_CSS.findall(value)
            elif name == "srcset":
                self.loaded += [part.split()[0] for part in value.split(",")]
            elif name in LOADED or (name == "href" and tag == "link"):
                self.loaded.append(value)
            elif name == "href":
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        """See where a style sheet ends."""
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        """Take what a style sheet in the page loads."""
        if self._in_style:
            self.loaded += IN_CSS.findall(data)


class Report(NamedTuple):
    """What was looked at, and what is wrong."""

    pages: int
    links: int
    problems: list[str]


def check(site: Path) -> Report:
    """Return what is wrong with the pages and style sheets of a site."""
    pages = {
        path.resolve(): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }
    wanted = [
        (path, target, target in page.loaded)
        for path, page in pages.items()
        for target in [*page.links, *page.loaded]
    ] + [
        (path.resolve(), target, True)
        for path in site.rglob("*.css")
        for target in IN_CSS.findall(path.read_text(encoding="utf-8"))
    ]
    problems = {
        f"{path.relative_to(site.resolve())}: {target}: {problem}"
        for path, target, is_loaded in wanted
        if (problem := _problem(path, target, pages, is_loaded=is_loaded))
    }
    return Report(len(pages), len(wanted), sorted(problems))


def _problem(path: Path, target: str, pages: dict[Path, Page], *, is_loaded: bool) -> str:
    """Return what is wrong with *target* in the file *path*; empty if nothing is."""
    parts = urlsplit(target)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        return "is loaded from elsewhere" if is_loaded else ""
    found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not found.is_file():
        return "there is no such file"
    if found in pages and unquote(parts.fragment) not in pages[found].anchors:
        return "there is no such anchor"
    return ""


def main() -> int:
    """Print what is wrong; return the exit status."""
    report = check(Path(sys.argv[1]))
    print(*report.problems, sep="\n", end="\n" * bool(report.problems))
    if not report.pages:
        print(f"There is no page in {sys.argv[1]}.")
        return 1
    print(f"{report.pages} pages, {report.links} links, {len(report.problems)} of them wrong")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
