"""Tests of pages that have nothing to show: each says so, and what to do."""

from __future__ import annotations

import re

import pytest
from django.db import ProgrammingError, connections
from django.db.migrations.recorder import MigrationRecorder

from tests.tracing.viewer.traces import order, store, visit
from tracing.conf import store_alias
from tracing.viewer.views.traces import TraceList

pytestmark = pytest.mark.django_db(databases="__all__")

RECORDER = 'href="/tracing/recorder/"'
EMPTY_STORE = {
    "": RECORDER,
    "charts/": RECORDER,
    "statistics/": RECORDER,
    "statistics/?by=sender": RECORDER,
    "compare/": RECORDER,
    "compare/periods/": "The last hour with the one before",
    "compare/periods/?before_since=2h&before_until=1h&after_since=1h": "No receiver was called",
    "hazards/": "No hazard was found",
    "hazards/?known=1": "No hazard",
    "statistics/heat/": "No durations of the last days",
    "story/": "Name an object",
    "story/?object=orders.Order:42": "No trace touched it",
    "searches/": "search",
}
"""What a page says of a store without a trace."""
UNFIT = {
    "?q=name:nowhere": "Take a condition away",
    "charts/?q=name:nowhere": "Take a condition away",
    "story/?object=orders.Order:4711": "No trace touched it",
    "hazards/?rule=swallowed-error": "No hazard",
}


def main(response):
    """Return what stands between the head and the foot of a page, without markup for scripts."""
    assert response.status_code == 200
    return response.content.decode().partition("<main")[2].partition("</main>")[0]


@pytest.mark.parametrize(("address", "says"), EMPTY_STORE.items(), ids=str)
def test_page_of_an_empty_store_says_what_to_do(developer, address, says):
    assert says in main(developer.get(f"/tracing/{address}"))


@pytest.mark.parametrize(("address", "says"), UNFIT.items(), ids=str)
def test_page_that_nothing_fits_says_what_to_do(developer, address, says):
    store(order(1))

    assert says in main(developer.get(f"/tracing/{address}"))


def test_charts_of_one_trace_are_drawn(developer):
    store(order(1))

    page = main(developer.get("/tracing/charts/"))

    assert "1 trace" in page
    assert 'class="empty"' not in page


def points(page):
    return len(re.findall('<circle class="point', page))


def test_charts_show_what_the_switch_says_and_all_where_nothing_is_mine(developer):
    store(visit(1))
    whole = main(developer.get("/tracing/charts/"))
    store(order(2))
    mine, everything = (
        main(developer.get(f"/tracing/charts/?show={show}")) for show in ("mine", "everything")
    )

    assert [points(page) for page in (whole, mine, everything)] == [1, 1, 2]
    assert "No receiver of yours ran" in whole
    assert "No receiver of yours ran" not in mine


def test_store_of_an_earlier_release_names_the_migration_that_it_waits_for(developer, monkeypatch):
    def lack_a_column(*_args, **_options):
        raise ProgrammingError("column tracing_trace.new does not exist")

    monkeypatch.setattr(TraceList, "get", lack_a_column)
    MigrationRecorder(connections[store_alias()]).record_unapplied("tracing", "0001_initial")

    page = developer.get("/tracing/")
    found = developer.get("/tracing/traces.json")

    assert (page.status_code, found.status_code) == (503, 503)
    assert "manage.py migrate" in page.content.decode()
    assert "of an earlier release. Run manage.py migrate" in found.json()["error"]


def test_mistake_in_a_page_of_a_migrated_store_is_no_matter_of_migrations(developer, monkeypatch):
    def mistake(*_args, **_options):
        raise ProgrammingError("near SELECT: syntax error")

    monkeypatch.setattr(TraceList, "get", mistake)

    with pytest.raises(ProgrammingError):
        developer.get("/tracing/")
