"""Fixtures for every test: a process left clean, the services, and a real browser."""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import router
from django.db.utils import ConnectionRouter
from django.dispatch import Signal
from django.urls import clear_url_caches
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from tests.databases import Copies
from tests.services import Service, require_program, require_service
from tests.template_engines import keep_engines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

    from tracing.pipeline import Pipeline

ARTIFACTS = Path(__file__).with_name("artifacts")
BROWSER_TESTS = Path(__file__).with_name("browser")

# -- The process is left clean -----------------------------------------------------------------

SENDS = ("send", "send_robust", "asend", "asend_robust")


class KnownSignals:
    """Every signal that is an attribute of an imported module, found anew after imports."""

    def __init__(self) -> None:
        self.names: dict[Signal, str] = {}
        self._modules_seen = 0

    def refresh(self) -> dict[Signal, str]:
        """Return the dotted name of each known signal."""
        if len(sys.modules) != self._modules_seen:
            for module_name, module in list(sys.modules.items()):
                for name, value in list(getattr(module, "__dict__", {}).items()):
                    # The class is asked, not isinstance(): a lazy object would wake up.
                    if issubclass(type(value), Signal):
                        self.names.setdefault(value, f"{module_name}.{name}")
            self._modules_seen = len(sys.modules)
        return self.names


known_signals = KnownSignals()


def live_receivers(signal: Signal) -> dict[Any, Any]:
    """Return the receivers that are still alive, by their lookup key."""
    alive = {}
    for entry in signal.receivers or ():
        # Entries have three parts on Django 5 and four on 6; these two are the same on both.
        lookup_key, receiver = entry[0], entry[1]
        if type(receiver).__name__ in {"ReferenceType", "weakref", "WeakMethod"}:
            receiver = receiver()
        if receiver is not None and sender_lives(entry):
            alive[lookup_key] = receiver
    return alive


def sender_lives(entry: Any) -> bool:
    """Return whether a connection is for a sender that is still there.

    Django 6 forgets one whose sender has died, at the next dispatch or connect.
    """
    sender = entry[2] if len(entry) > 3 else None
    return sender is None or sender() is not None


def belongs_to_others(receiver: Any, modules_before: set[str]) -> bool:
    """Return whether a new receiver is no leftover of the test.

    Django and other packages connect their own when first used, and any module does so when
    it is first imported.
    """
    module = getattr(receiver, "__module__", None) or type(receiver).__module__
    return module.partition(".")[0] in {"django", "debug_toolbar", "csp"} or (
        module not in modules_before
    )


def dotted(kind: type) -> str:
    """Return the path by which a setting names *kind*."""
    return f"{kind.__module__}.{kind.__qualname__}"


def tracer_state() -> dict[str, Any]:
    """Return what a test could leave behind in the tracer."""
    tracing = sys.modules.get("tracing")
    if tracing is None:
        return {}
    from tracing import pipeline
    from tracing.instrumentation import context

    return {
        "instrumentation": tracing.is_instrumented(),
        "queue": pipeline.statistics().queued,
        "exporters": [exporter.name for exporter in pipeline.default.exporters],
        "running trace": context.current_trace(),
        "unfinished traces": [str(trace.name) for trace in context.running.values()],
    }


def running() -> dict[int, Any]:
    """Return the traces that have begun and not ended, in the whole process."""
    context = sys.modules.get("tracing.instrumentation.context")
    return context.running if context is not None else {}


