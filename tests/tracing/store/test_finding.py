"""Tests of finding: each kind of condition against stored traces, and pages of them."""

from __future__ import annotations

import time

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from tests.tracing.analysis.building import TraceBuilder
from tests.tracing.viewer.traces import command, identify, order, store
from tracing.instrumentation.attributes.redaction import digest, key_text
from tracing.models import Trace
from tracing.search.completion import place_at
from tracing.search.parser import parse, quoted
from tracing.search.query import KEYS, QueryError
from tracing.store import conditions, index_scan
from tracing.store.conditions import row_conditions
from tracing.store.finding import find, fitting_newer, plan
from tracing.store.matching import matching_calls
from tracing.store.pages import TraceSearch
from tracing.store.suggestions import complete, unknown_names, unknown_words

pytestmark = pytest.mark.django_db(databases=["default", "tracing"])


@pytest.fixture
def traces(db):
    """Store five traces, whose numbers the tests speak of."""
    return store(
        order(1, ago=7_200),
        order(2, ago=600, fails=True, user="4", release="1.1"),
        order(3, ago=300, slow=80, name="orders:express"),
        command(4, ago=120, cars=12),
        command(5, ago=60, cars=3, name="tidy_up"),
    )


def query(text):
    return parse(text, now_ns=time.time_ns())


def found(text, **options):
    return sorted(int(trace.trace_id, 16) for trace in find(query(text), **options).traces)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # By name: the key of the digest is another in each process.
        pytest.param(f"instance:sessions.Session:{digest('c00k1e')}", [1], id="by its digest"),
        ("instance:sessions.Session:c00k1e", [1]),
        ("instance=sessions.Session:c00k1e signal:post_save", [1]),
        ("receiver:audit instance:sessions.Session:c00k1e", [1]),
        ("instance:sessions.Session:c00k", []),
        ("instance:sessions.Session:*", [1]),
        ("""instance:"shop.Seat:(1, 'A')" """, [2]),
        ("""instance:"shop.Seat:(1,'A')" """, [2]),
        ("instance:shop.Seat:1,7", [3]),
        ("""instance:"shop.Seat:(1, 7)" """, [3]),
        ("user:sam@example.com", [1]),
        ("user:5", [3]),
        ("-user:5", [1, 2]),
    ],
)
def test_keys_are_found_in_clear_and_by_what_they_were_digested_from(text, expected):
    keys = ("sessions.Session", "c00k1e"), ("shop.Seat", (1, "A")), ("shop.Seat", (1, 7))
    for number, (label, key) in enumerate(keys, 1):
        build = TraceBuilder(user_id={1: digest("sam@example.com"), 3: "5"}.get(number, ""))
        saved = build.dispatch(sender=label, instance=f"{label}:{key_text(label, key)}")
        build.call(saved, "shop.receivers.audit")
        store(identify(build.build(), number))

    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("kind:request", [1, 2, 3]),
        ("kind:req*", [1, 2, 3]),
        ("-kind:request", [4, 5]),
        ("name:check", [1, 2]),
        ("name=orders:express", [3]),
        ("name:orders:*", [1, 2, 3]),
        ("NAME", []),
        ("express", [3]),
        ("make_sale", [1, 2, 3]),
        ("MAKE_SALE", [1, 2, 3]),
        ("cars.Car", [4, 5]),
        ("sale_made", [1, 2, 3]),
        ("place", [1, 2, 3]),
        ("-make_sale", [4, 5]),
        ("make_sale express", [3]),
        ("make_sale OR tidy_up", [1, 2, 3, 5]),
        ("make_sale outcome:raised", [2]),
        ("make_sale took>50ms", [3]),
        ("make_sale status:error", [2]),
        ("/orders/2/", [2]),
        ("nobody", []),
        ("path:/orders/2/*", [2]),
        ("http:POST", [1, 2, 3]),
        ("status:error", [2]),
        ("status:5xx", [2]),
        ("status:3xx", [1, 3]),
        ("user:4", [2]),
        ("(user:4 OR kind:command)", [2, 4, 5]),
        ("release:1.1", [2]),
        ("host:web1 kind:command", [4, 5]),
        ("error:paper", [2]),
        ("trace:0000000000000000000000000000000", [1, 2, 3, 4, 5]),
        ("trace:00000000000000000000000000000003", [3]),
        ("errors>0", [2]),
        ("dispatches>10", [4]),
        ("dispatches<=3 dispatches>2", [5]),
        ("queries:5", [1, 2, 3]),
        ("orphans>0", [1, 2, 3]),
        ("dropped>0", []),
        ("duration>50ms", [3]),
        ("duration<50ms kind:request", [1, 2]),
        ("since:1h", [2, 3, 4, 5]),
        ("since:1h until:4m", [2, 3]),
        ("pinned:yes", []),
        ("hazard:swallowed-error", [2]),
        ("hazards>0 status:error", [2]),
        ("signal:post_save", [1, 2, 3, 4, 5]),
        ("signal:sale_made", [1, 2, 3]),
        ("signal=sale_made", []),
        ("signal:*_made", [1, 2, 3]),
        ("sender:cars.Car", [4, 5]),
        ("receiver:make_sale", [1, 2, 3]),
        ("receiver:core.cars.*", [4, 5]),
        ("receiver:core.sales.receivers.make_sale", [1, 2, 3]),
        ("signal:post_save receiver:fail_to_print", []),
        ("signal:sale_made receiver:fail_to_print", [1, 2, 3]),
        ("receiver:fail_to_print outcome:raised", [2]),
        ("receiver:make_sale outcome:raised", []),
        ("outcome:raised", [2]),
        ("exception:paper", [2]),
        ("exception:PrinterError", [2]),
        ("took>50ms", [3]),
        ("took>50ms receiver:count_cars", []),
        ("sql>=3", [1, 2, 3]),
        ("app:cars", [4, 5]),
        ("uid:sales.make_sale", [1, 2, 3]),
        ("instance:orders.Order:2", [2]),
        ("created:yes", [4, 5]),
        ("created:no", [1, 2, 3]),
        ("using:default", [1, 2, 3]),
        ("method:send_robust", [1, 2, 3]),
        ("transaction:rolled_back", [2]),
        ("file:models.py", [1, 2, 3]),
        ("action:post_add", []),
        ("receiver:make_sale >> receiver:print_receipt", [1, 2, 3]),
        ("receiver:print_receipt >> receiver:make_sale", []),
        ("receiver:make_sale >> outcome:raised", [2]),
        ("signal:post_save >> signal:sale_made >> signal:sale_made", []),
        ("user:4 OR receiver:give_code", [2, 4, 5]),
        ("receiver:make_sale NOT outcome:raised", [1, 3]),
        ("(receiver:make_sale NOT outcome:raised)", [1, 2, 3]),
        ("(receiver:fail_to_print NOT outcome:raised)", [1, 3]),
        ("NOT receiver:make_sale", [4, 5]),
        ("kind:request (receiver:make_sale OR receiver:give_code)", [1, 2, 3]),
        ("NOT (receiver:make_sale >> outcome:raised) kind:request", [1, 3]),
        ("kind:request kind:command", []),
        ("receiver:nobody", []),
    ],
)
def test_find(traces, text, expected):
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "is_exact"),
    [
        ("", True),
        ("kind:request duration>1ms queries>2", True),
        ("signal:post_save receiver:make_sale outcome:raised", True),
        ("took>1ms", False),
        ("receiver:a >> receiver:b", False),
        ("NOT receiver:a", False),
        ("signal:a signal:b", False),
    ],
)
def test_plan_leaves_to_the_store_what_the_store_can_answer(traces, text, is_exact):
    assert plan(query(text)).is_exact is is_exact


