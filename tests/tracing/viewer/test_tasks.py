"""Tasks and what enqueued them, as pages and the command tell of them."""

from __future__ import annotations

import io
import json
import re

import pytest
from django.core.management import call_command

from tests.tracing.store.test_task_links import TASK, run, sender
from tests.tracing.viewer.traces import store
from tracing.models import Trace

pytestmark = pytest.mark.django_db(databases="__all__")


def page(client, trace):
    return client.get(f"/tracing/traces/{trace.address}/").content.decode()


def shown(trace, *options):
    out = io.StringIO()
    call_command("tracing", "show", trace.address, *options, stdout=out, no_color=True)
    return out.getvalue()


def test_pages_of_a_task_and_of_its_sender_link_each_other(developer):
    request, task = store(sender(), run())

    assert f'→ <a href="/tracing/traces/{task.address}/">its trace</a>' in page(developer, request)
    assert f'Enqueued by <a href="/tracing/traces/{request.address}/">' in page(developer, task)


def test_page_tells_each_attempt(developer):
    request, first, second = store(sender(), run(2, enqueues=TASK), run(3, attempt=2))

    of_request, of_second = page(developer, request), page(developer, second)
    assert f'<a href="/tracing/traces/{first.address}/">attempt 1</a>' in of_request
    assert f'<a href="/tracing/traces/{second.address}/">attempt 2</a>' in of_request
    assert f', by <a href="/tracing/traces/{first.address}/">' in of_second


def test_page_tells_what_is_missing(developer):
    request, task = store(sender(), run(2, "other"))

    assert "not seen yet" in page(developer, request)
    assert "not known" in page(developer, task)

    gone, left = store(sender(3, "third"), run(4, "third"))
    Trace.objects.called(gone.address).delete()
    assert "no longer stored" in page(developer, left)


def test_ids_of_tasks_are_escaped(developer):
    hostile = "<script>alert(1)</script>"
    request, task = store(sender(1, hostile), run(2, hostile))

    assert "<script>alert" not in page(developer, request) + page(developer, task)


def test_json_of_viewer_and_command_say_the_same(developer):
    request, task = store(sender(), run())

    for trace in (request, task):
        viewed = developer.get(f"/tracing/traces/{trace.address}.json").json()["tasks"]
        assert viewed == json.loads(shown(trace, "--format", "json"))["tasks"]
    assert viewed["enqueued_by"][0]["trace_id"] == request.trace_id
    assert (viewed["task_id"], viewed["sender"]) == (TASK, "seen")


def test_command_shows_the_way_both_ways():
    request, task = store(sender(), run())
    [lonely] = store(sender(5, "never"))

    assert f"enqueued shop.index ({TASK}), attempt 1 ok: show {task.trace_id[:8]}" in shown(request)
    assert f"enqueued by POST /orders/: show {request.trace_id[:8]}" in shown(task)
    assert "enqueued shop.index (never), not seen yet" in shown(lonely)


@pytest.mark.parametrize("is_the_sender_there", [True, False])
def test_task_in_the_trace_of_its_sender_was_not_opened_in_itself(developer, is_the_sender_there):
    request, task = sender(), run()
    task.trace_id = task.parent_trace_id = request.trace_id
    task.parent_span_id = request.root_span_id if is_the_sender_there else "e" * 16
    stored = store(request, task)

    opened = re.search(r"Opened in</dt><dd>(.*?)</dd>", page(developer, stored[1]))
    assert (opened is not None) is is_the_sender_there
    assert opened is None or request.root_span_id in opened[1]
