"""Tests of traces that are appended as they were recorded, and assembled by the collector."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models.signals import post_save
from django.dispatch import Signal
from msgspec.structs import asdict

from tests.tracing.by_spool import by_spool
from tests.tracing.instrumentation.conftest import keeper, stock  # noqa: F401
from tests.tracing.samples import full_trace, plain_trace
from tracing.exporters.memory import MemoryExporter
from tracing.instrumentation import context
from tracing.instrumentation.assembly import assembler, resolving
from tracing.instrumentation.buffer import ActiveTrace
from tracing.instrumentation.patching import instrument
from tracing.instrumentation.words import QUERY, RETURNED
from tracing.pipeline import Pipeline
from tracing.spans.records import Kind, Trace
from tracing.spool.exporter import SpoolExporter
from tracing.spool.folder import Folder
from tracing.spool.frames import NAMES, TRACE, Appendable, Encoder, frame, frames
from tracing.spool.reader import SpoolReader

signal = Signal()


@pytest.fixture
def traced(stock, keeper):  # noqa: F811
    """Record what the test does."""
    undo = instrument(sql=True, statements=True)
    yield keeper
    undo()


@pytest.fixture
def spool(tmp_path):
    """Return an exporter to a spool of its own."""
    made = SpoolExporter(Folder(tmp_path / "spool"), max_bytes=10_000_000)
    yield made
    made.shutdown()


def returning(**_named):
    return 1


def raising(**_named):
    raise ValueError("password=hunter2")


def recorded(name="work", sends=2, receiver=returning):
    """Return an active trace that has ended, with some dispatches."""
    active = ActiveTrace(Kind.BLOCK, name)
    signal.connect(receiver, weak=False)
    context.begin(active)
    try:
        for _ in range(sends):
            signal.send_robust(None, order=1)
    finally:
        context.finish(active)
        signal.disconnect(receiver)
    return active


def rest(folder):
    """Return all traces of a spool."""
    reader, found = SpoolReader(folder), []
    while batch := reader.read():
        found += batch
    reader.close()
    return found


def everything(trace):
    """Return all fields of *trace*, but for what is the same for the whole process."""
    return {key: value for key, value in asdict(trace).items() if key != "diagnosis_context"}


def test_a_trace_is_appended_unread_and_assembled_by_the_reader(traced, spool, monkeypatch):
    active = recorded()
    expected = assembler.snapshot(active)
    monkeypatch.setattr(assembler, "Assembly", None)
    ready = spool.encode(active)
    monkeypatch.undo()
    spool.export([ready])

    assert isinstance(ready, Appendable)
    assert active.buffers == []
    assert active.root.recorded is None
    (read,) = rest(spool._folder)
    assert everything(read) == everything(expected)
    assert read.dispatch_count == 2


def test_names_are_written_once_in_each_file(traced, spool):
    ready = [spool.encode(recorded()) for _ in range(3)]
    encoder, another = Encoder(), Encoder()
    first = encoder.encode(ready[:1])
    encoder.written()
    later = encoder.encode(ready[1:])

    assert first.count(b"test_recorded.returning") == 1
    assert [each.kind for each in frames(later)] == [ord("r"), ord("r")]
    assert next(frames(another.encode(ready[1:]))).kind == NAMES


def test_names_of_what_was_not_written_are_written_again(traced, spool):
    ready = spool.encode(recorded())
    encoder = Encoder()
    first = encoder.encode([ready])
    encoder.not_written()

    assert encoder.encode([ready]) == first


def test_no_secret_is_appended(traced, spool, db):
    def asking(**_named):
        connection.cursor().execute("SELECT 'hunter2' AS password")
        raising()

    spool.export([spool.encode(recorded(receiver=asking))])

    (path,) = spool._folder.files()
    assert b"hunter2" not in path.read_bytes()
    (read,) = rest(spool._folder)
    call = read.dispatches[0].receiver_calls[0]
    assert call.exception_message.startswith("password=***")
    assert call.statements[0][:2] == ("SELECT ? AS password", 1)


def test_the_key_of_an_instance_is_appended_as_text(traced, spool, db):
    post_save.connect(returning, sender=Group, weak=False)
    active = ActiveTrace(Kind.BLOCK, "work")
    context.begin(active)
    post_save.send(Group, instance=Group(pk="a secret key"), created=False, raw=False, using="x")
    context.finish(active)
    post_save.disconnect(returning, sender=Group)
    expected = assembler.snapshot(active)

    ready = spool.encode(active)

    assert b"a secret key" not in ready.payload
    spool.export([ready])
    assert rest(spool._folder)[0].dispatches[0].instance == expected.dispatches[0].instance


def test_what_cannot_be_appended_as_it_is_goes_as_spans(traced, spool, caplog):
    pipeline = Pipeline()
    pipeline.configure([spool])
    pipeline._work_here([(recorded("\ud800"), 1)])
    pipeline.configure([])

    (read,) = rest(spool._folder)
    assert (read.name, read.dispatch_count) == ("?", 2)
    assert "failed in resolving" in caplog.text


def test_a_name_that_cannot_be_written_costs_no_dispatch(traced, spool):
    active = recorded()
    active.root.recorded += [QUERY, 1, 2, "default", "SELECT \ud800"]

    with pytest.raises((resolving.UnwritableError, UnicodeEncodeError)):
        by_spool(active)
    assert isinstance(spool.encode(active), Trace)


def test_a_trace_that_was_read_in_part_goes_as_spans(traced, spool):
    active = recorded()
    assembler.keep_numbers(active)

    assert isinstance(spool.encode(active), Trace)


@pytest.mark.parametrize(
    ("events", "unreadable"),
    [
        ([RETURNED, 5], 0),
        (["send", 1, 1, None, 0], 0),
        (["send", 1, 1, None, 0, "save", "shop.Order"], 0),
        (["nonsense"], 1),
        ([["nonsense"]], 1),
    ],
)
def test_events_that_are_cut_off_or_none_cost_themselves_alone(traced, events, unreadable):
    active = recorded()
    active.root.recorded += events
    expected = assembler.snapshot(active)

    read = by_spool(active)

    assert everything(read) == everything(expected)
    assert len(read.unreadable) == unreadable


def test_files_of_the_previous_format_are_read(spool):
    data = b"tracing spool 1\n" + Encoder().encode([full_trace(), plain_trace(1)])
    spool._folder.make()
    (spool._folder.path / "00000000000000000001-1-00000000.spool").write_bytes(data)

    assert rest(spool._folder) == [full_trace(), plain_trace(1)]


def test_a_frame_that_is_no_recorded_trace_is_counted_and_passed(traced, spool):
    spool.export([spool.encode(recorded())])
    (path,) = spool._folder.files()
    with path.open("ab") as file:
        file.write(frame(ord("r"), b"\x93\x01\x02\x03") + frame(TRACE, b"\x80"))
        file.write(Encoder().encode([plain_trace(1)]))
    reader = SpoolReader(spool._folder)

    assert [trace.name for trace in reader.read()] == ["work", plain_trace(1).name]
    assert reader.counts.unreadable_traces == 2
    reader.close()


def test_spans_are_made_where_somebody_in_the_process_looks_at_them(traced, spool):
    pipeline, memory = Pipeline(), MemoryExporter()
    pipeline.configure([spool])
    remove = pipeline.add_exporter(memory)
    pipeline._work_here([(recorded(), 1)])
    remove()
    seen = []
    undo = pipeline.add_processor(lambda trace: seen.append(trace) or trace)
    pipeline._work_here([(recorded(), 1)])
    undo()
    pipeline._work_here([(recorded(), 1)])
    pipeline.configure([])

    assert [type(trace) for trace in (*memory.traces, *seen)] == [Trace, Trace]
    (path,) = spool._folder.files()
    kinds = [each.kind for each in frames(path.read_bytes(), len(b"tracing spool 2\n"))]
    assert [kind for kind in kinds if kind != NAMES] == [TRACE, TRACE, ord("r")]


def test_what_nobody_takes_is_let_go_unread_and_counted(traced, monkeypatch):
    pipeline, asked, seen = Pipeline(), [], []
    pipeline.configure([], processors=[asked.append])
    with monkeypatch.context() as without:
        without.setattr(assembler, "Assembly", None)
        active = recorded()
        pipeline._work_here([(active, 1)])
    undo = pipeline.add_processor(lambda trace: seen.append(trace) or trace)
    pipeline._work_here([(recorded(), 1)])
    undo()

    assert active.buffers == []
    assert pipeline.statistics().recorded == 2
    assert (len(asked), len(seen)) == (1, 0)
