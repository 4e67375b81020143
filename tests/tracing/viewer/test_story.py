"""Tests of the page that tells the story of an object, and of the links to it."""

from __future__ import annotations

import re
from html import unescape
from types import SimpleNamespace

import pytest
from django.template import Context, Template

from core.orders.models import Order
from tests.tracing.analysis.building import TraceBuilder
from tests.tracing.viewer.traces import identify, order, store
from tracing.models import Trace
from tracing.store import stories

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])


def text(response):
    page = response.content.decode().replace("<wbr>", "")
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page)))


def test_each_trace_that_touched_the_object_is_told_newest_first(developer):
    store(order(1, ago=600), order(2, ago=300), order(3, ago=60))
    Trace.objects.filter(trace_id=f"{3:032x}").update(http_path="/elsewhere/")
    again = order(1, ago=30, fails=True, name="orders:cancel")
    store(identify(again, 4, ago=30))

    page = developer.get("/tracing/story/?object=orders.Order:1")

    told = text(page)
    assert told.index("orders:cancel") < told.index("orders:check_out")
    assert told.count("make_sale") == 2
    assert "rolled back" in told
    assert "raised: PrinterError" in told
    assert ":2" not in re.findall(r"orders\.Order(:\d)", told)


def test_what_is_above_is_told_and_what_is_far_below_is_not(developer):
    build = TraceBuilder()
    car = build.call(build.dispatch(sender="cars.Car"), "shop.receivers.sell")
    saved = build.call(build.dispatch(under=car, instance="orders.Order:9"), "shop.receivers.index")
    one = build.call(build.dispatch("order_placed", "None", saved), "shop.receivers.thank")
    build.call(build.dispatch("order_placed", "far.Away", one), "shop.receivers.too_far")
    store(identify(build.build(), 1))

    told = text(developer.get("/tracing/story/?object=orders.Order:9"))

    assert [name in told for name in ("sell", "index", "thank", "too_far")] == [True] * 3 + [False]


def test_json_has_the_dispatches_about_it(developer):
    store(order(1), order(2))

    found = developer.get("/tracing/story.json?object=orders.Order:2").json()

    assert (found["object"], found["complete"], len(found["traces"])) == ("orders.Order:2", True, 1)
    (dispatch,) = found["traces"][0]["dispatches"]
    assert dispatch["instance"] == "orders.Order:2"
    assert [call["receiver"] for call in dispatch["receiver_calls"]][1]["name"].endswith(
        "make_sale"
    )
    assert developer.get("/tracing/story.json").status_code == 400


def test_large_trace_is_named_and_not_told(developer, monkeypatch):
    monkeypatch.setattr(stories, "_MOST_DISPATCHES", 1)
    store(order(1))

    page = developer.get("/tracing/story/?object=orders.Order:1")

    assert "It touched the object and has 2 dispatches" in text(page)
    assert "?q=instance%3Aorders.Order%3A1" in page.content.decode()


def test_story_goes_on_page_by_page(developer, monkeypatch):
    monkeypatch.setattr(stories, "MOST_TRACES", 2)
    store(*(identify(order(1), number, ago=100 - number) for number in range(1, 4)))

    first = developer.get("/tracing/story.json?object=orders.Order:1").json()
    second = developer.get(
        f"/tracing/story.json?object=orders.Order:1&before={first['older']}"
    ).json()

    ids = [int(each["trace_id"], 16) for page in (first, second) for each in page["traces"]]
    assert (ids, second["older"]) == ([3, 2, 1], "")
    assert 'rel="next"' in developer.get("/tracing/story/?object=orders.Order:1").content.decode()


def test_what_nobody_touched_and_no_object_are_told(developer):
    untouched = text(developer.get("/tracing/story/?object=orders.Order:77"))

    assert "No trace touched it" in untouched
    assert "Name an object" in text(developer.get("/tracing/story/"))


def test_span_of_an_instance_leads_to_its_story(developer):
    store(order(1))
    row = Trace.objects.get()
    link = "/tracing/story/?object=orders.Order%3A1"

    assert link in developer.get(f"/tracing/traces/{row.address}/spans/1/").content.decode()
    assert link in developer.get(f"/tracing/traces/{row.address}/spans/3/").content.decode()


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (
            Order(pk=42),
            '<a class="story" href="/tracing/story/?object=orders.Order%3A42">Story</a>',
        ),
        ("shop.Seat:7", '<a class="story" href="/tracing/story/?object=shop.Seat%3A7">Story</a>'),
        (Order(), ""),
        (SimpleNamespace(pk=1), ""),
    ],
)
def test_template_tag_links_an_object(told, shown):
    template = Template("{% load tracing_tags %}{% story told %}")

    assert template.render(Context({"told": told})) == shown
