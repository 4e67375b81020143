"""Tests of who may see and do what, and that nothing is kept by caches."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from tests.tracing.viewer.traces import order, store
from tracing.models import Hazard, RecorderControl, SavedSearch, Trace
from tracing.viewer.access import Permission, is_allowed

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])

ID = f"{1:032x}"
PAGES = [
    "/tracing/",
    "/tracing/traces.json",
    "/tracing/charts/",
    "/tracing/live/",
    "/tracing/complete.json",
    "/tracing/searches/",
    f"/tracing/traces/{ID}/",
    f"/tracing/traces/{ID}.json",
    f"/tracing/traces/{ID}/receivers/",
    f"/tracing/traces/{ID}/spans/1/",
    f"/tracing/traces/{ID}/lines/1/",
    "/tracing/map/",
    "/tracing/explain/",
    "/tracing/story/",
    "/tracing/statistics/",
    "/tracing/statistics/heat/",
    "/tracing/compare/",
    "/tracing/compare/periods/",
    "/tracing/hazards/",
    "/tracing/recorder/",
    "/tracing/wiring/processes/",
]


@pytest.fixture(autouse=True)
def stored(db):
    store(order(1, fails=True))


@pytest.mark.parametrize("address", PAGES)
def test_strangers_are_sent_to_log_in_or_get_403(address):
    response = Client().get(address)

    if address.endswith(".json"):
        assert (response.status_code, response.json()) == (
            403,
            {
                "error": "You may not see traces.",
                "missing": ["is_active", "is_staff", "tracing.view_trace"],
            },
        )
    else:
        assert response.status_code == 302
        assert response["Location"].startswith(f"/accounts/log-in/?next={address}")


@pytest.mark.parametrize("address", PAGES)
def test_pages_are_kept_by_no_cache(developer, address):
    response = developer.get(address)

    assert response.status_code == 200
    assert {"private", "no-store"} <= set(response["Cache-Control"].split(", "))
    assert "Cookie" in response["Vary"]


def test_developer_needs_debug_and_an_internal_address(developer, settings):
    assert developer.get("/tracing/").status_code == 200
    assert developer.get("/tracing/", REMOTE_ADDR="10.0.0.9").status_code == 302
    settings.DEBUG = False
    assert developer.get("/tracing/").status_code == 302


@pytest.mark.parametrize(
    ("permissions", "is_staff", "status"),
    [
        (["view_trace"], True, 200),
        (["view_trace"], False, 403),
        ([], True, 403),
        (["view_source", "prune_trace", "pause_recorder", "annotate_trace"], True, 403),
    ],
)
def test_staff_need_the_permission(person, permissions, is_staff, status):
    client = person(*permissions, is_staff=is_staff)

    assert client.get("/tracing/").status_code == status


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        ("/accounts/log-in/", "/accounts/log-in/"),
        ("buyers:log_in", "/accounts/log-in/"),
        ("/accounts/login/", "/admin/login/"),
        ("https://sso.example/", "https://sso.example/"),
    ],
)
def test_strangers_log_in_where_there_is_a_page_for_it(settings, login, expected):
    settings.LOGIN_URL = login

    assert Client().get("/tracing/")["Location"] == f"{expected}?next=/tracing/"


def test_stranger_asking_through_htmx_gets_403_and_no_page():
    response = Client().get("/tracing/", headers={"HX-Request": "true"})

    assert response.status_code == 403
    assert response.content.decode() == (
        "You may not see traces. Missing: is_active, is_staff, tracing.view_trace."
    )


@pytest.mark.parametrize(
    ("permissions", "is_staff", "missing"),
    [
        ([], True, ["tracing.view_trace"]),
        (["view_trace"], False, ["is_staff"]),
        ([], False, ["is_staff", "tracing.view_trace"]),
    ],
)
def test_person_is_told_which_permission_is_missing_and_who_grants_it(
    person, permissions, is_staff, missing
):
    response = person(*permissions, is_staff=is_staff).get("/tracing/")

    page = response.content.decode()
    assert response.status_code == 403
    assert "<h1>You may not see traces.</h1>" in page
    assert re.findall(r"<li><code>(.*?)</code>", page) == missing
    assert "You are logged in as <strong>nadia</strong>" in page
    assert "A superuser of this site grants it" in page
    assert {"private", "no-store"} <= set(response["Cache-Control"].split(", "))


def test_person_is_told_which_permission_a_change_needs(person):
    client = person("view_trace")

    page = client.post(reverse("tracing:switch"), {"paused": "yes"}).content.decode()
    asked = client.get(reverse("tracing:prune"), headers={"Accept": "application/json"})

    assert "<h1>You may not pause and resume recording.</h1>" in page
    assert re.findall(r"<li><code>(.*?)</code>", page) == ["tracing.pause_recorder"]
    assert asked.json() == {
        "error": "You may not prune traces.",
        "missing": ["tracing.prune_trace"],
    }


def test_site_without_users_says_to_whom_the_viewer_is_open(settings):
    settings.MIDDLEWARE = [
        name for name in settings.MIDDLEWARE if "auth" not in name and "debug_toolbar" not in name
    ]

    response = Client().get("/tracing/")

    assert response.status_code == 403
    assert "This site has no users to whom it could be permitted" in response.content.decode()


def test_source_is_shown_to_those_who_may_see_it(person):
    page = f"/tracing/traces/{ID}/spans/3/"
    without = person("view_trace").get(page).content.decode()

    assert "def make_sale" not in without
    assert "Can see source code in the trace viewer" in without


def test_source_is_shown_with_the_permission(person):
    page = (
        person("view_trace", "view_source").get(f"/tracing/traces/{ID}/spans/3/").content.decode()
    )

    assert '<span class="code-keyword">def</span> make_sale' in page


@pytest.mark.parametrize(
    ("address", "permission", "data", "changed"),
    [
        ("switch", "pause_recorder", {"paused": "yes"}, RecorderControl.objects.exists),
        ("annotate", "annotate_trace", {"pinned": "on"}, lambda: Trace.objects.pinned().exists()),
        (
            "hazard",
            "annotate_trace",
            {"reason": "it is a demo"},
            lambda: Hazard.objects.filter(known=True).exists(),
        ),
        ("prune", "prune_trace", {}, None),
    ],
)
def test_each_change_needs_its_permission(person, address, permission, data, changed):
    arguments = {"annotate": [ID], "hazard": [Hazard.objects.first().fingerprint]}.get(address, [])
    url = reverse(f"tracing:{address}", args=arguments)

    refused = person("view_trace").post(url, data)

    assert refused.status_code == 403
    assert changed is None or not changed()


@pytest.mark.parametrize(
    ("address", "permission", "data"),
    [
        ("switch", "pause_recorder", {"paused": "yes"}),
        ("annotate", "annotate_trace", {"pinned": "on", "note": "look"}),
        ("hazard", "annotate_trace", {"reason": "it is a demo"}),
        ("prune", "prune_trace", {}),
    ],
)
def test_each_change_is_made_with_its_permission(person, address, permission, data):
    arguments = {"annotate": [ID], "hazard": [Hazard.objects.first().fingerprint]}.get(address, [])

    response = person("view_trace", permission).post(
        reverse(f"tracing:{address}", args=arguments), data
    )

    assert response.status_code in {200, 302}
    if address == "switch":
        control = RecorderControl.objects.get(pk=1)
        assert (control.paused, control.changed_by) == (True, "nadia")
    elif address == "annotate":
        row = Trace.objects.get()
        assert (row.pinned, row.note) == (True, "look")
    elif address == "hazard":
        assert Hazard.objects.filter(known=True).get().reason == "it is a demo"


SEARCHES = "/tracing/searches/"


@pytest.fixture
def searches():
    """Store a search of somebody else and one of the person who is logged in."""
    others = SavedSearch.objects.create(name="theirs", query="q=a", created_ns=1, created_by="boss")
    own = SavedSearch.objects.create(name="own", query="q=a", created_ns=1, created_by="nadia")
    return others, own


@pytest.mark.parametrize(
    ("permissions", "done"),
    [
        ([], (False, False, False)),
        (["add_savedsearch"], (True, False, False)),
        (["change_savedsearch"], (False, True, False)),
        (["delete_savedsearch"], (False, False, True)),
        (["annotate_trace", "prune_trace", "pause_recorder"], (False, False, False)),
    ],
)
def test_saved_searches_of_others_need_a_permission_for_each_change(
    person, searches, permissions, done
):
    others, _ = searches
    added, replaced, deleted = done
    client = person("view_trace", *permissions)

    statuses = [
        client.post(SEARCHES, data).status_code
        for data in (
            {"name": "new", "query": "q=b"},
            {"name": "theirs", "query": "q=b"},
            {"delete": str(others.pk)},
        )
    ]
    kept = SavedSearch.objects.filter(pk=others.pk).first()
    assert SavedSearch.objects.filter(name="new", created_by="nadia").exists() is added
    assert (kept is None) is deleted
    assert kept is None or (kept.query, kept.created_by) == ("q=b" if replaced else "q=a", "boss")
    assert statuses == [302 if is_done else 403 for is_done in done]


def test_own_saved_search_is_replaced_and_deleted(person, searches):
    _, own = searches
    client = person("view_trace")

    client.post(SEARCHES, {"name": "own", "query": "q=b"})
    assert SavedSearch.objects.get(pk=own.pk).query == "q=b"
    page = client.get(SEARCHES).content.decode()
    assert "Delete own" in page
    assert "Delete theirs" not in page
    client.post(SEARCHES, {"delete": str(own.pk)})
    assert not SavedSearch.objects.filter(pk=own.pk).exists()


def test_saved_search_of_nobody_is_not_everybodys(person):
    nobodys = SavedSearch.objects.create(name="theirs", query="q=a", created_ns=1)

    assert person("view_trace").post(SEARCHES, {"delete": str(nobodys.pk)}).status_code == 403
    assert SavedSearch.objects.exists()


def test_name_that_somebody_else_has_is_said_beside_it(person, searches):
    client = person("view_trace", "add_savedsearch")

    refused = client.post(SEARCHES, {"name": "theirs", "query": "q=b"})

    assert refused.status_code == 403
    assert "choose another name" in refused.content.decode()


def test_refused_change_is_told_in_json(person, searches):
    others, _ = searches

    refused = person("view_trace").post(
        SEARCHES, {"delete": str(others.pk)}, headers={"Accept": "application/json"}
    )

    assert (refused.status_code, refused.json()) == (
        403,
        {
            "error": "You may not delete the saved searches of others.",
            "missing": ["tracing.delete_savedsearch"],
        },
    )


class _Bare:
    """A user of a project's own, with the least that Django asks for."""

    is_active = True
    is_authenticated = True


