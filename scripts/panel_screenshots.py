"""Take the picture of the panel that the documents show: ``python scripts/panel_screenshots.py``.

Needs what the browser tests need. Runs CarSales on a scratch folder, buys a car and looks.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    from playwright.sync_api import sync_playwright

    from tests.browser.test_panel import buy_a_car, carsales, open_panel, row, switch_to, toolbar
    from tests.conftest import CHROMIUM_ARGUMENTS
    from tests.services import require_program

    target = ROOT / "docs" / "screenshots"
    target.mkdir(exist_ok=True)
    executable = require_program("chromium", "chromium-browser", "google-chrome")
    with (
        tempfile.TemporaryDirectory() as scratch,
        carsales(Path(scratch), tracing={"KNOWN_HAZARDS": []}) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        context = browser.new_context(base_url=address, viewport={"width": 1440, "height": 860})
        page = context.new_page()
        page.emulate_media(color_scheme="light")
        buy_a_car(page)
        switch_to(page, "POST", "/check-out/")
        page.get_by_text("1 raised").first.wait_for()
        panel = open_panel(page)
        panel.get_by_role("tab", name="Tree").click()
        row(panel, "make_sale").click()
        page.screenshot(path=target / "panel-tree-light.png")
        toolbar(page, "hide")
        browser.close()
    print(f"Wrote {target}/panel-tree-light.png")


if __name__ == "__main__":
    main()
