"""Tests of the page that says what follows, and of the links to it."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.template import Context, Template

from tests.tracing.viewer.traces import MAKE_SALE, order, store
from tracing.models import Trace
from tracing.store import deadlines, explaining
from tracing.viewer.views import explain as views

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])

POST_SAVE = "django.db.models.signals.post_save"


def text(response):
    """Return what a page says, without its markup."""
    page = response.content.decode().replace("<wbr>", "")
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page)))


def links(response):
    """Return what each link to the page asks."""
    found = re.findall(r'<a class="explain" href="([^"]+)"', response.content.decode())
    return [parse_qs(urlsplit(unescape(address)).query) for address in found]


def test_page_shows_the_tree(developer):
    store(order(1), order(2, fails=True))

    response = developer.get("/tracing/explain/?what=orders.Order&signal=post_save")

    page = text(response)
    assert "From 2 traces with 2 dispatches" in page
    assert '1 committed, <span class="bad">1 rolled back</span>' in response.content.decode()
    assert "raised once: PrinterError" in page
    assert page.index("make_sale") < page.index("sale_made of sales.Sale")
    assert "manage.py tracing explain orders.Order post_save" in page


def test_page_leads_on_to_what_is_below_and_to_the_traces(developer):
    store(order(1))

    page = developer.get("/tracing/explain/?what=orders.Order")

    assert {"what": ["sender:sales.Sale"], "signal": ["core.sales.signals.sale_made"]} in links(
        page
    )
    assert {"what": [f"receiver:{MAKE_SALE.name}"]} in links(page)
    assert "/tracing/?q=sender%3Dorders.Order" in page.content.decode()


def test_page_shows_so_many_steps_and_json_all(developer, monkeypatch):
    monkeypatch.setattr(views, "MOST_LINES", 2)
    store(order(1))
    about = "what=orders.Order&signal=post_save"

    page = text(developer.get(f"/tracing/explain/?{about}&show=everything"))

    assert "rarer steps are not shown." in page
    assert "print_receipt" not in page
    assert "print_receipt" in developer.get(f"/tracing/explain.json?{about}").content.decode()


def test_json_is_that_of_the_command(developer):
    store(order(1))

    found = developer.get("/tracing/explain.json?what=orders.Order&signal=post_save").json()

    assert (found["source"], found["trace_count"]) == ("sums", 1)
    assert found["question"]["signal"] == POST_SAVE
    assert developer.get("/tracing/explain.json").status_code == 400
    assert developer.get("/tracing/explain.json?what=nobody.Knows").status_code == 404


def test_without_traces_the_wiring_is_shown(developer):
    page = text(developer.get("/tracing/explain/?what=orders.Order&signal=post_save"))

    assert "No trace holds it: this is what is connected in this process" in page
    assert "make_sale" in page


def test_since_narrows_the_time(developer):
    store(order(1, ago=7200))

    page = text(developer.get("/tracing/explain/?what=orders.Order&since=1h"))

    assert "No trace holds it" in page


def test_steps_that_are_not_mine_are_hidden_until_everything_is_chosen(developer):
    store(order(1))
    Trace.objects.update(mine=True)
    about = "/tracing/explain/?what=sale_made"

    assert "that are not yours" not in text(developer.get(f"{about}&show=everything"))
    assert "print_receipt" in text(developer.get(about))


def test_without_a_question_what_can_be_asked_is_offered(developer):
    page = developer.get("/tracing/explain/").content.decode()

    assert 'href="?what=sender:orders.Order"' in page
    assert f"?what=sender:orders.Order&amp;signal={POST_SAVE}" in page


@pytest.mark.thorough
def test_unknown_and_ambiguous_names_are_answered_with_candidates(developer):
    store(order(1), order(2, name="orders:check_in"))

    unknown = developer.get("/tracing/explain/?what=orders.Ordr")
    several = developer.get("/tracing/explain/?what=orders:check")
    signal = developer.get("/tracing/explain/?what=orders.Order&signal=post_sav")

    assert [page.status_code for page in (unknown, several, signal)] == [404, 404, 404]
    assert "?what=sender%3Aorders.Order" in unknown.content.decode()
    assert "?what=name%3Aorders%3Acheck_in" in several.content.decode()
    assert f"?what=orders.Order&amp;signal={POST_SAVE}" in signal.content.decode()


def test_page_ends_where_its_time_is_up(developer, monkeypatch):
    store(order(1))

    def read_on(*_args):
        raise deadlines.TimeUpError

    monkeypatch.setattr(explaining, "calls_of_pairs", read_on)

    assert developer.get("/tracing/explain/?what=orders.Order").status_code == 503


@pytest.mark.thorough
def test_map_statistics_traces_and_spans_lead_to_it(developer):
    store(order(1))
    row = Trace.objects.get()
    saved = {"what": ["sender:orders.Order"], "signal": [POST_SAVE]}
    make = {"what": [f"receiver:{MAKE_SALE.name}"]}

    assert saved in links(developer.get("/tracing/map/"))
    assert make in links(developer.get(f"/tracing/map/?focus=r:{MAKE_SALE.name}"))
    assert make in links(developer.get("/tracing/statistics/"))
    assert saved in links(developer.get("/tracing/statistics/?by=dispatch"))
    assert {"what": [f"signal:{POST_SAVE}"]} in links(
        developer.get("/tracing/statistics/?by=signal")
    )
    assert {"what": ["sender:orders.Order"]} in links(
        developer.get("/tracing/statistics/?by=sender")
    )
    assert make in links(developer.get(f"/tracing/traces/{row.address}/receivers/"))
    assert {"what": ["name:orders:check_out"]} in links(
        developer.get(f"/tracing/traces/{row.address}/")
    )
    assert saved in links(developer.get(f"/tracing/traces/{row.address}/spans/1/"))
    assert make in links(developer.get(f"/tracing/traces/{row.address}/spans/3/"))


def test_link_is_left_out_where_there_is_no_viewer(settings):
    settings.ROOT_URLCONF = "tests.tracing.viewer.no_urls"
    template = Template("{% load tracing_tags %}{% explain receiver='shop.index' %}.")

    assert template.render(Context({})) == "."
