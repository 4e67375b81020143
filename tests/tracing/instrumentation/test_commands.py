from __future__ import annotations

import traceback

import pytest
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.dispatch import Signal

from tests.tracing.instrumentation.conftest import (  # noqa: F401
    keeper,
    no_failures,
    recording,
    stock,
    unfinished,
)
from tracing.instrumentation import context, failures, sampling
from tracing.instrumentation.patching import instrument
from tracing.instrumentation.sampling import Sampler
from tracing.instrumentation.scopes import commands

pytestmark = pytest.mark.usefixtures("traced")

signal = Signal()
NAME = __name__.rpartition(".")[2]


class Command(BaseCommand):
    requires_system_checks = ()

    def __init__(self, act=None):
        super().__init__()
        self.act = act

    def handle(self, *args, **options):
        signal.send("inside")
        return self.act() if self.act else "done"


@pytest.fixture
def traced(stock, keeper):  # noqa: F811
    def receiver(**named):
        pass

    signal.connect(receiver, weak=False)
    excluded = set(commands.excluded)
    commands.excluded.clear()
    undo = instrument(sql=False, side_effects=False)
    yield
    undo()
    commands.excluded.update(excluded)
    signal.disconnect(receiver)
    assert context.current() is None


def test_command_is_a_trace(keeper, capsys, no_failures):  # noqa: F811
    result = call_command(Command())

    [trace] = keeper.traces()
    assert result == "done"
    assert (trace.kind, trace.name, trace.status, trace.error) == ("command", NAME, "ok", "")
    assert [d.sender for d in trace.dispatches] == ["'inside'"]


def test_failing_command_keeps_its_error_and_the_traceback_has_no_frame_of_ours(keeper):  # noqa: F811
    def fail():
        raise CommandError("no")

    with pytest.raises(CommandError, match="no") as raised:
        call_command(Command(fail))

    [trace] = keeper.traces()
    files = {frame.filename for frame in traceback.extract_tb(raised.value.__traceback__)}
    assert (trace.status, trace.error) == (
        "error",
        "django.core.management.base.CommandError: no",
    )
    assert not [
        file for file in files if "/tracing/instrumentation/" in file and "/tests/" not in file
    ]


@pytest.mark.parametrize(("code", "status"), [(0, "ok"), (None, "ok"), (3, "error")])
def test_command_that_exits_failed_if_its_code_says_so(keeper, code, status):  # noqa: F811
    def leave():
        raise SystemExit(code)

    with pytest.raises(SystemExit):
        call_command(Command(leave))

    assert [trace.status for trace in keeper.traces()] == [status]


def test_command_inside_a_trace_is_part_of_it(keeper, capsys):  # noqa: F811
    with recording() as recorded:
        call_command(Command())

    assert keeper.ended == []
    assert [d.sender for d in recorded.trace.dispatches] == ["'inside'"]


def test_excluded_command_is_no_trace_and_what_it_sends_is(keeper, capsys):  # noqa: F811
    commands.excluded.add(NAME)

    call_command(Command())

    assert [trace.kind for trace in keeper.traces()] == ["dispatch"]


def test_command_that_is_not_sampled_is_not_recorded_and_neither_is_what_it_sends(keeper, capsys):  # noqa: F811
    sampling.switch.sampler = Sampler(by_kind={"command": 0.0})

    call_command(Command())
    signal.send("after")

    assert [trace.dispatches[0].sender for trace in keeper.traces()] == ["'after'"]


@pytest.mark.usefixtures("unfinished")
def test_failure_to_begin_or_end_does_not_reach_the_command(keeper, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(failures, "counts", failures.Counter())
    with monkeypatch.context() as patch:
        patch.setattr(commands, "decide", lambda *args: 1 / 0)
        first = call_command(Command())
    with monkeypatch.context() as patch:
        patch.setattr(context, "finish", lambda trace: 1 / 0)
        second = call_command(Command())
    context.enter(None)

    assert (first, second) == ("done", "done")
    assert failures.counts["command: ZeroDivisionError"] == 2
