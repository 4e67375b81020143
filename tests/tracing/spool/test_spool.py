"""Tests of writing a spool, reading it and collecting it, in one process."""

from __future__ import annotations

import logging
import os
import stat
import time
from types import SimpleNamespace

import pytest

from tests.tracing.samples import full_trace, plain_trace
from tracing.conf.parts import PipelineOptions
from tracing.exporters.log import LogExporter
from tracing.exporters.memory import MemoryExporter
from tracing.pipeline import Gathering, PipelineStatistics, TemporaryError, news
from tracing.spool import reader as reading
from tracing.spool import writer as writing
from tracing.spool.collector import Collector
from tracing.spool.exporter import SpoolExporter
from tracing.spool.folder import CHECKPOINT, COLLECTOR, CONTROL, Folder, Turn
from tracing.spool.reader import SpoolReader
from tracing.spool.writer import Writer


@pytest.fixture
def folder(tmp_path):
    found = Folder(tmp_path / "spool")
    found.make()
    return found


@pytest.fixture
def writer(folder):
    made = Writer(folder, 10_000_000)
    yield made
    made.close()


@pytest.fixture
def collector(folder):
    """Return what makes collectors, which end with the test."""
    made = []

    def make(*exporters, processors=()):
        made.append(Collector(folder, exporters or [MemoryExporter()], processors))
        return made[-1]

    yield make
    for each in made:
        each._reader.close()


def collect(collector):
    """Have *collector* do all that there is."""
    while collector.step():
        pass


def rest(reader):
    """Return all that *reader* finds."""
    found = []
    while batch := reader.read():
        found += batch
    return found


# -- Writing and reading --------------------------------------------------------------------------


def test_what_was_appended_is_read_in_its_order_while_it_grows(folder, writer):
    reader = SpoolReader(folder)
    writer.append([full_trace(), plain_trace(1)])
    assert rest(reader) == [full_trace(), plain_trace(1)]

    writer.append([plain_trace(2)])
    assert rest(reader) == [plain_trace(2)]
    assert rest(reader) == []
    reader.close()


def test_files_are_for_their_owner_alone(folder, writer):
    before = os.umask(0)
    try:
        writer.append([plain_trace(1)])
        folder.write(CONTROL, {"paused": True})
    finally:
        os.umask(before)

    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.path.iterdir()} == {0o600}


def test_a_folder_that_others_may_look_into_is_closed_to_them(tmp_path):
    (tmp_path / "wide").mkdir(mode=0o755)
    Folder(tmp_path / "wide").make()

    assert stat.S_IMODE((tmp_path / "wide").stat().st_mode) == 0o700


def test_a_full_file_is_followed_by_another_that_can_be_read_by_itself(folder, monkeypatch):
    monkeypatch.setattr(writing, "FILE_BYTES", 2_000)
    writer = Writer(folder, 10_000_000)
    for number in range(20):
        trace = full_trace()
        trace.trace_id = f"{number:032x}"
        writer.append([trace])
    writer.close()

    assert len(folder.files()) > 5
    reader = SpoolReader(folder)
    assert [trace.trace_id for trace in rest(reader)] == [f"{n:032x}" for n in range(20)]
    reader.exported()
    assert folder.files() == []


def test_the_file_of_a_process_that_writes_stays_until_it_ends(folder, writer):
    reader = SpoolReader(folder)
    writer.append([plain_trace(1)])
    rest(reader)
    reader.exported()
    assert len(folder.files()) == 1
    assert reader.is_written()

    writer.close()
    rest(reader)
    reader.exported()
    assert folder.files() == []
    assert not reader.is_written()


def test_beyond_its_size_the_oldest_file_goes_and_what_was_in_it_is_counted(folder, monkeypatch):
    monkeypatch.setattr(writing, "FILE_BYTES", 3_000)
    writer = Writer(folder, 20_000)
    for number in range(200):
        trace = full_trace()
        trace.trace_id = f"{number:032x}"
        writer.append([trace])
    writer.close()

    assert folder.size() <= 20_000 + 3_000 + 5_000
    kept = [int(trace.trace_id, 16) for trace in rest(SpoolReader(folder))]
    assert kept == list(range(writer.lost, 200))
    assert writer.lost > 100


