"""What becomes of traces when processes fork, end, or are told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tracing import pipeline as pipeline_module
from tracing.pipeline import Pipeline, flush_on_sigterm

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 180
"""Seconds to wait for the end of a process: only a failure waits so long."""

PREPARE = """
import os, signal, sys, threading, time
from tracing.exporters.log import LogExporter
from tracing.conf.parts import PipelineOptions
from tracing.pipeline import Pipeline, flush_on_sigterm
from tests.tracing.samples import plain_trace

# So long a batch that only a flush can write it in time.
pipeline = Pipeline(PipelineOptions(batch_seconds=60, exit_seconds=60))
pipeline.add_exporter(LogExporter(sys.argv[1], max_bytes=0))
"""
WAIT = """
def wait_for_a_signal():
    # Python sleeps on if the signal comes just before it sleeps: never for long.
    print("ready", flush=True)
    while True:
        time.sleep(0.05)
"""


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a Python script in a process of its own."""
    started = []

    def run(script, *arguments):
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                PREPARE + WAIT + textwrap.dedent(script),
                str(tmp_path / "t.jsonl"),
                *arguments,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def finished(tmp_path):
    """Return the numbers of the traces in the log."""
    lines = (tmp_path / "t.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [
        int(record["trace_id"], 16) for record in records if record["event"] == "trace_finished"
    ]


def test_end_of_the_process_writes_what_is_queued(start, tmp_path):
    process = start("for number in range(100): pipeline.submit(plain_trace(number))")

    _, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, errors) == (0, "")
    assert finished(tmp_path) == list(range(100))


def test_failing_process_writes_what_is_queued(start, tmp_path):
    process = start("pipeline.submit(plain_trace(1)); raise SystemExit(3)")

    process.communicate(timeout=PATIENCE)

    assert process.returncode == 3
    assert finished(tmp_path) == [1]


def test_trace_that_ends_in_an_exit_handler_is_written(start, tmp_path):
    process = start(
        """
        import atexit
        # Registered before the pipeline's own handler, so it runs after it.
        atexit.register(lambda: (pipeline.submit(plain_trace(2)), pipeline.force_flush()))
        pipeline.submit(plain_trace(1))
        """
    )

    process.communicate(timeout=PATIENCE)

    assert finished(tmp_path) == [1, 2]


def test_worker_does_not_keep_the_process_alive(start, tmp_path):
    process = start(
        """
        class Stuck:
            name = "stuck"
            def export(self, batch): time.sleep(3600)
            def force_flush(self): pass
            def shutdown(self): pass
        pipeline.options = PipelineOptions(exit_seconds=0.2)
        pipeline.add_exporter(Stuck())
        pipeline.submit(plain_trace(1))
        # The exporter before the stuck one gets its time, however busy the machine is.
        while not os.path.exists(sys.argv[1]) or not os.path.getsize(sys.argv[1]): time.sleep(0.01)
        """
    )

    process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert finished(tmp_path) == [1]


def test_sigterm_flushes_and_still_ends_the_process(start, tmp_path):
    process = start(
        """
        flush_on_sigterm(pipeline)
        pipeline.submit(plain_trace(1))
        wait_for_a_signal()
        """
    )
    process.stdout.readline()

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)

    assert process.returncode == -signal.SIGTERM
    assert finished(tmp_path) == [1]


def test_sigterm_leaves_the_decision_to_an_installed_handler(start, tmp_path):
    process = start(
        """
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
        flush_on_sigterm(pipeline)
        pipeline.submit(plain_trace(1))
        wait_for_a_signal()
        """
    )
    process.stdout.readline()

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)

    assert process.returncode == 7
    assert finished(tmp_path) == [1]


def test_sigterm_while_submitting_does_not_hang(start, tmp_path):
    process = start(
        """
        flush_on_sigterm(pipeline)
        print("ready", flush=True)
        number = 0
        while True:
            pipeline.submit(plain_trace(number))
            number += 1
        """
    )
    process.stdout.readline()

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)

    assert process.returncode == -signal.SIGTERM


def test_forked_child_writes_its_own_traces_and_not_its_parents(start, tmp_path):
    process = start(
        """
        import warnings
        warnings.simplefilter("ignore")  # Forking with threads is what is tested.
        pipeline.submit(plain_trace(1))
        child = os.fork()
        if not child:
            pipeline.submit(plain_trace(2))
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """
    )

    _, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, errors) == (0, "")
    assert sorted(finished(tmp_path)) == [1, 2]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_children_write_their_traces(start, tmp_path, method):
    script = tmp_path / "work.py"
    script.write_text(
        PREPARE
        + textwrap.dedent(
            """
            import multiprocessing, warnings
            warnings.simplefilter("ignore")
            pipeline.flush_at_exit()  # As setting up a project does, also in each child.

            def work(number):
                pipeline.submit(plain_trace(number))

            if __name__ == "__main__":
                context = multiprocessing.get_context(sys.argv[2])
                pipeline.submit(plain_trace(1))
                children = [context.Process(target=work, args=(n,)) for n in (2, 3)]
                for child in children: child.start()
                for child in children: child.join()
            """
        )
    )
    completed = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "t.jsonl"), method],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )

    assert (completed.returncode, completed.stderr) == (0, b"")
    assert sorted(finished(tmp_path)) == [1, 2, 3]


