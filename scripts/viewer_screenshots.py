"""Take the pictures of the viewer for docs/screenshots, of a running CarSales.

Of what ``make demo`` serves::

    python scripts/viewer_screenshots.py http://127.0.0.1:8000
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

SCREENSHOTS = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
WINDOW = {"width": 1280, "height": 860}


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", help="address of the running site, as http://127.0.0.1:8000")
    parser.add_argument("--only", default="", help="take only pictures whose name contains this")
    options = parser.parse_args()
    viewer = f"{options.site.rstrip('/')}/tracing/"
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        request = playwright.request.new_context()
        found = request.get(
            f"{viewer}traces.json?q=receiver:make_sale+name:check-out&size=1"
        ).json()
        if not found["traces"]:
            raise SystemExit("There is no request that made a sale: simulate sales first.")
        after = found["traces"][0]["trace_id"]
        trace = request.get(f"{viewer}traces/{after}.json").json()
        deepest = max(trace["dispatches"], key=lambda dispatch: dispatch["depth"])
        span = deepest["receiver_calls"][0]["number"]
        pages = {
            "traces": "",
            "trace": f"traces/{after}/",
            "span": f"traces/{after}/spans/{span}/",
            "receivers": f"traces/{after}/receivers/",
            "map": "map/",
            "statistics": "statistics/",
            "explain": "explain/?what=orders.Order&signal=post_save",
            "compare": "compare/periods/?release_before=1.0&release_after=1.1",
            "hazards": "hazards/",
        }
        page = browser.new_page(color_scheme="light", viewport=WINDOW)
        for name, path in pages.items():
            picture = f"viewer-{name}-light.png"
            if options.only in picture:
                page.goto(viewer + path)
                page.wait_for_load_state("networkidle")
                page.screenshot(path=SCREENSHOTS / picture)
                print(picture)
        browser.close()


if __name__ == "__main__":
    main()
