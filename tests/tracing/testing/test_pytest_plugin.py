"""Tests of the pytest plugin, in projects of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[3]

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "tracing", "parcels"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
TRACING = {"EXPORTERS": ["memory"]}
"""
SIGNALS = """
from django.dispatch import Signal

parcel_sent = Signal()


def pack(**named):
    pass


parcel_sent.connect(pack)
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """Return a function that runs a project's tests and returns the result."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    # Whatever else is installed for pytest is no matter here, and takes a second to start.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(tests: str, *arguments: str, ini: str = "", django: bool = True) -> pytest.RunResult:
        options = "DJANGO_SETTINGS_MODULE = shop\n" if django else ""
        pytester.makeini(f"[pytest]\n{options}{ini}")
        if django:
            pytester.makepyfile(shop=SETTINGS)
            pytester.makepyfile(**{"parcels/__init__": "", "parcels/signals": SIGNALS})
        pytester.makepyfile(test_it=tests)
        plugins = ("-p", "pytest_django.plugin", "-p", "tracing.pytest_plugin")
        return pytester.runpytest_subprocess(*plugins, "--strict-markers", *arguments)

    return run


def test_the_fixture_captures_what_the_test_dispatches(project):
    result = project(
        """
        from parcels.signals import pack, parcel_sent
        from tracing.testing import assert_dispatched, assert_received

        def test_sent(dispatches):
            parcel_sent.send(sender=None)
            assert_dispatched(dispatches, parcel_sent, times=1)
            assert_received(dispatches, pack, times=1)
            assert dispatches.trace.kind == "test"
            assert dispatches.trace.name.endswith("test_it.py::test_sent")

        def test_nothing_of_the_other_test(dispatches):
            assert dispatches.dispatches == []
        """
    )

    result.assert_outcomes(passed=2)


def test_a_failed_test_reports_the_tree(project):
    result = project(
        """
        from parcels.signals import parcel_sent

        def test_sent(dispatches):
            parcel_sent.send(sender=None)
            assert 1 == 2
        """
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*Dispatched signals (call)*",
            "test *test_it.py::test_sent: 1 dispatch, 1 receiver call, 0 queries, *",
            "  parcel_sent: *sent by test_sent (*test_it.py:4)",
            "    *parcels.signals.pack (*signals.py:6): *",
        ]
    )


def test_the_tree_in_reports_can_be_shortened_or_left_out(project):
    tests = """
        from parcels.signals import parcel_sent

        def test_sent(dispatches):
            parcel_sent.send(sender=None)
            assert 1 == 2
        """

    shortened = project(tests, ini="tracing_tree_lines = 1\n")
    left_out = project(tests, ini="tracing_tree_lines = 0\n")

    shortened.stdout.fnmatch_lines(["  * 1 more line"])
    left_out.assert_outcomes(failed=1)
    left_out.stdout.no_fnmatch_line("*Dispatched signals*")


def test_budgets_fail_the_test_that_exceeds_them(project):
    result = project(
        """
        import pytest
        from django.contrib.auth.models import User
        from django.db.models.signals import post_save
        from parcels.signals import parcel_sent

        pytestmark = pytest.mark.dispatch_budget(dispatches=2)

        def test_within():
            parcel_sent.send(sender=None)

        def test_beyond():
            for _ in range(3):
                parcel_sent.send(sender=None)

        @pytest.mark.dispatch_budget(dispatches=3)
        def test_the_closest_marker_counts():
            for _ in range(3):
                parcel_sent.send(sender=None)

        @pytest.mark.django_db
        @pytest.mark.dispatch_budget(queries=0)
        def test_queries_of_receivers():
            def count_users(**named):
                User.objects.count()

            post_save.connect(count_users, sender=User)
            User.objects.create(username="ada")

        @pytest.mark.dispatch_budget(dispatches=0)
        def test_with_the_fixture(dispatches):
            parcel_sent.send(sender=None)

        @pytest.mark.dispatch_budget(dispatches=0)
        def test_that_fails_by_itself():
            parcel_sent.send(sender=None)
            raise ValueError("its own failure")
        """
    )

    result.assert_outcomes(passed=2, failed=4)
    result.stdout.fnmatch_lines(
        [
            # pytest-django runs tests with a database first.
            "*_ test_queries_of_receivers _*",
            "Over budget: 1 query in receivers, 0 allowed.",
            "*_ test_beyond _*",
            "Over budget: 3 dispatches, 2 allowed.",
            "*_ test_with_the_fixture _*",
            "Over budget: 1 dispatch, 0 allowed.",
            "*_ test_that_fails_by_itself _*",
            "*ValueError: its own failure",
        ]
    )
    # What the message of a budget shows is not shown again in a section.
    assert result.stdout.str().count("Dispatched signals") == 1