def test_fork_comes_between_two_pieces_of_the_workers_work(start):
    process = start(
        """
        import threading
        import warnings
        from tracing.pipeline import yield_interpreter

        warnings.simplefilter("ignore", DeprecationWarning)  # Of a fork beside threads.
        held = threading.Lock()

        class Slow:
            name = "slow"

            def export(self, batch):
                for _ in range(30):
                    with held:
                        time.sleep(0.01)
                    yield_interpreter()

            def force_flush(self):
                pass

        pipeline = Pipeline(PipelineOptions(batch_seconds=0.01))
        pipeline.add_exporter(Slow())
        pipeline.submit(plain_trace(1))
        while not held.locked():
            time.sleep(0.001)
        for _ in range(5):
            child = os.fork()
            if not child:
                os._exit(held.locked())
            print(os.waitpid(child, 0)[1], flush=True)
            time.sleep(0.015)
        """
    )

    output, errors = process.communicate(timeout=PATIENCE)

    assert (output.split(), errors) == (["0"] * 5, "")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python does not warn")
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="3.13.0 counts what hooks have started")
def test_fork_is_not_warned_of_for_the_sake_of_the_worker(start, tmp_path):
    process = start(
        """
        import warnings

        warnings.simplefilter("always")
        pipeline.options = PipelineOptions(batch_seconds=0.001)
        for number in range(20):
            pipeline.submit(plain_trace(number))
            child = os.fork()
            if not child:
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            print(pipeline._worker.is_alive())
        """
    )

    output, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, errors, output.split()) == (0, "", ["True"] * 20)
    assert finished(tmp_path) == list(range(20))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python does not warn")
def test_fork_does_not_wait_again_for_a_worker_that_does_not_end(monkeypatch):
    waited = []

    class Stuck(threading.Thread):
        native_id = -1

        def is_alive(self):
            return True

        def join(self, timeout=None):
            waited.append(timeout)

    pipeline = Pipeline()
    pipeline._worker = worker = Stuck()
    for _ in range(2):
        pipeline.stop_for_fork()
        pipeline.go_on_after_fork()

    assert (waited[0] > 0, waited[1:], pipeline._worker) == (True, [0], worker)
    assert not pipeline._stopping


def test_sigterm_handler_is_taken_back():
    before = signal.getsignal(signal.SIGTERM)

    undo = flush_on_sigterm(Pipeline())
    during = signal.getsignal(signal.SIGTERM)
    undo()

    assert during is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        flush_on_sigterm(Pipeline())

        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_module_is_a_pipeline():
    assert pipeline_module.submit == pipeline_module.default.submit


# -- A project that has the tracer among its INSTALLED_APPS ------------------------------------

PROJECT = """
import atexit
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "tracing"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TRACING={
        "EXPORTERS": ["log"],
        "LOG": {"path": sys.argv[1]},
        "PIPELINE": {"batch_seconds": 60, "exit_seconds": 60},
    },
)
django.setup()

from tracing import trace

def work():
    with trace("work"):
        pass
"""


def names_in_log(tmp_path):
    """Return the names of the traces in the log."""
    records = map(json.loads, (tmp_path / "t.jsonl").read_text().splitlines())
    return [record["name"] for record in records if record["event"] == "trace_finished"]


def test_sigterm_loses_no_trace_of_a_project(start, tmp_path):
    process = start(
        PROJECT
        + textwrap.dedent("""
        work()
        wait_for_a_signal()
        """)
    )
    process.stdout.readline()

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)

    assert process.returncode == -signal.SIGTERM
    assert names_in_log(tmp_path) == ["work"]


def test_first_trace_of_a_project_may_be_made_at_exit(start, tmp_path):
    process = start(PROJECT + "atexit.register(work)")

    _, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, errors) == (0, "")
    assert names_in_log(tmp_path) == ["work"]


def test_process_that_ends_too_soon_tells_what_it_loses(start):
    process = start(
        """
        import logging

        class Stuck:
            name = "stuck"

            def export(self, batch):
                raise OSError("gone")

            def force_flush(self):
                pass

        logging.basicConfig(format="%(message)s")
        pipeline.add_exporter(Stuck())
        for number in range(3):
            pipeline.submit(plain_trace(number))
        """
    )

    _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert "before the stuck exporter could write 3 traces; they are lost." in errors


def test_sigterm_tells_what_the_store_does_not_get_and_where_it_is(start, tmp_path):
    process = start(
        """
        import logging

        class Gone:
            name = "database"

            def export(self, batch):
                raise OSError("gone")

            def force_flush(self):
                pass

        logging.basicConfig(format="%(message)s")
        pipeline.add_exporter(Gone())
        flush_on_sigterm(pipeline)
        for number in range(3):
            pipeline.submit(plain_trace(number))
        wait_for_a_signal()
        """
    )
    process.stdout.readline()

    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == -signal.SIGTERM
    assert "before the database exporter could write 3 traces; they are in the log alone" in errors
    assert finished(tmp_path) == [0, 1, 2]


IN_SUBINTERPRETERS = """
import json, sys, _testcapi

for number in "12":
    code = "import sys; sys.argv = " + json.dumps(["", sys.argv[1]]) + "; sys.path[:] = "
    code += json.dumps(sys.path) + sys.argv[2] + "atexit.register(lambda: work())\\nwork()\\n"
    print(_testcapi.run_in_subinterp(code))
"""


def test_subinterpreters_end_and_write_their_traces(start, tmp_path):
    pytest.importorskip("_testcapi")
    # What is made in a function of the application that runs before Django is set up, ends last.
    project = "\nimport atexit; atexit.register(lambda: work())\n" + PROJECT

    process = start(IN_SUBINTERPRETERS, project)

    output, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output.split()) == (0, ["0", "0"])
    assert names_in_log(tmp_path) == ["work"] * 6


def test_no_source_needs_the_names_of_characters():
    """CPython 3.11 keeps what knows them when the first subinterpreter has ended, and crashes."""
    sources = (ROOT / "tracing").rglob("*.py")
    assert [path for path in sources if r"\N{" in path.read_text()] == []
