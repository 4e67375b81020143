"""Whatever fails in the recording, the application's result is what it would have been."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import weakref
from pathlib import Path

import pytest
from django.dispatch import Signal

from tests.tracing.capture.conftest import recording
from tests.tracing.capture.programs import RUNS_TOGETHER, Program, ReceiverSpec, run
from tracing.capture import (
    assembly,
    callsites,
    commands,
    context,
    details,
    dispatching,
    failures,
    lone,
    names,
    requests,
    sampling,
    sanitize,
    unheard,
    wirings,
)
from tracing.capture.dispatching import Options
from tracing.capture.instrumentation import instrument
from tracing.capture.sanitize import Redaction
from tracing.capture.spans import Kind, Outcome

pytestmark = pytest.mark.usefixtures("stock", "keeper")

RECEIVERS = (
    ReceiverSpec("function", (("send", "send", 1, 0), ("return", "int"))),
    ReceiverSpec("method", (("raise", "value"),)),
    ReceiverSpec("async_function", (("sleep", 1), ("asend", "asend_robust", 1, 0), ("return", "int"))),
    ReceiverSpec("async_function", (("sleep", 1), ("raise", "odd"))),
    ReceiverSpec("partial", (("set", 3),)),
    ReceiverSpec("async_method", (("set", 4),)),
)


def program(method):
    """Return a program that passes through every part of a dispatch by *method*."""
    if not method.startswith("asend"):
        connections = [(0, 0), (0, 4), (0, 1), (0, 2), (1, 4), (2, 4), (3, 4)]
    elif RUNS_TOGETHER:
        connections = [(0, 2), (0, 3), (1, 5), (2, 4), (2, 1), (3, 4)]
    else:
        connections = [(0, 0), (0, 2), (0, 3), (1, 4), (2, 4), (2, 1), (3, 5)]
    return Program(
        ("caching", "plain", "plain", "reversed"),
        RECEIVERS,
        (
            *(("connect", signal, receiver, None, False, None) for signal, receiver in connections),
            ("send", method, 0, 0, "instance"),
            ("send", method, 1, 0, "two"),
            ("send", method, 1, 4, "nothing"),
            ("send", method, 2, 0, "nothing"),
            ("send", method, 3, 0, "nothing"),
            ("disconnect", 3, 4, None, None),
            ("send", method, 3, 0, "nothing"),
        ),
    )


class Broken(Exception):
    pass


def broken(*args, **kwargs):
    raise Broken


# Not the clock and the name of a class: they are C functions that cannot fail.
PLACES = [
    (dispatching, "application_frame"),
    (dispatching, "cached_wiring"),
    (dispatching, "plain_wiring"),
    (dispatching, "resolve"),
    (dispatching, "ResolvedWiring"),
    (dispatching, "error_text"),
    (dispatching, "opening_of"),
    (dispatching, "drop"),
    (lone, "decide"),
    (context, "begin"),
    (context, "finish"),
    (context.LiveTrace, "open_stream"),
    (context.LiveTrace, "branch"),
    (context.Stream, "here"),
    (wirings, "details_reader"),
    (wirings, "sender_reference"),
    (wirings, "same_function"),
    (wirings, "wiring_number"),
    (wirings, "_labelled"),
    (names, "receiver_label"),
    (names, "sender_name"),
    (names, "_describe"),
    (unheard, "wiring_number"),
    (unheard, "sender_name"),
    (unheard, "current"),
    (details, "instance_key"),
    (details, "plain"),
    (sanitize.Redaction, "named"),
    (callsites, "classify"),
    (sampling.Sampler, "decide"),
    (requests, "started"),
]


@pytest.fixture
def expected():
    """Return what stock Django does with the program of each method."""
    return {method: run(program(method)) for method in ("send", "send_robust", "asend", "asend_robust")}


def run_broken(patch, owner, name, method, *, recorded):
    live = context.LiveTrace(Kind.BLOCK, "faults") if recorded else None
    if live is not None:
        context.begin(live)
    try:
        patch.setattr(owner, name, broken)
        return run(program(method))
    finally:
        patch.undo()
        if live is not None:
            context.finish(live)
        context.enter(None)


@pytest.mark.parametrize(("owner", "name"), PLACES, ids=[f"{o.__name__}.{n}" for o, n in PLACES])
def test_failure_inside_the_recording_changes_nothing(
    monkeypatch, frozen_heap, expected, owner, name
):
    monkeypatch.setattr(failures, "counts", failures.Counter())
    actual = {}

    undo = instrument(options=Options(values=Redaction()), sql=False, side_effects=False)
    for recorded in (True, False):
        for method in expected:
            with pytest.MonkeyPatch.context() as patch:
                actual[method, recorded] = run_broken(patch, owner, name, method, recorded=recorded)
    undo()

    for (method, recorded), log in actual.items():
        for mine, stock in zip(log[:-1], expected[method], strict=False):
            assert mine == stock, (method, recorded)
        assert len(log) == len(expected[method])


def nothing(**named):
    return 5


def down(levels, call):
    """Call *call* with *levels* more frames on the stack."""
    return down(levels - 1, call) if levels else call()


def outcomes_near_the_limit(signal, method, levels):
    """Return what a send gives at each depth from just enough stack to far too little."""
    found = []
    for level in levels:
        try:
            found.append([value for _receiver, value in down(level, lambda: method(signal, "x"))])
        except RecursionError:
            found.append("recursion")
    return found


@pytest.mark.parametrize("condition", ["recorded", "lone", "unrecorded"])
@pytest.mark.parametrize("kind", ["plain", "unheard", "robust", "raising", "overridden"])
def test_recursion_limit_is_met_at_the_same_depth(monkeypatch, kind, condition):
    class Overridden(Signal):
        def _live_receivers(self, sender):
            return super()._live_receivers(sender)

    def raising(**named):
        raise ValueError("in vain")

    signal = Overridden() if kind == "overridden" else Signal()
    other = Signal()
    other.connect(nothing, weak=False)
    if kind != "unheard":
        signal.connect(raising if kind in {"raising", "robust"} else nothing, weak=False)

    def method(signal, sender):
        try:
            if kind == "robust":
                return [(r, str(v)) for r, v in signal.send_robust(sender)]
            return signal.send(sender)
        except ValueError:
            return [(None, "raised")]

    # A C function: it takes no frame of the stack.
    monkeypatch.setattr("django.dispatch.dispatcher.logger.error", "".format)
    depth = len(list(frames()))
    limit = sys.getrecursionlimit()
    levels = range(limit - depth - 80, limit - depth + 2)
    expected = outcomes_near_the_limit(signal, method, levels)

    undo = instrument(sql=False, side_effects=False)
    if condition == "recorded":
        with recording():
            actual = outcomes_near_the_limit(signal, method, levels)
    elif condition == "lone":
        actual = outcomes_near_the_limit(signal, method, levels)
    else:
        before = context.enter(context.UNRECORDED)
        actual = outcomes_near_the_limit(signal, method, levels)
        context.leave(before)
    undo()

    assert actual == expected
    assert context.current() is None


def frames():
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