@pytest.mark.parametrize("text", ["kind:request", "took<1h OR took>=0ns", "signal:post_save"])
def test_pages_hold_every_trace_once_in_both_directions(db, text):
    text = text.replace("1h", "60m").replace("60m", "60s")
    store(*(order(number, ago=1_000 - number) for number in range(1, 31)))
    seen, before, newer = [], "", []
    while True:
        page = find(query(text), before=before, size=7, seconds=5)
        seen.append([int(trace.trace_id, 16) for trace in page.traces])
        before = page.older
        if not before:
            break
        newer.append(page.newer)
    flat = [number for numbers in seen for number in numbers]

    assert flat == list(range(30, 0, -1))

    back = find(query(text), after=newer[-1] or seen[0][0], size=7, seconds=5)
    assert back.traces


@pytest.mark.thorough
def test_search_that_runs_out_of_time_says_so_and_goes_on(db):
    store(*(order(number, ago=500 - number) for number in range(1, 200)))

    page = find(query("took>1s"), size=5, seconds=0.0001)

    assert (page.traces, page.complete) == ([], False)
    while page.older:
        page = find(query("took>1s"), before=page.older, size=5, seconds=5)
    assert page.complete


def test_newer_traces_that_fit_come_newest_first(traces):
    first = Trace.objects.order_by("pk").first()

    rows, last = fitting_newer(query("receiver:give_code"), first.pk)

    assert [int(row.trace_id, 16) for row in rows] == [5, 4]
    assert last == Trace.objects.last_row_id()


def test_newer_than_the_newest_is_nothing(traces):
    last = Trace.objects.last_row_id()

    assert fitting_newer(query(""), last) == ([], last)


