"""Tests of a collector as a process of its own, beside processes that are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tracing.spool import starting
from tracing.spool.folder import COLLECTOR, Folder, Turn

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only on Linux is one started"),
]

KILLS = int(os.environ.get("TRACING_KILLS", "20"))
"""How often a process is killed in a loop; fifty takes some minutes."""
ROOT = Path(__file__).resolve().parents[3]
SETTINGS = """
from pathlib import Path
from tracing.project import MAKES_TABLES

BASE_DIR = Path(__file__).parent
SECRET_KEY = "of no use"
SQLITE = {"ENGINE": "django.db.backends.sqlite3"}
DATABASES = {
    "default": {**SQLITE, "NAME": str(BASE_DIR / "site.sqlite3")},
    "tracing": {**SQLITE, "NAME": str(BASE_DIR / "traces.sqlite3"), MAKES_TABLES: True},
}
DATABASE_ROUTERS = ["tracing.routers.TracingRouter"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "tracing"]
USE_TZ = True
TRACING = {"COLLECTOR": "process", "PRUNE": {}}
"""
APPLICATION = """
import os, signal, sys, time
import django
django.setup()
import tracing
from django.dispatch import Signal
"""


@pytest.fixture
def project(tmp_path):
    """Return the folder of a project; what collects it ends with the test."""
    (tmp_path / "settings_of_spool.py").write_text(SETTINGS)
    yield tmp_path
    for pid in collectors(tmp_path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def environment(project):
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "settings_of_spool",
        "PYTHONPATH": f"{project}{os.pathsep}{ROOT}",
    }


def application(project, program, **options):
    """Start *program* in the project."""
    return subprocess.Popen(
        [sys.executable, "-c", APPLICATION + program],
        cwd=project,
        env=environment(project),
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def collect(project, *arguments):
    command = [sys.executable, "-m", "django", "tracing", "collect", *arguments]
    return subprocess.Popen(
        command, cwd=project, env=environment(project), stdout=subprocess.DEVNULL
    )


def collectors(project):
    """Return the processes that collect for the project."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            command = (entry / "cmdline").read_bytes().split(b"\0")
            if b"collect" in command and (entry / "cwd").readlink() == project:
                found.append(int(entry.name))
    return found


def the_collector(project):
    """Return the process that collects: where it is slow to start, a second one is, which then ends."""
    return Folder(project / "tracing-spool").read(COLLECTOR).get("process")


def stored(project):
    """Return the names of the stored traces."""
    with closing(sqlite3.connect(project / "traces.sqlite3")) as database:
        sql = "SELECT l.name FROM tracing_trace t JOIN tracing_tracelabel l ON l.id = t.label_id"
        return sorted(name for (name,) in database.execute(sql))


def logged(project):
    """Return the names of the traces of the log."""
    lines = []
    for path in (project / "logs").glob("*.jsonl*"):
        # What a killed collector left of a line is cut off by the next.
        lines += path.read_bytes().rpartition(b"\n")[0].splitlines()
    found = [json.loads(line) for line in lines if b'"trace_finished"' in line]
    return sorted(line["name"] for line in found)


def size(path):
    return path.stat().st_size if path.exists() else 0


def changed(path):
    return path.stat().st_mtime_ns if path.exists() else 0


def wait_for(condition, seconds=60):
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.1)


def test_an_application_that_waits_for_children_sees_no_collector(project):
    done = application(
        project,
        """
told = []
signal.signal(signal.SIGCHLD, lambda *_: told.append("a child has ended"))
with tracing.trace("work"):
    Signal().send(None)
tracing.flush(30)
spool = "tracing-spool"
give_up_at = time.monotonic() + 60
while not os.path.exists(f"{spool}/collector.json") and time.monotonic() < give_up_at:
    try:
        told.append(os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        pass
    time.sleep(0.02)
print(told, flush=True)
time.sleep(60)
""",
        pass_fds=(2,),
    )
    try:
        assert done.stdout.readline() == "[]\n"
        collector = the_collector(project)
        status = Path(f"/proc/{collector}/status").read_text()
        assert f"PPid:\t{done.pid}\n" not in status
        assert os.getsid(collector) != os.getsid(done.pid)
        assert os.getpgid(collector) != os.getpgid(done.pid)
        names = [str(each.readlink()) for each in Path(f"/proc/{collector}/fd").iterdir()]
        assert not [name for name in names if "pipe:" in name or "socket:" in name]
        wait_for(lambda: stored(project) == ["work"])
    finally:
        done.kill()
        done.wait()
        done.stdout.close()


