"""Stock Django and instrumented Django do the same: random programs, run on both and compared."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.tracing.instrumentation.interrupting import WAYS, Interruption, Limit
from tests.tracing.instrumentation.programs import (
    Program,
    ReceiverSpec,
    mixed_programs,
    programs,
    run,
)
from tracing.instrumentation import context, sampling
from tracing.instrumentation.assembly.assembler import assemble_ended
from tracing.instrumentation.attributes.values import Redaction
from tracing.instrumentation.buffer import UNRECORDED, ActiveTrace
from tracing.instrumentation.dispatch import asynchronous, synchronous
from tracing.instrumentation.dispatch.current_spans import SpanTraces
from tracing.instrumentation.dispatch.options import Options
from tracing.instrumentation.patching import instrument, uninstrument
from tracing.spans.records import Kind

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "60"))
EVERYTHING = settings(
    max_examples=EXAMPLES,
    deadline=None,
    # The everyday run repeats its programs; PROPERTY_EXAMPLES=20000 goes looking for new ones.
    derandomize="PROPERTY_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    # Without the explanation of what else would fail: it takes longer than all the rest.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)

pytestmark = pytest.mark.usefixtures("stock", "keeper", "frozen_heap")


@contextmanager
def recorded():
    active = ActiveTrace(Kind.BLOCK, "program")
    context.begin(active)
    try:
        yield
    finally:
        context.finish(active)
        assemble_ended(active)


@contextmanager
def lone():
    yield


@contextmanager
def unrecorded():
    before = context.enter(UNRECORDED)
    try:
        yield
    finally:
        context.leave(before)


@contextmanager
def paused():
    sampling.switch.paused = True
    try:
        yield
    finally:
        sampling.switch.paused = False


@contextmanager
def full():
    with pytest.MonkeyPatch.context() as patch, recorded():
        patch.setattr(synchronous, "BUFFER_LIMIT", 20)
        patch.setattr(asynchronous, "BUFFER_LIMIT", 20)
        yield


CONDITIONS = [recorded, lone, unrecorded, paused, full]
SPANS = Options(spans=True)
OPTIONS = [
    Options(),
    Options(callsite=False, details=False),
    Options(values=Redaction()),
    Options(cpu=True),
    SPANS,
]


def compare(program, conditions=CONDITIONS, options=OPTIONS[:1]):
    uninstrument()
    expected = run(program)
    for option in options:
        for condition in conditions:
            actual = run_instrumented(program, option, condition)
            if actual[:-1] == expected[:-1] and actual[-1] != expected[-1]:
                # A thread of the executor may hold its last frame for a moment: look again.
                actual = run_instrumented(program, option, condition, tries=50)
                expected = run(program, tries=50)
            if actual != expected and not is_repeatable(program):
                return
            for number, (mine, stock) in enumerate(zip(actual, expected, strict=False)):
                assert mine == stock, (condition.__name__, number)
            assert len(actual) == len(expected)


def is_repeatable(program):
    """Return whether stock Django does the same each time: threads and tasks may take turns."""
    uninstrument()
    # Often: of four outcomes one may be as frequent as two runs in five.
    logs = [run(program, tries=50) for _ in range(60)]
    return all(log == logs[0] for log in logs)


@contextmanager
def instrumented(option, condition):
    with ExitStack() as stack:
        if option.spans:
            outer = context.set_processor(SpanTraces(context.processor))
            stack.callback(context.set_processor, outer)
        stack.enter_context(condition())
        stack.callback(instrument(options=option, sql=False, side_effects=False))
        yield


def run_instrumented(program, option, condition, tries=1):
    with instrumented(option, condition):
        log = run(program, tries)
    assert context.current() is None
    return log


conditions = st.sampled_from(CONDITIONS)


@pytest.mark.thorough
@given(programs(asynchronous=False), conditions)
@EVERYTHING
def test_sync_sends_do_what_django_does_in_any_program(no_failures, program, condition):
    compare(program, [condition])


@pytest.mark.thorough
@given(programs(asynchronous=True), conditions)
@EVERYTHING
def test_all_four_sends_do_what_django_does_in_any_program(no_failures, program, condition):
    compare(program, [condition])


@pytest.mark.thorough
@given(programs(asynchronous=True), st.sampled_from([recorded, full]))
@settings(EVERYTHING, max_examples=max(EXAMPLES // 2, 30))
def test_all_four_sends_do_what_django_does_where_spans_are_current(
    no_failures, program, condition
):
    compare(program, [condition], [SPANS])


@pytest.mark.thorough
@given(mixed_programs(), conditions)
@settings(EVERYTHING, max_examples=max(EXAMPLES // 4, 20))
def test_mixed_receivers_do_what_django_does_whichever_thread_is_first(
    no_failures, program, condition
):
    uninstrument()
    expected = sorted(map(repr, run(program, tries=50)))

    actual = sorted(map(repr, run_instrumented(program, OPTIONS[0], condition, tries=50)))

    assert actual == expected


@pytest.mark.thorough
@given(programs(asynchronous=False), st.sampled_from(OPTIONS))
@settings(EVERYTHING, max_examples=max(EXAMPLES // 4, 20))
def test_options_of_the_recording_change_nothing_in_any_program(no_failures, program, option):
    compare(program, [recorded], [option])


@pytest.mark.thorough
@given(
    programs(asynchronous=False),
    st.integers(1, 1_000),
    st.sampled_from(WAYS),
    st.sampled_from([OPTIONS[0], OPTIONS[-2], SPANS]),
)
@settings(EVERYTHING, max_examples=max(EXAMPLES // 4, 15))
def test_programs_meet_what_interrupts_the_recording_and_nothing_of_it_later(
    no_failures, program, at, way, option
):
    uninstrument()
    expected = run(program)
    interruption = Interruption(at, Limit, way)
    logs = []

    with instrumented(option, recorded):
        reached = interruption.run(lambda: logs.append(run(program)))
        again = run(program)

    if not interruption.sent:
        assert logs == [expected]
    # A receiver may catch it, and a robust send returns what one of its receivers raised.
    assert not interruption.sent or reached or "Limit" in repr(logs), interruption.place
    assert again[:-1] == expected[:-1]
    assert context.current() is None


@pytest.mark.parametrize("method", ["send_robust", "asend_robust", "send", "asend"])
def test_receiver_that_awaited_a_failure_warns_where_it_does_on_stock_django(method):
    catching = ReceiverSpec(kind="async_function", actions=(("catch", 0, 0), ("warn", 2)))
    raising = ReceiverSpec(kind="async_function", actions=(("raise", "value"),))
    program = Program(
        signals=("plain",),
        receivers=(raising, catching),
        steps=(
            ("connect", 0, 0, None, False, None),
            ("connect", 0, 1, None, False, None),
            ("send", method, 0, 0, "nothing"),
        ),
    )

    compare(program, [recorded])