def test_user_without_staff_or_permissions_is_refused(rf):
    request = rf.get("/tracing/")
    request.user = _Bare()
    assert not is_allowed(request, Permission.VIEW)

    request.user.is_staff = True
    assert not is_allowed(request, Permission.VIEW)


def test_changes_need_the_csrf_token_without_its_middleware(developer, settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "csrf" not in name.lower()]

    response = Client(enforce_csrf_checks=True).post(SEARCHES, {"name": "new"})
    assert response.status_code == 403
    assert not SavedSearch.objects.exists()


@pytest.mark.parametrize("address", ["/tracing/recorder/switch/", "/tracing/searches/"])
def test_changes_need_the_csrf_token(developer, address):
    assert developer.get("/tracing/").status_code == 200
    assert Client(enforce_csrf_checks=True).post(address, {"paused": "yes"}).status_code == 403


@pytest.mark.parametrize("address", ["switch", "annotate"])
def test_changes_are_not_made_by_following_a_link(developer, address):
    url = reverse(f"tracing:{address}", args=[ID] if address == "annotate" else [])

    assert developer.get(url).status_code == 405


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_the_viewer_does_not_trace_itself(recording, developer):
    import tracing

    assert developer.get("/tracing/").status_code == 200
    assert tracing.flush(30)
    assert not Trace.objects.filter(http_path__startswith="/tracing/").exists()