def test_unknown_names_come_with_the_nearest_known_one(traces):
    hints = [
        (term.value, near) for term, near in unknown_names(query("signal:post_sav sender:cars.Car"))
    ]

    assert hints == [("post_sav", "post_save")]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("receiver:make", ["core.sales.receivers.make_sale"]),
        ("sender:Ord", ["orders.Order"]),
        ("signal:sale", ["core.sales.signals.sale_made"]),
        ("kind:re", ["request"]),
        ("app:ord", ["orders"]),
        ("name:tidy", ["tidy_up"]),
        ("duration>", ["1ms", "10ms", "50ms", "100ms", "1s"]),
        ("since:", ["5m", "1h", "2h", "1d", "7d"]),
        ("host:", []),
        ("pinned:", ["yes", "no"]),
        ("make_s", ["receiver:core.sales.receivers.make_sale"]),
        ("sale_m", ["signal:core.sales.signals.sale_made"]),
        ("j", []),
    ],
)
def test_complete_gives_names_that_the_store_has(traces, typed, expected):
    assert [found.text for found in complete(place_at(typed, len(typed)))] == expected


def test_word_of_no_name_comes_with_the_nearest_known_one(traces):
    asked = query("make_sael (tidy OR xyzzy) /x/")

    assert unknown_words(asked) == [("make_sael", "make_sale"), ("xyzzy", "")]


def test_what_else_is_wanted_holds_beside_the_query(traces):
    def numbers(text, **wanted):
        page = find(query(text), wanted=TraceSearch(**wanted))
        return sorted(int(trace.trace_id, 16) for trace in page.traces)

    assert numbers("make_sale", failed=True) == [2]
    assert numbers("make_sale", kind="command") == []
    assert numbers("kind:request", kind="command") == []
    assert numbers("receiver:make_sale", receiver="give_code") == []
    assert numbers("took>50ms", receiver="make_sale") == [3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("receiver:make_sale", [3]),
        ("signal:sale_made", [4]),
        ("signal:sale_made receiver:print_receipt", [5]),
        ("outcome:raised", [6]),
        ("receiver:make_sale >> outcome:raised", [3, 6]),
        ("user:3", []),
        ("NOT receiver:make_sale", []),
        ("make_sale", [3]),
        ("sale_made", [4]),
        ("Make_sale print_receipt", [3, 5]),
        ("make_sale OR user:3", [3]),
        ("-make_sale", []),
    ],
)
def test_matching_calls_are_span_numbers(text, expected):
    assert matching_calls(query(text), order(1, fails=True)) == expected


HOSTILE = [
    "\u00b2", "\u00b2*", "\u0663*", "'; DROP TABLE--", "\\", "%_[(", "**", "a" * 3_000, "9" * 400, "-1",
    "0x10", "1e9", "\U0001f697", "\0", "\u202e", "NaN", "2026-02-30", "99:99", "1" * 16, "9" * 16,
]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("name", KEYS)
def test_any_value_of_any_key_is_answered(traces, name):
    for operator in (":", "=", ">", "<=", "!="):
        for value in HOSTILE:
            text = f"{name}{operator}{quoted(value)}"
            try:
                asked = query(text)
            except QueryError:
                continue
            find(asked, seconds=5)


@pytest.mark.thorough
def test_longest_query_is_answered_and_a_longer_one_refused(traces):
    assert found(" OR ".join(["orders"] * 200)) == [1, 2, 3]
    assert found(" OR ".join(["name:*x*"] * 150 + ["took>50ms"])) == [3]
    with pytest.raises(QueryError, match="at most 200 conditions") as error:
        query("a " * 201)
    assert error.value.start == 400


def test_trace_named_by_an_id_is_looked_up_and_many_are_walked_through(traces, monkeypatch):
    asked = TraceSearch(trace_id="0" * 20)

    few = row_conditions(asked, "tracing")
    monkeypatch.setattr(conditions, "_FEW", 4)
    many = row_conditions(asked, "tracing")

    assert [name for name, _ in few.children] == ["pk__in"]
    assert [name for name, _ in many.children] == ["trace_id__gte", "trace_id__lt"]
    assert set(Trace.objects.filter(few)) == set(Trace.objects.filter(many)) != set()


@pytest.mark.parametrize(
    "text",
    [
        "errors>0",
        "queries:5",
        "queries>4 -status:3xx",
        "dispatches>3",
        "hazards>=1",
        "duration>50ms",
    ],
)
def test_few_with_a_large_number_are_looked_up_and_many_are_walked_through(
    traces, monkeypatch, text
):
    with CaptureQueriesContext(connections["tracing"]) as few:
        expected = found(text)
    monkeypatch.setattr(index_scan, "_RARE", 0)
    with CaptureQueriesContext(connections["tracing"]) as many:
        assert found(text) == expected != []

    said = [" ".join(each["sql"] for each in asked).replace("`", '"') for asked in (few, many)]
    walks = ['"tracing_trace"."id" <= ' in text for text in said]
    assert walks == [False, True]
