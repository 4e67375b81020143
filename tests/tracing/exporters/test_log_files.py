"""One file, many writers, rotations, kills."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.tracing.samples import plain_trace
from tracing.conf.parts import PipelineOptions
from tracing.exporters import log_file
from tracing.exporters.log import LogExporter
from tracing.exporters.log_file import LineFile, follow, log_files, open_log, rotated_files
from tracing.instrumentation import failures
from tracing.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[3]

WRITER = """
import sys
from tracing.exporters.log_file import LineFile

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
file = LineFile(path, max_bytes=20_000, keep=10_000, compress=sys.argv[4] == "gzip")
number = 0
while number < count:
    batch = "".join(f"{name} {n} " + "x" * (n % 300) + "\\n" for n in range(number, number + 7))
    file.write(batch.encode())
    number += 7
    # What was acknowledged must be there later.
    print(number, flush=True)
"""


def all_lines(path):
    """Return the lines of all files of the log, oldest first."""
    found = []
    for part in log_files(path):
        with open_log(part) as file:
            found += file.read().decode().splitlines(keepends=True)
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "t.jsonl"


def test_file_is_rotated_before_it_grows_too_large(path):
    file = LineFile(path, max_bytes=100)

    for number in range(10):
        file.write(b"%d" % number + b"x" * 38 + b"\n")
    file.close()

    assert [part.stat().st_size for part in log_files(path)] == [80] * 5
    assert [line[0] for line in all_lines(path)] == list("0123456789")


def test_oldest_files_are_deleted_beyond_what_is_kept(path):
    file = LineFile(path, max_bytes=10, keep=2)

    for number in range(6):
        file.write(b"line %d..\n" % number)
    file.close()

    assert all_lines(path) == ["line 3..\n", "line 4..\n", "line 5..\n"]


def test_rotated_files_are_compressed_when_asked(path):
    file = LineFile(path, max_bytes=10, compress=True)

    for number in range(3):
        file.write(b"line %d..\n" % number)
    file.close()

    assert [part.suffix for part in log_files(path)] == [".gz", ".gz", ".jsonl"]
    assert gzip.decompress(rotated_files(path)[0].read_bytes()) == b"line 0..\n"
    assert all_lines(path) == ["line 0..\n", "line 1..\n", "line 2..\n"]


def test_file_is_rotated_when_another_period_begins(path):
    now = [1_000_000.0]
    file = LineFile(path, every_seconds=3_600, clock=lambda: now[0])
    file.write(b"one\n")
    now[0] += 1
    file.write(b"two\n")
    now[0] += 3_600
    other = LineFile(path, every_seconds=3_600, clock=lambda: now[0])

    other.write(b"three\n")
    file.write(b"four\n")

    assert [part.read_bytes() for part in log_files(path)] == [b"one\ntwo\n", b"three\nfour\n"]
    file.close()
    other.close()


def test_first_period_of_a_file_begins_with_it(path):
    now = [1_000_000.0]
    file = LineFile(path, every_seconds=3_600, clock=lambda: now[0])

    for line in (b"one\n", b"two\n", b"three\n"):
        file.write(line)
        now[0] += 3_600
    file.close()

    assert [part.read_bytes() for part in log_files(path)] == [b"one\n", b"two\n", b"three\n"]


def test_compressed_file_is_as_private_as_the_log(path):
    file = LineFile(path, max_bytes=10, compress=True)
    file.write(b"line one.\n")
    path.chmod(0o600)
    file.write(b"line two.\n")
    file.close()

    assert rotated_files(path)[0].suffix == ".gz"
    assert rotated_files(path)[0].stat().st_mode & 0o777 == 0o600


def test_line_torn_by_a_killed_writer_is_cut_off(path):
    path.write_bytes(b"whole\n" + b"torn " * 30_000)
    file = LineFile(path)

    file.write(b"next\n")
    file.close()

    assert path.read_bytes() == b"whole\nnext\n"


def test_full_disk_leaves_nothing_of_the_batch(path):
    file = LineFile(path)
    file.write(b"first\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))

        with pytest.raises(OSError, match="too large"):
            file.write(b"y" * 5_000 + b"\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    file.write(b"second\n")
    file.close()

    assert path.read_bytes() == b"first\nsecond\n"


def test_deleted_file_is_made_again(path):
    file = LineFile(path)
    file.write(b"first\n")
    path.unlink()

    file.write(b"second\n")
    file.close()

    assert path.read_bytes() == b"second\n"


@pytest.mark.process
@pytest.mark.parametrize("compress", ["plain", "gzip"])
def test_processes_share_a_file_and_a_kill_tears_no_line(path, compress):
    writers = {
        name: subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name, "2100", compress],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for name in "abcd"
    }
    # One is killed at a random moment of its work.
    for _ in range(random.Random().randrange(20, 200)):
        writers["d"].stdout.readline()
    writers["d"].kill()
    acknowledged = {}
    for name, writer in writers.items():
        rest = writer.communicate(timeout=180)[0].split()
        acknowledged[name] = int(rest[-1]) if rest else 0

    lines = all_lines(path)
    numbers = {name: [] for name in writers}
    for line in lines:
        name, number, filling = line.split(" ")
        assert filling == "x" * (int(number) % 300) + "\n"
        numbers[name].append(int(number))
    assert len(log_files(path)) > 5
    for name in "abc":
        assert numbers[name] == list(range(2_100))
    assert numbers["d"] == list(range(len(numbers["d"])))
    assert len(numbers["d"]) >= acknowledged["d"]


def test_follow_survives_rotations(path):
    file = LineFile(path, max_bytes=60, compress=True, keep=1_000)
    file.write(b"before\n")
    seen = []
    started, stop = threading.Event(), threading.Event()

    def goes_on():
        started.set()
        return not stop.is_set()

    def read():
        seen.extend(follow(path, from_start=True, poll_seconds=0.001, keep_on=goes_on))

    reader = threading.Thread(target=read)
    reader.start()
    assert started.wait(60)
    for number in range(200):
        file.write(b"line %d\n" % number)
    stop.set()
    reader.join(60)
    file.close()

    assert seen == [b"before", *(b"line %d" % number for number in range(200))]


def test_follow_from_the_start_waits_for_a_file_that_is_not_there_yet(path):
    looks = iter([True, True, False])

    def wait(_seconds):
        with path.open("ab") as file:
            file.write(b"whole\nhalf")

    lines = list(follow(path, from_start=True, keep_on=lambda: next(looks), wait=wait))

    assert lines == [b"whole", b"halfwhole"]


@pytest.mark.parametrize("other", ["the same writer", "another process' writer"])
def test_removed_folder_is_made_again(path, other):
    path = path.parent / "logs" / path.name
    first, second = LineFile(path), LineFile(path)
    first.write(b"before\n")
    second.write(b"before\n")
    shutil.rmtree(path.parent)

    first.write(b"after\n")
    (first if other == "the same writer" else second).write(b"later\n")

    assert path.read_bytes() == b"after\nlater\n"
    # Both hold the lock of the new folder: none writes into the other's line.
    assert os.fstat(first._lock_file).st_nlink == 1
    if other != "the same writer":
        assert os.fstat(first._lock_file).st_ino == os.fstat(second._lock_file).st_ino
    first.close()
    second.close()


@pytest.mark.parametrize("way", ["create", "nocreate", "copytruncate"])
def test_logrotate_takes_the_file_away(path, way):
    file = LineFile(path)
    file.write(b"before\n")
    if way == "copytruncate":
        shutil.copy(path, path.with_name("old"))
        os.truncate(path, 0)
    else:
        path.rename(path.with_name("old"))
    if way == "create":
        path.touch()

    file.write(b"after\n")
    file.close()

    assert path.with_name("old").read_bytes() == b"before\n"
    assert path.read_bytes() == b"after\n"


def refuse(*_arguments, **_named):
    raise PermissionError(13, "Permission denied")


def test_folder_that_nothing_can_be_renamed_in_keeps_its_log(path, monkeypatch, caplog):
    file = LineFile(path, max_bytes=10)
    file.write(b"1234567\n")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        file.write(b"abcdefg\n")
        file.write(b"hijklmn\n")
    file.write(b"opqrstu\n")
    file.close()

    assert path.read_bytes() == b"opqrstu\n"
    [rotated] = rotated_files(path)
    assert rotated.read_bytes() == b"1234567\nabcdefg\nhijklmn\n"
    assert [record.getMessage() for record in caplog.records] == [
        "Recording failed in rotating the log; the application is not affected."
    ]
    failures.counts.clear()


def test_lines_are_written_once_where_rotated_files_cannot_be_kept(path, monkeypatch):
    file = LineFile(path, max_bytes=10, compress=True)
    file.write(b"1234567\n")
    monkeypatch.setattr(log_file, "rotated_files", refuse)

    file.write(b"abcdefg\n")
    file.close()

    assert path.read_bytes() == b"abcdefg\n"
    assert failures.counts["keeping the rotated logs: PermissionError"] == 1
    failures.counts.clear()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o640), (0o077, 0o600), (0o000, 0o640)])
def test_log_is_for_its_owner_and_group_as_far_as_the_umask_allows(path, umask, mode):
    path = path.parent / "logs" / path.name
    before = os.umask(umask)
    try:
        file = LineFile(path)
        file.write(b"line\n")
        file.close()
    finally:
        os.umask(before)

    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, file._lock_path(".lock"))] == [
        mode,
        mode,
    ]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750 & ~umask


def test_log_that_exists_keeps_its_mode(path):
    path.touch(mode=0o600)
    path.chmod(0o600)
    file = LineFile(path)
    file.write(b"line\n")
    file.close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_lost_while_the_folder_cannot_be_used(path, caplog):
    folder = path.parent / "logs"
    pipeline = Pipeline(PipelineOptions(batch_seconds=0.01))
    pipeline.add_exporter(LogExporter(folder / path.name))
    pipeline.submit(plain_trace(1))
    before = pipeline.force_flush(30)
    shutil.rmtree(folder)
    folder.write_text("in the way")
    pipeline.submit(plain_trace(2))
    meanwhile = pipeline.force_flush(30)
    folder.unlink()
    pipeline.submit(plain_trace(3))
    after = pipeline.force_flush(30)
    pipeline.shutdown()

    assert (before, meanwhile, after) == (True, False, True)
    lines = [json.loads(line) for line in (folder / path.name).read_bytes().splitlines()]
    finished = [line["trace_id"] for line in lines if line["event"] == "trace_finished"]
    assert finished == [f"{number:032x}" for number in (2, 3)]
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(" traces")[0] for text in said] == [
        "The log exporter cannot write",
        "The log exporter writes",
    ]
    assert said[1].endswith("; 0 traces lost.")
