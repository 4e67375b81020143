"""Tests of ``manage.py tracing explain``: its formats and exit codes."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.tracing.analysis.building import MS, TraceBuilder, label
from tests.tracing.command_line import checkout, error_of, own, run, run_json, store
from tests.tracing.viewer.traces import order
from tracing.spans.records import Outcome, TransactionOutcome

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])


def sale(*, is_sold=True):
    """Return a saved order: make_sale, which updates the car; a mail where it is sold."""
    build = TraceBuilder()
    saved = build.dispatch(transaction=TransactionOutcome.COMMITTED)
    make = build.call(saved, own("core.sales.receivers.make_sale"), own_ns=2 * MS, query_count=2)
    build.call(saved, label("shop.search.index"))
    if is_sold:
        placed = build.dispatch("order_placed", "None", make)
        build.call(
            placed, own("core.mail.thank"), outcome=Outcome.RAISED, exception_type="a.SmtpError"
        )
        build.bypass(parent_number=make.number, model="cars.Car",
                     receivers=(label("core.orders.receivers.follow_price"),))  # fmt: skip
    trace = build.build()
    trace.trace_id = f"{sale.number:032x}"
    trace.started_ns += sale.number * 60_000_000_000
    trace.root_span_id = f"{sale.number:016x}"
    sale.number += 1
    return trace


sale.number = 1


def test_text_is_one_tree_of_all_traces(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    store(sale(), sale(is_sold=False))

    lines = run("explain", "orders.Order", "post_save", "--everything").splitlines()

    assert lines[0] == "What follows post_save of orders.Order"
    assert lines[1].startswith("From 2 traces with 2 dispatches, 2023-11-14 ")
    found = [re.sub(r"  /app/\S+$", "", line) for line in lines[4:]]
    assert [re.sub(r"(?<=[\w%]) {2,}", "  ", line) for line in found] == [
        "post_save of orders.Order  2  2.05 ms  2.05 ms  2",
        "│    2 committed",
        "├─ make_sale  100 %  2  1.97 ms  1.97 ms  2",
        "│  │    update() of cars.Car (once) sends no post_save: follow_price is not called",
        "│  └─ order_placed  50 %  1  11.1 µs  11.1 µs  0",
        "│     └─ thank  50 %  1  9.87 µs  9.87 µs  0",
        "│             raised once: SmtpError",
        "│             not connected in this process",
        "└─ index  100 %  2  9.87 µs  9.87 µs  0",
        "        not connected in this process",
    ]


def test_steps_that_are_not_mine_are_hidden_and_counted():
    store(sale())

    shown = run("explain", "orders.Order", "post_save")

    assert "index" not in shown
    assert "1 step that is not yours is hidden (--everything)" in shown


def test_empty_store_is_told_in_one_line_and_answered():
    lines = run("explain", "orders.Order", "post_save").splitlines()

    assert lines[1] == (
        "No trace holds it: this is what is connected in this process, in calling order."
    )
    assert lines[3] == "post_save of orders.Order"
    assert lines[4].startswith("└─ make_sale  ")


def test_nothing_connected_is_said():
    assert "no receiver is connected" in run("explain", "orders.Order", "post_delete")


def test_json_holds_the_tree():
    store(sale(), sale(is_sold=False))

    found = run_json("explain", "orders.Order", "post_save")

    assert found["question"] == {
        "signal": "django.db.models.signals.post_save",
        "sender": "orders.Order",
        "receiver": None,
        "name": None,
    }
    assert (found["source"], found["trace_count"], found["asked_count"]) == ("sums", 2, 2)
    make = found["steps"][0]["steps"][0]
    assert (make["name"], make["count"], make["connected"]) == (
        "core.sales.receivers.make_sale", 2, True,
    )  # fmt: skip
    assert make["bypasses"][0]["model"] == "cars.Car"
    assert make["steps"][0]["share_of_asked"] == 0.5


def test_mermaid_is_a_flowchart_with_harmless_labels():
    trace = sale()
    trace.name = 'x"] --> y; <script>'
    store(trace)

    chart = run("explain", "name:script", "--format", "mermaid")

    assert chart.startswith("flowchart LR\n")
    assert 's1["x#34;#93; --#62; y#59; #60;script#62;<br>1 \N{MULTIPLICATION SIGN}' in chart
    assert re.search(r's\d+ -->\|"100 %"\| s\d+', chart)
    assert "<script>" not in chart


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []
        self.tags = set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.found += [value for name, value in attributes if name in {"src", "href"}]


def test_html_is_one_file_without_anything_from_elsewhere():
    trace = sale()
    trace.name = "<script>alert(1)</script>"
    store(trace)

    page = run("explain", "name:script", "--format", "html")

    parser = _Links()
    parser.feed(page)
    assert (parser.found, "script" in parser.tags, "url(" in page) == ([], False, False)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "make_sale" in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.thorough
def test_limit_and_period_choose_the_traces():
    store(*(order(number, ago=number * 7200) for number in range(1, 4)))

    assert run_json("explain", "orders.Order", "--limit", 1)["has_more"]
    assert run_json("explain", "orders.Order", "--since", "3h")["trace_count"] == 1
    assert run_json("explain", "orders.Order", "--until", "3h")["trace_count"] == 2
    assert "From the newest 1 trace with 1 dispatch" in run("explain", "orders.Order", "--limit", 1)


@pytest.mark.thorough
def test_unknown_and_ambiguous_names_end_with_2_and_name_candidates():
    store(checkout())

    code, message = error_of("explain", "orders.Ordr")
    assert (code, "  sender:orders.Order" in message.splitlines()) == (2, True)
    code, message = error_of("explain", "receivers.make_sal")
    assert "receiver:core.sales.receivers.make_sale" in message
    code, message = error_of("explain", "save")
    assert code == 2


def test_missing_store_ends_with_4(monkeypatch):
    monkeypatch.setattr("tracing.management.verbs.base.has_tables", lambda alias: False)

    code, message = error_of("explain", "orders.Order")

    assert (code, "has no tables yet" in message) == (4, True)
