from __future__ import annotations

import inspect
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.db.backends.base.base import BaseDatabaseWrapper
from django.urls import include, path, re_path

from tracing import checks, tracing_urls
from tracing.analysis.hazards.ruleset import current
from tracing.conf.parts import ClickHouseOptions, OtlpOptions
from tracing.instrumentation import patching
from tracing.middleware import TracingMiddleware
from tracing.project import MAKES_TABLES, MIDDLEWARE, installation, is_overridden

TOLD_OF_OTHERS = ("W004", "W005", "I007", "I018", "W030", "I032", "I033", "I036")
"""What looks at settings of others."""

REPOSITORY = Path(__file__).resolve().parents[2]
ID = re.compile(r"tracing\.[EIW][0-9]{3}")


def ids(found):
    return [message.id for message in found]


def ids_in(*paths):
    return {id_ for path in paths for id_ in ID.findall(path.read_text(encoding="utf-8"))}


def test_each_check_has_its_line_in_the_documents_and_a_test_that_provokes_it():
    sources = (REPOSITORY / "tracing").rglob("*.py")
    # Those of a deployed site have their numbers computed; the docstring names the first and last.
    given = ids_in(*sources) | {f"tracing.W{number:03}" for number in range(40, 44)}

    assert given == ids_in(*(REPOSITORY / "docs").rglob("*.md"))
    assert given - ids_in(*(REPOSITORY / "tests").rglob("test_*.py")) == set()


def test_no_check_opens_a_connection(monkeypatch):
    def connect(connection):
        opened.append(connection.alias)

    opened = []
    monkeypatch.setattr(BaseDatabaseWrapper, "connect", connect)
    run_checks(include_deployment_checks=True)

    assert opened == []


def test_middleware_without_the_application_is_told_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(apps, "is_installed", lambda name: name != "tracing")
    TracingMiddleware(lambda request: None)

    (record,) = caplog.records
    assert "INSTALLED_APPS lacks 'tracing'" in record.message


def test_templates_without_those_of_applications_are_told(settings):
    backend = "django.template.backends.django.DjangoTemplates"
    settings.TEMPLATES = [{"BACKEND": backend, "APP_DIRS": False}]

    assert ids(checks.check_templates()) == ["tracing.I018"]


def test_project_as_it_is_has_nothing_wrong():
    found = [message for message in run_checks() if message.id.startswith("tracing.")]

    # The tests instrument when they need it, which the panel's check takes for an oversight.
    assert ids(found) == ["tracing.W015"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_ROUTERS", []),
        ("DEBUG", True),
        ("DEBUG_TOOLBAR_PANELS", []),
        ("MIDDLEWARE", []),
        ("ROOT_URLCONF", "core.cars.urls"),
        ("TEMPLATES", []),
    ],
)
def test_tests_that_override_other_settings_and_compare_messages_hear_nothing(
    settings, monkeypatch, name, value
):
    monkeypatch.setattr(installation, "added", [("MIDDLEWARE", MIDDLEWARE)])
    setattr(settings, name, value)

    assert set(ids(run_checks())) & {f"tracing.{id_}" for id_ in TOLD_OF_OTHERS} == set()


def test_settings_that_are_deleted_for_a_while_are_overridden(settings):
    del settings.MIDDLEWARE

    assert is_overridden("MIDDLEWARE")
    assert not is_overridden("DATABASES", "TEMPLATES")


