"""``pytest --tracing-guard``: fail tests that leave receivers changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tracing.pytest_plugin.runs import django_is_configured, shared_name

if TYPE_CHECKING:
    from collections.abc import Generator

    from tracing.testing.guarding import Guard

MARKER = "tracing_guard"
FIXTURE = "signal_guard"
PLUGIN = "tracing-guard"


def is_guarded(item: pytest.Item) -> bool:
    """Return whether *item* must leave receivers as it finds them.

    Raises:
        pytest.UsageError: The marker is given something else than one truth value.
    """
    marker = item.get_closest_marker(MARKER)
    if marker is not None:
        given = marker.args or (True,)
        if marker.kwargs or len(given) != 1 or type(given[0]) is not bool:
            raise pytest.UsageError(f"{MARKER} takes True or False: {item.nodeid}")
        return given[0]
    if FIXTURE in getattr(item, "fixturenames", ()):
        return True
    return bool(item.config.getoption("tracing_guard") or item.config.getini("tracing_guard"))


class Guarding:
    """The hooks that guard tests, in each process that runs some."""

    def __init__(self) -> None:
        self.guard: Guard | None = None
        """None until Django is there."""
        self._failed = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Take what is connected now for what the test finds."""
        self._failed = False
        if self.guard is None and django_is_configured():
            from tracing.testing.guarding import Guard  # noqa: PLC0415 - needs Django's settings.

            self.guard = Guard(item.config.getini("tracing_guard_ignore"))
        if self.guard is not None:
            self.guard.begin()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Have what a fixture of several tests changes be its own."""
        if fixturedef.scope == "function" or self.guard is None:
            return (yield)
        with self.guard.fixture(fixturedef, shared_name(fixturedef)):
            return (yield)

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Expect that a fixture of several tests has undone what it changed."""
        if self.guard is not None:
            self.guard.end_fixture(fixturedef)

    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        """Note that a test fails by itself."""
        if call.excinfo is not None and call.when != "teardown":
            self._failed = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        """Fail the test if it leaves anything, and put that back."""
        guard = self.guard
        if guard is None:
            yield
            return
        is_wanted, text = is_guarded(item), None
        try:
            yield
            # One that failed keeps its receivers alive by its traceback, and says more by itself.
            if is_wanted and not self._failed:
                text = _text_of(guard, item)
        finally:
            if is_wanted and text != "":
                guard.put_back()
        if text:
            pytest.fail(text, pytrace=False)

    def pytest_unconfigure(self) -> None:
        """Let go of the connections."""
        if self.guard is not None:
            self.guard.close()


def _text_of(guard: Guard, item: pytest.Item) -> str:
    """Return what *item* leaves; empty if nothing."""
    from tracing.testing.leftovers import message  # noqa: PLC0415 - needs Django's settings.

    # Pytest lets go of the values of fixtures only after the teardown.
    values = tuple((getattr(item, "funcargs", None) or {}).values())
    left = guard.left(alive=values)
    return message(left) if left else ""


@pytest.fixture
def signal_guard(request: pytest.FixtureRequest) -> Guard:
    """Fail this test if it leaves a receiver connected, disconnected or muted.

    ``signal_guard.left()`` tells at any moment what is not as the test found it.
    """
    guarding = request.config.pluginmanager.get_plugin(PLUGIN)
    if guarding is None:
        raise pytest.UsageError(f"Name {FIXTURE} among the arguments: it begins before the test.")
    guard: Guard | None = guarding.guard
    if guard is None:
        raise pytest.UsageError(f"{FIXTURE} needs Django, whose settings are not there.")
    return guard
