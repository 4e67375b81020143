"""Tests of the lab in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PAGES = ["/lab/user-and-buyer/", "/lab/hazards/n-plus-one/"]


@pytest.mark.parametrize("path", PAGES)
def test_what_came_of_an_experiment_comes_into_view(open_page, live_server, path):
    page = open_page(live_server.url, viewport={"width": 1280, "height": 500})
    page.goto(path)

    page.locator(".bench button").click()

    expect(page.locator(".outcome h2").first).to_be_in_viewport()


@pytest.mark.parametrize("path", PAGES)
def test_what_came_of_an_experiment_comes_into_view_without_scripts(open_page, live_server, path):
    page = open_page(
        live_server.url, viewport={"width": 1280, "height": 500}, java_script_enabled=False
    )
    page.goto(path)

    page.locator(".bench button").click()

    expect(page.locator(".outcome h2").first).to_be_in_viewport()
