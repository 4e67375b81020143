"""Tasks of django.tasks that one process enqueues and another runs: both are joined by the id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import pytest

from tests.services import require_service
from tests.tracing.exporters.test_servers import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

if django.VERSION < (6, 0):
    pytest.importorskip("django_tasks")
pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[3]
PROJECT = "tests.tracing.instrumentation_tasks.file_tasks"
WAYS = ["at once", "awaited", "on commit"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Return the database of the traces, without its tables."""
    if request.param == "sqlite":
        yield {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "traces.sqlite3")}
        return
    service = require_service("postgresql")
    name = f"tracing_tasks_{os.getpid()}"
    tell(service, f"CREATE DATABASE {name}")
    try:
        yield {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "HOST": service.host,
            "PORT": service.port,
            "USER": service.user,
            "PASSWORD": service.password,
        }
    finally:
        tell(service, f"DROP DATABASE {name}")


@pytest.fixture
def process(store: dict[str, Any], tmp_path: Path) -> Callable[[str], str]:
    """Return what has the project do something in a process of its own; it returns the output."""
    application = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "app.sqlite3")}
    folder = tmp_path / "tasks"
    folder.mkdir()
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.tracing.instrumentation_tasks.file_settings",
        "TASKS_DATABASES": json.dumps({"default": application, "tracing": store}),
        "TASKS_FOLDER": str(folder),
        "PYTHONPATH": str(REPOSITORY),
    }

    def run(verb: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", PROJECT, verb],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_task_is_joined_to_its_sender_in_another_process(process: Callable[[str], str]) -> None:
    process("enqueue")
    process("run")
    traces = json.loads(process("tell"))

    senders = {trace["name"]: trace for trace in traces if trace["kind"] == "block"}
    runs = {trace["tasks"]["task_id"]: trace for trace in traces if trace["kind"] == "task"}
    assert sorted(senders) == WAYS
    assert len(runs) == len(WAYS)
    for sender in senders.values():
        [task] = sender["tasks"]["enqueued"]
        run = runs[task["task_id"]]
        assert task["task"] == "work"
        assert [each["root_span_id"] for each in task["runs"]] == [run["root_span_id"]]
        assert [each["root_span_id"] for each in run["tasks"]["enqueued_by"]] == [
            sender["root_span_id"]
        ]
        assert sender["process"] != run["process"]
