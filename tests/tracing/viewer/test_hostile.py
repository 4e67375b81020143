"""Tests that whatever was recorded or asked for is shown as text, on every page."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from tests.tracing.viewer.hostile import EVIL, MARK, hostile
from tests.tracing.viewer.traces import order, store
from tests.tracing.wirings import connected, keep, version
from tracing.models import Hazard, SavedSearch

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])

TRACE = f"/tracing/traces/{666:032x}"
PAGES = [
    "/tracing/",
    "/tracing/?q=took>0ns",
    "/tracing/charts/",
    "/tracing/live/?row=0",
    "/tracing/searches/",
    f"{TRACE}/",
    *(
        f"{TRACE}/{tab}/"
        for tab in ("flame", "table", "receivers", "sql", "hazards", "log", "json")
    ),
    f"{TRACE}/spans/1/",
    f"{TRACE}/spans/2/",
    f"{TRACE}/lines/1/",
    "/tracing/map/",
    "/tracing/explain/",
    "/tracing/explain/?what=name:hostile",
    "/tracing/story/?object=cars.Car:1",
    "/tracing/explain/?what=signal:post_save&show=everything",
    "/tracing/statistics/",
    "/tracing/statistics/?by=dispatch",
    "/tracing/statistics/heat/",
    "/tracing/compare/",
    f"/tracing/compare/?a={1:032x}&b={666:032x}",
    "/tracing/compare/periods/?before_since=1d&after_since=1d",
    "/tracing/hazards/",
    "/tracing/recorder/",
    "/tracing/wiring/processes/",
]
ASKED = [
    f"/tracing/?q={quote(EVIL)}",
    f"/tracing/?q={quote('name:' + chr(34) + '<b id=hostile-7>')}",
    f"/tracing/?kind={quote(EVIL)}&signal={quote(EVIL)}&duration={quote(EVIL)}&text={quote(EVIL)}",
    f"/tracing/?before={quote(EVIL)}&after={quote(EVIL)}&size={quote(EVIL)}&last={quote(EVIL)}",
    f"{TRACE}/?q={quote(EVIL)}&zoom={quote(EVIL)}&root={quote(EVIL)}&row={quote(EVIL)}",
    f"{TRACE}/table/?order={quote(EVIL)}&start={quote(EVIL)}",
    f"/tracing/map/?q={quote(EVIL)}&app={quote(EVIL)}&focus={quote(EVIL)}&since={quote(EVIL)}",
    f"/tracing/story/?object={quote(EVIL)}",
    f"/tracing/story/?object=orders.Order:{quote(EVIL)}&before={quote(EVIL)}",
    f"/tracing/explain/?what={quote(EVIL)}&signal={quote(EVIL)}&since={quote(EVIL)}",
    f"/tracing/statistics/?by={quote(EVIL)}&order={quote(EVIL)}&since={quote(EVIL)}",
    f"/tracing/statistics/heat/?name={quote(EVIL)}&since={quote(EVIL)}",
    f"/tracing/compare/?a={quote(EVIL)}&b={quote(EVIL)}",
    f"/tracing/compare/periods/?before_since={quote(EVIL)}&release_before={quote(EVIL)}",
    f"/tracing/hazards/?rule={quote(EVIL)}&severity={quote(EVIL)}&known={quote(EVIL)}",
    f"/tracing/wiring/processes/?receiver={quote(EVIL)}",
]


class Elements(HTMLParser):
    """Collects what a page's markup would do, whatever its text says."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        names = {name for name, _ in attributes}
        values = dict(attributes)
        if values.get("id") == MARK or (tag == "img" and values.get("src") == "x"):
            self.found.append(f"<{tag}> out of the text")
        self.found += [f"{name} on <{tag}>" for name in names if name.startswith("on")]
        if "style" in names or tag == "style":
            self.found.append(f"a style on <{tag}>")
        if tag == "script" and not values.get("src"):
            self.found.append("an inline script")
        for name in ("href", "src", "action"):
            if (values.get(name) or "").strip().lower().startswith(("javascript:", "data:")):
                self.found.append(f"{name}={values[name]}")


@pytest.fixture(autouse=True)
def stored(db):
    store(order(1), hostile())
    evil = connected(EVIL, signal=EVIL, sender=EVIL, file=EVIL)
    keep(version("web", evil), version(EVIL[:100].replace("\0", ""), release="<b>"))
    SavedSearch.objects.create(name=EVIL[:100].replace("\0", ""), query="q=x", created_ns=1)


@pytest.mark.thorough
@pytest.mark.parametrize("page", [*PAGES, *ASKED])
def test_hostile_text_stays_text(developer, page):
    response = developer.get(page)
    body = response.content.decode()
    elements = Elements()
    elements.feed(body)

    assert response.status_code in {200, 400, 404}
    assert elements.found == []
    # What somebody asked for stands in the search box again as it was typed.
    assert (
        page in ASKED
        or [mark for mark in ("\u202e", "\u2066", "\u200f", "\x1b", "\0") if mark in body] == []
    )
    assert len(body) < 1_500_000


def test_hostile_hazard_stays_text(developer):
    for hazard in Hazard.objects.all():
        elements = Elements()
        body = developer.get(f"/tracing/hazards/{hazard.fingerprint}/").content.decode()
        elements.feed(body)

        assert elements.found == []
        assert "\u202e" not in body


@pytest.mark.thorough
@pytest.mark.parametrize(
    "page", ["/tracing/traces.json", f"{TRACE}.json", f"{TRACE}/spans/2.json", "/tracing/map.json"]
)
def test_hostile_text_is_whole_in_json(developer, page):
    response = developer.get(page)

    assert response["Content-Type"] == "application/json"
    assert MARK in str(response.json())
    assert all(character.isprintable() for character in response.content.decode())


def test_hostile_text_in_the_admin_stays_text(admin_client):
    elements = Elements()
    elements.feed(admin_client.get("/admin/tracing/trace/").content.decode())

    assert [one for one in elements.found if "out of the text" in one or " on <" in one] == []
