"""Tests of what the terminal shows of the rarer facts, and that colour never tells them alone."""

from __future__ import annotations

import io
import json
import sys

import pytest
from django.core.management.base import OutputWrapper

from tests.tracing.analysis.building import MS, TraceBuilder, label
from tests.tracing.command_line import ANSI, Screen, checkout, error_of, run, store
from tracing.analysis import tree
from tracing.analysis.totals import totals
from tracing.analysis.wiring import Route, WiredReceiver
from tracing.management import report_tables, tables
from tracing.management.terminal import Terminal, table, text
from tracing.presentation.rows import Tree
from tracing.spans.escapes import escape_control
from tracing.spans.records import (
    ConnectionChange,
    Kind,
    Method,
    Outcome,
    Status,
    TransactionOutcome,
)


def shown(*what, screen=None, **options):
    stream = screen if screen is not None else io.StringIO()
    terminal = Terminal(OutputWrapper(stream), OutputWrapper(io.StringIO()), **options)
    terminal.print(*what)
    return stream.getvalue()


def tree_of(build):
    return shown(tables.trace_tree(Tree(build.build()).rows(), 200))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"action": "post_add", "instance": "orders.Order:1"}, "post_save post_add orders.Order:1"),
        ({"created": False, "instance": "orders.Order:1"}, "orders.Order:1 updated"),
        ({"raw": True, "method": Method.ASEND}, "raw, asend"),
        ({"is_detached": True}, "detached"),
        ({"transaction": TransactionOutcome.ROLLED_BACK}, "ROLLED BACK"),
        ({"transaction": TransactionOutcome.SAVEPOINT_ROLLED_BACK}, "SAVEPOINT ROLLED BACK"),
        ({"exception_type": "KeyError"}, "RAISED KeyError"),
        ({"sender": "None", "callsite": None}, "post_save"),
    ],
)
def test_tree_says_the_facts_of_a_dispatch_in_words(options, words):
    build = TraceBuilder()
    build.dispatch(**options)

    assert words in tree_of(build)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"outcome": Outcome.SKIPPED}, "SKIPPED"),
        ({"outcome": Outcome.CANCELLED}, "CANCELLED"),
        ({"outcome": Outcome.RAISED, "exception_type": "KeyError"}, "  RAISED"),
        ({"query_count": 3, "query_ns": 2 * MS}, "3 in 2.00 ms"),
    ],
)
def test_tree_says_how_a_receiver_ended_in_words(options, words):
    build = TraceBuilder()
    build.call(build.dispatch(), label("core.a", is_async=True), **options)

    assert words in tree_of(build)
    assert " async" in tree_of(build)


@pytest.mark.parametrize(
    ("message", "line"),
    [("no key", "raised: a #2: core.KeyError: no key"), ("", "raised: a #2: core.KeyError")],
)
def test_error_of_a_receiver_is_told_below_the_tree(message, line):
    build = TraceBuilder()
    build.call(
        build.dispatch(),
        label("core.a"),
        outcome=Outcome.RAISED,
        exception_type="core.KeyError",
        exception_message=message,
    )

    assert [found.plain for found in tables.extras(build.build())] == [line]


@pytest.mark.parametrize("outcome", [Outcome.SKIPPED, Outcome.UNKNOWN])
def test_time_of_a_receiver_that_was_not_timed_is_a_dash(outcome):
    build = TraceBuilder()
    build.call(build.dispatch(), "shop.index", outcome=outcome, own_ns=0)

    (line,) = [line for line in tree_of(build).splitlines() if "index" in line]
    (total,) = totals(build.trace)
    row = shown(tables.totals([total], 200)).splitlines()[-1]

    assert " -  " in line
    assert "0 ns" not in line + row


def test_own_time_of_nothing_is_told_of_a_receiver_that_was_timed():
    build = TraceBuilder()
    outer = build.call(build.dispatch(), "shop.outer", own_ns=0)
    build.call(build.dispatch(under=outer), "shop.inner", own_ns=1 * MS)

    (line,) = [line for line in tree_of(build).splitlines() if "outer" in line]

    assert line.split()[3:7] == ["1.00", "ms", "0", "ns"]


