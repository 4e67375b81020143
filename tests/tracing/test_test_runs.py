"""A project's own tests: its databases are left alone, unless traces are written synchronously."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from django.core.management.commands import migrate
from django.core.management.commands import test as test_command
from django.db import connections
from django.test import utils as django_tests

from tests.services import require_service
from tracing.instrumentation import in_tests

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 180
"""Seconds to wait for the end of a process: only a failure waits so long."""

PROJECT = """
import json, logging, sys, time, unittest
import django
from django.conf import settings

database, tracing, log = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "tracing"],
    DATABASES={"default": database},
    TRACING={"LOG": {"path": log}, **tracing},
    MIDDLEWARE=["tracing.middleware.TracingMiddleware"],
    USE_TZ=True,
)
logging.basicConfig(format="%(message)s")
django.setup()

from django.contrib.contenttypes.models import ContentType
from django.db.models.signals import post_save
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from django.test.runner import DiscoverRunner
from tracing import flush
from tracing.models import Dispatch

def receive(**named):
    pass

post_save.connect(receive, sender=ContentType)

def stored():
    return Dispatch.objects.filter(sender__name="contenttypes.ContentType").count()

class Committing(TransactionTestCase):
    def test_writes_are_not_disturbed(self):
        # The worker writes several times in this time, if it does.
        end = time.monotonic() + 1.5
        number = 0
        while time.monotonic() < end:
            ContentType.objects.create(app_label="shop", model=f"m{number}")
            number += 1
        found.append(["committing", flush(), stored() == number])

class RollingBack(TestCase):
    def test_queries_are_counted_as_ever(self):
        with self.assertNumQueries(1):
            ContentType.objects.create(app_label="shop", model="order")
        found.append(["rolling back", flush(), stored()])

class Forbidden(SimpleTestCase):
    def test_no_database_is_needed(self):
        post_save.send(ContentType, instance=ContentType(app_label="shop"))
        flush()

found = []
runner = DiscoverRunner(verbosity=0, interactive=False)
suite = unittest.TestSuite(
    unittest.defaultTestLoader.loadTestsFromTestCase(case)
    for case in (Forbidden, RollingBack, Committing)
)
runner.build_suite = lambda *_args, **_named: suite
failures = runner.run_tests([])
print(json.dumps({"failures": failures, "found": found}))
"""


def database_of(server):
    """Return the settings of the application's only database."""
    if server == "memory":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    service = require_service(server)
    return {
        "ENGINE": f"django.db.backends.{server}",
        "NAME": "postgres",
        "HOST": service.host,
        "PORT": service.port,
        "USER": service.user,
        "PASSWORD": service.password,
        "TEST": {"NAME": f"test_runs_{os.getpid()}"},
    }


def run(database, settings, log):
    """Run the project's tests; return what they found, and what was said."""
    ended = subprocess.run(
        [sys.executable, "-c", PROJECT, json.dumps(database), json.dumps(settings), str(log)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1]), ended.stderr


@pytest.mark.process
@pytest.mark.parametrize(
    "server",
    ["memory", pytest.param("postgresql", marks=[pytest.mark.services, pytest.mark.slow])],
)
@pytest.mark.parametrize("synchronous", [False, True])
def test_tests_of_a_project_are_not_disturbed(server, synchronous, tmp_path):
    settings = {"PIPELINE": {"synchronous": synchronous}}

    result, said = run(database_of(server), settings, tmp_path / "t.jsonl")

    assert result == {
        "failures": 0,
        "found": [
            ["rolling back", True, int(synchronous)],
            ["committing", True, synchronous],
        ],
    }, said
    assert "exporter" not in said
    # What was asked for is in the log of tests, the developer's own has nothing.
    log = tmp_path / "t.tests.jsonl"
    assert ('"trace_finished"' in log.read_text()) if synchronous else not log.exists()
    assert not (tmp_path / "t.jsonl").exists()


