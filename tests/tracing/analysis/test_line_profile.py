"""Tests of the profile of one receiver: which of its lines took the time."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading

import pytest
from django.dispatch import Signal

import tracing
from tracing.analysis import line_profile
from tracing.analysis.line_profile import ReceiverProfile
from tracing.instrumentation import line_times
from tracing.instrumentation.line_times import LineTimes, ProfilingError

needs_monitoring = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12"
)
heard = Signal()
answered = Signal()


class Clock:
    """A clock that goes on by what is told to take so long."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def take(self, nanoseconds):
        self.now += nanoseconds


clock = Clock()


def in_lines(sender, count=2, **kwargs):
    clock.take(10)
    for _ in range(count):
        clock.take(100)
    if count == 1:
        raise ValueError


def in_itself(sender, depth=2, **kwargs):
    clock.take(10)
    if depth:
        heard.send(sender, depth=depth - 1)


def deep(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@deep
def wrapped(sender, **kwargs):
    clock.take(5)


class Hearing:
    def __call__(self, sender, **kwargs):
        clock.take(7)

    def method(self, sender, **kwargs):
        clock.take(8)


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """Time by our clock."""
    clock.now = 0
    monkeypatch.setattr(line_times, "clock", clock)


@pytest.fixture
def connect():
    """Return what connects a receiver to ``heard`` until the end of the test."""
    made = []

    def connect(receiver):
        heard.connect(receiver, weak=False)
        made.append(receiver)
        return receiver

    yield connect
    for receiver in made:
        heard.disconnect(receiver)


def times(profile):
    """Return (hits, time) of each line that ran, by its source."""
    return {each.source.strip(): (each.hits, each.time_ns) for each in profile.lines() if each.hits}


@needs_monitoring
def test_each_line_has_its_hits_and_its_time(connect):
    connect(in_lines)
    with tracing.profile("in_lines") as profile:
        heard.send(None)
        heard.send(None, count=3)
    heard.send(None)

    assert (profile.calls, profile.total_ns) == (2, 520)
    assert times(profile) == {
        "clock.take(10)": (2, 20),
        "for _ in range(count):": (7, 0),
        "clock.take(100)": (5, 500),
        "if count == 1:": (2, 0),
    }
    assert [each.share for each in profile.lines() if each.source.strip() == "clock.take(100)"] == [
        500 / 520
    ]


@needs_monitoring
def test_call_that_raises_is_counted_and_raises(connect):
    connect(in_lines)
    with pytest.raises(ValueError), ReceiverProfile("in_lines") as profile:  # noqa: PT011 - any.
        heard.send(None, count=1)

    assert (profile.calls, profile.total_ns) == (1, 110)
    assert times(profile)["raise ValueError"] == (1, 0)


@needs_monitoring
def test_calls_inside_one_another_count_once_in_the_whole(connect):
    connect(in_itself)
    with ReceiverProfile("in_itself") as profile:
        heard.send(None)

    assert (profile.calls, profile.total_ns) == (3, 30)
    assert times(profile)["clock.take(10)"] == (3, 30)


@needs_monitoring
@pytest.mark.parametrize(
    ("receiver", "name", "spent"),
    [
        (functools.partial(in_lines, count=0), "in_lines", 10),
        (wrapped, "wrapped", 5),
        (Hearing(), "Hearing", 7),
        (Hearing().method, "Hearing.method", 8),
    ],
)
def test_function_behind_a_receiver_is_timed(connect, receiver, name, spent):
    connect(receiver)
    with ReceiverProfile(name) as profile:
        heard.send(None)

    assert (profile.calls, profile.total_ns) == (1, spent)


@needs_monitoring
def test_what_a_coroutine_waits_for_is_not_its_time(connect):
    async def waits(sender, **kwargs):
        clock.take(10)
        await asyncio.sleep(0)
        clock.take(1)

    async def others():
        clock.take(1_000)

    async def both():
        await asyncio.gather(heard.asend(None), others())

    connect(waits)
    with ReceiverProfile("waits") as profile:
        asyncio.run(both())

    assert (profile.calls, profile.total_ns) == (1, 11)
    assert sum(time for _, time in times(profile).values()) == 11


@needs_monitoring
def test_threads_are_told_apart(connect):
    connect(in_lines)
    with ReceiverProfile("in_lines") as profile:
        threads = [threading.Thread(target=heard.send, args=(None,)) for _ in range(3)]
        for thread in threads:
            thread.start()
            thread.join()

    assert (profile.calls, profile.total_ns) == (3, 630)


@needs_monitoring
def test_nothing_is_watched_afterwards():
    with LineTimes(in_lines.__code__):
        (tool,) = [each for each in (2, 3, 4) if sys.monitoring.get_tool(each) == "tracing profile"]
        assert sys.monitoring.get_local_events(tool, in_lines.__code__)

    assert sys.monitoring.get_tool(tool) is None


@needs_monitoring
def test_tools_that_others_have_taken_are_named():
    free = [each for each in (2, 3, 4) if sys.monitoring.get_tool(each) is None]
    for each in free:
        sys.monitoring.use_tool_id(each, f"other {each}")
    try:
        with pytest.raises(ProfilingError, match=f"taken them all: .*other {free[-1]}"):
            LineTimes(in_lines.__code__).__enter__()
    finally:
        for each in free:
            sys.monitoring.free_tool_id(each)


@needs_monitoring
def test_text_and_json_show_source_hits_time_and_share(connect):
    connect(in_lines)
    with ReceiverProfile("in_lines") as profile:
        heard.send(None)
    head, whole, empty, columns, *lines = str(profile).splitlines()
    document = profile.document()

    assert head.startswith(f"{__name__}.in_lines  ")
    assert (whole, empty) == ("1 call, 210 ns", "")
    assert columns.split() == ["line", "hits", "time", "%"]
    assert lines[0].endswith("  def in_lines(sender, count=2, **kwargs):")
    assert lines[1].split() == [str(profile.line + 1), "1", "10", "ns", "5", "%", "clock.take(10)"]
    assert [document[key] for key in ("calls", "total_ns", "line")] == [1, 210, profile.line]
    assert document["lines"][1] == {
        "line": profile.line + 1,
        "hits": 1,
        "time_ns": 10,
        "share": round(10 / 210, 4),
        "source": "    clock.take(10)",
    }


@needs_monitoring
def test_lines_without_a_source_are_numbered(connect, monkeypatch):
    connect(in_lines)
    monkeypatch.setattr(line_profile.inspect, "getsourcelines", _gone)
    with ReceiverProfile("in_lines") as profile:
        heard.send(None)

    assert [each.line - profile.line for each in profile.lines()] == [1, 2, 3, 4]
    assert {each.source for each in profile.lines()} == {""}


def _gone(_code):
    raise OSError


@needs_monitoring
def test_name_that_no_connected_receiver_has_is_answered_with_near_ones(connect):
    connect(in_lines)
    with pytest.raises(LookupError, match=f"called in_line\\.\n.*\n  {__name__}.in_lines"):
        ReceiverProfile("in_line")
    with pytest.raises(LookupError, match=r"called zzzzzzzz\.$"):
        ReceiverProfile("zzzzzzzz")


@needs_monitoring
def test_name_that_several_have_is_answered_with_all(connect):
    def make():
        def twin(sender, **kwargs):
            pass

        return twin

    def other():
        def twin(sender, **kwargs):
            pass

        return twin

    connect(make())
    connect(other())

    with pytest.raises(LookupError, match="Several receivers are called twin:"):
        ReceiverProfile("twin")


@pytest.mark.thorough
def test_python_before_3_12_is_told(connect, monkeypatch):
    connect(in_lines)
    monkeypatch.setattr(line_times, "_monitoring", None)

    with pytest.raises(RuntimeError, match=r"needs Python 3\.12 or newer; this is 3\.\d+\.\d+"):
        tracing.profile("in_lines")