def test_several_processes_have_one_collector_and_a_killed_one_is_followed_by_another(project):
    program = """
number = 0
while not os.path.exists("enough"):
    with tracing.trace(f"{number:06d}"):
        pass
    number += 1
    time.sleep(0.02)
tracing.flush(30)
print(number)
"""
    started = [application(project, program) for _ in range(2)]
    try:
        wait_for(lambda: collectors(project) == [the_collector(project)])
        first = the_collector(project)
        wait_for((project / "logs").exists)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: [pid for pid in collectors(project) if pid != first])
        (project / "enough").touch()
        for each in started:
            assert each.wait(120) == 0
        made = sum(int(each.stdout.read()) for each in started)
        wait_for(lambda: len(logged(project)) >= made <= len(stored(project)))
        assert len(logged(project)) == len(stored(project)) == made
        wait_for(lambda: not Folder(project / "tracing-spool").files())
    finally:
        for each in started:
            each.kill()
            each.wait()
            each.stdout.close()


def test_a_collector_that_runs_already_is_told_of(project):
    turn = Turn(Folder(project / "tracing-spool"))
    turn._path.parent.mkdir()
    assert turn.take()

    assert collect(project, "--until-idle").wait(60) == 0
    command = [sys.executable, "-m", "django", "tracing", "collect"]
    done = subprocess.run(
        command, cwd=project, env=environment(project), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Another process collects" in done.stderr
    turn.give_back()


def test_sigterm_has_the_collector_take_what_is_there(project):
    settings = project / "settings_of_spool.py"
    settings.write_text(SETTINGS.replace('"process"', '"service"'))
    collector = collect(project)
    program = """
for number in range(300):
    with tracing.trace(f"{number:03d}"):
        pass
tracing.flush(30)
print("written", flush=True)
"""
    writer = application(project, program)
    try:
        assert writer.stdout.readline() == "written\n"
        wait_for((project / "tracing-spool" / "collector.json").exists)
        collector.terminate()
        assert collector.wait(60) == 0
        assert len(stored(project)) == len(logged(project)) == 300
    finally:
        for each in (collector, writer):
            each.kill()
            each.wait()
        writer.stdout.close()


@pytest.mark.slow
def test_nothing_that_was_appended_is_lost_or_comes_twice_whoever_is_killed(project):
    settings = project / "settings_of_spool.py"
    settings.write_text(SETTINGS.replace('"process"', '"service"'))
    program = """
from tracing.spans.records import Kind, Trace
from tracing.spool.folder import Folder
from tracing.spool.writer import Writer

writer = Writer(Folder("tracing-spool"), 10**9)
told = os.open("appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
number = 0
while True:
    names = [f"{os.getpid()}-{number + more}" for more in range(10)]
    number += 10
    writer.append(
        [
            Trace(os.urandom(16).hex(), Kind.BLOCK, name, time.time_ns(), 5,
                  root_span_id=os.urandom(8).hex())
            for name in names
        ]
    )
    os.write(told, "".join(f"{name}\\n" for name in names).encode())
    time.sleep(0.05)
"""
    chance = random.Random(5)
    checkpoint = project / "tracing-spool" / "checkpoint.json"
    writer, collector = application(project, program), collect(project)
    try:
        for _ in range(KILLS):
            # Mostly in the middle of their work, now and then while they start.
            if chance.random() < 0.5:
                before = size(project / "appended")
                if chance.random() < 0.9:
                    wait_for(lambda before=before: size(project / "appended") > before)
                time.sleep(chance.uniform(0, 0.3))
                writer.kill()
                writer.wait()
                writer.stdout.close()
                writer = application(project, program)
            else:
                before = changed(checkpoint)
                if chance.random() < 0.9:
                    wait_for(lambda before=before: changed(checkpoint) > before)
                time.sleep(chance.uniform(0, 0.3))
                collector.kill()
                collector.wait()
                collector = collect(project)
    finally:
        for each in (writer, collector):
            each.kill()
            each.wait()
        writer.stdout.close()
    assert collect(project, "--until-idle").wait(300) == 0

    appended = (project / "appended").read_text().split()
    assert len(appended) > 1_000
    for names in (stored(project), logged(project)):
        assert len(names) == len(set(names))
        assert not set(appended) - set(names)
    assert not Folder(project / "tracing-spool").files()


def test_where_none_can_be_started_is_told(monkeypatch):
    assert "in no module" in starting.why_impossible("")
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    assert "uwsgi is no Python" in starting.why_impossible("settings")
    monkeypatch.undo()

    def refused(_command):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(starting, "start_apart", refused)
    assert "Operation not permitted" in starting.why_impossible("settings")


def test_a_collector_that_does_not_stay_is_started_less_and_less_often(
    tmp_path, monkeypatch, caplog
):
    now, started = [0.0], []
    monkeypatch.setattr(starting.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(starting, "start_apart", started.append)
    (tmp_path / "spool").mkdir()
    starter = starting.Starter(Folder(tmp_path / "spool"), "settings")

    for second in range(300):
        now[0] = float(second)
        starter()

    assert 4 <= len(started) <= 8
    assert len([each for each in caplog.records if "does not stay" in each.message]) == 1