@pytest.mark.process
def test_settings_without_a_module_are_the_projects_own():
    program = """
        from django.conf import settings
        from django.test import override_settings
        from tracing.project import is_overridden

        settings.configure(DEBUG=True, MIDDLEWARE=[])
        found = [is_overridden("DEBUG")]
        with override_settings(MIDDLEWARE=[1]), override_settings(USE_TZ=True):
            found += [is_overridden("DEBUG"), is_overridden("MIDDLEWARE")]
        print(found)
    """
    command = [sys.executable, "-c", inspect.cleandoc(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[False, False, True]"


def test_wrong_settings_are_reported_with_their_hints(settings):
    settings.TRACING = {"ENABELD": True, "LOG": 5}

    found = checks.check_settings()

    assert ids(found) == ["tracing.W001", "tracing.W002"]
    assert all(message.hint for message in found)


def test_wrong_settings_of_rules_are_reported(settings):
    settings.TRACING = {"HAZARDS": {"no-such-rule": False}}

    found = checks.check_hazards()

    assert ids(found) == ["tracing.W008"]
    assert "no-such-rule" in found[0].msg


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        ("40 dispatches", "is no dictionary"),
        (
            {"name": "POST /orders/*", "dispatchs": 40},
            "has an unknown key 'dispatchs' (did you mean 'dispatches'?)",
        ),
        ({"dispatches": 40, "route": "/"}, "has an unknown key 'route' (known are kind, name, "),
        ({"dispatches": "40"}, "limits dispatches to '40', which is no number from 0 up"),
        ({"queries": -1}, "limits queries to -1, which is no number from 0 up"),
        ({"queries": True}, "limits queries to True, which is no number from 0 up"),
        ({"kind": "requests", "queries": 1}, "is for the kind 'requests'; there are request, "),
        ({"kind": [], "queries": 1}, "is for the kind []; there are request, "),
        ({5: 5}, "has an unknown key 5 (known are kind, name, "),
        ({"name": None, "queries": 1}, "has the name None, which is no string"),
        ({"name": "load_cars"}, "limits nothing: it needs one of dispatches, "),
    ],
)
def test_wrong_budget_is_reported_and_left_out(settings, budget, problem):
    settings.TRACING = {"BUDGETS": [budget, {"queries": 5}]}

    (found,) = checks.check_hazards()

    assert found.id == "tracing.W008"
    assert found.hint
    assert found.msg.startswith(f"TRACING: BUDGETS: {budget!r} {problem}")
    (active,) = [one for one in current().rules if one.rule.id == "budget-exceeded"]
    assert active.options["budgets"] == ({"queries": 5},)


def test_known_hazard_of_no_rule_is_reported(settings):
    settings.TRACING = {"KNOWN_HAZARDS": ["slow-reciever:core.*", "repeated-*", "nothing-like-it"]}

    assert [message.msg for message in checks.check_hazards()] == [
        "TRACING: KNOWN_HAZARDS: there is no rule 'slow-reciever' (did you mean 'slow-receiver'?).",
        "TRACING: KNOWN_HAZARDS: there is no rule 'nothing-like-it'.",
    ]


