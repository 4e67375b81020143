"""Tests of the verbs that keep the store: prune, export and import."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import sys

import pytest

from tests.tracing.command_line import (
    checkout,
    code_of,
    command,
    error_of,
    run,
    run_json,
    store,
)
from tracing import models
from tracing.exporters import log_import
from tracing.exporters.database import DatabaseExporter
from tracing.spans.records import Status

# They write through connections of their own, which no test transaction contains.
pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def make():
    return store(
        checkout(1),
        checkout(2),
        command(3, "load_cars", status=Status.ERROR, error="OSError: x"),
        shared=False,
    )


@pytest.fixture
def traces(fill):
    return fill(make)


# --- prune, export, import -----------------------------------------------------------------------


def test_prune_asks_what_to_prune_and_whether_to(traces, monkeypatch):
    code, what = error_of("prune")
    unconfirmed, message = error_of("prune", "--older-than", "0s")

    assert (code, unconfirmed) == (2, 2)
    assert what.startswith("Say what to prune: --older-than 7d")
    assert message.startswith("Delete ")
    assert message.endswith("Confirm it with --yes, or look first with --dry-run.")
    assert models.Trace.objects.count() == 3


@pytest.mark.parametrize(("answer", "left"), [("n", 3), ("yes", 1)])
def test_prune_obeys_the_answer(traces, monkeypatch, answer, left):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    if left == 3:
        assert error_of("prune", "--max-rows", "1") == (1, "Nothing was deleted.")
    else:
        run("prune", "--max-rows", "1")

    assert models.Trace.objects.count() == left


def test_prune_says_what_went(traces):
    dry = run("prune", "--max-rows", "1", "--dry-run")
    found = run_json("prune", "--max-rows", "1", "--yes")

    assert dry == "Would delete 2 traces with 4 dispatches.\n"
    assert (found["traces"], found["dispatches"], found["dry_run"]) == (2, 4, False)
    assert run("prune", "--max-size", "1GB", "--yes").startswith(
        "Deleted 0 traces with 0 dispatches. The store has "
    )


def test_prune_keeps_pinned_traces_unless_told_otherwise(traces):
    models.Trace.objects.filter(trace_id=traces[0].trace_id).update(pinned=True)
    kept = run_json("prune", "--older-than", "0s", "--keep-pinned", "--no-input")
    _, message = error_of("prune", "--older-than", "0s", "--keep-pinned", "--with-pinned")
    gone = run_json("prune", "--max-rows", "1_000", "--older-than", "0s", "--with-pinned", "--yes")

    assert (kept["traces"], gone["traces"]) == (2, 1)
    assert "not allowed with" in message


def test_export_writes_lines_that_import_reads_back(traces, tmp_path):
    path = tmp_path / "traces.jsonl"
    assert run("export", "--output", path) == f"{path}: 3 traces\n"
    models.Trace.objects.all().delete()
    found = run_json("import", path)

    assert (found["traces"], found["known"], found["bad_lines"]) == (3, 0, 0)
    assert models.Trace.objects.load(traces[0].trace_id).name == "orders:checkout"
    assert run("import", path) == "0 traces imported, 3 there already, 0 other lines skipped.\n"


@pytest.mark.parametrize("name", ["json", "speedscope", "chrome", "otlp"])
def test_export_writes_json_of_other_tools(traces, name):
    assert json.loads(run("export", traces[0].trace_id, "--format", name))


def test_export_writes_a_table(traces):
    lines = run("export", "--failed", "--format", "csv").splitlines()

    assert len(lines) == 8
    assert "core.mail.thank" in lines[3]


def test_export_of_nothing_and_to_nowhere_are_errors(traces, tmp_path):
    assert error_of("export", "--name", "nowhere") == (3, "No trace has what you asked for.")
    assert "cannot be written" in error_of("export", "--output", tmp_path / "no" / "x")[1]


def test_import_names_bad_lines(traces, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"event": "mine"}\nnonsense\n{"schema": 3, "event": "to come"}\n')
    stderr = io.StringIO()
    code, shown = code_of("import", path, stderr=stderr)

    assert code == 1
    assert shown == "0 traces imported, 0 there already, 1 other line skipped.\n"
    assert f"{path}:2: no JSON" in stderr.getvalue()
    assert error_of("import", tmp_path / "none") == (3, f"There is no file {tmp_path / 'none'}.")


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b'{"event": "mine"}\n' * 3, bytes(range(256))])
def test_import_says_that_a_file_is_none_of_ours(traces, tmp_path, content):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    stderr = io.StringIO()

    code, _ = code_of("import", path, stderr=stderr)

    assert code == 1
    assert stderr.getvalue() == (
        f"{path}: no log of the tracer: each of its lines is a JSON object that has "
        '"schema": 3 and an "event" such as trace_finished\n'
    )


def test_import_of_an_empty_log_is_no_error(traces, tmp_path):
    path = tmp_path / "empty.jsonl"
    path.touch()

    assert run("import", path).startswith("0 traces imported")


def test_import_reads_no_line_that_is_too_long(traces, tmp_path, monkeypatch):
    monkeypatch.setattr(log_import, "LONGEST_LINE", 10_000)
    path = tmp_path / "bomb.jsonl.gz"
    run("export", "--output", tmp_path / "good.jsonl")
    models.Trace.objects.all().delete()
    good = (tmp_path / "good.jsonl").read_bytes()
    path.write_bytes(gzip.compress(b" " * 1_000_000 + b"\n" + good + b"x" * 30_000))
    stderr = io.StringIO()

    code, shown = code_of("import", path, stderr=stderr)

    assert code == 1
    assert shown.startswith("3 traces imported")
    last = 2 + good.count(b"\n")
    assert stderr.getvalue() == (f"{path}:1: longer than 0 MiB\n{path}:{last}: longer than 0 MiB\n")


@pytest.mark.parametrize(
    ("event", "field", "value"),
    [
        ("trace_finished", "duration_ns", -1),
        ("trace_finished", "duration_ns", float("nan")),
        ("trace_finished", "started_ns", 2**63),
        ("trace_finished", "http_status", 70_000),
        ("trace_finished", "dispatch_count", 1.5),
        ("trace_finished", "query_count", True),
        ("trace_finished", "segment", "1"),
        ("dispatch_finished", "number", -1),
        ("dispatch_finished", "number", 0),
        ("dispatch_finished", "duration_ns", -(2**70)),
        ("dispatch_finished", "depth", 40_000),
        ("dispatch_finished", "parent_number", 2**31),
        ("dispatch_finished", "receiver_calls", [{"receiver": {"name": "a"}}]),
    ],
)
def test_import_takes_no_number_that_no_span_has(traces, tmp_path, event, field, value):
    path = tmp_path / "t.jsonl"
    run("export", "--output", path)
    models.Trace.objects.all().delete()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    next(record for record in records if record["event"] == event)[field] = value
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    stderr = io.StringIO()

    code, _ = code_of("import", path, stderr=stderr)

    assert code == 1
    assert f"{path}:" in stderr.getvalue()
    assert all(row.load() for row in models.Trace.objects.all())


@pytest.mark.parametrize("parent", ["its own call", "a later span", "another's number"])
def test_import_takes_no_span_that_is_inside_itself(traces, tmp_path, parent):
    path = tmp_path / "t.jsonl"
    run("export", "--output", path)
    models.Trace.objects.all().delete()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    first, second = [r for r in records if r["event"] == "dispatch_finished"][:2]
    if parent == "another's number":
        second["number"] = first["receiver_calls"][0]["number"]
    else:
        first["parent_number"] = (first if parent == "its own call" else second)["receiver_calls"][
            0
        ]["number"]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    stderr = io.StringIO()

    code, shown = code_of("import", path, stderr=stderr)

    assert code == 1
    assert shown.startswith("2 traces imported")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o600), (0o277, 0o400)])
def test_export_is_for_its_owner_alone(traces, tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        run("export", "--output", tmp_path / "new.jsonl")
    finally:
        os.umask(before)
    shared = tmp_path / "shared.jsonl"
    shared.touch()
    shared.chmod(0o644)
    run("export", "--output", shared)

    assert stat.S_IMODE((tmp_path / "new.jsonl").stat().st_mode) == mode
    assert stat.S_IMODE(shared.stat().st_mode) == 0o644


def test_import_goes_on_after_a_file_that_breaks_off(traces, tmp_path):
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl.gz"
    run("export", "--output", whole)
    compressed = gzip.compress(whole.read_bytes())
    cut.write_bytes(compressed[: len(compressed) // 2])
    models.Trace.objects.all().delete()
    stderr = io.StringIO()
    code, shown = code_of("import", cut, whole, stderr=stderr)

    assert code == 1
    assert shown.startswith("3 traces imported")
    assert f"{cut}: Compressed file ended" in stderr.getvalue()


def test_import_leaves_out_the_trace_that_the_database_cannot_take(traces, tmp_path, monkeypatch):
    path = tmp_path / "traces.jsonl"
    run("export", "--output", path)
    models.Trace.objects.all().delete()
    store_new = DatabaseExporter.store_new

    def refusing(self, batch):
        if traces[1].trace_id in {trace.trace_id for trace in batch}:
            raise OverflowError("too large")
        return store_new(self, batch)

    monkeypatch.setattr(DatabaseExporter, "store_new", refusing)
    stderr = io.StringIO()
    code, shown = code_of("import", path, stderr=stderr)

    assert code == 1
    assert shown.startswith("2 traces imported, 0 there already")
    assert f"trace {traces[1].trace_id}: OverflowError: too large" in stderr.getvalue()


def test_import_of_a_folder_says_that_it_cannot_be_read(traces, tmp_path):
    assert "cannot be read: Is a directory" in error_of("import", tmp_path)[1]
