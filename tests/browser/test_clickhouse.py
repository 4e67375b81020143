"""Tests of the viewer over ClickHouse in a real browser, with what goes wrong."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests import clickhouse
from tests.clickhouse import running_engine
from tests.tracing.exporters.clickhouse.fake import FakeClickHouse
from tests.tracing.viewer.traces import command, order

pytestmark = [
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.process,
    pytest.mark.services,
    # A visitor of the live server is one of INTERNAL_IPS.
    pytest.mark.usefixtures("debug"),
]

ADDRESS = f"/tracing/traces/{1:032x}"
DENIED = (497, "DB::Exception: reader: Not enough privileges. (ACCESS_DENIED)")


@pytest.fixture
def fake():
    made = FakeClickHouse()
    yield made
    made.stop()


def test_pages_lead_from_the_list_to_a_trace_its_spans_and_the_map(page, tmp_path):
    with running_engine(tmp_path / "clickhouse") as url, clickhouse.empty_store(url):
        clickhouse.export(order(1, ago=60, fails=True), command(2, cars=5, ago=30))
        page.goto("/tracing/")
        page.get_by_role("link", name="check_out").first.click()
        expect(page.locator("#tree")).to_contain_text("sale_made sales.Sale")
        for place, shown in (
            (f"{ADDRESS}/flame/", "make_sale"),
            (f"{ADDRESS}/table/", "make_sale"),
            (f"{ADDRESS}/receivers/", "count_cars"),
            (f"{ADDRESS}/spans/3/", "make_sale"),
            (f"{ADDRESS}/hazards/", "fail_to_print"),
            ("/tracing/map/", "make_sale"),
            ("/tracing/statistics/", "make_sale"),
            ("/tracing/hazards/", "fail_to_print"),
            ("/tracing/charts/", "Duration"),
            ("/tracing/recorder/", "Recorder"),
        ):
            page.goto(place)
            expect(page.get_by_role("main")).to_contain_text(shown)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("down", "Connection refused"),
        ("slow", "Read timed out"),
        ("rights", "does not let 'default' in, or not do this"),
        ("half", "Connection broken"),
    ],
)
def test_outage_is_said_on_the_page(page, fake, page_problems, wrong, told):
    url = fake.url
    if wrong == "down":
        url = "http://127.0.0.1:9"
    elif wrong == "slow":
        fake.stands_still.clear()
    elif wrong == "rights":
        fake.refuses = DENIED
    else:
        fake.loses_answers = True
    with clickhouse.read_from(url, timeout=1):
        for place in ("/tracing/", f"{ADDRESS}/", "/tracing/statistics/"):
            page.goto(place)
            expect(page.get_by_role("main")).to_contain_text(told)
            expect(page.get_by_role("main")).to_contain_text("Traces are read from the address in")

    # The browser tells of the answers, all of which are 503; and of nothing else.
    assert page_problems
    assert all("status of 503" in each for each in page_problems)
    page_problems.clear()