@pytest.mark.parametrize(
    ("tracing", "message"),
    [
        ({"KEEP": {"slow": 5}}, "['KEEP'] has an unknown key 'slow' (did you mean 'slow_ms'?)."),
        (
            {"KEEP": {"slow_ms": "5"}},
            "['KEEP'] has slow_ms = '5': it must be a number of milliseconds.",
        ),
        ({"KEEP": {"errors": 1}}, "['KEEP'] has errors = 1: it must be True or False."),
        ({"KEEP": {"else": 10}}, "['KEEP'] has else = 10: it must be a number from 0.0 to 1.0."),
        ({"LOG": {"paht": "x"}}, "['LOG'] has an unknown key 'paht' (did you mean 'path'?)."),
        ({"LOG": {"level": "loud"}}, "['LOG'] has level = 'loud': it must be one of debug, "),
        (
            {"LOG": {"every": "fortnight"}},
            "['LOG'] has every = 'fortnight': 'fortnight' is no duration: ",
        ),
        ({"LOG": {"max_size": "much"}}, "['LOG'] has max_size = 'much': 'much' is no size: write "),
        ({"LOG": {"keep": "all"}}, "['LOG'] has keep = 'all': it must be a number from 0 up."),
        (
            {"OTLP": {"ENDPONT": ""}},
            "['OTLP'] has an unknown key 'ENDPONT' (did you mean 'ENDPOINT'?).",
        ),
        (
            {"PIPELINE": {"queue_limit": "9"}},
            "['PIPELINE'] has queue_limit = '9': it must be a number",
        ),
        ({"PIPELINE": {"policy": "block"}}, "['PIPELINE'] has an unknown key 'policy'"),
        (
            {"EXPORTERS": [["log"]]},
            "['EXPORTERS'] has ['log'], which is no string and is left out.",
        ),
        (
            {"PIPELINE": {"synchronous": 1}},
            "['PIPELINE'] has synchronous = 1: it must be True or False.",
        ),
        (
            {"PANEL": {"editr": "zed"}},
            "['PANEL'] has an unknown key 'editr' (did you mean 'editor'?).",
        ),
        (
            {"PANEL": {"EDITOR": "vs-code"}},
            (
                "['PANEL'] has the EDITOR 'vs-code', which is no address with {file} (did you mean "
                "'vscode'?)."
            ),
        ),
        (
            {"VIEWER": {"THEME": ""}},
            "['VIEWER'] has an unknown key 'THEME' (known are EDITOR, MAX_SECONDS).",
        ),
        (
            {"SAMPLE_BY_KIND": {"requests": 0.1}},
            "['SAMPLE_BY_KIND'] has an unknown kind 'requests' (did you mean 'request'?).",
        ),
        (
            {"SAMPLE_BY_KIND": {"request": "half"}},
            "['SAMPLE_BY_KIND'] has 'half' for 'request', no number from 0 to 1.",
        ),
        (
            {"SAMPLE_BY_PATH": ["/cars/*"]},
            "['SAMPLE_BY_PATH'] has '/cars/*', no pair of a pattern and a ratio.",
        ),
        (
            {"PRUNE": {"older_than": "some days"}},
            "['PRUNE'] has older_than = 'some days': 'some days' is no duration: ",
        ),
        (
            {"PRUNE": {"older_than": 5}},
            """['PRUNE'] has older_than = 5: it must be a duration, written as "7d".""",
        ),
        (
            {"VIEWER": {"MAX_SECONDS": 0}},
            "['VIEWER'] has MAX_SECONDS = 0: it must be a number above 0.",
        ),
        (
            {"VIEWER": {"MAX_SECONDS": "5s"}},
            "['VIEWER'] has MAX_SECONDS = '5s': it must be a number above ",
        ),
        ({"CLEAR_KEYS": ["cars.Cat"]}, "['CLEAR_KEYS'] names 'cars.Cat', which is no model."),
        ({"CLEAR_KEYS": ["Car"]}, "['CLEAR_KEYS'] names 'Car', which is no model."),
        ({"SENSITIVE_KEYS": "(iban"}, "['SENSITIVE_KEYS'] is no regular expression: "),
        (
            {"TRUSTED_PARENTS": ["10.0.0.1/8"]},
            "['TRUSTED_PARENTS'] is wrong: '10.0.0.1/8' is no network: ",
        ),
        ({"TRUSTED_PARENTS": "no.such"}, "['TRUSTED_PARENTS'] is wrong: "),
        (
            {"EXPORTERS": ["databse"]},
            "['EXPORTERS'] has 'databse'; there are clickhouse, database, ",
        ),
        (
            {"EXPORTERS": ["nowhere.Exporter"]},
            "['EXPORTERS'] has 'nowhere.Exporter', which cannot be imported: ",
        ),
    ],
)
def test_wrong_value_inside_a_setting_is_reported(settings, tracing, message):
    settings.TRACING = tracing

    (found,) = [*checks.check_settings(), *checks.check_parts()]

    assert (found.id, found.msg.startswith(f"TRACING{message}")) == ("tracing.W017", True)
    assert found.hint.startswith("See docs/")


def test_right_values_inside_the_settings_are_in_order(settings):
    settings.TRACING = {
        "KEEP": {"errors": True, "slow_ms": 500, "hazards": True, "else": 0.1},
        "LOG": {"PATH": "x", "max_size": "2MB", "EVERY": "day", "LEVEL": "ERROR"},
        "OTLP": {"endpoint": "http://127.0.0.1:4317"},
        "CLICKHOUSE": {"url": "http://127.0.0.1:8123", "keep": "30d"},
        "PIPELINE": {"QUEUE_LIMIT": 5, "synchronous": True},
        "PRUNE": {"older_than": "7d", "EVERY_SECONDS": 60},
        "SAMPLE_BY_KIND": {"request": 0.5, "command": 1},
        "SAMPLE_BY_PATH": [("/cars/*", 0), ["load_*", 1.0]],
        "EXPORTERS": ["memory", "tracing.exporters.memory.MemoryExporter"],
        "PANEL": {"EDITOR": "zed"},
        "BUDGETS": [{"kind": "request", "name": "POST /orders/*", "receiver_ms": 0.5}],
        "KNOWN_HAZARDS": [{"hazard": "slow-*", "trace": "load_cars", "reason": "once a year"}],
    }

    assert checks.check_settings() + checks.check_parts() + checks.check_hazards() == []