def test_a_budget_of_something_unknown_is_a_mistake_of_the_test(project):
    result = project(
        """
        import pytest

        @pytest.mark.dispatch_budget(dispatchs=1)
        def test_typo():
            pass
        """
    )

    result.stdout.fnmatch_lines(
        ["*dispatch_budget takes only dispatches, queries, receiver_calls, receiver_ms, by name: *"]
    )
    assert result.ret != 0


def test_tests_become_traces_if_the_project_wants(project):
    result = project(
        """
        import pytest
        import tracing
        from parcels.signals import parcel_sent
        from tracing import pipeline

        def traces():
            assert tracing.flush()
            (exporter,) = pipeline.default.exporters
            return exporter.traces

        def test_first():
            parcel_sent.send(sender=None)

        @pytest.mark.dispatch_budget(dispatches=1)
        def test_second():
            parcel_sent.send(sender=None)

        def test_third():
            assert [(trace.kind, trace.name.rpartition("::")[2]) for trace in traces()] == [
                ("test", "test_first"), ("test", "test_second"),
            ]
            assert [trace.dispatch_count for trace in traces()] == [1, 1]
        """,
        ini="tracing_tests = true\n",
    )

    result.assert_outcomes(passed=3)


def test_tests_are_no_traces_unless_asked_for(project):
    result = project(
        """
        import tracing
        from tracing.instrumentation import context

        def test_plain():
            assert context.current_trace() is None
            assert tracing.current_trace_id() == ""
        """
    )

    result.assert_outcomes(passed=1)


def test_a_project_without_settings_is_left_alone(project):
    result = project(
        """
        import sys

        import pytest

        @pytest.mark.dispatch_budget(dispatches=0)
        def test_plain():
            assert "tracing.testing" not in sys.modules
            assert "tracing.instrumentation.patching" not in sys.modules
        """,
        "-p",
        "no:django",
        django=False,
        ini="tracing_tests = true\n",
    )

    result.assert_outcomes(passed=1)


def test_the_plugin_imports_nothing_heavy():
    code = (
        "import sys, tracing.pytest_plugin;"
        "print([name for name in sys.modules if name.partition('.')[0] in {'django', 'structlog'}"
        " or name.startswith('tracing.') and not name.startswith('tracing.pytest_plugin')])"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert (
        result.stdout.strip() == "['tracing.instrumentation', 'tracing.instrumentation.in_tests']"
    )


def test_pytest_rewrites_no_module_of_tracing_that_is_imported_beside_the_tests(project):
    result = project(
        """
        import sys

        import pytest
        import tracing.pipeline.worker
        import tracing.viewer.urls

        # As it does by itself for all modules of a distribution that has a plugin.
        pytest.register_assert_rewrite("tracing")

        @pytest.mark.django_db
        def test_loaders():
            from parcels.signals import parcel_sent
            import tracing

            parcel_sent.send(None)
            tracing.flush()
            rewritten = [
                name
                for name, module in sys.modules.items()
                if name.startswith("tracing.")
                and type(module.__loader__).__name__ == "AssertionRewritingHook"
            ]
            assert [name for name in rewritten if "pytest_plugin" not in name] == []
            assert "tracing.instrumentation.assembly.assembler" in sys.modules
        """
    )

    result.assert_outcomes(passed=1)