def test_what_was_exported_is_not_counted_as_lost(folder, monkeypatch):
    monkeypatch.setattr(writing, "FILE_BYTES", 3_000)
    writer = Writer(folder, 12_000)
    reader = SpoolReader(folder)
    for _ in range(50):
        writer.append([full_trace()])
    rest(reader)
    reader.exported()
    folder.write(CHECKPOINT, {"files": reader.places})
    for _ in range(2):
        writer.append([full_trace()])

    assert writer.lost < 50


def test_a_disk_that_is_full_leaves_the_file_as_it_was(folder, writer, monkeypatch):
    writer.append([plain_trace(1)])
    size = folder.size()
    write = os.write

    def half(descriptor, data):
        if len(data) > 20:
            return write(descriptor, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "write", half)
    with pytest.raises(OSError, match="No space"):
        writer.append([full_trace()])
    assert folder.size() == size

    monkeypatch.undo()
    writer.append([full_trace()])
    assert rest(SpoolReader(folder)) == [plain_trace(1), full_trace()]


@pytest.mark.process
def test_a_forked_child_writes_a_file_of_its_own(folder, writer):
    writer.append([plain_trace(1)])
    child = os.fork()
    if child == 0:
        try:
            writer.after_fork()
            writer.append([plain_trace(2)])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    writer.append([plain_trace(3)])

    reader = SpoolReader(folder)
    assert len(folder.files()) == 2
    found = {trace.trace_id for trace in rest(reader)}
    assert found == {plain_trace(n).trace_id for n in (1, 2, 3)}
    assert reader.is_written()
    reader.close()


# -- What cannot be read --------------------------------------------------------------------------


def only_file(folder):
    (path,) = folder.files()
    return path


def test_a_torn_end_is_kept_and_counted_and_the_rest_is_read(folder, writer, caplog):
    writer.append([full_trace()])
    writer.append([plain_trace(1)])
    path = only_file(folder)
    os.truncate(path, path.stat().st_size - 3)
    writer.close()
    reader = SpoolReader(folder)

    assert rest(reader) == [full_trace()]
    reader.exported()

    assert reader.counts.unreadable_files == 1
    assert reader.counts.unreadable_bytes > 0
    assert folder.files() == []
    (kept,) = folder.path.glob("*.unreadable")
    assert kept.stat().st_size > 0
    assert "torn end" in caplog.text


def test_the_torn_end_of_a_process_that_still_writes_is_waited_for(folder, writer):
    writer.append([full_trace()])
    path = only_file(folder)
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 3)
    reader = SpoolReader(folder)

    assert rest(reader) == []
    with path.open("ab") as file:
        file.write(whole[-3:])
    assert rest(reader) == [full_trace()]
    assert reader.counts.unreadable_files == 0
    reader.close()


def test_what_follows_a_damaged_frame_is_kept_and_counted(folder, writer, caplog):
    writer.append([full_trace()])
    good = folder.size()
    writer.append([plain_trace(1)])
    writer.append([plain_trace(2)])
    writer.close()
    path = only_file(folder)
    data = bytearray(path.read_bytes())
    data[good + 12] ^= 255
    path.write_bytes(data)
    reader = SpoolReader(folder)

    assert rest(reader) == [full_trace()]
    assert rest(reader) == []
    assert reader.counts.unreadable_files == 1
    assert "checksum" in caplog.text


@pytest.mark.parametrize("first", [b"tracing spool 9\n", b"something else\n", b"x" * 100])
def test_a_file_of_another_format_is_kept_and_counted(folder, caplog, first, monkeypatch):
    monkeypatch.setattr(reading, "_NEW_SECONDS", 0)
    path = folder.path / "0-1-a.00000000.spool"
    path.write_bytes(first + b"whatever stands there")
    time.sleep(0.01)
    reader = SpoolReader(folder)

    assert rest(reader) == []

    assert reader.counts.unreadable_files == 1
    assert path.with_name(path.name + ".unreadable").exists()
    assert len(caplog.records) == 1
    assert "kept beside it" in caplog.text


def test_of_files_that_cannot_be_read_some_are_kept(folder, monkeypatch):
    for number in range(30):
        path = folder.path / f"{number:02d}-1-a.00000000.spool"
        path.write_bytes(b"tracing spool 9\n")
    reader = SpoolReader(folder)
    rest(reader)

    assert len(list(folder.path.glob("*.unreadable"))) == 20
    assert reader.counts.unreadable_files == 30


# -- Collecting -----------------------------------------------------------------------------------


def test_a_collector_hands_on_what_the_processors_leave(folder, writer, collector):
    memory = MemoryExporter()
    writer.append([full_trace(), plain_trace(1)])

    collect(
        collector(memory, processors=[lambda trace: trace if trace == plain_trace(1) else None])
    )

    assert list(memory.traces) == [plain_trace(1)]


