from __future__ import annotations

import sys
import uuid
from types import ModuleType

import pytest
import structlog
from django.http import HttpResponse
from django.test import RequestFactory

from tracing import instrument, log, setup, trace
from tracing.instrumentation import context, failures
from tracing.instrumentation.attributes.redaction import HIDDEN, SENSITIVE, policy
from tracing.instrumentation.attributes.values import MAX_ATTRIBUTE
from tracing.middleware import TracingMiddleware

NUMBER = uuid.UUID(int=7)


class Keeper:
    """Keep what has ended, but standalone dispatches."""

    def __init__(self):
        self.ended = []

    def on_start(self, trace):
        """Do nothing."""

    def on_end(self, trace):
        if trace.kind != "dispatch":
            self.ended.append(dict(trace.attributes))


@pytest.fixture
def keeper():
    keeper = Keeper()
    before = context.set_processor(log.BoundContext(keeper))
    undo = instrument()
    with structlog.contextvars.bound_contextvars():
        yield keeper
    undo()
    context.set_processor(before)


def test_what_is_bound_is_an_attribute_of_the_trace(keeper):
    structlog.contextvars.bind_contextvars(request_id=NUMBER, tenant="blue")
    with trace("work", tenant="red"):
        structlog.contextvars.bind_contextvars(step=3)
    structlog.contextvars.unbind_contextvars("request_id", "tenant", "step")

    assert keeper.ended == [{"request_id": str(NUMBER), "tenant": "red", "step": "3"}]


def test_what_a_middleware_binds_and_clears_is_kept(keeper, monkeypatch):
    from tracing.spans.records import Kind

    def respond(request):
        structlog.contextvars.bind_contextvars(request_id="r-1")
        middleware.process_view(request)
        structlog.contextvars.unbind_contextvars("request_id")
        return HttpResponse()

    middleware = TracingMiddleware(respond)
    request = RequestFactory().get("/")
    request.resolver_match = None
    with trace("a request", kind=Kind.REQUEST):
        middleware(request)

    assert keeper.ended == [{"request_id": "r-1"}]


def test_secrets_are_hidden_and_objects_named_without_asking_them(keeper):
    class Loud:
        def __str__(self):
            raise AssertionError("nobody may ask")

        __repr__ = __str__

    structlog.contextvars.bind_contextvars(api_token="s3cret", order=Loud(), text="x" * 1_000)
    with trace("work"):
        pass
    structlog.contextvars.unbind_contextvars("api_token", "order", "text")

    (attributes,) = keeper.ended
    assert attributes["api_token"] == HIDDEN
    assert attributes["order"].endswith("Loud>")
    assert len(attributes["text"]) == MAX_ATTRIBUTE


def test_nothing_is_kept_where_secrets_cannot_be_told(keeper, settings):
    settings.TRACING = {"EXPORTERS": [], "SENSITIVE_KEYS": "(iban"}
    setup.configure()
    structlog.contextvars.bind_contextvars(iban="DE00")
    with trace("work"):
        pass
    structlog.contextvars.unbind_contextvars("iban")
    settings.TRACING = {"EXPORTERS": []}
    setup.configure()

    assert keeper.ended == [{}]
    assert policy.sensitive is SENSITIVE


def test_while_another_thread_imports_structlog_nothing_is_bound_and_nothing_failed(
    keeper, monkeypatch
):
    monkeypatch.setattr(failures, "counts", failures.counts.copy())
    before = failures.counts.total()
    # As the module stands in sys.modules before its first line has run.
    monkeypatch.setitem(sys.modules, "structlog.contextvars", ModuleType("structlog.contextvars"))

    with trace("work"):
        pass

    assert keeper.ended == [{}]
    assert failures.counts.total() == before