def test_keys_of_the_otlp_exporter_are_those_that_it_takes():
    from tracing.exporters.otlp import OTLPExporter

    taken = set(inspect.signature(OTLPExporter).parameters)

    assert taken | {"current_spans"} == set(vars(OtlpOptions()))


def test_keys_of_the_clickhouse_exporter_are_those_that_it_takes():
    from tracing.exporters.clickhouse.exporter import ClickHouseExporter

    taken = set(inspect.signature(ClickHouseExporter).parameters)

    assert taken | {"keep"} == set(vars(ClickHouseOptions()))


@pytest.mark.parametrize("tracing", [{"STORE": "clickhouse"}, {"EXPORTERS": ["clickhouse"]}])
def test_clickhouse_without_its_driver_or_an_address_is_reported(settings, monkeypatch, tracing):
    settings.TRACING = {**tracing, "CLICKHOUSE": {"url": "http://localhost:8123"}}
    in_order = checks.check_clickhouse()
    monkeypatch.setitem(sys.modules, "clickhouse_connect", None)
    missing = checks.check_clickhouse()
    settings.TRACING = {**tracing, "CLICKHOUSE": {"url": "localhost:8123"}}
    both = checks.check_clickhouse()

    assert in_order == []
    assert [(each.id, each.hint) for each in missing] == [
        ("tracing.W037", "Run: pip install 'django-signal-tracing[clickhouse]'")
    ]
    assert ids(both) == ["tracing.W037"] * 2
    assert both[1].msg.endswith("TRACING['CLICKHOUSE'] has no url of a server.")


def test_clickhouse_is_not_asked_for_where_nothing_uses_it(settings, monkeypatch):
    settings.TRACING = {"CLICKHOUSE": {"url": ""}}
    monkeypatch.setitem(sys.modules, "clickhouse_connect", None)

    assert checks.check_clickhouse() == []


def test_store_that_does_not_exist_is_reported(settings):
    settings.TRACING = {"DATABASE": "nowhere"}

    assert ids(checks.check_store()) == ["tracing.W003"]


def test_store_without_a_router_is_reported(settings):
    settings.TRACING = {}
    settings.DATABASE_ROUTERS = []

    assert ids(checks.check_store()) == ["tracing.W004"]


@pytest.mark.parametrize("tracing", [{"EXPORTERS": ["log"]}, {"DATABASE": "default"}])
def test_store_that_needs_no_router_is_in_order(settings, tracing):
    settings.TRACING = tracing
    settings.DATABASE_ROUTERS = []

    assert checks.check_store() == []


def test_missing_middleware_is_reported(settings):
    settings.MIDDLEWARE = []

    assert ids(checks.check_middleware()) == ["tracing.W005"]


def test_dispatcher_that_was_not_verified_is_reported(monkeypatch):
    monkeypatch.setattr(checks, "sends_are_verified", lambda: False)

    [found] = checks.check_django()

    assert found.id == "tracing.W006"


def test_installed_django_is_verified():
    assert patching.sends_are_verified()
    assert checks.check_django() == []


def test_toolbar_without_the_panel_is_reported(settings):
    settings.DEBUG_TOOLBAR_PANELS = ["debug_toolbar.panels.sql.SQLPanel"]
    without = checks.check_panel()
    settings.DEBUG_TOOLBAR_PANELS = ["tracing.panels.SignalTracePanel"]
    with_panel = checks.check_panel()
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "debug_toolbar"]
    del settings.DEBUG_TOOLBAR_PANELS

    assert (ids(without), with_panel, checks.check_panel()) == (["tracing.I007"], [], [])


def test_middleware_behind_others_is_told(settings):
    settings.MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", checks.MIDDLEWARE]

    [found] = checks.check_middleware()

    assert found.id == "tracing.I031"
    assert "SecurityMiddleware" in found.msg


def test_viewer_without_an_address_is_told(settings):
    settings.ROOT_URLCONF = "core.cars.urls"

    assert ids(checks.check_viewer()) == ["tracing.I032"]