def test_a_collector_goes_on_where_the_one_before_it_was(folder, writer, collector):
    first, second = MemoryExporter(), MemoryExporter()
    writer.append([full_trace()])
    collect(collector(first))
    writer.append([full_trace(), plain_trace(2)])

    collect(collector(second))

    assert list(second.traces) == [full_trace(), plain_trace(2)]


def test_lines_that_were_written_before_a_crash_are_not_written_again(
    folder, writer, collector, tmp_path
):
    path = tmp_path / "tracing.jsonl"
    writer.append([plain_trace(1)])
    collect(collector(LogExporter(path)))
    writer.append([plain_trace(2), full_trace()])
    killed = collector(LogExporter(path))
    killed._commit = lambda: None  # Killed before the checkpoint.
    killed.step()
    writer.append([plain_trace(3)])

    collect(collector(LogExporter(path)))

    finished = [line for line in path.read_bytes().splitlines() if b'"trace_finished"' in line]
    assert len(finished) == 4


def test_lines_of_a_first_collector_that_was_killed_at_once_are_not_written_again(
    folder, writer, collector, tmp_path
):
    path = tmp_path / "tracing.jsonl"
    writer.append([plain_trace(1)])
    killed = collector(LogExporter(path))
    killed._commit = lambda: None
    killed.step()

    collect(collector(LogExporter(path)))

    assert path.read_bytes().count(b'"trace_finished"') == 1


class Failing(MemoryExporter):
    """Fails as long as it is told to."""

    def __init__(self):
        super().__init__()
        self.name = "failing"
        self.fails = True

    def export(self, batch):
        if self.fails:
            raise TemporaryError("no connection")
        super().export(batch)


def test_while_an_exporter_cannot_write_the_spool_waits(folder, writer, collector):
    failing, memory = Failing(), MemoryExporter()
    waiting = collector(failing, memory)
    writer.append([plain_trace(1)])
    assert not waiting.step()
    writer.append([plain_trace(2)])
    assert not waiting.step()
    assert len(memory.traces) == 1
    assert waiting._reader.behind()[0] > 0

    failing.fails = False
    waiting._deliveries[0].retry_at = 0
    collect(waiting)

    assert list(failing.traces) == list(memory.traces) == [plain_trace(1), plain_trace(2)]
    assert waiting._reader.behind() == (0, 0.0)


class Wanting(MemoryExporter):
    """Wants four traces at once."""

    gathers = Gathering(4 * 3, 1e9)


def test_while_an_exporter_gathers_the_collector_reads_on(folder, writer, collector):
    gathering, memory = Wanting(), MemoryExporter()
    reading = collector(gathering, memory)
    for number in (1, 2, 3):
        writer.append([plain_trace(number)])
        assert reading.step()
    assert (len(gathering.traces), len(memory.traces)) == (0, 3)
    assert reading._reader.behind()[0] > 0

    writer.append([plain_trace(4)])
    assert reading.step()
    assert len(gathering.traces) == 4
    assert reading._reader.behind() == (0, 0.0)


def test_what_was_gathered_is_exported_at_the_end(folder, writer, collector):
    gathering = Wanting()
    ending = collector(gathering)
    writer.append([plain_trace(1)])
    ending.step()

    ending.end()

    assert list(gathering.traces) == [plain_trace(1)]
    assert collector(MemoryExporter())._reader.behind() == (0, 0.0)


def test_what_was_gathered_by_a_collector_that_was_killed_is_read_again(folder, writer, collector):
    killed = collector(Wanting())
    writer.append([plain_trace(1)])
    killed.step()

    memory = MemoryExporter()
    collect(collector(memory))

    assert list(memory.traces) == [plain_trace(1)]


def test_the_collector_says_how_far_it_is(folder, writer, collector):
    failing = Failing()
    waiting = collector(failing)
    writer.append([plain_trace(1)])
    waiting.step()
    waiting._look_after()

    told = folder.read(COLLECTOR)
    assert told["behind_bytes"] > 0
    assert told["process"] == os.getpid()
    assert "no connection" in told["errors"]["failing"]


def test_one_process_has_the_turn_to_collect(folder):
    first, second = Turn(folder), Turn(folder)

    assert not second.is_taken()
    assert first.take()
    assert second.is_taken()
    assert not second.take()
    first.give_back()
    assert second.take()
    second.give_back()


