"""Tests of the page that says why a receiver was not called, and of the links to it."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.template import Context, Template

import tracing
from tests.tracing.analysis.building import TraceBuilder
from tests.tracing.viewer.traces import MAKE_SALE, order, store
from tracing.models import Trace

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])


def links(response):
    """Return what each link to the page asks."""
    found = re.findall(r'<a class="why-not" href="([^"]+)"', response.content.decode())
    return [parse_qs(urlsplit(unescape(address)).query) for address in found]


@pytest.mark.thorough
def test_page_says_the_verdict_and_the_lines(developer):
    store(order(1))

    page = unescape(
        developer.get("/tracing/why-not/?receiver=sales.receivers.make_sale").content.decode()
    )

    assert ">core.<wbr>sales.<wbr>receivers.<wbr>make_<wbr>sale</bdi>" in page
    assert ">ran</span>" in page
    assert "make_sale was called for post_save" in page
    assert "manage.py tracing why-not core.sales.receivers.make_sale" in page


@pytest.mark.thorough
def test_json_is_that_of_the_command(developer):
    store(order(1))

    found = developer.get("/tracing/why-not.json?receiver=sales.receivers.make_sale").json()

    assert list(found) == [
        "receiver", "verdict", "calls", "signal", "sender", "trace_id", "evidence", "remedy",
    ]  # fmt: skip
    assert (found["receiver"], found["verdict"]) == (MAKE_SALE.name, "ran")
    assert found == tracing.why_not("sales.receivers.make_sale")


@pytest.mark.thorough
def test_unknown_receiver_is_answered_with_near_ones(developer):
    store(order(1))

    page = developer.get("/tracing/why-not/?receiver=mak_sale")

    assert page.status_code == 404
    assert "core.sales.receivers.make_sale" in page.content.decode()
    with pytest.raises(LookupError, match="No receiver is called mak_sale"):
        tracing.why_not("mak_sale")


@pytest.mark.thorough
def test_unknown_signal_or_sender_is_answered_with_near_ones(developer):
    store(order(1))

    # Not spelled out: what stands anywhere in the project's source may be a name.
    with pytest.raises(LookupError, match=r"No signal is called (.|\n)*post_save"):
        tracing.why_not("sales.receivers.make_sale", signal="post_" + "svae")
    with pytest.raises(LookupError, match=r"No sender is called (.|\n)*cars.Car"):
        tracing.why_not("sales.receivers.make_sale", sender="cars.Ca" + "rr")
    assert (
        developer.get(
            "/tracing/why-not/?receiver=sales.receivers.make_sale&signal=po_" + "sav"
        ).status_code
        == 404
    )


def test_unknown_trace_is_told(developer):
    store(order(1))

    assert (
        developer.get("/tracing/why-not/?receiver=sales.receivers.make_sale&trace=abc").status_code
        == 404
    )
    with pytest.raises(LookupError, match="There is no trace"):
        tracing.why_not("sales.receivers.make_sale", trace="ab" * 16)


def test_without_a_receiver_those_of_the_signal_are_offered(developer):
    page = developer.get("/tracing/why-not/?signal=post_save&sender=cars.Car").content.decode()

    assert page.index("follow_price") < page.index("create_buyer")
    assert developer.get("/tracing/why-not.json").status_code == 400


def test_without_anything_asked_receivers_of_mine_are_offered(developer):
    page = developer.get("/tracing/why-not/").content.decode()

    assert "core.sales.receivers.make_sale" in page
    assert "django.db.close_old_connections" not in page


def test_receivers_and_orphans_of_a_trace_lead_to_it(developer):
    build = TraceBuilder()
    build.call(build.dispatch(), MAKE_SALE)
    build.trace.orphans.append(("django.db.models.signals.pre_save", "orders.Order", 2))
    build.trace.orphan_count = 2
    store(build.build())
    row = Trace.objects.get()

    asked = links(developer.get(f"/tracing/traces/{row.address}/receivers/"))

    assert {"receiver": [MAKE_SALE.name]} in asked
    orphan = {"signal": ["django.db.models.signals.pre_save"], "sender": ["orders.Order"]}
    assert {**orphan, "trace": [row.root_span_id]} in asked


@pytest.mark.thorough
def test_receivers_of_the_map_that_never_ran_lead_to_it(developer):
    store(order(1))

    asked = links(developer.get("/tracing/map/?show=everything&rows=all"))

    assert any("follow_price" in each["receiver"][0] for each in asked)


def test_link_is_left_out_where_there_is_no_viewer(settings):
    settings.ROOT_URLCONF = "tests.tracing.viewer.no_urls"
    template = Template("{% load tracing_tags %}{% why_not 'shop.index' %}.")

    assert template.render(Context({})) == "."
