"""Secrets by every way in, looked for at every way out.

Each way in is tried under many names; all that was recorded then goes through store, log, exports,
commands, viewer and panel, and none of it may hold a single one of the secrets.
"""

from __future__ import annotations

import enum
import io
import json
from dataclasses import dataclass
from itertools import count

import pytest
import structlog
from django.apps import apps
from django.contrib.sessions.models import Session
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection
from django.dispatch import Signal
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

import tracing
from tests.tracing.command_line import run, store
from tests.tracing.instrumentation.conftest import keeper, stock  # noqa: F401
from tracing import log
from tracing.analysis.hazards.segments import diagnose_segment
from tracing.exporters.formats import chrome_trace, otlp_json, speedscope, write_csv, write_jsonl
from tracing.exporters.log import LogExporter
from tracing.instrumentation import context
from tracing.instrumentation.attributes.values import Redaction
from tracing.instrumentation.dispatch.options import Options
from tracing.instrumentation.patching import instrument
from tracing.panels.panel import render
from tracing.panels.stored import describe
from tracing.spans.codec import document, unpack

NAMES = (
    "password",
    "db_pwd",
    "authToken",
    "client-secret",
    "cookie",
    "sentry_dsn",
    "user_pin",
    "iban",
)
MARK = "s3cr3t"
"""How every secret begins."""

signal = Signal()
failing = Signal()
writing = Signal()
_numbers = count()
statements = []
"""What the receiver of *writing* asks: not an argument, whose value would be kept."""


def new_secret():
    return f"{MARK}{next(_numbers):04d}Zx"


class Words(enum.StrEnum):
    """Keys that are members of an enum."""

    API_KEY = "api_key"


@dataclass
class Login:
    """What an application hands around."""

    password: str

    def __str__(self):
        return f"Login({self.password})"


def structures(name):
    """Yield values in each of which a secret lies under *name*."""
    for make in STRUCTURES:
        yield make(name, new_secret())


STRUCTURES = (
    lambda name, secret: {name: secret},
    lambda name, secret: {SafeString(name): [secret, {"a": secret}]},
    lambda name, secret: {name.encode(): secret},
    lambda name, secret: {gettext_lazy(name): secret},
    lambda _name, secret: {Words.API_KEY: secret},
    lambda name, secret: {"user": [{name: secret}]},
    lambda name, secret: [(name, secret)],
    lambda name, secret: ("run", f"--{name}", secret),
    lambda name, secret: json.dumps({"user": {name: secret}}),
    lambda name, secret: repr({name: secret}),
    lambda name, secret: f"{name}={secret} host=db",
    lambda name, secret: f"{name}: {secret}",
    lambda name, secret: f"https://host/path?a=b&{name}={secret}",
    lambda _name, secret: f"postgres://user:{secret}@host:5432/db",
    lambda _name, secret: f"Authorization: Bearer {secret}",
    lambda name, secret: SafeString(f"{name}={secret}"),
    lambda _name, secret: Login(secret),
    lambda _name, secret: secret.encode(),
)


def by_attributes(name):
    with tracing.trace("attributes", **{name: new_secret(), "seen": "seen-attributes"}):
        signal.send("way")
    for value in structures(name):
        with tracing.trace("attributes", options=value):
            pass


def by_bound_context(name):
    for value in structures(name):
        with (
            structlog.contextvars.bound_contextvars(**{name: new_secret(), "about": value}),
            tracing.trace("bound", seen="seen-bound"),
        ):
            signal.send("way")


def by_values(name):
    with tracing.trace("values"):
        signal.send("way", **{name: new_secret(), "seen": "seen-values"})
        for value in structures(name):
            signal.send("way", about=value)


def by_primary_keys(_name):
    with tracing.trace("keys", seen="seen-keys"):
        signal.send("way", instance=Session(session_key=new_secret()))
        signal.send("way", about=Session(session_key=SafeString(new_secret())))
        signal.send("way", about=[Session(session_key=new_secret().encode())])


def by_errors(name):
    for text in structures(name):
        with tracing.trace("errors", seen="seen-errors"):
            failing.send_robust("way", error=ValueError(text))
        with pytest.raises(LookupError), tracing.trace("errors"):
            raise LookupError(text)
    for text in (
        f"UNIQUE: Key ({name})=({new_secret()}) already exists.",
        f"Duplicate entry '{new_secret()}' for key '{name}'",
        f"DETAIL:  Failing row contains (1, {new_secret()}, null).",
    ):
        with tracing.trace("errors"):
            failing.send_robust("way", error=RuntimeError(text))


def by_statements(_name):
    secret = new_secret()
    with tracing.trace("statements", seen="seen-statements"):
        for sql in (
            f"SELECT '{secret}'",
            f"SELECT 1 /* {secret} */",
            f"SELECT 1 -- {secret}",
            f"SELECT '{'x' * 1_980}{secret}'",
            f"SELECT 1 WHERE 'a' = 'it''s {secret}'",
            f"SELECT x'{secret.encode().hex()}'",
        ):
            statements.append(sql)
            writing.send("way")
            statements.clear()


