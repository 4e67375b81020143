"""Tests of the viewer under the settings of other projects: the pages are the same as ever."""

from __future__ import annotations

import json
import re
from functools import cache

import django
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.urls import reverse, set_script_prefix

from tests.tracing.command_line import run
from tests.tracing.viewer.traces import command, order, store
from tracing.panels import panel
from tracing.panels.stored import describe

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])

ID = f"{1:032x}"
PAGES = [
    "", "?q=name:*check*+took<9m", "live/", "charts/", "searches/", "statistics/",
    "statistics/heat/", "compare/", f"compare/?a={ID}&b={2:032x}", "compare/periods/?before_since=9d",
    "hazards/", f"traces/{ID}/", f"traces/{ID}/flame/", f"traces/{ID}/table/",
    f"traces/{ID}/receivers/", f"traces/{ID}/sql/", f"traces/{ID}/hazards/", f"traces/{ID}/log/",
    f"traces/{ID}/json/", f"traces/{ID}/spans/3/", f"traces/{3:032x}/lines/1/", "traces/none/",
]  # fmt: skip
JSON = [
    "traces.json", "live.json", "charts.json", "statistics.json", "statistics/heat.json",
    "hazards.json", "searches.json", f"traces/{ID}.json", f"traces/{ID}/table.json",
]  # fmt: skip
CHANGING = ["recorder/", "recorder/prune/", "recorder.json", "map/", "map.json"]
"""What shows the clock, the size of files or the receivers of this process."""
ENGINE = {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
MIDDLEWARE = [name for name in django_settings.MIDDLEWARE if "debug_toolbar" not in name]


def without(*words):
    return [name for name in MIDDLEWARE if not any(word in name.lower() for word in words)]


OTHERS = {
    "no time zones": {"USE_TZ": False},
    "no translations": {"USE_I18N": False},
    "right to left": {"LANGUAGE_CODE": "ar", "USE_THOUSAND_SEPARATOR": True},
    "its own formats": {
        "FORMAT_MODULE_PATH": ["tests.tracing.viewer.formats"],
        "LANGUAGE_CODE": "de",
        "USE_THOUSAND_SEPARATOR": True,
    },
    "an odd engine": {
        "TEMPLATES": [
            {
                **ENGINE,
                "OPTIONS": {
                    "string_if_invalid": "INVALID %s",
                    "autoescape": False,
                    "context_processors": [f"{__name__}.fails"],
                },
            }
        ]
    },
    "no sessions and no cache": {
        "MIDDLEWARE": without("session", "message", "authentic"),
        "CACHES": {},
    },
    "no middleware at all": {
        "MIDDLEWARE": [],
        "APPEND_SLASH": False,
        "CACHES": {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}},
    },
    "forms of its own": {
        "FORM_RENDERER": "django.forms.renderers.TemplatesSetting",
        "CSRF_USE_SESSIONS": True,
        "SECURE_REFERRER_POLICY": "no-referrer",
    },
}
if django.VERSION >= (6, 0):
    OTHERS["Django's own policy"] = {
        "MIDDLEWARE": [
            "django.middleware.csp.ContentSecurityPolicyMiddleware",
            *without("csp"),
        ],
        "SECURE_CSP": {"default-src": ["'self'"]},
    }


def fails(_request):
    """Stand for a context processor of a project that fails on foreign pages."""
    raise LookupError


@cache
def traces():
    """Return the traces, the same ones for all tests."""
    return [order(1, fails=True), order(2, slow=80), command(3, cars=1_234)]


@pytest.fixture(autouse=True)
def stored(db):
    store(*traces())


def seen(client):
    """Return status and text of each page, without what is never the same."""
    found = {}
    for page in PAGES + JSON:
        response = client.get(f"/tracing/{page}")
        text = re.sub(r'(name="csrfmiddlewaretoken" value)="[^"]*"', r"\1", response.text)
        found[page] = response.status_code, re.sub(r"data-ago>[^<]*<", "data-ago><", text)
    for page in CHANGING:
        found[page] = client.get(f"/tracing/{page}").status_code, ""
    return found


_usual = {}


@pytest.fixture
def usual(developer):
    """Return the pages under the usual settings."""
    if not _usual:
        _usual.update(seen(developer))
    return _usual


def test_usual_pages_are_there(usual):
    assert {page: status for page, (status, _) in usual.items() if status != 200} == {
        "traces/none/": 404
    }


@pytest.mark.thorough
@pytest.mark.parametrize("name", OTHERS)
def test_pages_are_the_same_under_other_settings(usual, name):
    with override_settings(DEBUG=True, **OTHERS[name]):
        there = seen(Client())

    assert {page: there[page][0] for page in there} == {page: usual[page][0] for page in usual}
    assert [page for page in there if there[page] != usual[page]] == []


