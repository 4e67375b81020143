"""Tests of ``manage.py tracing``: each verb on a real store, as text and as JSON."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from django.dispatch import Signal

from tests.tracing.analysis.building import MS, TraceBuilder, label
from tests.tracing.command_line import (
    ANSI,
    NOON_NS,
    checkout,
    code_of,
    command,
    error_of,
    own,
    run,
    run_json,
    store,
)
from tests.tracing.samples import full_trace
from tracing import models
from tracing.analysis.tree import TIMES
from tracing.exporters.log import LogExporter
from tracing.management.commands.tracing import Command
from tracing.management.verbs import VERBS
from tracing.spans.records import Kind, Outcome, Status, derived_root_span_id
from tracing.spool.folder import COLLECTOR, Folder
from tracing.spool.writer import Writer

pytestmark = pytest.mark.django_db(databases="__all__")

listened = Signal()


def receive(sender, **kwargs):
    raise AssertionError("the command sent a signal")


def receive_too(sender, **kwargs):
    raise AssertionError("the command sent a signal")


@pytest.fixture
def traces():
    return store(
        checkout(1), checkout(2), command(3, "load_cars", status=Status.ERROR, error="OSError: x")
    )


def test_help_prints_a_percent_sign_once(capsys):
    with pytest.raises(SystemExit):
        call_command("tracing", "stats", "--help")

    assert "percentiles (within 2 %)" in capsys.readouterr().out


# --- list ----------------------------------------------------------------------------------------


def test_list_shows_the_newest_trace_first(traces):
    lines = run("list").splitlines()

    assert lines[0].split() == [
        "trace", "started", "time", "signals", "dispatches", "calls", "SQL", "result", "kind",
        "name",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:]] == [
        trace.trace_id[:12] for trace in traces[::-1]
    ]
    assert "302, 1 raised" in lines[2]
    assert "orders:checkout" in lines[2]
    assert not ANSI.search(run("list"))


def test_list_fits_a_narrow_terminal(traces, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")

    assert max(map(len, run("list").splitlines())) <= 70


def test_list_as_json_has_whole_numbers_and_moments(traces):
    found = run_json("list")

    assert [trace["trace_id"] for trace in found] == [trace.trace_id for trace in traces[::-1]]
    assert found[1]["dispatch_count"] == 2
    assert found[1]["started_at"] == "2026-11-22T12:02:00+00:00"
    assert found[1]["duration_ns"] == traces[1].duration_ns


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--kind", "command"], [3]),
        (["--failed"], [3, 2, 1]),
        (["--name", "load_cars"], [3]),
        (["--text", "check"], [2, 1]),
        (["--signal", "order_placed"], [2, 1]),
        (["--sender", "cars.Car"], [3]),
        (["--receiver", "thank", "--outcome", "raised"], [2, 1]),
        (["--instance", "orders.Order:2"], [2]),
        (["--slower-than", "4ms"], [2, 1]),
        (["--since", "2026-11-22T12:02:00+00:00"], [3, 2]),
        (["--until", "2026-11-22T12:02:00+00:00"], [1]),
        (["--limit", "1"], [3]),
        (["kind:command"], [3]),
        (["failed:yes", "--kind", "request"], [2, 1]),
        (["receiver:thank outcome:raised", "--slower-than", "4ms", "--limit", "1"], [2]),
    ],
)
def test_list_takes_conditions(traces, options, numbers):
    found = run_json("list", *options)

    assert [int(trace["trace_id"][:8], 16) for trace in found] == numbers


@pytest.fixture
def others():
    """Store three traces of which only Django heard."""
    return store(*[foreign(number) for number in (4, 5, 6)])


def foreign(number):
    trace = command(number, "clearsessions")
    for dispatch in trace.dispatches:
        for call in dispatch.receiver_calls:
            call.receiver = label("django.contrib.auth.update")
    return trace


def ids(shown):
    """Return which traces a list has."""
    return [
        int(number, 16) for number in re.findall(r"^([0-9a-f]{8})[0-9a-f]{4} ", shown, re.MULTILINE)
    ]


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["make_sale"], [2, 1]),
        (["Indexer"], [2, 1]),
        (["load_cars"], [3]),
        (["make_sale", "/checkout/2/"], [2]),
        (["kind:command OR trace:00000001"], [3, 1]),
        (["make_sale", "--until", "2026-11-22T12:01:30+00:00"], [1]),
        (["took>=5ms", "--kind", "request"], [2, 1]),
    ],
)
def test_list_takes_a_word_or_a_search(traces, arguments, numbers):
    found = run_json("list", *arguments)

    assert [int(row["trace_id"][:8]) for row in found] == numbers


def test_list_of_a_word_that_nothing_is_called_names_the_nearest(traces):
    assert "Did you mean make_sale?" in error_of("list", "make_sael")[1]


def test_list_shows_where_a_search_is_wrong(traces):
    code, message = error_of("list", "kind:request", "sgnal:x")

    assert code == 2
    assert message.splitlines() == [
        "There is no key “sgnal”. Did you mean signal?",
        "  kind:request sgnal:x",
        "               ^^^^^",
    ]


def test_list_hides_what_is_not_mine_and_counts_it(traces, others):
    mine, everything = run("list"), run("list", "--everything")

    assert ids(mine) == [3, 2, 1]
    assert mine.endswith("\n3 traces that are not yours are hidden (--everything)\n")
    assert ids(everything) == [6, 5, 4, 3, 2, 1]
    assert "hidden" not in everything


def test_list_counts_what_is_hidden_among_what_fits(traces, others):
    assert "hidden" not in run("list", "--name", "load_cars")
    assert "hidden" not in run("list", "--until", "2026-11-22T12:03:30+00:00")
    assert "1 trace that is not yours is hidden" in run(
        "list", "--until", "2026-11-22T12:04:30+00:00"
    )


def test_list_in_which_nothing_is_mine_is_shown_under_a_heading(traces, others):
    shown = run("list", "--name", "clearsessions")

    assert shown.startswith("No receiver of yours ran\n")
    assert ids(shown) == [6, 5, 4]
    assert "hidden" not in shown


def test_list_of_more_than_a_page_counts_what_is_hidden_on_each(traces, others, monkeypatch):
    monkeypatch.setattr("tracing.management.verbs.listing._AT_ONCE", 1)
    store(checkout(7))

    assert "3 traces that are not yours are hidden" in run("list")


def test_json_and_exports_hold_everything(traces, others):
    assert [trace["mine"] for trace in run_json("list")] == [False] * 3 + [True] * 3
    assert run("export").count('"event":"trace_finished"') == 6


def test_list_of_nothing_says_so(traces):
    assert error_of("list", "--name", "nowhere") == (3, "No trace has what you asked for.")
    assert run_json("list", "--name", "nowhere") == []


def test_list_of_an_empty_store_says_what_to_do():
    code, message = error_of("list")

    assert code == 3
    assert message.startswith("The store is empty.")
    assert "manage.py tracing import" in message


def test_store_without_tables_says_what_to_do(monkeypatch):
    monkeypatch.setattr(
        "django.db.backends.base.introspection.BaseDatabaseIntrospection.table_names",
        lambda self, cursor=None, include_views=False: [],
    )

    assert error_of("list") == (
        4,
        (
            "The store (database alias 'tracing') has no tables yet. Create them with: manage.py "
            "migrate --database tracing"
        ),
    )


def test_store_that_no_router_leads_to_is_named(settings):
    settings.DATABASE_ROUTERS = []

    code, message = error_of("list")

    assert code == 4
    assert message.endswith("Add 'tracing.routers.TracingRouter' to DATABASE_ROUTERS.")


def test_store_whose_tables_are_of_another_release_is_told_in_a_line(monkeypatch):
    def ask(*_args):
        raise OperationalError("no such column: tracing_trace.later")

    monkeypatch.setattr("tracing.store.traces.is_empty", ask)

    code, message = error_of("show", "last")

    assert code == 4
    assert message.startswith("The store cannot be asked: no such column: tracing_trace.later.")


def test_store_in_a_database_that_is_not_there_is_named(settings):
    settings.TRACING = {**settings.TRACING, "DATABASE": "elsewhere"}

    assert error_of("list") == (
        4,
        "The traces are to be in a database 'elsewhere', which is not in DATABASES.",
    )


def test_common_options_may_follow_the_verb():
    settings = os.environ["DJANGO_SETTINGS_MODULE"]
    words = ["list", "--settings", settings, "--no-color", "--traceback", "-v", "0"]

    options = vars(Command().create_parser("manage.py", "tracing").parse_args(words))
    before = vars(Command().create_parser("manage.py", "tracing").parse_args(["-v", "2", "list"]))

    assert (options["settings"], options["no_color"], options["verbosity"]) == (settings, True, 0)
    assert (before["verbosity"], before["no_color"]) == (2, False)


def test_store_out_of_reach_is_named():
    refused = OperationalError("no \x1b[0mroute")

    # On the connection itself: the toolbar puts a cursor() of its own there.
    with patch.object(connections["tracing"], "cursor", side_effect=refused):
        found = error_of("list")

    assert found == (
        4,
        "The store (database alias 'tracing') cannot be reached: no \\x1b[0mroute",
    )


# --- show ----------------------------------------------------------------------------------------


def test_show_draws_the_tree_with_times_sql_outcome_and_place(traces):
    shown = run("show", traces[0].trace_id)

    lines = [re.sub(r" +", " ", line) for line in shown.splitlines()]
    assert lines[:2] == [
        f"POST /checkout/1/ orders:checkout 302 5.02 ms {traces[0].address}",
        "2 dispatches, 3 receiver calls, 5.02 ms in receivers, 4 queries in 0 ns",
    ]
    assert lines[4] == (
        " post_save orders.Order:1 created 5.02 ms 4 in 0 ns /app/core/orders/models.py:88 place"
    )
    assert any("├─ make_sale #2 5.01 ms 5.00 ms 2 in 0 ns" in line for line in lines)
    assert any("└─ order_placed send_robust" in line for line in lines)
    assert any("└─ thank #5 RAISED" in line for line in lines)
    assert "raised: thank #5: OSError: no \\x1b[31mroute" in lines
    assert any("swallowed-error" in line for line in lines)
    assert not ANSI.search(shown)


def test_show_marks_the_critical_path_where_it_is_news():
    build = TraceBuilder()
    dispatch = build.dispatch()
    build.call(dispatch, "core.a.slow", own_ns=9 * MS)
    build.call(dispatch, "core.a.quick", own_ns=1 * MS)
    trace = build.build()
    dispatch.receiver_calls[1].start_ns = dispatch.receiver_calls[0].start_ns
    store(trace)
    shown = run("show", "last").splitlines()

    assert [line[:1] for line in shown if "quick" in line or "slow" in line] == ["*", " "]
    assert "* what the time went into, step by step (critical path)" in shown


@pytest.fixture
def mixed():
    """Store an order of which a package heard, too, between what Django does in every request."""
    build = TraceBuilder(http_method="GET", http_path="/cars/7/")
    build.trace.name = "GET /cars/<int:pk>/"
    begun = build.dispatch("django.core.signals.request_started", "WSGIHandler")
    build.call(begun, "django.db.reset_queries")
    saved = build.dispatch()
    build.call(saved, own("core.orders.receivers.make_sale"))
    failing = {"outcome": Outcome.RAISED, "exception_type": "OSError"}
    build.call(saved, "reversion.receivers.save", **failing)
    store(build.build())


@pytest.fixture
def after_a_redirect():
    """Store an order, and the page that its redirect led to."""
    placed = checkout(1)
    placed.redirect_key = "ab12"
    build = TraceBuilder(
        http_method="GET", http_path="/orders/1/", http_status=200, arrival_key="ab12"
    )
    build.call(build.dispatch("request_started", "None"), own("core.views.count"))
    shown = build.build()
    shown.trace_id, shown.root_span_id = "00000009" + "ef" * 12, "09" * 8
    shown.started_ns = placed.started_ns + 50_000_000
    return store(placed, shown)


def test_last_says_which_trace_it_is_and_leads_to_the_request_that_did_the_work(after_a_redirect):
    lines = run("show", "last").splitlines()

    assert lines[0].startswith("GET /orders/1/")
    assert lines[2:4] == [
        "last: the newest trace of all processes; the one before it: show last^",
        "after the redirect of POST /checkout/1/ (302), 3 receiver calls: show 00000001abab",
    ]


@pytest.mark.parametrize(
    ("wanted", "which"),
    [("last", " (last: the newest trace of all processes)"), ("00000009", "")],
)
def test_why_not_says_which_trace_it_was_asked_about(after_a_redirect, wanted, which):
    line = run("why-not", "core.views.count", "--trace", wanted).splitlines()[-1]

    assert line == f"trace 00000009{'ef' * 12}, request orders:checkout{which}"


@pytest.mark.parametrize("arguments", [["last^"], ["last~1"], ["last", "--method", "post"]])
def test_trace_before_the_last_is_shown(after_a_redirect, arguments):
    lines = run("show", *arguments).splitlines()

    assert lines[0].startswith("POST /checkout/1/")
    assert "redirected to GET /orders/1/ (200): show 00000009efef" in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["last^^"], "The store has 2 traces."),
        (["last", "--method", "PUT"], "The store has 0 traces of requests by PUT."),
        (["0000", "--method", "POST"], "--method goes with last"),
    ],
)
def test_last_of_what_there_is_not_says_what_there_is(after_a_redirect, arguments, message):
    assert message in error_of("show", *arguments)[1]


def test_list_has_a_redirect_below_where_it_led(after_a_redirect):
    _, target, source = run("list").splitlines()

    assert target.endswith("orders:checkout")
    assert source.endswith("orders:checkout  redirected to the request above")


def test_show_hides_what_is_not_mine_and_counts_it(mixed):
    shown = run("show", "last")

    assert shown.startswith("GET /cars/7/  /cars/<int:pk>/  ")
    assert "make_sale #4" in shown
    assert "reset_queries" not in shown
    assert "└─ make_sale" in shown
    assert "3 spans that are not yours are hidden, 1 failure among them (--everything)\n" in shown
    # What failed is told below the tree all the same.
    assert "raised: save #5: OSError" in shown


@pytest.mark.parametrize("options", [["--everything"], ["--everything", "--all"]])
def test_show_has_everything_if_asked(mixed, options):
    shown = run("show", "last", *options)

    assert all(f"{name} #" in shown for name in ("reset_queries", "make_sale", "save"))
    assert "hidden" not in shown


def test_show_of_repetitions_hides_what_is_not_mine_too(mixed):
    shown = run("show", "last", "--all")

    assert "make_sale #4" in shown
    assert "reset_queries" not in shown
    assert "3 spans that are not yours are hidden" in shown


def test_totals_are_of_what_is_shown(mixed):
    mine, everything = (
        run("show", "last", "--totals"),
        run("show", "last", "--totals", "--everything"),
    )

    assert "reset_queries" not in mine
    assert re.search(r"100 % .* make_sale", mine)
    assert re.search(r" 33 % .* make_sale", everything)


def test_show_of_a_trace_in_which_nothing_is_mine_is_whole():
    build = TraceBuilder()
    build.call(build.dispatch("django.core.signals.request_started", "X"), "django.db.reset")
    store(build.build())
    mine, everything = run("show", "last"), run("show", "last", "--everything")

    assert "No receiver of yours ran\n" in mine
    assert mine.replace("No receiver of yours ran\n", "") == everything
    assert "reset #2" in everything


def test_trace_without_dispatches_has_no_heading():
    store(TraceBuilder().build())

    assert "of yours" not in run("show", "last")


def test_json_of_a_trace_holds_everything(mixed):
    found = run_json("show", "last")

    assert [dispatch["number"] for dispatch in found["dispatches"]] == [1, 3]
    assert len(found["dispatches"][1]["receivers"]) == 2


def test_show_names_a_route_once_that_is_its_own_path():
    build = TraceBuilder(http_method="GET", http_path="/cars/")
    build.trace.name = "GET /cars/"
    store(build.build())

    assert run("show", "last").count("/cars/") == 1


def test_show_puts_places_on_their_own_line_in_a_narrow_terminal(traces, monkeypatch):
    monkeypatch.setenv("COLUMNS", "72")
    lines = run("show", traces[0].trace_id).splitlines()

    assert "where" not in lines[4]
    assert any(line.strip("│ ").startswith("/app/core/orders/models.py:88") for line in lines)
    assert max(map(len, lines)) <= 72


@pytest.mark.thorough
def test_show_folds_repetitions_unless_asked_for_all():
    build = TraceBuilder(Kind.COMMAND, "load_cars")
    for number in range(214):
        saved = build.dispatch(sender="cars.Car", instance=f"cars.Car:{number}")
        build.call(saved, own("core.index"))
    store(build.build())

    assert f"index {TIMES} 214" in run("show", "last")
    assert f"post_save cars.Car of 214 instances {TIMES} 214" in run("show", "last")
    assert run("show", "last", "--all").count("index #") == 214


def test_show_adds_totals_and_statements(traces):
    shown = run("show", "last", "--totals", "--sql")
    with_sql = run("show", traces[0].trace_id, "--sql")

    assert "give_code" in shown.split("receiver  ")[-1]
    assert "1 x 1.00 µs  SELECT 1" in with_sql


def test_show_says_why_a_receiver_ran(traces):
    lines = run("show", traces[0].trace_id, "--why", "5").splitlines()

    assert lines[0] == "A POST request for /checkout/1/ (orders:checkout) came in."
    assert lines[-1].strip().endswith("was called and raised OSError.")
    assert len(lines) == 5
    steps = run_json("show", traces[0].trace_id, "--why", "5")
    assert [step["number"] for step in steps] == [None, 1, 2, 4, 5]


def test_show_of_an_unknown_span_names_the_way(traces):
    code, message = error_of("show", "last", "--why", "99")

    assert code == 3
    assert f"show {traces[2].address} --all --everything" in message


def test_show_as_json_names_receivers_within_their_calls(traces):
    found = run_json("show", traces[0].trace_id[:8])

    assert found["trace_id"] == traces[0].trace_id
    assert [dispatch["number"] for dispatch in found["dispatches"]] == [1, 4]
    call = found["dispatches"][0]["receivers"][0]
    assert call["receiver"] == "core.orders.receivers.make_sale"
    assert (call["line"] > 0, call["outcome"], "name" in call) == (True, "returned", False)
    assert [hazard["hazard"] for hazard in found["hazards"]] == ["swallowed-error"]


def test_show_says_what_happened_beside_the_dispatches():
    build = TraceBuilder(status=Status.ERROR, error="ValueError: x", orphan_count=9)
    build.trace.dropped_count = 4
    build.trace.final = False
    build.bypass()
    build.side_effect(build.call(build.dispatch(raw=True, exception_type="ValueError")))
    build.lost(label("core.apps.ready.<locals>.receive"))
    for _ in range(3):
        build.lost(label("shop.storage.Storage.clear"))
    store(build.build())
    shown = run("show", "last")

    assert "ValueError: x" in shown
    assert "9 dispatches without receivers, 4 items not recorded (limit reached)" in shown
    assert "still running" in shown
    assert "bypass: update() of orders.Order at unknown code did not reach make_sale" in shown
    assert "mail: 1 recipient by make_sale (transaction committed)" in shown
    assert "lost: core.apps.ready.<locals>.receive does not receive post_save any more" in shown
    assert shown.count("shop.storage.Storage.clear") == 1
    assert f"lost {TIMES} 3: shop.storage.Storage.clear does not receive" in shown
    assert "RAISED ValueError" in shown


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("0000ab", "The nearest ids are"),
        ("load", "Traces of that name are"),
        ("zzz", "The newest traces are"),
    ],
)
def test_show_of_an_unknown_trace_names_what_comes_close(traces, wanted, hint):
    code, message = error_of("show", wanted)

    assert code == 3
    assert message.startswith(f"There is no trace {wanted}. {hint}:\n  0000000")


def test_show_of_an_ambiguous_beginning_lists_the_traces(traces):
    code, message = error_of("show", "0000000")

    assert code == 3
    assert message.startswith("Several traces begin with 0000000:")
    assert all(trace.trace_id in message for trace in traces)


def test_show_writes_colour_only_when_forced(traces, monkeypatch):
    assert ANSI.search(run("show", "last", force_color=True))
    assert not ANSI.search(run("show", "last", no_color=True))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not ANSI.search(run("show", "last"))


# --- tail and stats ------------------------------------------------------------------------------


def test_tail_shows_the_last_traces_oldest_first(traces):
    lines = run("tail", "-n", "2").splitlines()

    assert [line.split()[-1] for line in lines] == [trace.trace_id for trace in traces[1:]]
    assert "└─ order_placed" in run("tail", "--tree")
    assert [json.loads(line)["kind"] for line in run("tail", "--format", "json").splitlines()] == [
        "request",
        "request",
        "command",
    ]


def test_tail_follows_what_comes_until_it_is_interrupted(traces, monkeypatch):
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt
        store(checkout(9))

    monkeypatch.setattr("tracing.management.verbs.traces.wait", wait)
    code, shown = code_of("tail", "--follow", "-n", "1", "--every", "50ms")

    assert code == 130
    assert [line.split()[-1][:8] for line in shown.splitlines()] == ["00000003", "00000009"]
    assert waits == [0.05, 0.05]


def test_tail_of_the_log_follows_it_through_rotation(tmp_path, monkeypatch):
    path = tmp_path / "t.jsonl"
    exporter = LogExporter(path, max_bytes=1, compress=False)
    exporter.export([checkout(1), checkout(2)])
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt
        exporter.export([checkout(7 + len(waits))])

    monkeypatch.setattr("tracing.management.verbs.traces.wait", wait)
    code, shown = code_of("tail", "--follow", "-n", "1", "--every", "50ms", "--log", path)
    exporter.shutdown()

    assert code == 130
    assert [line.split()[-1][:8] for line in shown.splitlines()] == [
        "00000002", "00000008", "00000009",
    ]  # fmt: skip
    assert len(list(tmp_path.glob("t.*.jsonl"))) == 2


@pytest.mark.thorough
def test_tail_of_the_log_shows_what_tail_of_the_store_does(traces, tmp_path):
    path = tmp_path / "t.jsonl"
    run("export", "--output", path)

    assert run("tail", "--log", path) == run("tail")
    assert run("tail", "--failed", "--tree", "--log", path) == run("tail", "--failed", "--tree")
    assert run("tail", "--format", "json", "--log", path) == run("tail", "--format", "json")
    assert error_of("tail", "--log", tmp_path / "none")[0] == 3


def test_stats_are_per_receiver(traces):
    rows = {line.split()[-1]: line.split() for line in run("stats").splitlines()[1:]}
    found = {each["receiver"]: each for each in run_json("stats")}

    assert rows["core.orders.receivers.make_sale"][0] == "2"
    assert found["core.orders.receivers.make_sale"]["count"] == 2
    assert found["core.mail.thank"]["error_count"] == 2
    assert found["core.mail.thank"]["signal"] is None


def test_stats_have_the_cpu_time_that_was_read(monkeypatch):
    monkeypatch.setenv("COLUMNS", "130")
    read, unread = checkout(1), checkout(2)
    make = read.dispatches[0].receiver_calls[0]
    make.cpu_ns = 2_500_000
    store(read)
    store(unread)

    found = {each["receiver"]: each["cpu_ns"] for each in run_json("stats")}
    lines = {line.split()[-1]: line.split() for line in run("stats").splitlines()}
    first = run_json("stats", "--order", "cpu_ns")[0]["receiver"]

    assert (found[make.receiver.name], found["core.mail.thank"]) == (2_500_000, None)
    assert lines["receiver"][-2] == "CPU"
    assert lines[make.receiver.name][-3:-1] == ["2.50", "ms"]
    assert lines["core.mail.thank"][-2] == "-"
    assert first == make.receiver.name
    assert {each["cpu_ns"] for each in run_json("stats", "--by", "dispatch")} == {None}


def test_stats_without_cpu_time_have_no_column_of_it(traces):
    assert "CPU" not in run("stats")


def test_stats_of_a_narrow_terminal_keep_the_receivers_names(traces, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("stats").splitlines()

    assert "p95" not in lines[0]
    assert max(map(len, lines)) <= 80
    assert any(line.endswith("  make_sale") for line in lines)


def test_stats_are_per_dispatch_and_call_too(traces):
    by_dispatch = run("stats", "--by", "dispatch")
    by_call = run_json("stats", "--by", "call", "--order", "count", "--limit", "1")

    assert "post_save of orders.Order" in by_dispatch
    assert (by_call[0]["count"], len(by_call)) == (2, 1)
    assert error_of("stats", "--until", "2020-01-01") == (
        3,
        "There are no statistics for that time yet.",
    )


def test_stats_hide_what_is_not_mine_and_count_it(traces, others):
    mine, everything = run("stats"), run("stats", "--everything")

    assert "django.contrib.auth.update" not in mine
    assert mine.endswith("\n1 receiver that is not yours is hidden (--everything)\n")
    assert "django.contrib.auth.update" in everything
    assert "hidden" not in everything


@pytest.mark.parametrize("by", ["dispatch", "call"])
def test_stats_of_dispatches_and_calls_hide_what_is_not_mine(traces, others, by):
    others[0].dispatches[0].sender = "sessions.Session"
    other = foreign(9)
    other.dispatches[0].sender = "sessions.Session"
    store(other)
    mine = run("stats", "--by", by)

    assert "sessions.Session" not in mine
    assert " that " in mine
    assert "hidden (--everything)\n" in mine
    assert "sessions.Session" in run("stats", "--by", by, "--everything")


def test_stats_without_anything_mine_have_a_heading(others):
    shown = run("stats")

    assert shown.startswith("No receiver of yours ran\n")
    assert "django.contrib.auth.update" in shown
    assert "hidden" not in shown


def test_json_of_stats_holds_everything(traces, others):
    assert "django.contrib.auth.update" in {each["receiver"] for each in run_json("stats")}


# --- hazards -------------------------------------------------------------------------------------


def test_hazards_are_found_in_all_traces_and_shown_once(traces):
    shown = run("hazards", "--no-wiring")

    assert shown.count("swallowed-error") == 1
    assert "WARNING swallowed-error  in 2 traces" in shown
    assert "thank (/app/core/mail.py:" in shown
    assert "remedy: Repair the receiver" in shown


def test_hazards_as_json_are_one_object_per_trace(traces):
    found = run_json("hazards", "--no-wiring")

    assert [hazard["trace_id"] for hazard in found] == [traces[1].trace_id, traces[0].trace_id]
    assert {
        "hazard", "trace_id", "root_span_id", "severity", "message", "signal", "sender",
        "receiver", "file", "line", "span_ids",
    } <= set(found[0])  # fmt: skip


def test_hazards_as_grouped_json_are_one_object_per_finding(traces):
    (found,) = run_json("hazards", "--no-wiring", "--grouped")
    newest, _older = run_json("hazards", "--no-wiring")

    assert found == newest | {"trace_ids": [traces[1].trace_id, traces[0].trace_id]}


def test_hazards_of_one_trace_only(traces):
    assert len(run_json("hazards", "--trace", traces[0].trace_id)) == 1
    assert run_json("hazards", "--trace", "last") == []
    assert run("hazards", "--trace", "last") == "No hazards found.\n"


def test_hazards_of_the_wiring_belong_to_no_trace():
    listened.connect(receive, dispatch_uid="a")
    listened.connect(receive, dispatch_uid="b")
    try:
        found = [hazard for hazard in run_json("hazards") if hazard["signal"].endswith("listened")]
    finally:
        listened.disconnect(dispatch_uid="a")
        listened.disconnect(dispatch_uid="b")

    assert [(hazard["hazard"], hazard["trace_id"]) for hazard in found] == [
        ("duplicate-receiver", None)
    ]


def test_hazards_fail_on_a_severity(traces):
    code, _ = code_of("hazards", "--no-wiring", "--fail-on", "warning")
    run("hazards", "--no-wiring", "--fail-on", "error")

    assert code == 1


def test_hazards_are_chosen_by_id_and_severity(traces):
    assert run_json("hazards", "--no-wiring", "--hazard", "n-plus-one") == []
    assert run_json("hazards", "--no-wiring", "--severity", "error") == []
    assert len(run_json("hazards", "--no-wiring", "--severity", "info")) == 2
    code, message = error_of("hazards", "--hazard", "nonsense")

    assert code == 2
    assert message.startswith("There is no rule nonsense.")


def test_known_hazards_are_shown_only_when_asked_for(traces, settings):
    settings.TRACING = {
        **settings.TRACING,
        "KNOWN_HAZARDS": ["swallowed-error"],
        "HAZARDS": {"x": {}},
    }
    stderr = io.StringIO()

    assert run_json("hazards", "--no-wiring") == []
    run("hazards", "--no-wiring", "--fail-on", "info", stderr=stderr)
    assert "there is no rule 'x'" in stderr.getvalue()
    assert "known: KNOWN_HAZARDS" in run("hazards", "--no-wiring", "--known")


def test_hazard_rules_are_listed():
    shown = run("hazards", "--rules")
    found = run_json("hazards", "--rules")

    assert "slow-receiver  threshold_ms=100" in shown
    assert len(found) >= 18
    assert found[0]["hazard"] == "duplicate-receiver"


# --- wiring --------------------------------------------------------------------------------------


@pytest.fixture
def wired():
    listened.connect(receive, dispatch_uid="one", weak=False)
    yield
    listened.disconnect(dispatch_uid="one")
    listened.disconnect(dispatch_uid="two")


def test_wiring_is_listed(wired, traces):
    shown = run("wiring", "--signal", "test_command.listened")
    (found,) = run_json("wiring", "--signal", "test_command.listened")

    assert f"{__name__}.listened from any sender\n   1. {__name__}.receive" in shown
    assert "strong, sync, uid one" in shown
    assert "never seen" in shown
    assert (found["dispatch_uid"], found["weak"], found["calls"]) == ("one", False, 0)


def test_wiring_counts_calls_by_the_store(wired):
    trace = checkout(1)
    trace.dispatches[0].receiver_calls[0].receiver = label(f"{__name__}.receive")
    store(trace)

    assert "  1 call\n" in run("wiring", "--signal", "test_command.listened")
    assert run("wiring", "--signal", "test_command.listened", "--unseen") == (
        "Every receiver that is connected has been called.\n"
    )


def test_wiring_of_nothing_says_so():
    assert error_of("wiring", "--signal", "nonsense") == (
        3,
        "No receiver is connected that fits.",
    )


@pytest.mark.thorough
def test_wiring_written_and_checked_tells_what_changed(wired, tmp_path):
    path = tmp_path / "wiring.json"
    options = ["--signal", "test_command.listened"]

    assert run("wiring", *options, "--write", path) == (
        f"{path}: 1 connection. Check them with --check {path}\n"
    )
    assert run("wiring", *options, "--check", path) == f"The wiring is that of {path}.\n"
    listened.connect(receive_too, dispatch_uid="two", weak=False)
    code, shown = code_of("wiring", *options, "--check", path)
    assert code == 1
    assert shown.splitlines()[:2] == [
        f"{__name__}.listened from any sender",
        f"  + added: {__name__}.receive_too [uid=two, strong, any sender]",
    ]
    code, shown = code_of("wiring", *options, "--check", path, "--format", "json")
    assert code == 1
    assert json.loads(shown) == [
        {
            "change": "added",
            "signal": f"{__name__}.listened",
            "sender": None,
            "receiver": f"{__name__}.receive_too [uid=two, strong, any sender]",
            "was": None,
        }
    ]


@pytest.mark.thorough
def test_wiring_check_of_what_is_no_wiring_file_is_an_error(tmp_path):
    path = tmp_path / "wiring.json"
    missing = error_of("wiring", "--check", path)
    path.write_text("{")
    broken = error_of("wiring", "--check", path)
    path.write_text("{}")
    foreign = error_of("wiring", "--check", path)

    assert missing[0] == 3
    assert f"Write it with --write {path}" in missing[1]
    assert broken[1].startswith(f"{path} is no wiring file")
    assert foreign[1].startswith(f"{path} is no wiring file")
    assert "cannot be written" in error_of("wiring", "--write", tmp_path / "no" / "x")[1]


# --- compare and diff ----------------------------------------------------------------------------


@pytest.fixture
def releases():
    return store(
        *(checkout(number, release="1.0", own_ms=5 + number % 3) for number in range(1, 21)),
        *(checkout(number, release="1.1", own_ms=9 + number % 3) for number in range(21, 41)),
    )


@pytest.mark.parametrize(
    ("before", "after", "title"),
    [
        ("1.0", "1.1", "release 1.0 and release 1.1"),
        (
            "2026-11-22T12:21:00+00:00",
            "2026-11-22T12:21:00+00:00",
            "before 2026-11-22T12:21:00+00:00 and from 2026-11-22T12:21:00+00:00 on",
        ),
        (
            "..2026-11-22T12:21:00+00:00",
            "2026-11-22T12:21:00+00:00..2026-11-23",
            "..2026-11-22T12:21:00+00:00 and 2026-11-22T12:21:00+00:00..2026-11-23",
        ),
    ],
)
def test_compare_names_what_got_slower(releases, before, after, title):
    lines = run("compare", "--before", before, "--after", after).splitlines()
    found = run_json("compare", "--before", before, "--after", after)

    assert lines[0] == title
    assert lines[2].startswith("slower")
    assert lines[2].endswith("core.orders.receivers.make_sale")
    assert "2 receivers without a difference." in lines
    assert "Mann-Whitney U" in lines[-1]
    assert found[0]["verdicts"] == ["slower"]
    assert found[0]["before"]["calls"] == 20
    assert found[0]["p_time"] < 0.01


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--before", "1.0"],
        ["--after", "1.1"],
    ],
)
def test_compare_takes_the_two_newest_releases_where_none_is_named(releases, options):
    assert run("compare", *options).splitlines()[0] == "release 1.0 and release 1.1"


def test_compare_with_one_moment_compares_what_was_before_and_after_it(releases):
    moment = "2026-11-22T12:21:00+00:00"

    assert (
        run("compare", "--before", moment).splitlines()[0]
        == f"before {moment} and from {moment} on"
    )


@pytest.mark.parametrize("options", [[], ["--after", "1.0"]])
def test_compare_without_an_earlier_release_says_what_to_do(releases, options):
    if not options:
        models.Trace.objects.update(release="")
    code, message = error_of("compare", *options)

    assert code == 3
    assert "--before 1d" in message


def test_compare_leaves_out_columns_that_say_nothing_and_modules_where_it_is_narrow(
    releases, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("compare").splitlines()

    assert lines[1].split() == [
        "verdict",
        "calls",
        "before",
        "after",
        "change",
        "SQL",
        "p",
        "receiver",
    ]
    assert lines[2].endswith("  make_sale")


def test_compare_fails_on_what_got_worse_if_asked(releases):
    options = ["--before", "1.0", "--after", "1.1"]
    code, _ = code_of("compare", *options, "--fail")
    run("compare", "--before", "1.1", "--after", "1.0", "--fail")

    assert code == 1


def test_compare_takes_one_route_only(releases):
    options = ["--before", "1.0", "--after", "1.1", "--kind", "request"]

    assert len(run_json("compare", *options, "--name", "orders:checkout")) == 3
    assert error_of("compare", *options, "--name", "nowhere") == (
        3,
        "No receiver was called release 1.0.",
    )


def test_compare_of_an_unknown_release_names_the_known_ones(releases):
    code, message = error_of("compare", "--before", "0.9", "--after", "1.1")

    assert code == 3
    assert message.endswith("The store has the releases 1.0, 1.1.")


def test_compare_without_releases_says_how_to_have_some(traces):
    _, message = error_of("compare", "--before", "v1", "--after", "v2")

    assert message.endswith('No trace in the store has a release; set TRACING["RELEASE"].')


def test_diff_shows_what_changed_between_two_traces():
    slower = checkout(2, own_ms=20, queries=6)
    first, second = store(checkout(1), slower)
    shown = run("diff", first.trace_id, second.trace_id)
    found = {change["what"]: change for change in run_json("diff", first.trace_id, second.trace_id)}

    assert "slower" in shown
    assert found["make_sale"]["verdicts"] == ["slower"]
    assert found["Indexer.on_save"]["verdicts"] == ["more SQL"]
    assert "thank" not in found
    assert "thank" in run("diff", first.trace_id, second.trace_id, "--all")


def sale(number, *, own_ms, others_ms=1, release=""):
    """Return a sale, and a dispatch that only a package heard of."""
    build = TraceBuilder(release=release)
    build.call(build.dispatch(), own("core.orders.receivers.make_sale"), own_ns=own_ms * MS)
    sent = build.dispatch("saved", "None")
    build.call(sent, label("reversion.receivers.keep_version"), own_ns=others_ms * MS)
    trace = build.build()
    trace.trace_id = f"{number:08x}" + "cd" * 12
    trace.started_ns = NOON_NS + number * 60 * 1_000_000_000
    trace.root_span_id = derived_root_span_id(trace.trace_id, trace.started_ns)
    return trace


def test_diff_and_compare_show_what_is_mine_and_count_the_rest():
    before = [sale(number, own_ms=5, release="1.0") for number in range(1, 21)]
    after = [sale(number, own_ms=20, release="1.1") for number in range(21, 41)]
    store(*before, *after)
    traces = before[0].trace_id, after[0].trace_id
    diff, compared = run("diff", *traces), run("compare")
    whole = [run(*verb, "--everything", "--all") for verb in (("diff", *traces), ("compare",))]
    code, failing = code_of("compare", "--fail", "--all")

    assert "make_sale" in diff
    assert "make_sale" in compared
    assert "keep_version" not in diff + compared
    assert "2 places that are not yours are hidden (--everything)" in diff
    assert "1 receiver that is not yours is hidden (--everything)" in compared
    assert ["keep_version" in shown and "hidden" not in shown for shown in whole] == [True, True]
    assert (code, "keep_version" in failing) == (1, True), "what fails is seen"


def test_diff_says_that_only_others_changed():
    before, after = sale(1, own_ms=5), sale(2, own_ms=5, others_ms=50)
    store(before, after)

    assert "Nothing of yours changed." in run("diff", before.trace_id, after.trace_id)


def test_diff_of_one_trace_with_itself_finds_nothing(traces):
    assert "The same receivers ran" in run("diff", "last", "last")


def test_diff_shows_what_appeared_and_vanished():
    before, after = TraceBuilder(), TraceBuilder()
    before.call(before.dispatch(), "core.old")
    after.call(after.dispatch(), "core.new")
    first, second = before.build(), after.build()
    second.trace_id, second.root_span_id = "f" * 32, "f" * 16
    store(first, second)
    shown = [line.split() for line in run("diff", first.trace_id, "f").splitlines()[4:]]

    assert ["+", "appeared"] in [words[:2] for words in shown]
    assert ["-", "vanished"] in [words[:2] for words in shown]


# --- pause, resume, status -----------------------------------------------------------------------


def test_pause_and_resume_reach_every_process_through_the_store():
    shown = run("pause")
    control = models.RecorderControl.objects.get(id=1)
    paused = run_json("status")["paused"]
    resumed = run_json("resume")

    assert shown == "Recording pauses in every process within a few seconds.\n"
    assert (control.paused, paused, resumed) == (True, True, {"paused": False})
    assert control.changed_by.startswith("manage.py")
    assert run_json("status")["paused"] is False


def test_status_says_how_everything_is_doing(traces):
    import time

    models.RecorderState.objects.create(
        host="web1",
        process=7,
        started_ns=1,
        seen_ns=time.time_ns(),
        recorded=3,
        dropped=2,
        exporters=json.dumps(
            {
                "log": {"error": "OSError: disk full"},
                "database": {},
                "(forgotten)": {"receiver sets": 25_000},
            }
        ),
    )
    shown = run("status")
    found = run_json("status")

    assert found["store"]["traces"] == 3
    assert found["recorders"][0]["errors"] == {"log": "OSError: disk full"}
    assert "3 traces, 5 dispatches" in shown
    assert "web1:7" in shown
    assert "2 lost" in shown
    assert "log: OSError: disk full" in shown
    assert found["recorders"][0]["forgotten"] == {"receiver sets": 25_000}
    assert "receiver sets forgotten: 25,000" in shown


def test_status_tells_how_far_behind_the_collector_is(traces, settings, tmp_path):
    import time

    assert run_json("status")["collector"] is None
    settings.TRACING = {
        **settings.TRACING, "COLLECTOR": "service", "SPOOL": {"path": tmp_path / "spool"}
    }  # fmt: skip
    assert "nobody collects, nothing waits" in run("status")

    folder = Folder(tmp_path / "spool")
    Writer(folder, 10**6).append([full_trace()])
    told = {"host": "web1", "process": 7, "seen_ns": time.time_ns(), "recorded": 3}
    told |= {"unreadable_files": 1, "errors": {"log": "OSError: disk full"}}
    folder.write(COLLECTOR, told)

    found = run_json("status")["collector"]
    assert found["is_alive"]
    assert found["behind_bytes"] > 500
    text = run("status")
    for expected in (
        "web1:7, 3 traces collected",
        "s behind",
        "1 file and",
        "log: OSError: disk full",
    ):
        assert expected in text


def test_status_without_a_store_says_what_to_do(monkeypatch):
    monkeypatch.setattr(
        "django.db.backends.base.introspection.BaseDatabaseIntrospection.table_names",
        lambda self, cursor=None, include_views=False: [],
    )

    assert run_json("status")["problem"].startswith("The store (database alias 'tracing') has no")
    assert "has no tables yet" in run("status")


# --- the command itself --------------------------------------------------------------------------


def test_output_into_a_closed_pipe_ends_quietly(traces):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    stderr, sys.stderr = sys.stderr, io.StringIO()
    try:
        call_command("tracing", "list", "--format", "json", stdout=Closed())
    finally:
        sys.stderr = stderr


def test_wrong_arguments_are_named():
    for arguments, message in [
        (["list", "--since", "soon"], "'soon' is no time"),
        (["list", "--slower-than", "5x"], "'5x' is no duration"),
        (["list", "--limit", "0"], "no whole number above 0"),
        (["prune", "--max-size", "big"], "'big' is no size"),
        (["compare", "--before", "a", "--after", "b", "--alpha", "2"], "between 0 and 1"),
    ]:
        with pytest.raises(CommandError, match=message):
            run(*arguments)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_help_shows_no_marks_of_formatting(verb, capsys):
    with pytest.raises(SystemExit):
        Command().create_parser("manage.py", "tracing").parse_args([verb.name, "--help"])

    shown = capsys.readouterr().out
    assert "%%" not in shown
    assert "%(" not in shown


def test_the_command_itself_leaves_no_trace(traces):
    from tracing.testing import capture_dispatches

    with capture_dispatches() as captured:
        run("list")

    assert captured.dispatches == []


@pytest.mark.thorough
def test_id_of_several_traces_lists_them_and_each_is_shown_by_its_own():
    first, second = checkout(1), command(2, "load_cars")
    second.trace_id = first.trace_id
    store(first, second)

    code, message = error_of("show", first.trace_id)
    shown = [run_json("show", each.root_span_id)["name"] for each in (first, second)]
    addressed = [run_json("show", each.address)["name"] for each in (first, second)]
    found = run_json("list")

    assert code == 3
    assert all(each.address in message for each in (first, second))
    assert shown == addressed == [first.name, second.name]
    assert {row["root_span_id"] for row in found} == {first.root_span_id, second.root_span_id}


@pytest.mark.parametrize("form", ["jsonl", "csv", "otlp"])
def test_traces_of_one_id_are_exported_apart(form, tmp_path):
    first, second = checkout(1), checkout(2)
    second.trace_id = first.trace_id
    store(first, second)
    file = tmp_path / "exported"
    run("export", "--format", form, "--output", file)

    text = file.read_text()
    assert first.root_span_id in text
    assert second.root_span_id in text