def by_paths(_name):
    secret = new_secret()
    for address in (
        f"/reset/MQ/{secret}/",
        f"/reset/MQ/{secret}",
        f"/nowhere/{secret}",
        "/plain/42/",
    ):
        request = (
            RequestFactory().get(address, {"token": secret}, headers={"X-Token": secret}).environ
        )
        response = WSGIHandler()(request, lambda _status, _headers: None)
        response.close()


WAYS = (
    by_attributes,
    by_bound_context,
    by_values,
    by_primary_keys,
    by_errors,
    by_statements,
    by_paths,
)
SEEN = (
    "seen-attributes", "seen-bound", "seen-values", "seen-keys", "seen-errors", "seen-statements",
    "/reset/&lt;uidb64&gt;/&lt;token&gt;/", "/plain/42/",
)  # fmt: skip
"""What proves that each way was recorded: beside the secrets."""

urlpatterns = [
    path("reset/<uidb64>/<token>/", lambda request, **named: HttpResponse("reset")),
    path("plain/<int:number>/", lambda request, **named: HttpResponse("plain")),
]


def receive(**named):
    pass


def fail(error, **named):
    raise error


def query(**named):
    with connection.cursor() as cursor:
        for _ in range(6):
            cursor.execute(statements[0])


@pytest.fixture
def recorded(stock, keeper, settings, db):  # noqa: F811
    """Return the traces of every way in, under every name, with their hazards."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["tracing.middleware.TracingMiddleware"]
    # As the client of Django's tests does: the connection is the test's.
    for ends in (request_started, request_finished):
        ends.disconnect(close_old_connections)
    signal.connect(receive)
    failing.connect(fail)
    writing.connect(query)
    context.set_processor(log.BoundContext(keeper))
    undo = instrument(options=Options(values=Redaction()), statements=True)
    for way in WAYS:
        for name in NAMES:
            way(name)
    undo()
    for ends in (request_started, request_finished):
        ends.connect(close_old_connections)
    signal.disconnect(receive)
    failing.disconnect(fail)
    writing.disconnect(query)
    traces = keeper.traces()
    for trace in traces:
        diagnose_segment(trace)
    return traces


def one_of_each(traces):
    """Return a trace by each way in: pages take their time, and what they are made of is read whole."""
    return {(trace.name, trace.http_path, trace.dispatch_count): trace for trace in traces}.values()


def from_store():
    for model in apps.get_app_config("tracing").get_models():
        for row in model.objects.using("tracing").values_list():
            yield repr(row)


def from_log(traces, folder):
    file = folder / "tracing.jsonl"
    exporter = LogExporter(file)
    exporter.export(traces)
    exporter.shutdown()
    yield file.read_text()


def from_exports(traces):
    for write in (write_jsonl, write_csv):
        out = io.StringIO()
        write(traces, out)
        yield out.getvalue()
    for make in (speedscope, chrome_trace, otlp_json):
        yield json.dumps(make(traces), default=str)


def from_commands(traces):
    for verb in ("list", "stats", "hazards"):
        yield run(verb)
        yield run(verb, "--format", "json")
    for trace in one_of_each(traces):
        yield run("show", trace.trace_id, "--all")
        yield run("show", trace.trace_id, "--all", "--format", "json")


def from_viewer(client, traces):
    for page in ("", "traces.json", "hazards/", "hazards.json", "statistics.json", "map.json"):
        yield client.get(f"/tracing/{page}").content.decode()
    for trace in one_of_each(traces):
        for tab in ("", "sql/", "log/", "json/", "receivers/", "hazards/"):
            yield client.get(f"/tracing/traces/{trace.trace_id}/{tab}").content.decode()
        yield client.get(f"/tracing/traces/{trace.trace_id}.json").content.decode()


def from_panel(traces):
    for trace in traces:
        kept = describe(trace)
        yield json.dumps(document(unpack(kept.pop("trace"))), default=str) + json.dumps(kept)
    for trace in one_of_each(traces):
        yield render(describe(trace))


@pytest.mark.thorough
@pytest.mark.django_db(databases=["default", "tracing"])
def test_no_secret_comes_out(recorded, settings, client, tmp_path):
    store(*recorded)
    settings.ROOT_URLCONF = "carsales.urls"
    settings.DEBUG = True

    outputs = {
        "store": from_store(),
        "log": from_log(recorded, tmp_path),
        "exports": from_exports(recorded),
        "commands": from_commands(recorded),
        "viewer": from_viewer(client, recorded),
        "panel": from_panel(recorded),
    }
    leaks = {}
    texts = []
    for name, written in outputs.items():
        for text in written:
            texts.append(text)
            if MARK in text or MARK.encode().hex() in text:
                at = text.find(MARK)
                leaks.setdefault(name, text[max(0, at - 100) : at + 50])

    assert next(_numbers) >= 300
    assert leaks == {}
    whole = (
        "\n".join(texts).replace("<uidb64>", "&lt;uidb64&gt;").replace("<token>", "&lt;token&gt;")
    )
    assert [mark for mark in SEEN if mark not in whole] == []
