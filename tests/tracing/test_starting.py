"""Tests of what a process imports when it starts, and when it records its first trace."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from fnmatch import fnmatchcase

import pytest

pytestmark = pytest.mark.process

PROJECT = """
import json, sys
import django
from django.conf import settings
from tracing.project import MAKES_TABLES

database = {"ENGINE": "django.db.backends.sqlite3"}
settings.configure(
    SECRET_KEY="x",
    DATABASES={
        "default": {**database, "NAME": "site.sqlite3"},
        "tracing": {**database, "NAME": "traces.sqlite3", MAKES_TABLES: True},
    },
    DATABASE_ROUTERS=["tracing.routers.TracingRouter"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "tracing"],
    TRACING={
        "EXPORTERS": WANTED,
        "LOG": {"path": "tracing.jsonl"},
        "PIPELINE": {"exit_seconds": 60},
    },
)
django.setup()
"""
NAMES = "print(json.dumps(sorted(sys.modules)))"

STARTS_WITH = {
    "msgspec", "msgspec.*", "typing_extensions",
    "tracing", "tracing.apps", "tracing.models", "tracing.routers",
    "tracing.conf", "tracing.conf.*", "tracing.patterns", "tracing.project", "tracing.units",
    "tracing.celery", "tracing.checks", "tracing.clocks", "tracing.log", "tracing.setup",
    "tracing.exporters", "tracing.exporters.build",
    "tracing.pipeline", "tracing.pipeline.*",
    "tracing.spans", "tracing.spans.*",
    "tracing.analysis", "tracing.analysis.histogram",
    "tracing.instrumentation", "tracing.instrumentation.*",
    "tracing.store", "tracing.store.models", "tracing.store.models.*",
    *(f"tracing.store.{name}" for name in (
        "columns", "conditions", "deadlines", "digits", "embedded", "fields", "generics", "load", "pages",
        "queries", "ranges", "rollups", "statistics", "unmigrated",
    )),
}  # fmt: skip
"""What setting up may import beside Django and the standard library."""
LATER = {
    "tracing.instrumentation.overhead", "tracing.instrumentation.assembly.*",
    "tracing.spans.codec", "tracing.spans.escapes", "tracing.spans.intervals",
}  # fmt: skip
"""What of it waits for the first trace all the same."""
FIRST = {"tracing.instrumentation.assembly.repair"}


def run(tmp_path, *program, source=PROJECT, exporters=("database", "log")):
    """Return what *program* prints after the project is set up."""
    source = source.replace("WANTED", repr(list(exporters)))
    done = subprocess.run(
        [sys.executable, "-c", "".join([source, *map(textwrap.dedent, program)])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert not done.stderr
    assert done.returncode == 0
    return json.loads(done.stdout)


def is_in(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def test_setting_up_imports_what_recording_needs_and_no_more(tmp_path):
    stock = run(tmp_path, NAMES, source=PROJECT.replace(', "tracing"]', "]"))
    others = {*sys.stdlib_module_names, *(name.partition(".")[0] for name in stock)} - {"tracing"}
    names = [name for name in run(tmp_path, NAMES) if name.partition(".")[0] not in others]

    assert {name for name in names if not is_in(name, STARTS_WITH)} == set()
    assert {name for name in names if is_in(name, LATER)} <= FIRST


def test_checks_of_a_project_import_no_rule_and_no_tree(tmp_path):
    engine = '[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]'
    source = PROJECT.replace("settings.configure(", f"settings.configure(TEMPLATES={engine},", 1)
    names = run(
        tmp_path,
        """
        from django.core import checks

        checks.run_checks()
        """,
        NAMES,
        source=source,
    )

    assert "tracing.templatetags.tracing_tags" in names
    heavy = ["tracing.analysis.hazards*", "tracing.search*", "tracing.presentation.rows"]
    assert [name for name in names if is_in(name, heavy)] == []


def test_addresses_of_the_viewer_import_no_page(tmp_path):
    names = run(tmp_path, "from tracing import tracing_urls\ntracing_urls()\n", NAMES)

    assert "tracing.viewer.urls" in names
    assert [name for name in names if is_in(name, ["tracing.viewer.views*"])] == []


def test_a_store_on_sqlite_never_imports_the_driver_of_another(tmp_path):
    names = run(
        tmp_path,
        """
        import tracing
        from django.dispatch import Signal

        with tracing.trace("work"):
            Signal().send(None)
        tracing.flush(30)
        """,
        NAMES,
    )

    assert "tracing.exporters.database" in names
    assert not [name for name in names if name.startswith("psycopg")]


def test_a_project_without_a_log_never_imports_structlog(tmp_path):
    names = run(
        tmp_path,
        """
        import tracing

        with tracing.trace("work"):
            pass
        tracing.flush(30)
        """,
        NAMES,
        exporters=["database"],
    )

    assert "tracing.exporters.log" not in names
    assert "structlog" not in names


def test_a_fork_waits_until_the_worker_has_imported_what_it_needs(tmp_path):
    # A child of the moment between would wait for ever for a module that nobody goes on importing.
    (tmp_path / "slow.py").write_text(
        "import __main__, time\n__main__.began.set()\ntime.sleep(0.3)\n"
    )
    found = run(
        tmp_path,
        """
        import os, signal, threading, warnings
        import tracing
        from tracing import setup

        # Python from 3.12 on warns of any fork beside a thread.
        warnings.simplefilter("ignore", DeprecationWarning)

        began = threading.Event()
        make = setup._make_exporters

        def slowly(*args):
            import slow
            return make(*args)

        sys.path.insert(0, ".")
        setup._make_exporters = slowly
        setup.configure()
        with tracing.trace("work"):
            pass
        began.wait(30)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            import slow
            os._exit(7)
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
        """,
    )

    assert found == 7