@pytest.fixture(autouse=True)
def clean_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """Prove that the test leaves signals, receivers and the tracer as it found them.

    What it did leave is taken back, so that one careless test fails alone. With ``--tracing-record`` and
    ``--tracing-coverage`` the process is instrumented around each test but for its teardown: nothing can be
    proved then.
    """
    plugins = request.config.pluginmanager
    if plugins.has_plugin("tracing-recording") or plugins.has_plugin("tracing-coverage"):
        yield
        return
    methods = {name: Signal.__dict__[name] for name in SENDS}
    modules_before = set(sys.modules)
    before = {signal: live_receivers(signal) for signal in known_signals.refresh()}
    lists_before = {signal: list(signal.receivers) for signal in before}
    tracer_before = tracer_state()
    running_before = set(running())

    yield

    left = []
    for name, method in methods.items():
        if Signal.__dict__[name] is not method:
            left.append(f"Signal.{name} is another function")
            setattr(Signal, name, method)
    for signal, name in known_signals.refresh().items():
        had, has = before.get(signal, {}), live_receivers(signal)
        extra = [
            receiver
            for key, receiver in has.items()
            if key not in had and not belongs_to_others(receiver, modules_before)
        ]
        meanwhile_dead = {
            entry[0] for entry in lists_before.get(signal, ()) if not sender_lives(entry)
        }
        lost = [
            receiver
            for key, receiver in had.items()
            if key not in has and key not in meanwhile_dead
        ]
        left += [f"{name} still has the receiver {receiver!r}" for receiver in extra]
        left += [f"{name} has lost the receiver {receiver!r}" for receiver in lost]
        if extra or lost:
            with signal.lock:
                signal.receivers[:] = lists_before.get(signal, [])
                signal.sender_receivers_cache.clear()
    if (routers := [dotted(type(each)) for each in router.routers]) != settings.DATABASE_ROUTERS:
        left.append(f"the routers are {routers}")
        router.routers = ConnectionRouter().routers
    tracer_after = tracer_state()
    left += [
        f"the tracer's {name} was {value!r} and is {tracer_after.get(name)!r}"
        for name, value in tracer_before.items()
        if tracer_after.get(name) != value
    ]
    for number in [number for number in running() if number not in running_before]:
        # A later test's pipeline would store its segments.
        del running()[number]
    if left:
        pytest.fail("The test did not clean up: " + "; ".join(left), pytrace=False)


# -- Runs: make test-fast, make test, make test-all ------------------------------------------------

QUICK_EXAMPLES = 25
"""Values that Hypothesis tries where the slow tests are left out; otherwise its own 100."""


def pytest_configure(config: pytest.Config) -> None:
    """Let the runs without slow tests try fewer values."""
    settings_of_hypothesis.register_profile("quick", max_examples=QUICK_EXAMPLES)
    if "slow" in config.option.markexpr:
        settings_of_hypothesis.load_profile("quick")


all_tests = pytest.StashKey[list[tuple[str, frozenset[str]]]]()
"""Each test that was collected and its markers, those that the run leaves out as well."""
started: list[str] = []
"""Processes that the running test, or what it asks for, has started."""


def note_processes() -> None:
    """Have each start of a process noted in ``started``."""
    start = subprocess.Popen.__init__

    @functools.wraps(start)
    def noting(process: Any, arguments: Any, *others: Any, **named: Any) -> None:
        # The machine's name is what the standard library asks for, once.
        if arguments != ["uname", "-p"]:
            started.append(str(arguments))
        start(process, arguments, *others, **named)

    subprocess.Popen.__init__ = noting
    os.register_at_fork(before=lambda: started.append("a fork"))


note_processes()


@pytest.fixture(autouse=True)
def known_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that starts a process and does not say so: ``make test-fast`` must leave it out."""
    yield
    seen, started[:] = list(started), []
    if seen and not any(map(request.node.get_closest_marker, ("process", "browser", "services"))):
        pytest.fail(f"It needs the marker `process`: it started {seen[0]}", pytrace=False)


# -- Collections of garbage ----------------------------------------------------------------------


@given(st.none())
@settings_of_hypothesis(max_examples=1, database=None)
def first_example(_: None) -> None:
    """Have Hypothesis look who refers to its random numbers, which a frozen heap would hide."""


def pytest_collection_finish() -> None:
    """Leave what is there now out of collections, which then only look at what tests have made."""
    first_example()
    gc.collect()
    gc.freeze()


# -- Coverage ----------------------------------------------------------------------------------


@pytest.hookimpl(trylast=True)  # What is to be left out is left out before.
def pytest_ignore_collect(collection_path: Path) -> None:
    """Refuse to measure coverage beside Playwright, which uses greenlet: such a run may never end."""
    coverage = sys.modules.get("coverage")
    is_measured = coverage is not None and coverage.Coverage.current() is not None
    if is_measured and collection_path.parent == BROWSER_TESTS:
        pytest.exit(
            "Coverage beside greenlet can hang the interpreter. Run the tests of tests/browser "
            "without coverage, and `make coverage` for the others."
        )


@pytest.fixture(autouse=True)
def kept_trace_function() -> Iterator[None]:
    """Put coverage back where a test met the recursion limit: Python drops a trace function then."""
    trace = sys.gettrace()
    yield
    if trace is not None and sys.gettrace() is None:
        sys.settrace(trace)


# -- Templates ---------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def kept_engines(django_test_environment: None) -> None:
    """Make engines of templates once for the same settings, of which the environment sets DEBUG silently."""
    keep_engines()


# -- Databases ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def copies() -> Iterator[Copies]:
    """Return the copies of this process's databases."""
    copies = Copies()
    yield copies
    copies.close()


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None, django_db_blocker: Any, copies: Copies
) -> Iterator[None]:
    """Make the databases, and have them put back after each test that commits."""
    with pytest.MonkeyPatch.context() as patch:
        with django_db_blocker.unblock():
            copies.put_back_after_tests(patch.setattr)
        yield