@pytest.mark.parametrize(
    ("instance", "sender", "line"),
    [
        ("shop.Person:1", "shop.Employee", "post_save shop.Employee shop.Person:1"),
        ("shop.Person:1", "shop.Person", "post_save shop.Person:1 "),
        ("", "shop.Person", "post_save shop.Person "),
        ("shop.Person:1", "None", "post_save shop.Person:1 "),
    ],
)
def test_tree_names_the_sender_where_the_instance_does_not_tell_it(instance, sender, line):
    build = TraceBuilder()
    dispatch = build.dispatch(sender=sender, instance=instance)

    assert line in tree_of(build)
    assert ("from shop.Employee" in tree.title(dispatch)) is (sender == "shop.Employee")


def test_all_adds_changes_of_receivers_and_dispatches_without_receivers():
    build = TraceBuilder()
    trace = build.build()
    trace.orphans = [("shop.signals.sent", "None", 2), ("shop.signals.paid", "shop.Order", 1_200)]
    change = ConnectionChange(
        "disconnected", "shop.signals.paid", "shop.Order", label("shop.index"), start_ns=0
    )
    trace.connection_changes = [change, change]

    assert list(tables.extras(trace)) == []
    assert [line.plain for line in tables.extras(trace, everything=True)] == [
        f"disconnected {tree.TIMES} 2: index for paid shop.Order",
        f"no receivers {tree.TIMES} 1,200: paid shop.Order",
        f"no receivers {tree.TIMES} 2: sent",
    ]


def test_tree_puts_places_on_their_own_lines_rather_than_cut_a_name():
    build = TraceBuilder()
    build.call(build.dispatch(), label(f"core.{'long_' * 12}name"))
    trace = build.build()

    for width, lines in ((160, 2), (120, 4)):
        text_of_tree = shown(tables.trace_tree(Tree(trace).rows(), width))
        assert "long_name" in text_of_tree
        assert len(text_of_tree.strip().splitlines()) == lines + 1


def test_list_says_the_result_in_words(django_db_setup, db):
    row = type("Row", (), {})()
    for options, words in [
        ({"http_status": None, "status": Status.RUNNING}, "running"),
        ({"http_status": 500, "status": Status.ERROR, "failed": True}, "500, error"),
        ({"http_status": 200, "hazard_count": 2}, "200, 2 hazards"),
        ({"http_status": 200, "error_count": 1}, "200, 1 raised"),
    ]:
        defaults = {"status": Status.OK, "error_count": 0, "hazard_count": 0, "failed": False}
        row.__dict__.update({**defaults, **options})

        assert str(tables.result(row)) == words


def test_wiring_says_what_is_wrong_in_words():
    route = Route(
        "shop.signals.placed",
        "shop.Order",
        [
            WiredReceiver(label("(dead)", file="", any_sender=True), alive=False),
            WiredReceiver(label("shop.a.<lambda>"), kept_by_debug=True),
            WiredReceiver(label("shop.Index()", is_async=False), unawaited=True),
            WiredReceiver(label("shop.b", app="shop"), duplicate_of=1),
        ],
    )
    lines = shown(report_tables.wiring([route], {"shop.b": 1200})).splitlines()

    assert lines[0] == "shop.signals.placed from shop.Order"
    assert lines[1].startswith("   1. (dead)  weak, sync, any sender")
    assert lines[1].endswith("DEAD")
    assert lines[2].endswith("KEPT ALIVE BY DEBUG ONLY  never seen")
    assert lines[3].endswith("NEVER AWAITED  never seen")
    assert lines[4].endswith("[shop]  DUPLICATE OF 2  1,200 calls")


