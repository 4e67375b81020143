"""What axe-core finds in a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
WIDTHS = (1280, 390)
RUN = """async (where) => {
    const result = await axe.run(
        where, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']});
    return result.violations.map(one =>
        `${one.impact}: ${one.id}: ${one.nodes.slice(0, 3).map(n => n.html).join(' | ')}`);
}"""


def axe_finds(page: Page) -> list[str]:
    """Return what axe-core finds in *page*, whose policy must let it in (``bypass_csp``)."""
    # Half a megabyte of script: once for all looks of a page.
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(RUN, "html")
    return found


def axe_finds_in_each_look(page: Page) -> dict[tuple[str, int], list[str]]:
    """Return what it finds in either theme at a desk and on a phone, where it finds anything."""
    problems = {}
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            # Between two themes colours may pass through others.
            page.wait_for_function(
                "document.getAnimations().every(each => each.playState !== 'running')"
            )
            if found := axe_finds(page):
                problems[theme, width] = found
    return problems