VERBS = [
    ("list",), ("list", "--since", "9d", "--name", "load_cars"), ("show", ID), ("stats",),
    ("show", ID, "--format", "json"), ("hazards",),
]  # fmt: skip


@pytest.mark.thorough
def test_command_says_the_same_under_other_settings():
    usual = [run(*verb) for verb in VERBS]

    for name, others in OTHERS.items():
        with override_settings(**others):
            assert (name, [run(*verb) for verb in VERBS]) == (name, usual)


def test_panel_is_the_same_under_other_settings(monkeypatch):
    # What is connected in this process changes by itself.
    monkeypatch.setattr(panel, "read_wiring", list)
    stored = json.loads(json.dumps(describe(traces()[0])))
    usual = panel.render(stored)

    for name, others in OTHERS.items():
        with override_settings(**others):
            assert (name, panel.render(stored)) == (name, usual)
    assert "make_sale" in usual


@pytest.mark.thorough
@pytest.mark.parametrize("templates", [[], [{"BACKEND": ENGINE["BACKEND"]}]])
def test_pages_are_drawn_without_an_engine_and_say_so(developer, usual, settings, templates):
    settings.TEMPLATES = templates

    there = seen(developer)
    assert {page: there[page][0] for page in there} == {page: usual[page][0] for page in usual}
    assert "DjangoTemplates backend with &#x27;APP_DIRS&#x27;: True" in there[""][1]


def test_times_are_in_the_zone_of_the_project_without_use_tz(developer, settings):
    settings.TIME_ZONE, settings.USE_TZ = "Asia/Kathmandu", False

    page = developer.get(f"/tracing/traces/{ID}/").text
    assert "+05:45" in page
    assert "Times are in Asia/Kathmandu." in page
    picked = developer.get("/tracing/compare/").text
    with_zones = override_settings(USE_TZ=True)
    with with_zones:
        assert developer.get("/tracing/compare/").text == picked


def test_search_for_a_time_is_meant_in_that_zone(developer, settings):
    settings.TIME_ZONE, settings.USE_TZ = "Asia/Kathmandu", False

    found = developer.get("/tracing/traces.json?q=until:2099-01-01T10:00+since:00:00").json()
    assert "error" not in found


@pytest.mark.parametrize("use_tz", [True, False])
def test_admin_shows_the_time_of_the_project(admin_client, settings, use_tz):
    settings.TIME_ZONE, settings.USE_TZ = "Asia/Kathmandu", use_tz

    listed = admin_client.get(reverse("admin:tracing_trace_changelist")).text
    row = traces()[0]
    minutes = row.started_ns // 60_000_000_000 + 345
    hour, minute = minutes // 60 % 24, minutes % 60
    assert re.search(rf"\b{(hour - 1) % 12 + 1}(:{minute:02d})? [ap]\.m\.|noon|midnight", listed)


def test_site_below_a_prefix(developer, settings):
    settings.FORCE_SCRIPT_NAME = "/shop"
    # Has the storage ask for the prefix, which it remembers, now and after the test.
    settings.STATIC_URL = "static/"

    # As the handlers of WSGI and ASGI do, and the one of the test client does not.
    set_script_prefix("/shop/")
    try:
        page = developer.get("/tracing/").text
    finally:
        set_script_prefix("/")
    assert 'href="/shop/tracing/map/"' in page
    assert 'href="/shop/static/tracing/design.css"' in page
    assert 'href="/tracing/' not in page


def test_site_by_language(developer, settings):
    settings.ROOT_URLCONF = "tests.tracing.viewer.urls_by_language"
    settings.LANGUAGE_CODE = "de"

    page = developer.get("/de/traces-of/")
    assert page.status_code == 200
    assert 'href="/de/traces-of/map/"' in page.text
    assert developer.get(f"/de/traces-of/traces/{ID}.json").status_code == 200


def test_files_that_were_not_collected_break_no_page(settings, tmp_path):
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
    }

    page = client.get("/tracing/")
    assert page.status_code == 200
    assert 'href="/static/tracing/viewer.css"' in page.text


def test_redirect_to_a_secure_address_is_all_there_is_to_it(developer, settings):
    settings.SECURE_SSL_REDIRECT = settings.SESSION_COOKIE_SECURE = True
    settings.CSRF_COOKIE_SECURE = True
    settings.SECURE_HSTS_SECONDS = 3_600

    assert developer.get("/tracing/").status_code == 301
    assert developer.get("/tracing/", secure=True).status_code == 200


def test_no_host_allowed_answers_as_django_does(settings):
    settings.DEBUG, settings.ALLOWED_HOSTS = False, []

    assert Client().get("/tracing/").status_code == 400
    settings.MIDDLEWARE = []
    assert Client().get("/tracing/").status_code == 403
