"""What the application's tests freeze, mock or seed, the tracer neither moves nor follows."""

from __future__ import annotations

import ast
import random
import sys
import threading
import time
from pathlib import Path

import pytest
from django.dispatch import Signal

import tracing
from tests.tracing.pipeline.test_pipeline import Failing
from tests.tracing.samples import plain_trace
from tracing import clocks
from tracing.conf.parts import PipelineOptions
from tracing.exporters.memory import MemoryExporter
from tracing.pipeline import Pipeline, TemporaryError, default

CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")
ROOM = Path(tracing.__file__).parent
MODULES = [path for path in ROOM.rglob("*.py") if path.name != "clocks.py"]


def _taken_from(tree, module):
    """Return what a module takes from *module*, by ``from`` and as attributes of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and module in {each.name for each in node.names}:
            yield module
        elif isinstance(node, ast.ImportFrom) and node.module == module:
            yield from (each.name for each in node.names)


def test_every_module_takes_its_clocks_from_the_tracers_own():
    found = {
        f"{path.relative_to(ROOM)}: {name}"
        for path in MODULES
        for name in _taken_from(ast.parse(path.read_text(encoding="utf-8")), "time")
        if name not in {"sleep", "thread_time_ns"}
    }

    assert found == set()


def test_no_module_draws_from_the_applications_random_numbers():
    found = {
        f"{path.relative_to(ROOM)}: {ast.unparse(node)}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) == "random"
        and node.attr not in {"Random", "SystemRandom"}
    }

    assert found == set()


@pytest.mark.parametrize("name", CLOCKS)
def test_own_clock_is_the_same_clock_in_another_function(name):
    own, shared = getattr(clocks.time, name), getattr(time, name)

    before, between, after = shared(), own(), shared()

    assert own is not shared
    assert before <= between <= after
    assert sys.modules["time"] is time


def test_sleeping_is_what_the_project_has_made_of_it():
    assert clocks.time.sleep is time.sleep


@pytest.fixture
def instrumented():
    """Record for the test."""
    undo = tracing.instrument()
    yield
    undo()


@pytest.fixture
def frozen(monkeypatch):
    """Stop the clocks as freezegun does, in all modules; return who of the tracer has looked."""
    looks = []

    def stopped(value):
        def look():
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if caller.partition(".")[0] == "tracing":
                looks.append(caller)
            return value

        return look

    fakes = {id(getattr(time, name)): stopped(getattr(time, name)()) for name in CLOCKS}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in {"tracing", "time"}:
            continue
        for attribute, value in list(vars(module).items()):
            if id(value) in fakes:
                monkeypatch.setattr(module, attribute, fakes[id(value)])
    return looks


def test_time_that_a_test_has_stopped_goes_on_for_the_tracer_and_is_not_looked_at(
    frozen, instrumented
):
    signal = Signal()
    signal.connect(lambda **named: threading.Event().wait(0.002), weak=False)
    memory = MemoryExporter()
    remove = default.add_exporter(memory)
    try:
        with tracing.trace("while time stands still"):
            signal.send(None)
        assert tracing.flush(60)
    finally:
        remove()

    (trace,) = [each for each in memory.traces if each.name == "while time stands still"]
    assert trace.dispatches[0].duration_ns >= 2_000_000
    assert frozen == []


def test_exporter_that_is_tried_again_leaves_the_random_numbers_alone():
    pipeline = Pipeline(PipelineOptions(synchronous=True))
    failing = Failing(error=TemporaryError("gone"))
    pipeline.add_exporter(failing)
    random.seed(7)
    before = random.getstate()

    pipeline.submit(plain_trace(1))

    assert failing.attempts
    assert random.getstate() == before