@pytest.fixture
def fill(transactional_db: None, copies: Copies) -> Callable[..., Any]:
    """Return ``fill(make)``: store what *make* stores, which runs once in a process; return what it returned.

    That is the same object for all tests, which do not change it. They are marked ``transaction=True``.
    """
    return copies.fill


# -- The whole line ----------------------------------------------------------------------------


@pytest.fixture
def recording(transactional_db: None, settings: Any) -> Iterator[Pipeline]:
    """Trace as CarSales does, into its database and its log file; return the pipeline.

    The worker is another thread with a connection of its own, so the test must let it commit:
    ``@pytest.mark.django_db(transaction=True, databases="__all__")``. ``tracing.flush()`` waits
    until what has ended is stored.
    """
    import tracing
    from tracing import pipeline, setup
    from tracing.instrumentation.in_tests import log_path_of_tests

    settings.TRACING = {**settings.TRACING_OF_CARSALES, "STORE_IN_TESTS": True}
    setup.start()
    log = log_path_of_tests(Path(settings.TRACING["LOG"]["path"]))
    log.unlink(missing_ok=True)

    yield pipeline.default

    # Stored, not only asked for: a test whose traces cannot be written has failed.
    is_flushed = tracing.flush(30)
    failures = {name: exporter.error for name, exporter in pipeline.statistics().exporters.items()}
    tracing.uninstrument()
    settings.TRACING = {**settings.TRACING, "ENABLED": False, "EXPORTERS": []}
    setup.configure()
    assert is_flushed, f"the exporters did not write everything: {failures}"


# -- Hazards -----------------------------------------------------------------------------------

HOUR_MS = 3_600_000
UNHURRIED = {
    "slow-receiver": {"threshold_ms": HOUR_MS},
    "async-hop": {"total_ms": HOUR_MS},
    "init-receiver-cost": {"total_ms": HOUR_MS},
}
"""Thresholds of the rules that look at the clock which no machine is busy enough to pass."""


@pytest.fixture
def unhurried(settings: Any) -> None:
    """Find nothing only because the machine was busy while the test ran."""
    hazards = settings.TRACING.get("HAZARDS", {})
    settings.TRACING = {**settings.TRACING, "HAZARDS": {**hazards, **UNHURRIED}}


