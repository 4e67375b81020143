"""The pytest plugin: what a test dispatched, budgets for it, and the tree in the report of a failure.

Loaded by pytest wherever the package is installed, so it imports nothing heavy and does nothing until
a test asks: by the fixture ``dispatches``, the marker ``dispatch_budget`` or the ini option
``tracing_tests``.
"""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from tracing.testing import Captured

_captured = pytest.StashKey["Captured"]()
_BUDGETS = frozenset({"dispatches", "receiver_calls", "queries", "receiver_ms"})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini options."""
    parser.addini(
        "tracing_tests",
        "Record each test as a trace of kind 'test', and export it as the settings say.",
        type="bool",
        default=False,
    )
    parser.addini(
        "tracing_tree_lines",
        "Lines of the dispatch tree shown in the report of a failed test; 0 for none.",
        default="60",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Add the marker."""
    config.addinivalue_line(
        "markers",
        "dispatch_budget(dispatches=None, receiver_calls=None, queries=None, receiver_ms=None): fail"
        " the test if it sends more dispatches that have receivers, calls more receivers, runs more"
        " queries in them or spends more milliseconds in dispatches.",
    )


def _django_is_configured() -> bool:
    """Return whether this project uses Django, and its settings are known by now."""
    if importlib.util.find_spec("django") is None:
        return False
    from django.apps import apps  # noqa: PLC0415 - only projects that have Django pay for it.

    return apps.ready


@pytest.fixture
def dispatches(request: pytest.FixtureRequest) -> Generator[Captured]:
    """Capture what the test dispatches: a ``tracing.testing.Captured``, complete at any moment.

    Fixtures that ran before it are not part of it.
    """
    running = request.node.stash.get(_captured, None)
    if running is not None:
        yield running
        return
    with _capture(request.node) as captured:
        yield captured


@contextmanager
def _capture(item: pytest.Item) -> Generator[Captured]:
    from tracing.testing import capture_dispatches  # noqa: PLC0415 - needs Django's settings.

    with capture_dispatches(item.nodeid, kind="test") as captured:
        item.stash[_captured] = captured
        yield captured


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Capture a test that has a budget and check it; make a trace of a test if tests are traced."""
    budget = _budget(item)
    wants_trace = item.config.getini("tracing_tests")
    if not (budget or wants_trace) or not _django_is_configured():
        return (yield)
    with ExitStack() as running:
        if budget and _captured not in item.stash:
            running.enter_context(_capture(item))
        if wants_trace:
            import tracing  # noqa: PLC0415 - needs Django's settings.

            running.enter_context(tracing.trace(item.nodeid, kind="test"))
        result = yield
    if budget:
        _check(item, budget)
    return result


def _budget(item: pytest.Item) -> dict[str, Any]:
    """Return the budget of a test; the closest marker counts for each limit.

    Raises:
        pytest.UsageError: A marker sets something that cannot be limited.
    """
    budget: dict[str, Any] = {}
    for marker in item.iter_markers("dispatch_budget"):
        unknown = set(marker.kwargs) - _BUDGETS
        if marker.args or unknown:
            named = ", ".join(sorted(_BUDGETS))
            raise pytest.UsageError(f"dispatch_budget takes only {named}, by name: {item.nodeid}")
        budget = {**marker.kwargs, **budget}
    return {name: limit for name, limit in budget.items() if limit is not None}


def _check(item: pytest.Item, budget: dict[str, Any]) -> None:
    from tracing.testing import assert_dispatch_budget  # noqa: PLC0415 - needs Django's settings.

    message = ""
    try:
        assert_dispatch_budget(item.stash[_captured], **budget)
    except AssertionError as error:
        message = str(error)
    if message:
        pytest.fail(message, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the tree of what was dispatched into the report of a failed test."""
    report = yield
    captured = item.stash.get(_captured, None)
    lines = int(item.config.getini("tracing_tree_lines") or 0)
    if report.failed and captured is not None and lines:
        text = captured.tree(limit=lines)
        # A failed assertion of ours has shown it already; only the time in the heading differs.
        if text.partition("\n")[2] not in str(report.longrepr):
            report.sections.append((f"Dispatched signals ({call.when})", text))
    return report
