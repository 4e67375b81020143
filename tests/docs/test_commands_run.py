"""Every command line of the documents, run as it stands, with its output read."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
import time
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from tests.tracing.analysis.building import MS, TraceBuilder
from tests.tracing.analysis.review.building import behaviour, calls, group, write_record
from tests.tracing.command_line import run, store
from tracing import models
from tracing.management.verbs import VERBS, collect, traces
from tracing.spans.records import Outcome, derived_root_span_id
from tracing.store.clickhouse.connection import Address

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
LINE = re.compile(r"manage\.py (tracing [a-z][^\n#`]*)")
PLACEHOLDER = re.compile(r"\bID\b|FILE…")
DAY_NS = 86_400 * 1_000_000_000
NOVEMBER_5_NS = 1_762_300_800_000_000_000 + 365 * DAY_NS

# They write through connections of their own, which no test transaction contains.
pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def command_lines():
    """Return the words of each command line that stands in a document, once."""
    found = {}
    for page in PAGES:
        for line in LINE.findall(page.read_text(encoding="utf-8")):
            words = shlex.split(line.strip().rstrip(".,;:"))[1:]
            if words[0] not in {verb.name for verb in VERBS} or PLACEHOLDER.search(line):
                continue
            # A verb alone in a sentence is its name.
            if words[1:] or f"\nmanage.py {line}\n" in page.read_text(encoding="utf-8"):
                found[" ".join(words)] = words
    return list(found.values())


def checkout(trace_id, started_ns, release):
    build = TraceBuilder(
        name="POST /orders/<int:pk>/check-out/",
        http_method="POST",
        http_path="/orders/42/check-out/",
        http_status=302,
        release=release,
    )
    placed = build.dispatch(sender="orders.Order", instance="orders.Order:42", created=True)
    make = build.call(placed, "core.sales.receivers.make_sale", own_ns=400 * MS, query_count=2)
    for _ in range(12):
        sold = build.dispatch("order_placed", "None", make, method="send_robust")
        build.call(
            sold,
            "core.mail.make_sale",
            outcome=Outcome.RAISED,
            exception_type="OSError",
            exception_message="no route to Zürich",
            statements=[("SELECT 1", 1, 1000)],
        )
    trace = build.build()
    trace.trace_id, trace.started_ns = trace_id + "ab" * 12, started_ns
    trace.root_span_id = derived_root_span_id(trace.trace_id, started_ns)
    return trace


def stored_traces():
    """Store traces of two releases, of today and of the days that the pages name."""
    now_ns = time.time_ns()
    ages = {
        "00000001": (NOVEMBER_5_NS, "1.4"),
        "00000002": (NOVEMBER_5_NS + 16 * DAY_NS, "1.4"),
        "00000003": (now_ns - 3 * DAY_NS, "1.5"),
        "1577a5b8": (now_ns - 90 * 1_000_000_000, "1.5"),
        "00000005": (now_ns - 60 * 1_000_000_000, "1.5"),
    }
    known = set(models.Trace.objects.values_list("trace_id", flat=True))
    new = [
        checkout(trace_id, *rest)
        for trace_id, rest in ages.items()
        if trace_id + "ab" * 12 not in known
    ]
    if new:
        store(*new, shared=False)


@pytest.fixture
def kept(fill):
    """Have them stored, once for all tests that only read them."""
    fill(stored_traces)


def outcome_of(words):
    """Return the exit code of a verb and what it printed."""
    out = io.StringIO()
    try:
        call_command("tracing", *words, stdout=out, stderr=out)
    except SystemExit as ending:
        return ending.code, out.getvalue()
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    return 0, out.getvalue()


def complaint(words):
    """Return what is wrong with how the command line *words* went; empty if nothing is."""
    stored_traces()
    code, shown = outcome_of(words)
    good = {130} if {"-f", "--follow"} & set(words) else {0}
    if {"--fail-on", "--fail-on-change"} & set(words):
        good = {0, 1}
    if words[0] == "why-not":
        good = {0, 1, 5}
    if words[0] == "profile":
        # Nothing is sold here.
        good = {1 if sys.version_info >= (3, 12) else 2}
    wrong = (
        ""
        if code in good and (shown.strip() or "--help" in words)
        else f"exit code {code}: {shown[:300]}"
    )
    if "json" in words and not wrong:
        lines = shown.splitlines() if words[0] == "tail" else [shown]
        wrong = "" if all(json.loads(line) is not None for line in lines) else "no JSON"
    return f"{' '.join(words)}: {wrong}" if wrong else ""


def interrupted(_seconds):
    raise KeyboardInterrupt


@pytest.mark.thorough
def test_every_command_line_of_the_documents_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(traces, "wait", interrupted)
    # It would go on for ever.
    monkeypatch.setattr(Address, "run", lambda _address, statements: list(statements))
    monkeypatch.setattr(collect.Collector, "run", lambda collector, **_options: collector.end())
    monkeypatch.setattr("tracing.management.verbs.profile.call_command", lambda *_words: None)
    log = tmp_path / "logs" / "tracing.jsonl"
    log.parent.mkdir()
    stored_traces()
    run("export", "--output", log)
    write_record(tmp_path / "base", behaviour(group(calls(queries=1))))
    write_record(tmp_path / "head", behaviour(group(calls(queries=2))))
    lines = command_lines()
    assert len(lines) > 40

    settings = {"LOG": {"path": log}, "SPOOL": {"path": tmp_path / "spool"}}
    with override_settings(TRACING=settings):
        complaints = [complaint(words) for words in lines]

    assert "\n".join(filter(None, complaints)) == ""


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_help_of_every_verb_is_printed(verb, capsys):
    code, _ = outcome_of([verb, "--help"])

    assert code == 0
    assert f"tracing {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["jsonl", "json", "csv", "speedscope", "chrome", "otlp"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_export_writes_the_same_to_stdout_as_to_a_file(kept, name, encoding, tmp_path):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, newline="", write_through=True)

    call_command("tracing", "export", "last", "--format", name, stdout=out)
    run("export", "last", "--format", name, "--output", tmp_path / "out")

    text = (tmp_path / "out").read_bytes().decode()
    assert raw.getvalue() == text.encode(encoding, "backslashreplace")
    assert "make_sale" in text
    if name not in {"csv", "jsonl"}:
        assert json.loads(raw.getvalue())


def test_what_the_encoding_of_a_terminal_lacks_is_escaped(kept):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", write_through=True)

    call_command("tracing", "show", "last", stdout=out)
    call_command("tracing", "show", "last", "--format", "json", stdout=out)

    assert b"Z\\xfcrich" in raw.getvalue()
    assert b"Z\\u00fcrich" in raw.getvalue()


class Gone(io.StringIO):
    """A pipe whose reader has read enough."""

    def flush(self):
        raise BrokenPipeError

    def fileno(self):
        raise OSError


def test_reader_who_has_read_enough_is_no_error(monkeypatch):
    stored_traces()
    monkeypatch.setattr(sys, "stdout", Gone())

    assert outcome_of_real_stdout(["export"]) == 0


def outcome_of_real_stdout(words):
    try:
        call_command("tracing", *words)
    except SystemExit as ending:
        return ending.code
    return 0