def test_colour_is_for_terminals(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    bold = text("bold", "bold red")

    assert ANSI.search(shown(bold, screen=Screen()))
    assert not ANSI.search(shown(bold))
    assert not ANSI.search(shown(bold, screen=Screen(), no_color=True))
    assert ANSI.search(shown(bold, force_color=True))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not ANSI.search(shown(bold, screen=Screen()))


def test_table_gives_way_where_it_is_told_to(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    made = table("number", "name", right=("number",))
    made.add_row(text("123456"), text("a very long name of a receiver in a module"))

    assert shown(made).splitlines() == ["number  name", "123456  a very long name of a…"]


def test_sentences_are_not_broken_in_a_pipe(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)

    assert shown(text("word " * 100)).count("\n") == 1


@pytest.mark.parametrize(
    ("raw", "harmless"),
    [
        ("plain", "plain"),
        ("a\nb\tc", "a b c"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("right\u202eleft", "rightleft"),
        (7, "7"),
    ],
)
def test_names_cannot_command_the_terminal(raw, harmless):
    assert escape_control(raw) == harmless


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("output", ["text", "json"])
def test_no_output_commands_the_terminal(output):
    trace = checkout()
    trace.error = trace.name = trace.dispatches[0].sender = (
        "\x9b31m\u202e\u2066\x7f\ufeff\x1b]0;x\x07"
    )
    trace.dispatches[0].receiver_calls[0].exception_message = trace.error
    trace.unreadable = [(trace.error, "ValueError", 2)]
    store(trace)

    for verb in (["show", trace.trace_id, "--all"], ["list"], ["stats"]):
        written = run(*verb, "--format", output)
        assert all(character.isprintable() for character in written.replace("\n", ""))
        assert output == "text" or json.loads(written)


@pytest.mark.django_db(databases="__all__")
def test_show_of_a_failed_command_says_why(monkeypatch):
    build = TraceBuilder(Kind.COMMAND, "load_cars", status=Status.ERROR, error="OSError: disk full")
    build.call(build.dispatch())
    store(build.build())
    lines = run("show", "last").splitlines()

    assert lines[0].startswith("command load_cars  error  ")
    assert lines[2] == "OSError: disk full"


@pytest.mark.django_db(databases="__all__")
def test_diff_says_where_a_receiver_moved_from():
    before, after = TraceBuilder(), TraceBuilder()
    before.call(before.dispatch("pre_save"), "core.a")
    after.call(after.dispatch("post_save"), "core.a")
    first, second = before.build(), after.build()
    second.trace_id, second.root_span_id = "f" * 32, "f" * 16
    store(first, second)

    assert "moved from pre_save orders.Order" in run("diff", first.trace_id, "ffff")


@pytest.mark.django_db(databases="__all__")
def test_compare_refuses_a_level_that_is_none():
    store(checkout(1, release="1"))
    _, message = error_of("compare", "--before", "1", "--after", "1", "--alpha", "much")

    assert "'much' is no number between 0 and 1" in message


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.thorough
def test_long_work_shows_a_progress_bar_to_somebody_who_looks(monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    store(checkout(1), shared=False)
    run("prune", "--max-rows", "1", "--yes")

    assert "pruning" in screen.getvalue()


def test_sentence_that_is_broken_goes_on_where_it_began(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")

    assert shown(text("a word, and\n"), tables.joined("  remedy: ", "\n", "  ", "word " * 7)) == (
        "a word, and\n  remedy:\n  word word word word word\n  word word\n"
    )


@pytest.mark.parametrize(("width", "has_places"), [(80, False), (120, True)])
def test_totals_have_places_where_there_is_room(width, has_places):
    build = TraceBuilder()
    build.call(build.dispatch(), "shop.receivers.bill")

    lines = shown(tables.totals(totals(build.build()), width))

    assert "bill" in lines
    assert ("where" in lines) is has_places


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ('SELECT "a"."id", "a"."b" FROM "a" WHERE "a"."b" = %s', 'SELECT … FROM "a" WHERE "a"."b"'),
        ('SELECT DISTINCT "a"."id" FROM "a"', 'SELECT DISTINCT … FROM "a"'),
        ("SELECT EXTRACT(YEAR FROM b) FROM a", "SELECT EXTRACT(YEAR FROM b) FROM a"),
        ("DELETE FROM a", "DELETE FROM a"),
    ],
)
def test_statement_leaves_out_the_columns_it_selects(statement, line):
    build = TraceBuilder()
    build.call(build.dispatch(), "shop.receivers.bill", statements=[(statement, 1, 1000)])

    assert f"1 x 1.00 µs  {line}" in shown(
        tables.trace_tree(Tree(build.build()).rows(), 200, sql=True)
    )


def test_cpu_and_waiting_have_columns_where_the_clock_was_read():
    build = TraceBuilder()
    sent = build.dispatch()
    build.call(
        sent, "core.a.computes", own_ns=9 * MS, query_ns=2 * MS, query_count=1, cpu_ns=3 * MS
    )
    build.call(sent, "core.a.unread", own_ns=MS)
    trace = build.build()
    tree_lines = shown(tables.trace_tree(Tree(trace).rows(), 200)).splitlines()
    total_lines = shown(tables.totals(totals(trace), 200)).splitlines()

    for lines in (tree_lines, total_lines):
        assert "cpu  waiting" in lines[0]
        assert any("3.00 ms  4.00 ms" in line for line in lines if "computes" in line)
    assert "cpu" not in shown(tables.totals([totals(trace)[1]], 200))
