"""The pytest plugin: dispatches of tests, budgets, trees in reports.

Loaded by pytest wherever the package is installed, so it imports nothing heavy and does nothing until
somebody asks: a test by a fixture or a marker, the project by an ini option, who runs the tests by an option
of the command.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tracing.instrumentation.in_tests import leave_unrewritten, want_traces
from tracing.pytest_plugin import coverage, guard, snapshots
from tracing.pytest_plugin.guard import signal_guard
from tracing.pytest_plugin.recording import Recording
from tracing.pytest_plugin.runs import django_is_configured

if TYPE_CHECKING:
    from collections.abc import Generator

    from tracing.testing import Captured

__all__ = ["signal_guard"]

_captured = pytest.StashKey["Captured"]()
_BUDGETS = frozenset({"dispatches", "receiver_calls", "queries", "receiver_ms"})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    leave_unrewritten()
    group = parser.getgroup("tracing")
    group.addoption(
        "--tracing-record",
        metavar="DIR",
        help="Record what each test does in signals into plain files in DIR, which is emptied of "
        "earlier ones; manage.py tracing review compares two of them.",
    )
    group.addoption(
        "--tracing-guard",
        action="store_true",
        help="Fail each test that leaves a receiver connected, disconnected or muted.",
    )
    coverage.add_options(group)
    group.addoption(
        "--tracing-update",
        action="store_true",
        help="Write the dispatch trees of assert_dispatch_tree() rather than compare them, and tell "
        "those that no test uses.",
    )
    parser.addini(
        "tracing_guard",
        "Always do what --tracing-guard does.",
        type="bool",
        default=False,
    )
    parser.addini(
        "tracing_guard_ignore",
        "Dotted paths of receivers, or patterns with *, that tests may leave in any way.",
        type="linelist",
    )
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
    """Add the marker, and what records the run if it is to be recorded."""
    config.addinivalue_line(
        "markers",
        "dispatch_budget(dispatches=None, receiver_calls=None, queries=None, receiver_ms=None): fail"
        " the test if it sends more dispatches that have receivers, calls more receivers, runs more"
        " queries in them or spends more milliseconds in dispatches.",
    )
    config.addinivalue_line(
        "markers",
        "tracing_guard(wanted=True): fail the test if it leaves a receiver connected, disconnected or"
        " muted; False allows it where --tracing-guard does not.",
    )
    if config.getini("tracing_tests"):
        want_traces()
    if config.getoption("tracing_record") and not config.getoption("collectonly", default=False):
        config.pluginmanager.register(Recording(config), "tracing-recording")
    if coverage.is_wanted(config):
        config.pluginmanager.register(coverage.Covering(config), "tracing-coverage")
    if config.getoption("tracing_update") and not config.getoption("collectonly", default=False):
        config.pluginmanager.register(snapshots.Updating(config), "tracing-update")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Add what guards receivers, if it is to guard any test."""
    config = session.config
    wanted = not config.getoption("collectonly", default=False) and any(
        map(guard.is_guarded, session.items)
    )
    if wanted and not config.pluginmanager.has_plugin(guard.PLUGIN):
        config.pluginmanager.register(guard.Guarding(), guard.PLUGIN)


@pytest.fixture
def dispatches(request: pytest.FixtureRequest) -> Generator[Captured]:
    """Capture what the test dispatches, complete at any moment.

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
    """Check a test's budget; make a trace of it if tests are traced."""
    budget = _budget(item)
    wants_trace = item.config.getini("tracing_tests")
    if not (budget or wants_trace) or not django_is_configured():
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
