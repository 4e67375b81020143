"""Tests of the source of a test that is made of a trace."""

from __future__ import annotations

import ast

import pytest

from tests.tracing.analysis.building import TRACE_ID, TraceBuilder
from tests.tracing.command_line import checkout, own
from tracing.presentation.made_test import made_test
from tracing.spans.records import Kind

REQUEST = f'''"""A test made of a recorded trace."""

from __future__ import annotations

import pytest

from tracing.testing import assert_dispatch_tree, capture_dispatches


# request orders:checkout ({"00000001" + "ab" * 12})
@pytest.mark.django_db
def test_post_checkout_1(client):
    # Add here what was there before: the trace does not hold it.

    with capture_dispatches() as captured:
        # --- The action begins.
        # The body was not recorded: give what was sent as data.
        response = client.post("/checkout/1/", data={{}})
        # --- The action ends.

    assert response.status_code == 302
    assert_dispatch_tree(
        captured,
        expected="""
            post_save orders.Order, created
              → core.orders.receivers.make_sale
                order_placed
                  → core.mail.thank: raised OSError
              → core.search.Indexer.on_save
        """,
    )
'''


def body(source):
    """Return the lines between the marks of the action."""
    lines = [line.strip() for line in source.splitlines()]
    return lines[
        lines.index("# --- The action begins.") + 1 : lines.index("# --- The action ends.")
    ]


def small(kind=Kind.REQUEST, name="shop:list", **options):
    """Return a trace with one dispatch of one receiver."""
    build = TraceBuilder(kind, name, **options)
    build.call(build.dispatch(created=True), own("shop.receivers.count"))
    return build.build()


def test_a_request_is_written_with_method_path_and_status():
    assert made_test(checkout()) == REQUEST


@pytest.mark.parametrize(
    ("method", "action"),
    [
        ("GET", 'response = client.get("/a/")'),
        ("HEAD", 'response = client.head("/a/")'),
        ("DELETE", 'response = client.delete("/a/", data={})'),
        ("PROPFIND", 'response = client.generic("PROPFIND", "/a/")'),
    ],
)
def test_each_method_has_its_call(method, action):
    trace = small(http_method=method, http_path="/a/", http_status=200)

    assert body(made_test(trace))[-1] == action


def test_a_command_is_called_and_what_is_neither_is_left_to_be_written():
    command = made_test(small(Kind.COMMAND, "load_cars"))
    task = made_test(small(Kind.TASK, "shop.tasks.count"))

    assert body(command)[-1] == 'call_command("load_cars")'
    assert "from django.core.management import call_command" in command
    assert body(task) == [
        'pytest.fail("Replace this line: do what the task shop.tasks.count did.")'
    ]
    assert "def test_shop_tasks_count():" in task


def test_one_dispatch_and_what_one_call_sent_can_be_chosen():
    trace = checkout()
    placed, sold = trace.dispatches

    of_dispatch = made_test(trace, span=sold)
    of_call = made_test(trace, span=placed.receiver_calls[0])

    tree = """
            order_placed
              → core.mail.thank: raised OSError
        ""\","""
    assert tree in of_dispatch
    assert tree in of_call
    assert "def test_order_placed():" in of_dispatch
    assert "send order_placed: checkout (/app/core/views.py:10) does" in body(of_dispatch)[0]
    assert "def test_make_sale():" in of_call
    (action,) = body(of_call)
    assert "call core.orders.receivers.make_sale, as post_save of orders.Order does" in action


def test_the_test_asks_for_the_databases_commits_and_logins_that_were_there():
    build = TraceBuilder(http_method="GET", http_path="/a/", user_id="7")
    call = build.call(build.dispatch(using="archive"), own("shop.receivers.count"))
    build.call(
        build.dispatch("order_placed", "None", call, is_detached=True), own("shop.receivers.mail")
    )

    source = made_test(build.build())

    assert '@pytest.mark.django_db(databases=["archive", "default"], transaction=True)' in source
    assert "(client, admin_user):" in source
    assert "    client.force_login(admin_user)\n\n    with capture" in source
    assert "order_placed, detached" in source


@pytest.mark.parametrize(
    "hostile",
    [
        '/"""\nimport os\n"""/',
        "/\\'/\x1b[31m/\u2028x = 1\u202e/",
        "/\ud800/",
        "/" + "a" * 300,
    ],
)
def test_what_a_visitor_put_into_a_url_is_a_literal_and_nothing_else(hostile):
    trace = small(http_method="GET", http_path=hostile, name=hostile, http_status=200)
    trace.dispatches[0].sender = hostile

    source = made_test(trace)

    source.encode()
    tree = ast.parse(source)
    assert [type(node).__name__ for node in tree.body] == [
        "Expr",
        "ImportFrom",
        "Import",
        "ImportFrom",
        "FunctionDef",
    ]
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert hostile in texts
    assert tree.body[-1].name.isidentifier()


def test_what_is_not_mine_is_asserted_only_of_a_span_that_was_chosen():
    build = TraceBuilder(http_method="GET", http_path="/a/")
    build.call(build.dispatch())
    trace = build.build()

    assert "(no receiver of yours ran)" in made_test(trace)
    chosen = made_test(trace, span=trace.dispatches[0])
    assert "post_save orders.Order\n" in chosen
    assert "        everything=True,\n" in chosen
    assert TRACE_ID in chosen
