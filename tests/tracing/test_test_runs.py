"""A project's own tests: its databases are left alone, unless traces are written synchronously."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import require_service

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


@pytest.mark.parametrize(
    "server", ["memory", pytest.param("postgresql", marks=pytest.mark.services)]
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
    # The log has them all.
    assert '"trace_finished"' in (tmp_path / "t.jsonl").read_text()
