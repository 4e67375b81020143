"""The application's own log lines of a trace: found, bounded, redacted, and shown under their spans."""

from __future__ import annotations

import gzip
import io
import json
import os

import pytest
from django.core.management import call_command

from tests.tracing.viewer.traces import order, store
from tracing.exporters import application_log
from tracing.exporters.application_log import application_lines
from tracing.spans.records import span_id

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def trace():
    [trace] = store(order(1))
    return trace


@pytest.fixture
def log(tmp_path, settings):
    path = tmp_path / "app.log"
    path.touch()
    settings.TRACING = {"APPLICATION_LOGS": [path]}
    return path


def line(trace, text="paid", number=0, **fields):
    ids = {"trace_id": trace.trace_id, "span_id": span_id(trace.root_span_id, number)}
    return json.dumps({"event": text, "level": "info", **fields, **ids}) + "\n"


def texts(trace, log, **options):
    return [line.text for line in application_lines(trace, [log], **options).lines]


def shown(trace, *options):
    out = io.StringIO()
    call_command("tracing", "show", trace.address, "--logs", *options, stdout=out, no_color=True)
    return out.getvalue()


def test_lines_are_found_among_others_and_placed_under_their_spans(trace, log):
    other = json.dumps({"event": "other", "trace_id": "f" * 32})
    log.write_text(f"{line(trace)}{other}\nplain\n{line(trace, 'inside', 2, car='Audi')}")
    found = application_lines(trace, [log])

    assert [(each.text, each.level, each.number, each.fields) for each in found.lines] == [
        ("paid", "info", None, {}),
        ("inside", "info", 2, {"car": "Audi"}),
    ]
    assert found.is_complete


def test_text_of_the_standard_library_is_found(trace, log):
    root = trace.root_span_id
    log.write_text(f"INFO {trace.trace_id} {root} paid\nINFO {'f' * 32} {root} other\n")

    assert texts(trace, log) == [f"INFO {trace.trace_id} {root} paid"]


def test_rotated_and_compressed_files_come_first(trace, log):
    for number, name in enumerate(["app.log.2.gz", "app.log.1", "app.log"]):
        data = line(trace, name).encode()
        path = log.with_name(name)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        os.utime(path, ns=(trace.started_ns, trace.started_ns + number * 10**9))
    old = log.with_name("app.log.3")
    old.write_text(line(trace, "before it began"))
    os.utime(old, ns=(0, trace.started_ns - 10**12))

    assert texts(trace, log) == ["app.log.2.gz", "app.log.1", "app.log"]


def test_damaged_lines_and_files_are_skipped_and_told(trace, log):
    log.write_bytes(b'{"trace_id": "' + trace.trace_id.encode() + b'", \xff\n')
    log.with_name("app.log.1.gz").write_bytes(gzip.compress(b"x" * 10_000)[:-20])
    found = application_lines(trace, [log])

    assert (found.lines, found.damaged, found.is_complete) == ([], 1, False)


def test_secrets_are_hidden(trace, log):
    log.write_text(
        line(trace, "sent password=hunter2hunter2", api_key="k-123", nested={"token": "t-9"})
    )
    log.with_name("app.log.1").write_text(f"{trace.trace_id} Authorization: Bearer abcdefghijkl\n")
    told = str(application_lines(trace, [log]).lines)

    assert not [secret for secret in ("hunter2", "k-123", "t-9", "abcdefghijkl") if secret in told]


def test_reading_is_bounded(trace, log, monkeypatch):
    log.write_text("".join(line(trace, str(number)) for number in range(20)))
    monkeypatch.setattr(application_log, "MOST_LINES", 5)
    few = application_lines(trace, [log])
    monkeypatch.setattr(application_log, "MOST_BYTES", 300)
    short = application_lines(trace, [log])

    assert ([each.text for each in few.lines], few.left_out) == (list("01234"), 15)
    assert [each.text for each in short.lines][-1] == "19"
    assert not short.is_complete


def test_lines_of_others_with_the_trace_id_are_left_to_them(trace, log):
    stranger = json.dumps({"event": "theirs", "trace_id": trace.trace_id, "span_id": "a" * 16})
    log.write_text(f"{line(trace)}{stranger}\n{trace.trace_id} no span\n")

    assert texts(trace, log, shares_id=True) == ["paid"]
    assert len(texts(trace, log)) == 3


def test_lines_of_the_tracer_are_not_the_application_s(trace, log):
    log.write_text(line(trace, "trace_finished", schema=3))

    assert texts(trace, log) == []


def test_page_and_json_show_the_lines_escaped(developer, trace, log):
    log.write_text(line(trace, "<script>alert(1)</script>", 2))
    address = f"/tracing/traces/{trace.address}/log"
    page = developer.get(f"{address}/").content.decode()
    document = developer.get(f"{address}.json").json()["application"]

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert f'<a href="/tracing/traces/{trace.address}/spans/2/">#2</a>' in page
    assert (document["lines"][0]["number"], document["complete"]) == (2, True)


def test_page_without_files_says_how_to_get_lines(developer, trace, settings):
    settings.TRACING = {}
    page = developer.get(f"/tracing/traces/{trace.address}/log/").content.decode()

    assert "APPLICATION_LOGS" in page
    assert "APPLICATION_LOGS" in shown(trace)


def test_page_is_closed_to_those_who_may_not_see_traces(client, trace, log):
    assert client.get(f"/tracing/traces/{trace.address}/log/").status_code != 200


@pytest.mark.thorough
def test_command_shows_the_lines(trace, log):
    log.write_text(line(trace, "paid", 2, timestamp="2026-11-30T04:00:00Z", car="Audi"))

    assert "2026-11-30T04:00:00Z info paid car=Audi #2" in shown(trace)
    assert json.loads(shown(trace, "--format", "json"))["log"]["lines"][0]["text"] == "paid"
