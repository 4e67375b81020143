"""Projects of their own whose tests run in this process: Django is there, and it is quick."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from django.dispatch import Signal

from tracing.instrumentation.connections import journal

# One for all tests: the names of signals are remembered.
PARCELS = ModuleType("parcels")
exec("def pack(**named): pass\n\ndef weigh(**named): pass\n", PARCELS.__dict__)
PARCELS.sent = Signal()
PARCELS.lost = Signal()
sys.modules["parcels"] = PARCELS


@pytest.fixture
def parcels():
    """Return a module with two signals and a receiver, as a project has one."""
    journal.clear()
    PARCELS.sent.connect(PARCELS.pack)
    yield PARCELS
    for signal in (PARCELS.sent, PARCELS.lost):
        signal.receivers = []
        signal.sender_receivers_cache.clear()


@pytest.fixture
def run(pytester, monkeypatch, parcels):
    """Return a function that runs tests in a folder of their own and returns the result."""
    # Whatever else is installed for pytest is no matter here.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("PYTEST_ADDOPTS", "CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)

    def run(tests: str, *arguments: str, ini: str = "", **files: str) -> pytest.RunResult:
        pytester.makeini(f"[pytest]\naddopts = --import-mode=importlib --strict-markers\n{ini}")
        pytester.makepyfile(test_it=tests, **files)
        pytester.syspathinsert()
        return pytester.runpytest_inprocess(
            "-p", "tracing.pytest_plugin", "-p", "no:cacheprovider", *arguments
        )

    return run
