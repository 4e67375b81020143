"""Take the pictures of the viewer for docs/screenshots, of a running CarSales.

Of what ``make demo`` serves::

    python scripts/viewer_screenshots.py http://127.0.0.1:8000
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

SCREENSHOTS = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}


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
            "search": "?q=outcom:raised",
            "trace": f"traces/{after}/",
            "span": f"traces/{after}/spans/{span}/",
            "flame": f"traces/{after}/flame/",
            "receivers": f"traces/{after}/receivers/",
            "map": "map/",
            "statistics": "statistics/",
            "explain": "explain/?what=orders.Order&signal=post_save",
            "compare": "compare/periods/?release_before=1.0&release_after=1.1",
            "hazards": "hazards/",
            "recorder": "recorder/",
        }
        for theme, size, viewport in (
            ("light", "", DESKTOP),
            ("dark", "", DESKTOP),
            ("light", "-phone", PHONE),
        ):
            context = browser.new_context(color_scheme=theme, viewport=viewport)
            page = context.new_page()
            for name, path in pages.items():
                picture = f"viewer-{name}-{theme}{size}.png"
                if options.only not in picture or (size and name not in {"traces", "trace"}):
                    continue
                page.goto(viewer + path)
                page.wait_for_load_state("networkidle")
                page.screenshot(path=SCREENSHOTS / picture)
                print(picture)
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