# -- Async tests -------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function as Django's own test cases do.

    Under ``async_to_sync`` the ORM works in the test's thread, inside the test's transaction; with
    an event loop of its own it would open another connection in another thread.
    """
    if not inspect.iscoroutinefunction(pyfuncitem.function):
        return None
    arguments = inspect.signature(pyfuncitem.obj).parameters
    async_to_sync(pyfuncitem.obj)(**{name: pyfuncitem.funcargs[name] for name in arguments})
    return True


# -- Services ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgresql() -> Service:
    """Return the address of a PostgreSQL server that answers."""
    return require_service("postgresql")


@pytest.fixture(scope="session")
def mariadb() -> Service:
    """Return the address of a MariaDB server that answers."""
    return require_service("mariadb")


@pytest.fixture(scope="session")
def redis() -> Service:
    """Return the address of a Redis server that answers."""
    return require_service("redis")


@pytest.fixture(scope="session")
def rabbitmq() -> Service:
    """Return the address of a RabbitMQ server that answers."""
    return require_service("rabbitmq")


# -- The browser -------------------------------------------------------------------------------

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000
"""Milliseconds to wait for what must come: only a failure waits so long, also on a busy machine."""
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}

NEEDS_BROWSER = {"chromium"}
NEEDS_SERVICES = {"postgresql", "mariadb", "redis", "rabbitmq"}

failed_in_call = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Remember for the browser fixtures whether the test itself failed."""
    report = yield
    if report.when == "call":
        item.stash[failed_in_call] = report.failed
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what drives a browser or talks to a service, so that ``-m`` can choose; note them all."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & NEEDS_BROWSER:
            item.add_marker(pytest.mark.browser)
        if fixtures & NEEDS_SERVICES:
            item.add_marker(pytest.mark.services)
    if items:
        items[0].config.stash[all_tests] = [
            (item.nodeid, frozenset(mark.name for mark in item.iter_markers())) for item in items
        ]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Return a running Chromium, one for the module.

    Not for the session: while Playwright runs, its event loop counts as running in this thread,
    and tests of async code in other modules could not start their own.
    """
    executable = require_program("chromium", "chromium-browser", "google-chrome")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with pytest.MonkeyPatch.context() as patch:
        # For the same reason Django takes each query of the test for one in async code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=executable, args=CHROMIUM_ARGUMENTS
            )
            yield browser
            browser.close()


class PageProblems(list[str]):
    """What went wrong in a page's console or left the host; a test may look and clear."""


@pytest.fixture
def page_problems() -> PageProblems:
    """Return the list that the pages of this test fill, which must be empty at its end."""
    return PageProblems()


@pytest.fixture
def open_page(
    request: pytest.FixtureRequest, chromium: Browser, page_problems: PageProblems
) -> Iterator[Callable[..., Page]]:
    """Return ``open_page(base_url, theme="light", viewport=DESKTOP, **context)``: a new page.

    Each page has a browser context of its own, so two pages are two visitors. The test fails on
    an uncaught script error, a console error (a breach of the Content-Security-Policy is one) and
    a request to another host. When it fails, each page's screenshot goes to tests/artifacts.
    """
    contexts: list[BrowserContext] = []

    def open_page(
        base_url: str, *, theme: str = "light", viewport: dict[str, int] = DESKTOP, **options: Any
    ) -> Page:
        context = chromium.new_context(
            base_url=base_url, color_scheme=theme, viewport=viewport, **options
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        watch(context, urlsplit(base_url).netloc, page_problems)
        return context.new_page()

    yield open_page

    has_failed = request.node.stash.get(failed_in_call, False) or bool(page_problems)
    for number, context in enumerate(contexts):
        if has_failed:
            for page in context.pages:
                ARTIFACTS.mkdir(exist_ok=True)
                name = re.sub(r"[^\w.-]+", "_", request.node.nodeid).removeprefix("tests_")
                page.screenshot(path=ARTIFACTS / f"{name}-{number}.png", full_page=True)
        context.close()
    if page_problems:
        pytest.fail("In the browser: " + "; ".join(page_problems), pytrace=False)


def watch(context: BrowserContext, host: str, problems: PageProblems) -> None:
    """Note each script error, console error and request to another host in ``problems``."""

    def note_console(message: Any) -> None:
        if message.type == "error":
            problems.append(f"console: {message.text} ({message.location.get('url', '')})")

    def note_request(request: Any) -> None:
        address = urlsplit(request.url)
        if address.scheme in {"http", "https", "ws", "wss"} and address.netloc != host:
            problems.append(f"request to another host: {request.url}")

    context.on("console", note_console)
    context.on("weberror", lambda error: problems.append(f"script error: {error.error}"))
    context.on("request", note_request)


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    """Return each colour scheme in turn."""
    return request.param


@pytest.fixture
def debug(settings: Any) -> Iterator[None]:
    """Run the test with DEBUG on and the toolbar's URLs in place.

    pytest-django turns DEBUG off, and the toolbar adds its URLs when the URLconf is read.
    """
    urls = importlib.import_module(settings.ROOT_URLCONF)
    settings.DEBUG = True
    importlib.reload(urls)
    clear_url_caches()

    yield

    settings.DEBUG = False
    importlib.reload(urls)
    clear_url_caches()


@pytest.fixture
def page(open_page: Callable[..., Page], live_server: Any) -> Page:
    """Return a light page at desktop width on the live server, which runs with DEBUG off."""
    return open_page(live_server.url)
