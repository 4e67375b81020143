"""Libraries that are imported after the recording began are recorded, and imported as ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tracing.instrumentation import imports
from tracing.instrumentation.imports import when_imported

LATE_CELERY = """
import json, sys

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="x", USE_TZ=True, INSTALLED_APPS=["tracing"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TRACING={"EXPORTERS": ["memory"]},
)
django.setup()
before = [type(finder).__name__ for finder in sys.meta_path]
assert "celery" not in sys.modules

from django.db import transaction
from django.dispatch import Signal

import tracing
from tracing.exporters.memory import MemoryExporter
from tracing import pipeline

import celery
app = celery.Celery(broker="memory://", set_as_current=True)

@app.task
def work():
    pass

paid = Signal()

def receiver(**named):
    work.delay()  # here
    app.send_task("by name")  # there

paid.connect(receiver)
with tracing.trace("a block"):
    with transaction.atomic():
        paid.send("sender")
tracing.flush()
memory = next(each for each in pipeline.default.exporters if isinstance(each, MemoryExporter))
[trace] = [each for each in memory.traces if each.name == "a block"]
import celery.app.task
lines = open(__file__).read().splitlines()
print(json.dumps({
    "effects": [
        [effect.kind, effect.target, lines[effect.callsite.line - 1].rpartition("# ")[2]]
        for effect in trace.side_effects
    ],
    "is_hazard": "side-effect-in-transaction" in {hazard.hazard for hazard in trace.hazards},
    "spec": type(sys.modules["celery.app.task"].__spec__).__name__,
}))
"""


@pytest.mark.process
def test_celery_imported_late_is_watched_and_the_project_s_line_named(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(LATE_CELERY)

    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(__file__).parents[3],
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        "effects": [["task", "__main__.work", "here"], ["task", "by name", "there"]],
        "is_hazard": True,
        "spec": "ModuleSpec",
    }


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return how to write a module that can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield write
    for name in [name for name in sys.modules if name.startswith("waited_for")]:
        del sys.modules[name]


def test_module_is_loaded_as_without_anybody_waiting(module):
    text = "import inspect, sys\nseen = [f.function for f in inspect.stack()]\nspec = __spec__\n"
    module("waited_for_a", text)
    module("waited_for_b", text)
    called = []
    when_imported("waited_for_b", lambda: called.append(sys.modules["waited_for_b"].seen))

    import waited_for_a
    import waited_for_b

    assert called == [waited_for_b.seen]
    assert waited_for_b.seen == waited_for_a.seen
    assert type(waited_for_b.spec) is type(waited_for_a.spec)
    assert type(waited_for_b.__loader__) is type(waited_for_a.__loader__)
    assert vars(waited_for_b.spec).keys() == vars(waited_for_a.spec).keys()
    assert imports._finder not in sys.meta_path or imports._waiting


def test_module_that_fails_is_waited_for_until_it_loads(module):
    module("waited_for_c", "raise ValueError('not yet')")
    called = []
    when_imported("waited_for_c", lambda: called.append("loaded"))

    with pytest.raises(ValueError, match="not yet"):
        import waited_for_c
    first = list(called)
    module("waited_for_c", "fine = True  # and longer than it was")
    import waited_for_c  # noqa: F401

    assert first == []
    assert called == ["loaded"]


def test_module_that_is_nowhere_is_nowhere_still(module):
    undo = when_imported("waited_for_d", list)
    with pytest.raises(ModuleNotFoundError):
        import waited_for_d  # noqa: F401
    undo()

    assert "waited_for_d" not in imports._waiting


def test_failure_of_what_waits_does_not_reach_the_import(module, monkeypatch):
    failed = []
    monkeypatch.setattr(imports, "failed", lambda place, error: failed.append(place))
    module("waited_for_e", "fine = True")
    when_imported("waited_for_e", lambda: 1 / 0)

    import waited_for_e

    assert waited_for_e.fine
    assert failed == ["import of waited_for_e"]