OWN_STORE = """
import json, sys, unittest
from pathlib import Path
import django
from django.conf import settings

folder, store_in_tests = Path(sys.argv[1]), json.loads(sys.argv[2])
sqlite = lambda name: {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / name}
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "tracing"],
    DATABASES={"default": sqlite("db"), "tracing": sqlite("traces") | {
        "TEST": {"NAME": folder / "test_traces"}}},
    DATABASE_ROUTERS=["tracing.routers.TracingRouter"],
    TRACING={"LOG": {"path": folder / "t.jsonl"}, "STORE_IN_TESTS": store_in_tests},
    USE_TZ=True,
)
django.setup()

from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db.models.signals import post_save
from django.test import TestCase, TransactionTestCase
import tracing
from tracing.models import Trace

def receive(**named):
    pass

post_save.connect(receive, sender=ContentType)
call_command("migrate", "--database", "tracing", verbosity=0)
post_save.send(ContentType, instance=ContentType(app_label="shop"))
tracing.flush(60)
before = Trace.objects.count()

from django.test.runner import DiscoverRunner

class WithTheStore(TransactionTestCase):
    databases = "__all__"
    def test_it(self):
        ContentType.objects.create(app_label="shop", model="order")
        tracing.flush(60)
        found.append(Trace.objects.filter(label__name__endswith="contenttypes.ContentType").count())

class WithoutTheStore(TestCase):
    def test_it(self):
        ContentType.objects.create(app_label="shop", model="order")
        found.append(tracing.flush(60))

found = []
for cases in ([WithTheStore], [WithoutTheStore]):
    runner = DiscoverRunner(verbosity=0, interactive=False)
    suite = unittest.TestSuite(map(unittest.defaultTestLoader.loadTestsFromTestCase, cases))
    runner.build_suite = lambda *_args, **_named: suite
    assert not runner.run_tests([])
post_save.send(ContentType, instance=ContentType(app_label="shop"))
tracing.flush(60)
print(json.dumps({"before": before > 0, "grown": Trace.objects.count() - before, "found": found}))
"""


@pytest.mark.process
@pytest.mark.parametrize("store_in_tests", [False, True])
def test_store_of_the_project_gets_nothing_of_tests(store_in_tests, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", OWN_STORE, str(tmp_path), json.dumps(store_in_tests)],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == {
        "before": True,
        "grown": 0,
        "found": [int(store_in_tests), True],
    }
    log = tmp_path / "t.tests.jsonl"
    assert ('"trace_finished"' in log.read_text()) if store_in_tests else not log.exists()


SETTINGS = """
INSTALLED_APPS = ["django.contrib.contenttypes", "tracing"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
TRACING = {"LOG": {"path": "t.jsonl"}}
"""
PLAIN_TEST = """
import django
django.setup()
from django.dispatch import Signal

def receive(**named):
    pass

def test_it():
    signal = Signal()
    signal.connect(receive)
    signal.send("shop")
"""


@pytest.mark.process
@pytest.mark.parametrize("plugin", [pytest.param(True, marks=pytest.mark.slow), False])
def test_store_gets_nothing_where_pytest_knows_nothing_of_django(plugin, tmp_path):
    (tmp_path / "own_settings.py").write_text(SETTINGS)
    (tmp_path / "test_plain.py").write_text(PLAIN_TEST)
    run_python = partial(
        subprocess.run,
        cwd=tmp_path,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "own_settings",
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
            **({} if plugin else {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}),
        },
        check=True,
        timeout=PATIENCE,
    )
    run_python([sys.executable, "-m", "django", "migrate", "-v0"])
    (tmp_path / "t.jsonl").unlink(missing_ok=True)
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as store:
        count = "SELECT count(*) FROM tracing_trace"
        before = store.execute(count).fetchone()
        chosen = ["-p", "no:django"] if plugin else []

        run_python([sys.executable, "-m", "pytest", "-q", *chosen, "test_plain.py"])

        assert store.execute(count).fetchone() == before
    assert not list(tmp_path.glob("*.jsonl"))


def test_run_of_tests_is_known_by_its_signs(monkeypatch):
    monkeypatch.setattr(in_tests, "_is_test_run", False)
    monkeypatch.delenv("PYTEST_VERSION", raising=False)
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    saved = django_tests._TestState.saved_data
    del django_tests._TestState.saved_data
    try:
        outside = in_tests.is_test_run()
    finally:
        django_tests._TestState.saved_data = saved
    inside = in_tests.is_test_run()

    assert (outside, inside) == (False, True)
    assert in_tests.is_test_command(test_command.Command())
    assert not in_tests.is_test_command(migrate.Command())


def test_only_a_database_made_for_tests_is_theirs(monkeypatch):
    monkeypatch.setattr(in_tests, "_own_databases", {})
    in_tests.remember_own_databases()
    database = connections.settings["default"]

    before = in_tests.is_test_database("default")
    with monkeypatch.context() as patched:
        patched.setitem(database, "NAME", "another")
        in_tests.remember_own_databases()
        after = in_tests.is_test_database("default")

    assert (before, after, in_tests.is_test_database("default")) == (False, True, False)
    assert not in_tests.is_test_database("unknown")
