"""RQ's child processes, which run one job and end past ``atexit``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tracing.instrumentation.scopes import tasks

RQ = """
import os

class Worker:
    is_horse = False

    def execute_job(self, job):
        child = os.fork()
        if not child:
            self.is_horse = True
            try:
                self.perform_job(job)
            except ValueError:
                os._exit(1)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def perform_job(self, job):
        return job()
"""
PROGRAM = """
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="x", USE_TZ=True, INSTALLED_APPS=["tracing"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TRACING={"EXPORTERS": ["log"], "LOG": {"path": "log.jsonl"}, "PIPELINE": {"BATCH_SECONDS": 60}},
)
django.setup()

import tracing
from rq.worker import Worker

def job():
    with tracing.trace("job"):
        pass

def broken():
    job()
    raise ValueError

print(Worker().execute_job(job), Worker().execute_job(broken))
"""


@pytest.mark.process
def test_what_a_work_horse_recorded_is_written_before_it_ends(tmp_path):
    (tmp_path / "rq").mkdir()
    (tmp_path / "rq" / "worker.py").write_text(RQ)
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).resolve().parents[3]}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout == "0 1\n", done.stderr
    lines = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert [line["name"] for line in lines if line.get("name") == "job"] == ["job"] * 2


def test_own_failure_does_not_reach_the_job(monkeypatch):
    noted = []
    monkeypatch.setattr(tasks, "failed", lambda place, _error: noted.append(place))

    assert tasks._WorkHorse().ended("value", object()) == "value"
    assert noted == ["rq"]
