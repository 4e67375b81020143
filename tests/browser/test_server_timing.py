"""What the browser's own panel of timings reads from a page's ``Server-Timing``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.test_panel import carsales

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

READ = """() => performance.getEntriesByType("navigation")[0].serverTiming
    .map(({name, duration, description}) => ({name, duration, description}))"""


def test_the_browser_reads_how_long_receivers_and_queries_took(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    with carsales(tmp_path) as address:
        page = open_page(address)
        page.goto("/")
        told = {each["name"]: each for each in page.evaluate(READ)}

    assert {"total", "receivers", "sql"} <= told.keys()
    assert told["total"]["duration"] >= told["receivers"]["duration"] > 0
    assert told["receivers"]["description"].endswith(("call", "calls"))
    assert told["sql"]["description"].endswith(("query", "queries"))