@pytest.mark.parametrize(
    "routes", [[], [path("traces/", include(([path("", checks.check_viewer)], "tracing")))]]
)
def test_viewer_behind_routes_of_another_of_its_name_is_told(settings, routes):
    settings.ROOT_URLCONF = types.ModuleType("urls_of_another")
    settings.ROOT_URLCONF.urlpatterns = routes

    assert ids(checks.check_viewer()) == ["tracing.I032"]


def catch_all(request, path):
    raise AssertionError(path)


def test_viewer_behind_a_catch_all_is_told(settings):
    urls = types.ModuleType("shadowed_urls")
    urls.urlpatterns = [re_path("^(.*)$", catch_all), *tracing_urls()]
    settings.ROOT_URLCONF = urls

    [found] = checks.check_viewer()

    assert found.id == "tracing.I033"
    assert f"{__name__}.catch_all" in found.msg


def test_viewer_that_is_found_is_in_order(settings):
    assert checks.check_viewer() == []


@pytest.mark.django_db(databases="__all__")
def test_shared_store_without_tables_is_told_when_databases_are_checked(settings):
    assert checks.check_tables(databases=["default", "tracing"]) == []

    settings.TRACING = {"DATABASE": "default"}

    [found] = checks.check_tables(databases=["default"])
    assert (found.id, found.hint) == ("tracing.W034", "Run: python manage.py migrate")
    assert checks.check_tables(databases=None) == []


@pytest.fixture
def embedded_file(settings, tmp_path, monkeypatch):
    """Return the path of an embedded store of this project, which is not there yet."""
    path = tmp_path / "store" / "traces.sqlite3"
    path.parent.mkdir()
    entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": path, MAKES_TABLES: True}
    monkeypatch.setitem(settings.DATABASES, "tracing", entry)
    return path


def test_embedded_store_that_can_be_made_is_in_order(embedded_file):
    assert checks.check_embedded() == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"not a database, but long enough for a header" * 9, "no SQLite file"),
        (b"SQLite format 3\0" + b"\0" * 44 + b"\0\0\x03\xe7" + b"\0" * 40, "newer release"),
        (b"SQLite format 3\0" + b"\0" * 44 + b"\0\0\0\x09" + b"\0" * 40, "move it aside"),
    ],
)
def test_embedded_store_that_cannot_be_used_is_told(embedded_file, content, problem):
    embedded_file.write_bytes(content)

    [found] = checks.check_embedded()

    assert found.id == "tracing.W035"
    assert problem in found.msg


def test_embedded_store_without_a_folder_is_told(embedded_file):
    embedded_file.parent.rmdir()

    [found] = checks.check_embedded()

    assert f"The folder {embedded_file.parent} is not there" in found.msg


@pytest.mark.process
def test_files_that_git_would_take_in_are_told(embedded_file, settings):
    settings.DEBUG = True
    settings.TRACING = {"LOG": {"path": embedded_file.parent / "logs" / "tracing.jsonl"}}
    assert checks.check_ignored() == []

    subprocess.run(["git", "init", "--quiet", str(embedded_file.parent)], check=True)

    [found] = checks.check_ignored()
    assert found.id == "tracing.I036"
    command = found.hint.removeprefix("Run: ")
    assert command == "printf '%s\\n' '*.sqlite3*' logs/ >> .gitignore"

    subprocess.run(["sh", "-c", command], cwd=embedded_file.parent, check=True)
    assert checks.check_ignored() == []


def test_public_site_is_checked_for_what_it_should_not_have(settings, embedded_file, monkeypatch):
    class Everybody:
        def __contains__(self, address):
            return True

    settings.DEBUG, settings.INTERNAL_IPS = True, Everybody()
    settings.TRACING = {"CAPTURE_STATEMENTS": True}
    embedded_file.write_bytes(b"x")
    monkeypatch.setattr(checks, "BUSY_BYTES", 0)

    assert ids(checks.check_deployment()) == ["tracing.W040", "tracing.W042", "tracing.W043"]

    settings.TRACING = {"DATABASE": "default"}
    settings.DEBUG = False
    assert ids(checks.check_deployment()) == ["tracing.W041"]

    settings.TRACING = {"DATABASE": "default", "PRUNE": {"older_than": "7d"}}
    assert checks.check_deployment() == []