def test_a_collector_ends_when_nobody_writes(folder, writer, collector, monkeypatch):
    monkeypatch.setattr("tracing.spool.collector.IDLE_SECONDS", 0.0)
    monkeypatch.setattr("tracing.spool.collector.POLL_SECONDS", 0.01)
    memory = MemoryExporter()
    writer.append([plain_trace(1)])
    asked = []

    def is_ending():
        asked.append(1)
        if len(asked) == 10:
            writer.close()
        return False

    collector(memory).run(until_idle=True, is_ending=is_ending)

    assert len(asked) >= 10
    assert list(memory.traces) == [plain_trace(1)]
    assert folder.files() == []


def test_a_collector_that_is_told_to_end_takes_what_is_there(folder, writer, collector):
    memory = MemoryExporter()
    writer.append([plain_trace(1)])

    collector(memory).run(is_ending=lambda: True)

    assert list(memory.traces) == [plain_trace(1)]


# -- In the process of the application ------------------------------------------------------------


def test_a_process_tells_how_it_is_and_obeys(folder):
    told = []
    exporter = SpoolExporter(folder, max_bytes=10**6, on_control=told.append, version="1")
    exporter.export([plain_trace(1)])
    exporter.tick(PipelineStatistics(recorded=1, queued=2))
    (state,) = folder.states()
    assert (state["recorded"], state["queued"], state["process"]) == (1, 2, os.getpid())
    assert told == []

    folder.control(True)
    exporter.tick(PipelineStatistics())
    exporter.tick(PipelineStatistics())
    folder.control(False)
    exporter.tick(PipelineStatistics())
    assert told == [True, False]
    exporter.shutdown()


def test_what_a_process_has_connected_comes_when_that_is_news(folder):
    connected = ["one"]
    wiring = (lambda: connected[0], lambda: connected[0])
    exporter = SpoolExporter(folder, max_bytes=10**6, wiring=wiring)
    exporter.export([plain_trace(1)])
    exporter.tick(PipelineStatistics())
    (state,) = folder.states()
    assert state["wiring"] == "one"

    (path,) = folder.path.glob("*.wiring")
    written = path.stat().st_mtime_ns
    exporter.tick(PipelineStatistics())
    assert path.stat().st_mtime_ns == written
    (state,) = folder.states(written + 1)
    assert "wiring" not in state

    connected[0] = "two"
    exporter.tick(PipelineStatistics())
    (state,) = folder.states(written + 1)
    assert state["wiring"] == "two"
    exporter.shutdown()


def test_a_large_wiring_that_changes_all_the_time_is_written_now_and_then(folder, monkeypatch):
    now, changes = [1000.0], iter(range(1000))
    monkeypatch.setattr(news, "time", SimpleNamespace(monotonic=lambda: now[0]))
    written = []

    def describe():
        written.append(now[0])
        return "x" * 900_000

    exporter = SpoolExporter(folder, max_bytes=10**6, wiring=(describe, lambda: next(changes)))
    exporter.export([plain_trace(1)])
    for _ in range(60):
        exporter.tick(PipelineStatistics())
        now[0] += 5

    assert written == [1000, 1090, 1180, 1270]
    exporter.shutdown()  # What came last is told all the same.
    assert written == [1000, 1090, 1180, 1270, 1300]


def test_old_states_are_forgotten(folder):
    folder.write("1-1.state", {"seen_ns": 1})
    folder.write("2-1.state", {"seen_ns": time.time_ns()})

    assert len(list(folder.states())) == 1
    assert len(list(folder.path.glob("*.state"))) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_raises_what_the_pipeline_takes_for_temporary(folder):
    folder.path.chmod(0o500)
    with pytest.raises(PermissionError):
        SpoolExporter(folder, max_bytes=10**6).export([plain_trace(1)])


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path, caplog):
    from tracing.pipeline import Pipeline

    (tmp_path / "file").write_text("")
    pipeline = Pipeline()
    folder = Folder(tmp_path / "file" / "spool")
    pipeline.configure(
        [SpoolExporter(folder, max_bytes=10**6)], options=PipelineOptions(exit_seconds=0)
    )
    with caplog.at_level(logging.WARNING, "tracing"):
        for number in range(5):
            pipeline.submit(plain_trace(number))
            pipeline.force_flush()

    assert pipeline.statistics().exporters["spool"].failures > 0
    assert len([r for r in caplog.records if "spool exporter cannot write" in r.message]) == 1
    pipeline.configure([])
