"""Tests of the page of what kinds of processes have connected, and of the hazard about it."""

from __future__ import annotations

from html import unescape

import pytest

from tests.tracing.viewer.traces import order, store
from tests.tracing.wirings import DAY, HOUR, connected, keep, version
from tracing.models import Hazard

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])

PAGE = "/tracing/wiring/processes/"


def text(response):
    return unescape(response.content.decode()).replace("<wbr>", "")


@pytest.fixture
def web_and_worker(db):
    foreign = connected("package.receivers.hear", mine=False)
    keep(
        version("web", "count", "index", foreign, release="1.1", first=DAY),
        version("worker celery", "count", release="1.1", first=HOUR),
        version("tests", "count", release="1.1", first=HOUR),
    )


def test_empty_page_says_when_processes_tell(developer):
    page = text(developer.get(PAGE))

    assert "No process has told what it has connected" in page
    assert developer.get("/tracing/wiring/processes.json").json() == {
        "kinds": [],
        "differences": [],
    }


def test_page_shows_what_is_missing_where(developer, web_and_worker):
    page = text(developer.get(PAGE))

    assert "1 receiver missing somewhere" in page
    assert "shop.receivers.index" in page
    assert "/srv/shop/apps.py:9" in page
    assert "✕ worker celery</strong>" in page
    assert "\N{EN DASH} tests <small>tests import what they test" in page
    assert "package.receivers.hear" not in page
    assert "1 difference that is not yours is hidden." in page
    assert "package.receivers.hear" in text(developer.get(f"{PAGE}?show=everything"))


def test_page_of_one_receiver_shows_it_whosever_it_is(developer, web_and_worker):
    page = text(developer.get(f"{PAGE}?receiver=receivers.hear"))

    assert "package.receivers.hear" in page
    assert "shop.receivers.index" not in page
    none = text(developer.get(f"{PAGE}?receiver=nobody"))
    assert "Every process that was heard of lately agrees about it." in none


def test_kinds_that_agree_are_said_to(developer):
    keep(version("web", "count"))
    assert "Only one kind of process" in text(developer.get(PAGE))

    keep(version("worker celery", "count"))
    assert "the same wherever it should be" in text(developer.get(PAGE))


def test_recorder_and_map_lead_there(developer):
    store(order(1))

    assert f'href="{PAGE}"' in text(developer.get("/tracing/recorder/"))
    assert f'href="{PAGE}"' in text(developer.get("/tracing/map/"))


def test_hazard_is_listed_marked_and_gone_when_it_is_mended(developer, web_and_worker):
    listed = developer.get("/tracing/hazards.json?rule=wired-differently").json()["hazards"]
    (found,) = listed
    page = f"/tracing/hazards/{found['fingerprint']}/"

    assert "Open 1" in text(developer.get("/tracing/hazards/"))
    assert developer.get("/tracing/hazards.json?severity=error").json() == {"hazards": []}
    assert "is connected to post_save of shop.Order in web" in text(developer.get(page))
    assert f'href="{PAGE}"' in text(developer.get(page))

    developer.post(page, {"reason": "the worker only sends mail"})
    assert "Open 0" in text(developer.get("/tracing/hazards/"))
    assert "the worker only sends mail" in text(developer.get("/tracing/hazards/?known=yes"))
    developer.post(page, {"forget": "yes"})
    assert "Open 1" in text(developer.get("/tracing/hazards/"))

    keep(version("worker celery", "count", "index", release="1.1", first=1, started=1))
    assert "Open 0" in text(developer.get("/tracing/hazards/"))
    assert "Known 0" in text(developer.get("/tracing/hazards/"))
    assert developer.get(page).status_code == 404
    assert Hazard.objects.count() == 1
