"""What axe-core finds in a page, and whether the page fits its window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
PHONE_WIDTH = 390
WIDTHS = (PHONE_WIDTH, 1280)
RUN = """async (where) => {
    const result = await axe.run(where, {
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'],
        resultTypes: ['violations'],
    });
    return result.violations.map(one =>
        `${one.impact}: ${one.id}: ${one.nodes.slice(0, 3).map(n => n.html).join(' | ')}`);
}"""

# Not wait_for_function(), which looks again by eval(): policies forbid that.
STILL = """async () => {
    while (document.getAnimations().some(each => each.playState === 'running')) {
        await new Promise(requestAnimationFrame);
    }
}"""


def axe_finds(page: Page) -> list[str]:
    """Return what axe-core finds in *page*."""
    # Half a megabyte of script: once for all looks of a page.
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(RUN, "html")
    return found


def problems_in_each_look(page: Page, address: str) -> dict[tuple[str, int], list[str]]:
    """Open *address* on a phone; return what is wrong with it in either theme, there and at a desk.

    One *page* for many addresses: a new browser context starts a process and loads every script anew.
    """
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": PHONE_WIDTH, "height": 844})
    page.goto(address)
    page.wait_for_load_state("networkidle")
    problems = {}
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 844})
            # Between two themes colours may pass through others.
            page.evaluate(STILL)
            found = axe_finds(page)
            if (needed := page.evaluate("document.documentElement.scrollWidth")) > width:
                found.append(f"it is {needed} pixels wide")
            if not page.locator("main").is_visible():
                found.append("its main part is not to be seen")
            if found:
                problems[theme, width] = found
    return problems
